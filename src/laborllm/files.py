"""Files that are whole or absent: written under a temporary name beside the target, then renamed."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError

TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(\.old)?\.tmp")
"""Names that ``whole_file``, ``whole_folder`` and ``sole_writer`` give while they write."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes ``path``, on any failure it disappears.

    Raises:
        LaborLLMError: the path names no file, the disk is full or the folder cannot be written.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_tables(folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write each table as NAME.csv into a folder.

    Raises:
        LaborLLMError: the disk is full or the folder cannot be written.
    """
    for name, table in tables.items():
        with whole_file(folder / f"{name}.csv") as temporary:
            table.write_csv(temporary)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it replaces ``path``, on any failure it disappears.

    Raises:
        LaborLLMError: the disk is full or the folder cannot be written.
    """
    temporary = _temporary(path)
    retired = temporary.with_suffix(".old.tmp")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.exists():
            path.replace(retired)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Where a file or folder is written before it is renamed."""
    if not path.name:
        raise LaborLLMError(f"{str(path)!r} names no file; give a path that ends in a name")
    readable = os.fsencode(path).decode(errors="replace")
    if readable != str(path):
        raise LaborLLMError(f"{readable}: the path is no UTF-8, which polars needs; choose another")
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, after clearing what a killed process left half-written in it.

    Raises:
        LaborLLMError: another process is writing into the folder, or it cannot be written.
    """
    mark = folder / f".running.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in sorted(folder.rglob(".*.tmp")):
            _clear(left)
        mark.touch()
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a name is one that this module gives while it writes."""
    return TEMPORARY.fullmatch(path.name) is not None


def _clear(left: Path) -> None:
    """Remove what a process that is gone left; take a retired folder back if it has no successor."""
    match = TEMPORARY.fullmatch(left.name)
    if match is None:
        return
    name, process = match["name"], int(match["process"])
    if _alive(process):
        raise LaborLLMError(f"{left.parent}: process {process} is writing here; wait for it or choose another --out")
    if left.name.endswith(".old.tmp") and not (left.parent / name).exists():
        left.rename(left.parent / name)
    elif left.is_dir():
        shutil.rmtree(left)
    else:
        left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _cannot_write(path: Path, error: Exception) -> LaborLLMError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return LaborLLMError(f"{path}: cannot write ({reason}); free some space or choose another folder")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        LaborLLMError: the file is missing or unreadable.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise LaborLLMError(
            f"{path}: cannot read ({error.strerror}); check the path, which is relative to the study file"
        ) from error
