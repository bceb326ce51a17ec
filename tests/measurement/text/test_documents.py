"""A corpus' name in, its texts out, or one line that says why not."""

import json
import time
from pathlib import Path
from pydoc_data.topics import topics

import datasets
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.text.documents import text_documents
from tests.helpers.models import fake_hub

PYTHON_DOCS = [topics[topic] for topic in sorted(topics)]


def test_kinds_of_file_hold_the_same_documents(tmp_path: Path) -> None:
    texts = [*PYTHON_DOCS[:3], "naïve – 日本語\r\n"]
    (tmp_path / "a.txt").write_bytes(texts[3].encode())
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"n": 1, "text": t}) + "\n" for t in texts)
    )
    table = pa.table({"n": [1, 2, 3, 4], "body": texts})
    pq.write_table(table, tmp_path / "A.PARQUET")
    assert read(tmp_path / "a.jsonl") == texts
    assert read(tmp_path / "A.PARQUET") == texts
    assert read(tmp_path / "A.PARQUET", "body") == texts
    assert read(tmp_path / "a.txt") == texts[3:]
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfmarked")
    assert read(tmp_path / "a.txt") == ["marked"]


def read(path: Path | str, column: str | None = None) -> list[str]:
    return ["".join(document) for document in text_documents(str(path), column)]


NAMES = {
    "pyhton-docs": "Did you mean python-docs?.*Accepted are",
    "books": "Unknown corpus 'books'. Accepted are python-docs",
    "./none.txt": r"There is no file 'none\.txt'",
    "/none/here": "There is no file '/none/here'",
    ".": r"is a folder. Accepted are .*\.txt, \.jsonl or \.parquet",
}
"""What is said of names without a file; of bad files see `tests/helpers/hostile/bad_files.py`."""


@pytest.mark.parametrize("name", NAMES)
def test_a_name_without_a_file_is_told_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=NAMES[name]) as caught:
        read(name)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # for root, nothing is unreadable
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        text_documents(str(tmp_path / "a.txt"))


@pytest.mark.parametrize("name", ["pile", "owner/texts"])
def test_without_a_network_the_answer_is_quick(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    started = time.monotonic()
    with pytest.raises(InputError, match=r"hub cannot be reached.*python-docs needs no netw"):
        next(text_documents(name))
    assert time.monotonic() - started < 5


def test_a_data_set_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with fake_hub.running() as running:
        monkeypatch.setattr(hub, "ENDPOINT", running.endpoint)
        with pytest.raises(InputError, match="The hub has no data set 'owner/texts'"):
            next(text_documents("owner/texts"))


@pytest.mark.parametrize(
    ("rows", "column", "expected"),
    [
        ([{"n": 1, "text": "a", "title": "x"}, {"n": 2, "text": None, "title": "y"}], None, ["a"]),
        ([{"n": 1, "body": "a"}, {"n": 2, "body": "b"}], None, ["a", "b"]),
        ([{"title": "a", "body": "b"}], "body", ["b"]),
    ],
)
def test_a_data_set_is_streamed(
    rows: list[dict[str, object]],
    column: str | None,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[object, ...]] = []

    def load_dataset(name: str, configuration: str | None, **kwargs: object) -> object:
        asked.append((name, configuration, kwargs))
        return datasets.Dataset.from_list(rows).to_iterable_dataset()

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    texts = ["".join(document) for document in text_documents("owner/texts:en", column)]
    assert texts == expected
    assert asked == [("owner/texts", "en", {"split": "train", "streaming": True})]
