"""The texts of a corpus, one document after another, read no further than they are asked for.

A document has a name and blocks of text that follow each other without anything between them: a
large text file is one document of many blocks, a data set's row a document of one.
"""

from __future__ import annotations

import codecs
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.errors import InputError

SHUFFLE_BUFFER = 10_000
"""Documents among which a streamed data set's next one is drawn."""

PYTHON_DOCS = "python-docs"
DATASETS = {"pile": "NeelNanda/pile-10k"}
"""Data sets with a name of their own; `pile` is what TransformerLens' `get_dataset` calls so."""

SUFFIXES = (".txt", ".jsonl", ".parquet")
ACCEPTED = (
    f"Accepted are {PYTHON_DOCS}, {', '.join(DATASETS)}, a data set's name on the hub "
    f"(owner/name, or owner/name:configuration), and a {', '.join(SUFFIXES[:-1])} or "
    f"{SUFFIXES[-1]} file."
)
_BLOCK = 1 << 18  # bytes of a text file read at once


@dataclass(frozen=True)
class Document(Iterable[str]):
    """A text in blocks, and what it is called where it comes from (`line 17`, a topic's name)."""

    name: str
    blocks: Iterable[str]

    def __iter__(self) -> Iterator[str]:
        return iter(self.blocks)


def text_documents(
    corpus: str, text_column: str | None = None, shuffle_seed: int | None = None
) -> Iterator[Document]:
    """The corpus' documents in their order.

    Args:
        corpus: `python-docs` (the language reference in the standard library, a document a topic,
            sorted by topic), `pile`, a data set on the hub (its split `train`, streamed), or a
            file: `.txt` is one document, `.jsonl` one a line, `.parquet` one a row.
        text_column: the column that holds the text; None takes `text`, or else the only column of
            strings.
        shuffle_seed: shuffles a data set of the hub, whose beginning is all that is read: its
            files, and its rows among `SHUFFLE_BUFFER` at a time. Files of this machine are read
            in their order.

    Raises:
        InputError: an unknown corpus; a file that is missing, empty, unreadable, not UTF-8 or not
            what its name says; a column that is not there; no network. Some of these show only
            when the documents are read.
    """
    if corpus == PYTHON_DOCS:
        return _python_docs()
    if not corpus.strip():
        raise InputError(f"No corpus is named. {ACCEPTED}")
    if corpus in DATASETS:
        return _hub_documents(DATASETS[corpus], text_column, shuffle_seed)
    path = Path(corpus).expanduser()
    try:
        is_folder, is_there, is_file = path.is_dir(), path.exists(), path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise _unreadable(path, error) from None
    if is_folder:
        raise InputError(f"The corpus '{corpus}' is a folder. {ACCEPTED}")
    if is_there and not is_file:
        raise InputError(
            f"The corpus '{corpus}' is a pipe or a device, whose text cannot be read twice. "
            "Save it as a file."
        )
    if path.suffix.lower() in SUFFIXES or is_there:
        return _file_documents(path, text_column)
    if corpus.startswith(("/", ".", "~")) or corpus.count("/") > 1:
        raise InputError(f"There is no file '{corpus}'. Check the path.")
    if "/" not in corpus:
        near = difflib.get_close_matches(corpus, [PYTHON_DOCS, *DATASETS], n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise InputError(f"Unknown corpus '{corpus}'.{meant} {ACCEPTED}")
    return _hub_documents(corpus, text_column, shuffle_seed)


def is_on_the_hub(corpus: str) -> bool:
    """Whether a corpus that there may be is a data set of the hub."""
    return corpus != PYTHON_DOCS and not Path(corpus).expanduser().exists()


def _python_docs() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        yield Document(topic, (topics[topic],))


def _file_documents(path: Path, text_column: str | None) -> Iterator[Document]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"The corpus '{path}' is of no kind that is known. {ACCEPTED}")
    try:
        with path.open("rb"):
            size = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"There is no file '{path}'. Check the path.") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if size == 0:
        raise InputError(f"The corpus '{path}' is empty. Give a file with text in it.")
    if suffix == ".txt":
        return iter([Document(path.name, _text_blocks(path))])
    if suffix == ".jsonl":
        return _json_lines(path, text_column)
    return _parquet_rows(path, text_column)


def _text_blocks(path: Path) -> Iterator[str]:
    """A UTF-8 file's text as it is, without a byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    try:
        with path.open("rb") as file:
            while True:
                data = file.read(_BLOCK)
                pending = len(decoder.getstate()[0])
                try:
                    block = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    _not_utf8(path, offset - pending + error.start, error)
                yield block.removeprefix("\ufeff") if offset == 0 else block
                offset += len(data)
                if not data:
                    return
    except OSError as error:
        raise _unreadable(path, error) from None


def _json_lines(path: Path, text_column: str | None) -> Iterator[Document]:
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    _not_utf8(path, offset + error.start, error)
                offset += len(line)
                if not text.strip():
                    continue
                try:
                    row = json.loads(text.removeprefix("\ufeff"))
                except (ValueError, RecursionError) as error:
                    raise InputError(
                        f"'{path}' line {number} is not JSON ({error}). "
                        "A .jsonl file has one JSON object in every line."
                    ) from None
                if not isinstance(row, dict):
                    raise InputError(
                        f"'{path}' line {number} is not a JSON object. Write each document as "
                        '{"text": "..."} in a line of its own.'
                    )
                if text_column is None:
                    strings = [name for name, value in row.items() if isinstance(value, str)]
                    text_column = _text_column(f"'{path}'", None, list(row), strings)
                value = row.get(text_column)
                if not isinstance(value, str):
                    is_there = text_column in row
                    problem = f"holds {_kind(value)}, not text" if is_there else "is not there"
                    raise InputError(
                        f"'{path}' line {number}: the column '{text_column}' {problem}; "
                        f"its columns are {_listed(row)}. "
                        "Name the one with the text with --text-column."
                    )
                try:
                    value.encode()
                except UnicodeEncodeError as error:
                    half = ascii(value[error.start])
                    raise InputError(
                        f"'{path}' line {number} has half a character ({half}) in "
                        f"'{text_column}', which is no text. Write the line again."
                    ) from None
                yield Document(f"line {number}", (value,))
    except OSError as error:
        raise _unreadable(path, error) from None


def _parquet_rows(path: Path, text_column: str | None) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def is_text(type_: pa.DataType) -> bool:
        return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            kinds = {field.name: str(field.type) for field in schema}
            strings = [field.name for field in schema if is_text(field.type)]
            column = _text_column(f"'{path}'", text_column, schema.names, strings, kinds)
            batches = file.iter_batches(batch_size=256, columns=[column])
            texts = (text for batch in batches for text in batch.column(0).to_pylist())
            for number, text in enumerate(texts):
                if text is not None:
                    yield Document(f"row {number}", (text,))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"'{path}' cannot be read as Parquet ({reason}). Write the file again."
        ) from error


def _hub_documents(
    dataset: str, text_column: str | None, shuffle_seed: int | None
) -> Iterator[Document]:
    from huggingface_hub import HfApi

    name, _, configuration = dataset.partition(":")
    try:  # asked once and first: `datasets` alone retries for half a minute
        HfApi(endpoint=hub.ENDPOINT).dataset_info(name, timeout=hub.TIMEOUT)
    except Exception as error:
        explained = hub.explain(error, "data set", name)
        if isinstance(explained, hub.HubUnreachableError):
            raise hub.HubUnreachableError(
                f"{explained} The corpus {PYTHON_DOCS} needs no network."
            ) from error
        raise explained from error

    import datasets

    try:
        rows = datasets.load_dataset(name, configuration or None, split="train", streaming=True)
        features: dict[str, Any] = dict(rows.features or next(iter(rows.take(1)), {}))
        strings = [
            key
            for key, value in features.items()
            if isinstance(value, str) or getattr(value, "dtype", None) in ("string", "large_string")
        ]
        column = _text_column(f"The data set '{name}'", text_column, list(features), strings)
        rows, where = rows.select_columns([column]), "row"
        if shuffle_seed is not None:
            rows = rows.shuffle(seed=shuffle_seed, buffer_size=SHUFFLE_BUFFER)
            where = "shuffled row"
        for number, row in enumerate(rows):
            if row[column] is not None:
                yield Document(f"{where} {number}", (row[column],))
    except InputError:
        raise
    except Exception as error:
        explained = hub.explain(error, "data set", name)
        if explained is not error:
            raise explained from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"The data set '{name}' cannot be read: {reason} "
            "A configuration is named as in owner/name:configuration; its split is train."
        ) from error


def _text_column(
    what: str,
    wanted: str | None,
    columns: Sequence[str],
    strings: Sequence[str],
    kinds: Mapping[str, str] | None = None,
) -> str:
    """The column that holds the text: the one wanted, `text`, or the only one of strings.

    kinds: the columns' types, where they are known.
    """
    listed = _listed(columns)
    if wanted is not None:
        if wanted in strings:
            return wanted
        held = (kinds or {}).get(wanted)
        problem = f"holds {held or 'something else'}, not text"
        problem = problem if wanted in columns else "is not there"
        raise InputError(f"{what}: the column '{wanted}' {problem}; its columns are {listed}.")
    if "text" in strings:
        return "text"
    if len(strings) == 1:
        return strings[0]
    raise InputError(
        f"{what} has no column 'text', and its columns are {listed}. "
        "Name the one with the text with --text-column."
    )


def _listed(columns: Iterable[str]) -> str:
    """Columns by name; a hostile file has thousands."""
    names = [repr(name)[1:-1] for name in columns]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "none") + more


def _kind(value: object) -> str:
    return {bool: "true or false", int: "numbers", float: "numbers", list: "lists"}.get(
        type(value), "nothing" if value is None else "objects"
    )


def _not_utf8(path: Path, offset: int, error: UnicodeDecodeError) -> NoReturn:
    raise InputError(
        f"The corpus '{path}' is not UTF-8: byte {offset} is 0x{error.object[error.start]:02x} "
        f"({error.reason}). Save it as UTF-8."
    ) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"The corpus '{path}' cannot be read ({error.strerror or error}).")
