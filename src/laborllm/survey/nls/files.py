"""Files of an NLS Investigator download: lying beside each other or in one zip.

A download bears one stem and many suffixes: the extract (``.csv``, ``.dct``, ``.dat``), its codebook (``.cdb``), its
short description (``.sdf``), the SPSS set-up (``.sps``) and the tagset, whose suffix names the cohort (``.NLSY79``).
"""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from laborllm.errors import LaborLLMError

EXTRACTS = (".dct", ".csv", ".dat")
"""In the order in which a zip that holds several is read; they hold the same."""
CODEBOOKS = (".cdb", ".sdf")
TAGSET = re.compile(r"\.NLS\w+", re.IGNORECASE)
_STEM = re.compile(rf"({'|'.join(map(re.escape, EXTRACTS))})?(\.zip)?$", re.IGNORECASE)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def known_errors(path: Path) -> Iterator[None]:
    """What can go wrong while a file or a zip is opened and read, in one line.

    Raises:
        LaborLLMError: the file is missing or unreadable, or the zip is corrupt.
    """
    broken = (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, struct.error, ValueError)
    try:
        yield
    except FileNotFoundError as error:
        raise LaborLLMError(f"{path}: there is no such file; check the path, relative to the study file") from error
    except broken as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise LaborLLMError(
            f"{path}: the zip is truncated or corrupt ({reason}); download the extract again"
        ) from error
    except OSError as error:
        raise LaborLLMError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error


@dataclass(frozen=True)
class CheckedStream:
    """Bytes of a file or of a zip's member; what goes wrong while they are read is a ``LaborLLMError``."""

    raw: IO[bytes]
    path: Path

    def read(self, size: int, /) -> bytes:
        with known_errors(self.path):
            return self.raw.read(size)


@contextmanager
def opened_extract(path: Path) -> Iterator[tuple[str, CheckedStream]]:
    """The kind of an extract (".csv", ".dct" or ".dat") and its bytes, unzipped on the way.

    Raises:
        LaborLLMError: the file is missing or unreadable, the zip is corrupt or holds no or several extracts of a kind.
    """
    with ExitStack() as stack:
        with known_errors(path):
            if is_zip(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                name = _extract_member(archive, path)
                raw = stack.enter_context(archive.open(name))
            else:
                name, raw = path.name, stack.enter_context(path.open("rb"))
        yield PurePosixPath(name).suffix.lower(), CheckedStream(raw, path)


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if not name.startswith("__MACOSX") and not name.endswith("/")]


def _extract_member(archive: zipfile.ZipFile, path: Path) -> str:
    names = _members(archive)
    for suffix in EXTRACTS:
        found = [name for name in names if name.lower().endswith(suffix)]
        if len(found) > 1:
            raise LaborLLMError(f"{path}: holds {len(found)} {suffix} files ({', '.join(found)}); zip one at a time")
        if found:
            return found[0]
    raise LaborLLMError(
        f"{path}: holds no .dct, .csv or .dat file but {', '.join(names) or 'nothing'}; zip the extract"
    )


def stem(path: Path) -> str:
    """An extract's name without its suffixes.

    Examples:
        >>> stem(Path("schooling.dct.zip"))
        'schooling'
    """
    return _STEM.sub("", path.name)


def file_beside(path: Path, suffixes: Sequence[str]) -> Path | None:
    """The file of the same download that has the first of the suffixes which any has; the zip itself, if it is inside.

    Raises:
        LaborLLMError: the zip is corrupt.
    """
    inside = _suffixes_inside(path) if is_zip(path) else set()
    for suffix in suffixes:
        beside = path.with_name(stem(path) + suffix)
        if beside.is_file():
            return beside
        if suffix in inside:
            return path
    return None


def _suffixes_inside(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    with known_errors(path), zipfile.ZipFile(path) as archive:
        return {PurePosixPath(name).suffix.lower() for name in _members(archive)}


def tagsets_beside(path: Path) -> list[str]:
    """Suffixes of the tagsets of the same download, in capitals: the cohorts it was drawn from."""
    inside = _suffixes_inside(path) if is_zip(path) else set()
    beside = {file.suffix for file in path.parent.glob("*.*") if file.stem == stem(path)}
    return sorted({suffix.upper() for suffix in inside | beside if TAGSET.fullmatch(suffix)})


def read_lines(path: Path, suffixes: Sequence[str] = CODEBOOKS) -> tuple[str, list[str]]:
    """Suffix and lines of a text file, or of the first member of a zip that has one of the suffixes.

    Text that is not UTF-8 is taken as Latin-1. Lines end in ``\\n``, ``\\r\\n`` or ``\\r``.

    Raises:
        LaborLLMError: the file is missing, unreadable or no text, or the zip is corrupt or holds no or two such files.
    """
    with known_errors(path):
        if not is_zip(path):
            return path.suffix.lower(), _lines(path.read_bytes(), path)
        with zipfile.ZipFile(path) as archive:
            for suffix in suffixes:
                found = [name for name in _members(archive) if name.lower().endswith(suffix)]
                if len(found) > 1:
                    raise LaborLLMError(f"{path}: holds {len(found)} {suffix} files ({', '.join(found)}); zip one")
                if found:
                    return suffix, _lines(archive.read(found[0]), path)
    raise LaborLLMError(f"{path}: holds no {' or '.join(suffixes)} file; give it beside the extract")


def _lines(data: bytes, path: Path) -> list[str]:
    return decoded(data, path).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def decoded(data: bytes, path: Path) -> str:
    """Text of bytes that are UTF-8, with or without a mark, or else Latin-1.

    Raises:
        LaborLLMError: the bytes are UTF-16, or hold a null byte.
    """
    if data.startswith(_UTF_16):
        raise LaborLLMError(f"{path}: is UTF-16 text; save it as UTF-8, or download it again")
    if b"\0" in data:
        row = data[: data.index(b"\0")].count(b"\n") + 1
        raise LaborLLMError(f"{path}, row {row}: holds a null byte, which no text does; download the file again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
