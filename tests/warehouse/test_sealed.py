"""Sealed files: the checksum is in the name, and nothing damaged is overwritten."""

from collections.abc import Callable
from pathlib import Path

import pytest

from selfrepair.warehouse.sealed import DAMAGED, intact_file, read_json, write_json, write_sealed


def sealed(folder: Path, data: bytes = b"the same bytes") -> Path:
    return write_sealed(folder, "z", ".npy", lambda file: file.write(data))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_bytes(path: Path) -> None:
    path.write_bytes(b"rotted bytes")


@pytest.mark.parametrize("harm", [a_folder, other_bytes])
def test_what_is_in_the_place_of_the_same_bytes_is_set_aside(
    tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    path = sealed(tmp_path)
    harm(path)
    assert sealed(tmp_path) == path == intact_file(tmp_path, "z", ".npy")
    [aside] = tmp_path.glob(f"*{DAMAGED}*")
    assert aside.is_dir() or aside.read_bytes() == b"rotted bytes"


def test_the_same_bytes_again_are_one_file(tmp_path: Path) -> None:
    assert sealed(tmp_path) == sealed(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_the_place_of_a_json_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "precision.json"
    path.mkdir()
    write_json(path, {"a": 1})
    assert read_json(path, "") == {"a": 1}
    assert len(list(tmp_path.glob(f"*{DAMAGED}*"))) == 1
