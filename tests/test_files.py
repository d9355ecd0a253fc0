"""Files are whole or absent."""

import os
from pathlib import Path

import pytest

from laborllm.errors import LaborLLMError
from laborllm.files import file_hash, sole_writer, whole_file, whole_folder


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("all")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "all"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"a.txt: cannot write \(No space left on device\); free some space"):
        with whole_file(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with whole_folder(tmp_path / "model") as temporary:
            (temporary / f"{content}.txt").write_text(content)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["second.txt"]
    with pytest.raises(LaborLLMError, match="cannot write"), whole_folder(tmp_path / "model") as temporary:
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["second.txt"]


def test_the_hash_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.csv: cannot read"):
        file_hash(tmp_path / "none.csv")


GONE = 2**22 + 1
"""No process has this number: it is above the kernel's largest."""


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    (tmp_path / f".a.csv.{GONE}.tmp").write_text("half")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f".training.{GONE}.tmp").mkdir()
    (tmp_path / ".own.tmp").write_text("the user's")
    with sole_writer(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".own.tmp", "models"]


def test_a_folder_retired_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    for name, survivor in (("lost", False), ("replaced", True)):
        (tmp_path / f".{name}.{GONE}.old.tmp").mkdir()
        (tmp_path / f".{name}.{GONE}.old.tmp" / "old.txt").write_text("old")
        if survivor:
            (tmp_path / name).mkdir()
    with sole_writer(tmp_path):
        pass
    assert (tmp_path / "lost" / "old.txt").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lost", "replaced"]
    assert not list((tmp_path / "replaced").iterdir())


def test_two_writers_are_refused(tmp_path: Path) -> None:
    (tmp_path / f".running.{os.getppid()}.tmp").touch()
    with pytest.raises(LaborLLMError, match=f"process {os.getppid()} is writing here"), sole_writer(tmp_path):
        pass


def test_a_path_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="is no UTF-8"), whole_file(tmp_path / "\udcff.parquet"):
        pass
