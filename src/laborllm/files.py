"""Files that are whole or absent: written under a temporary name beside the target, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from laborllm.errors import LaborLLMError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes ``path``, on any failure it disappears.

    Raises:
        LaborLLMError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it replaces ``path``, on any failure it disappears.

    Raises:
        LaborLLMError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def _cannot_write(path: Path, error: OSError) -> LaborLLMError:
    reason = error.strerror or str(error)
    return LaborLLMError(f"{path}: cannot write ({reason}); free some space or choose another folder with --out")


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
