"""Damaged NLS files: the right table or one line that says what is wrong, never another error, never a wrong table.

The oracle is a reading as plain as can be (``nls_examples``), which shares nothing with the package. Harmless changes
must give the table of the undamaged file; ruinous ones must be refused; after any change of bytes whatsoever the answer
is a refusal or what the plain reading finds in the changed file.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook import Codebook, read_codebook
from laborllm.survey.nls.extracts import Extract, read_extract
from tests.survey.nls import examples as nls_examples
from tests.survey.nls.examples import REFERENCES, Text

TABLE = nls_examples.known_table()
TEXTS = nls_examples.texts(TABLE)
CODEBOOK = nls_examples.codebook(TABLE)
NASTY = [
    b"\0",
    b'"',
    b"'",
    b",",
    b" ",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"-",
    b"+",
    b".",
    b";",
    b"e",
    b"_",
    b"\xe9",
    b"\xff",
]
NASTY += [b"0", b"7", b"R", b"}", b"\xc3\xa9", b"\xef\xbb\xbf", b"\xd9\xa3", b"9" * 19, b"x" * 70_000, b"\x1a", b"\x85"]
Result = TypeVar("Result")
Damage = Callable[[Text, np.random.Generator], bytes]


def spaced(text: Text, rng: np.random.Generator) -> list[str]:
    """The rows with blanks around some values, as their format allows."""
    if ".sps" in text.beside and "fixed" in text.beside[".sps"]:
        return [row + " " * int(rng.integers(3)) for row in text.rows]
    wide = (
        [text.separator + " " * int(rng.integers(1, 3)), text.separator] if text.separator == "," else ["  ", "\t", " "]
    )
    return [str(rng.choice(wide)).join(row.split(text.separator)) for row in text.rows]


def blank_lines(text: Text, rng: np.random.Generator) -> bytes:
    rows = list(text.rows)
    for place in sorted(rng.integers(0, len(rows) + 1, 3), reverse=True):
        rows.insert(place, " " * int(rng.integers(2)))
    return "\n".join([*text.head, *rows, ""]).encode()


def in_place(text: Text, rows: list[str]) -> bytes:
    return "\n".join([*text.head, *rows, ""]).encode()


HARMLESS: dict[str, Damage] = {
    "nothing": lambda text, rng: text.bytes(),
    "byte-order mark": lambda text, rng: (b"\xef\xbb\xbf" if text.head else b"") + text.bytes(),
    "Windows line ends": lambda text, rng: text.bytes("\r\n"),
    "Mac line ends": lambda text, rng: text.bytes("\r"),
    "no line end at the end": lambda text, rng: text.bytes(str(rng.choice(["\n", "\r\n", "\r"])), last=False),
    "empty lines at the end": lambda text, rng: text.bytes() + b"\n\r\n \n",
    "empty lines": blank_lines,
    "blanks around values": lambda text, rng: in_place(text, spaced(text, rng)),
    "rows in another order": lambda text, rng: in_place(text, list(rng.permutation(text.rows))),
}


def some_row(text: Text, rng: np.random.Generator, change: Callable[[str], list[str]]) -> bytes:
    rows = list(text.rows)
    place = int(rng.integers(len(rows)))
    return in_place(text, [*rows[:place], *change(rows[place]), *rows[place + 1 :]])


def inserted(data: bytes, rng: np.random.Generator, piece: bytes, start: int = 0) -> bytes:
    place = int(rng.integers(start, len(data)))
    return data[:place] + piece + data[place:]


def with_value(value: str) -> Damage:
    """One value of one row replaced."""

    def damage(text: Text, rng: np.random.Generator) -> bytes:
        def change(row: str) -> list[str]:
            values = row.split(text.separator) if text.separator == "," else row.split()
            values[int(rng.integers(len(values)))] = value
            return [text.separator.join(values)]

        return some_row(text, rng, change)

    return damage


def swapped(text: Text, rng: np.random.Generator) -> bytes:
    others = {",": [";", "\t", " ", "|"], " ": [",", ";", "|"]}[text.separator]
    return text.bytes().replace(text.separator.encode(), str(rng.choice(others)).encode())


RUINOUS: dict[str, Damage] = {
    "UTF-16": lambda text, rng: text.bytes().decode().encode("utf-16"),
    "UTF-16 without mark": lambda text, rng: text.bytes().decode().encode("utf-16-le"),
    "null byte": lambda text, rng: inserted(text.bytes(), rng, b"\0"),
    "Latin-1 letter among the values": lambda text, rng: with_value("1")(text, rng).replace(b"1", b"\xe9", 1),
    "stray quote": with_value('"1'),
    "letters": with_value("male"),
    "decimal": with_value("2.0"),
    "exponent": with_value("1e3"),
    "underscore": with_value("1_0"),
    "plus": with_value("+1"),
    "sign alone": with_value("-"),
    "too many digits": with_value("1" * 19),
    "huge field": with_value("1" * 100_000),
    "other digits": with_value("\u0663"),
    "half-width blank": with_value("1\u00a02"),
    "swapped delimiters": swapped,
    "row twice": lambda text, rng: some_row(text, rng, lambda row: [row, row]),
    "value missing": lambda text, rng: some_row(text, rng, lambda row: [row.rpartition(text.separator)[0]]),
    "value too many": lambda text, rng: some_row(text, rng, lambda row: [f"{row}{text.separator}1"]),
    "header twice": lambda text, rng: in_place(text, ["R0000100", *text.rows]),
    "text in between": lambda text, rng: some_row(text, rng, lambda row: [row, "end of page 1"]),
}


def read(folder: Path, text: Text, data: bytes) -> Extract | LaborLLMError:
    """What comes of it; anything but an extract or a refusal in one line fails the test."""
    path = nls_examples.written(folder, text, data)
    return outcome(path, lambda: read_extract(path))


def outcome(path: Path, call: Callable[[], Result]) -> Result | LaborLLMError:
    """What a call gives, or its refusal, which is one line that begins with the file."""
    refusal: LaborLLMError | None = None
    try:
        return call()
    except LaborLLMError as error:
        refusal = error
    message = str(refusal)
    assert "\n" not in message
    assert len(message) < 1000
    assert message.startswith(str(path.with_suffix("")))
    return refusal


def require_table(found: Extract | LaborLLMError, what: str) -> None:
    assert isinstance(found, Extract), (what, found)
    assert found.table.to_numpy().tolist() == TABLE.tolist(), what


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_changes_give_the_same_table(tmp_path: Path, kind: str, name: str, rng: np.random.Generator) -> None:
    require_table(read(tmp_path, TEXTS[kind], HARMLESS[name](TEXTS[kind], rng)), name)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("name", RUINOUS)
def test_ruinous_changes_are_refused(tmp_path: Path, kind: str, name: str, rng: np.random.Generator) -> None:
    data = RUINOUS[name](TEXTS[kind], rng)
    assert isinstance(read(tmp_path, TEXTS[kind], data), LaborLLMError), name


@pytest.mark.parametrize("kind", ["csv", "questions", "dct"])
def test_columns_in_another_order(tmp_path: Path, kind: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        order = rng.permutation(len(REFERENCES))
        extract = read(tmp_path, TEXTS[kind], shuffled(TEXTS[kind], order))
        assert isinstance(extract, Extract)
        names = [variable.column for variable in read_columns(tmp_path, TEXTS[kind])]
        assert extract.table.select("person", *names).to_numpy().tolist() == TABLE.tolist()


def read_columns(folder: Path, text: Text) -> tuple:
    """The variables of the undamaged file."""
    extract = read(folder, text, text.bytes())
    assert isinstance(extract, Extract)
    return extract.variables


def shuffled(text: Text, order: np.ndarray) -> bytes:
    rows = [text.separator.join(np.array(row.split(text.separator))[order]) for row in text.rows]
    if text.suffix == ".csv":
        head = [",".join(np.array(text.head[0].split(","))[order])]
    else:
        head = [text.head[0], *np.array(text.head[1:-1])[order], text.head[-1]]
    return "\n".join([*head, *rows, ""]).encode()


def cut_cases(text: Text, data: bytes, place: int) -> list[np.ndarray]:
    """The tables that a file cut off at a place may give: whole rows, the last one perhaps with fewer digits."""
    rows = data[:place].decode().split("\n")[len(text.head) :]
    if len(rows) == 0 or (len(rows) == 1 and not rows[0]):
        return []
    if not rows[-1].strip():
        return [TABLE[: len(rows) - 1]]
    values = rows[-1].split(text.separator) if text.separator == "," else rows[-1].split()
    if len(values) < TABLE.shape[1] or values[-1] in ("", "-"):
        return []
    part = TABLE[: len(rows)].copy()
    part[-1] = [int(value) for value in values]
    return [part]


def check_cut(folder: Path, kind: str, rng: np.random.Generator) -> None:
    """Without a codebook the rows before the cut may stand; with one, the missing people are noticed."""
    text = TEXTS[kind]
    data = text.bytes(last=False)
    place = int(rng.integers(len(data)))
    found = read(folder, text, data[:place])
    allowed = [part.tolist() for part in cut_cases(text, data, place)]
    if isinstance(found, Extract):
        assert found.table.to_numpy().tolist() in allowed, (kind, place)
    beside = replace(text, beside=text.beside | {".cdb": CODEBOOK})
    again = read(folder, beside, data[:place])
    if isinstance(again, Extract):
        assert again.table.height == len(TABLE) or data[:place].endswith(b"\n"), (kind, place)


def edited(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three bytes replaced, removed, or preceded by something nasty."""
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(data)))
        match int(rng.integers(4)):
            case 0:
                data = data[:place] + bytes([int(rng.integers(256))]) + data[place + 1 :]
            case 1:
                data = data[:place] + data[place + 1 :]
            case 2:
                data = data[:place] + NASTY[int(rng.integers(len(NASTY)))] + data[place:]
            case 3:
                end = int(rng.integers(place, min(len(data), place + 200)))
                data = data[:end] + data[place:]  # a piece twice
    return data


def check_edit(folder: Path, kind: str, rng: np.random.Generator) -> None:
    text = TEXTS[kind]
    data = edited(text.bytes(), rng)
    found = read(folder, text, data)
    if isinstance(found, LaborLLMError):
        return
    plain = nls_examples.plain_reading(data, text.separator, head=int(text.suffix == ".csv"))
    assert plain is not None, (kind, data)
    names, rows = plain
    id_name = next(name for name in names if name in ("R0000100", "CASEID_1979") or name.upper().startswith("CASEID"))
    expected = pl.DataFrame(rows, schema=names, orient="row").sort(id_name).rename({id_name: "person"})
    assert found.table.select(sorted(found.table.columns)).equals(expected.select(sorted(expected.columns)))


def check_zip(folder: Path, kind: str, rng: np.random.Generator) -> None:
    """A zip that is cut off or damaged gives the table or a refusal; a whole one gives the table."""
    text = TEXTS[kind]
    members = {f"a{text.suffix}": text.bytes()} | {
        f"a{suffix}": other.encode() for suffix, other in text.beside.items()
    }
    path = nls_examples.zipped(folder / "z.zip", members)
    require_table(outcome(path, lambda: read_extract(path)), "zip")
    whole = path.read_bytes()
    cut = whole[: int(rng.integers(len(whole)))]
    for damaged in (cut, edited(whole, rng)):
        path.write_bytes(damaged)
        found = outcome(path, lambda: read_extract(path))
        if isinstance(found, Extract):
            assert found.table.to_numpy().tolist() == TABLE.tolist()
            assert damaged is not cut


def check_codebook_edit(folder: Path, rng: np.random.Generator) -> None:
    """Whatever figures a damaged codebook still prints are read, all of them, or it is refused."""
    data = edited(CODEBOOK.encode(), rng)
    codebook = read_book(folder, data)
    if isinstance(codebook, LaborLLMError):
        return
    printed = nls_examples.printed_blocks(nls_examples.text_of(data))
    assert len(printed) == len(codebook)
    for words, reference in zip(printed, codebook, strict=True):
        assert sorted(words) == sorted(nls_examples.read_words(codebook[reference])), (reference, data)


def check_codebook_cut(folder: Path, rng: np.random.Generator) -> None:
    """A codebook cut off is refused, unless the cut falls behind the last word of a variable's figures and links."""
    place = int(rng.integers(len(CODEBOOK)))
    found = read_book(folder, CODEBOOK[:place].encode())
    if isinstance(found, Codebook):
        whole = read_book(folder, CODEBOOK.encode())
        assert isinstance(whole, Codebook)
        assert CODEBOOK[:place].rstrip().rpartition("\n")[2].startswith("Default Next Question:")
        for reference, entry in found.items():
            assert entry.values == whole[reference].values
            assert (entry.missing, entry.mean) == (whole[reference].missing, whole[reference].mean)


def read_book(folder: Path, data: bytes) -> Codebook | LaborLLMError:
    path = folder / "book.cdb"
    path.write_bytes(data)
    return outcome(path, lambda: read_codebook(path))


def fuzz(folder: Path, cases: int) -> None:
    """Each case is one damaged file, every kind of damage and format in turn."""
    kinds = list(TEXTS)
    for case in range(cases):
        rng = np.random.default_rng(case)
        kind = kinds[case // 5 % len(kinds)]
        match case % 5:
            case 0:
                check_edit(folder, kinds[case // 5 % 3], rng)
            case 1:
                check_cut(folder, kind, rng)
            case 2:
                check_zip(folder, kind, rng)
            case 3:
                check_codebook_edit(folder, rng)
            case _:
                check_codebook_cut(folder, rng)


def test_two_hundred_damaged_files(tmp_path: Path) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_two_thousand_damaged_files(tmp_path: Path) -> None:
    fuzz(tmp_path, 2000)
