"""Damaged and odd CSV files: the careers that their bytes say, or one of our errors."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.exports import export_careers
from laborllm.survey.occupations import Occupations
from laborllm.survey.own_list import write_occupations
from laborllm.survey.tables.files import read_frame
from laborllm.survey.tables.tabular import TableSettings, read_table

CODES = ("436", "0110", "unemployed", "Köche, kurz", 'say "job"')
FIXED = ("gender", "birth_year")
HEADER = ["person", "year", "occupation", "education", "gender", "birth_year", "weight"]
LINES = [
    ["7", "1990", "436", "college", "male", "1960", "1.5"],
    ["7", "1991", "0110", "", "male", "1960", "2"],
    ["12", "1990", "unemployed", "some college, no degree", "female", "", "0.25"],
    ["12", "1993", "Köche, kurz", "Abitur", "female", "", ""],
    ["3", "1985", 'say "job"', "école", "", "1950", "3e2"],
    ["3", "1986", "436", "école", "", "1950", "3"],
]

Row = dict[str, str | float | None]


def quoted(value: str, always: bool = False) -> str:
    return '"' + value.replace('"', '""') + '"' if always or re.search('[,"\r\n]', value) else value


def as_csv(lines: list[list[str]], *, comma: str = ",", end: str = "\n", always: bool = False) -> bytes:
    return "".join(comma.join(quoted(value, always) for value in line) + end for line in lines).encode()


def parsed(data: bytes) -> list[list[str]] | None:
    """RFC 4180 to the letter, a byte order mark and half a last line end aside; None for what that does not allow."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if "\0" in text or not text:
        return None
    value = '"(?:[^"]|"")*"|[^",\r\n]*'
    line = f"(?:{value})(?:,(?:{value}))*"
    if not re.fullmatch(f"{line}(?:\r?\n{line})*(?:\r|\r?\n)?", text):
        return None
    lines: list[list[str]] = [[]]
    for found in re.finditer(f"({value})(,|\r?\n|$)", text.removesuffix("\n").removesuffix("\r")):
        raw, end = found.groups()
        lines[-1].append(raw[1:-1].replace('""', '"') if raw.startswith('"') else raw)
        if end == "":
            break
        if end != ",":
            lines.append([])
    return lines


def number(text: str) -> float | None:
    """A missing number, or a number as people and programs write it; ValueError for all else."""
    if text == "":
        return None
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise ValueError(text)
    return float(text)


def meant(data: bytes) -> list[Row] | None:
    """What the bytes say, worked out without the package; None if they are no careers."""
    lines = parsed(data)
    if lines is None or len(lines) < 2 or len({len(line) for line in lines}) > 1 or len(set(lines[0])) < len(lines[0]):
        return None
    if not {"person", "year", "occupation"} <= set(lines[0]):
        return None
    try:
        rows = [meant_row(dict(zip(lines[0], line, strict=True))) for line in lines[1:]]
    except ValueError:
        return None
    if len({(row["person"], row["year"]) for row in rows}) < len(rows):
        return None
    if any(len({row[name] for row in rows if row["person"] == each["person"]}) > 1 for each in rows for name in FIXED):
        return None
    return sorted(rows, key=lambda row: (str(row["person"]), row["year"]))


def meant_row(line: dict[str, str]) -> Row:
    row: Row = {name: line.get(name) or None for name in HEADER}
    for name in ("person", "education", "gender"):
        value = row[name]
        if isinstance(value, str) and (value != value.strip() or "\n" in value or "\r" in value):
            raise ValueError(value)
    for name in ("year", "birth_year", "weight"):
        row[name] = number(line.get(name, ""))
    year, born, weight = row["year"], row["birth_year"], row["weight"]
    if row["person"] is None or row["occupation"] not in CODES or not isinstance(year, float):
        raise ValueError(line)
    for each in (year, year if born is None else born):
        if not isinstance(each, float) or each != int(each) or not 1900 <= each <= 2100:
            raise ValueError(line)
    if (isinstance(born, float) and born > year) or (isinstance(weight, float) and not 0 <= weight < np.inf):
        raise ValueError(line)
    return row


def told(careers: Careers) -> list[Row]:
    """The careers in the words of ``meant``."""
    rows: list[Row] = []
    for row in careers.table.iter_rows(named=True):
        values = {name: row.get(name) for name in HEADER}
        values["person"] = str(values["person"])
        rows.append({name: float(value) if isinstance(value, int) else value for name, value in values.items()})
    return sorted(rows, key=lambda row: (str(row["person"]), row["year"]))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data) + 1))
    piece = bytes(
        rng.choice([b'"', b",", b"\n", b"\r", b"\0", b" ", b"\xff", b"\xe9", b";", b'""', b"9", b"\xef\xbb\xbf"])
    )
    other = int(rng.integers(len(data) + 1))
    first, last = sorted((place, other))
    match rng.integers(11):
        case 9 | 10:
            return data[:place] + bytes([int(rng.choice(list(b"0123456789aeio.")))]) + data[place + 1 :]
        case 0:
            return data[:place]
        case 1:
            return data[:first] + data[last:]
        case 2:
            return data[:place] + piece + data[place:]
        case 3:
            return data[:place] + piece + data[place + 1 :]
        case 4:
            return data.replace(b",", bytes(rng.choice([b";", b"\t", b"|"])))
        case 5:
            return data[:place] + b"x" * int(rng.choice([200, 140_000])) + data[place:]
        case 6:
            text = data.decode("utf-8", errors="replace")
            return text.encode(str(rng.choice(["latin-1", "utf-16", "cp1252", "utf-8-sig"])), errors="replace")
        case 7:
            lines = data.split(b"\n")
            return b"\n".join(lines[place] for place in rng.integers(len(lines), size=len(lines)))
        case _:
            return data.replace(piece, b"", 1)


def shaped(rng: np.random.Generator) -> bytes:
    """The table with its columns and rows in any order, written in any of the ways that mean the same."""
    columns, rows = rng.permutation(len(HEADER)), rng.permutation(len(LINES))
    lines = [HEADER, *(LINES[row] for row in rows)]
    data = as_csv(
        [[line[column] for column in columns] for line in lines],
        end=str(rng.choice(["\n", "\r\n"])),
        always=bool(rng.integers(2)),
    )
    data = data.rstrip(b"\r\n") if rng.integers(2) else data
    return b"\xef\xbb\xbf" + data if rng.integers(2) else data


def judge(path: Path, listed: Path, data: bytes) -> bool:
    """Read the bytes; True where careers came out, which must then be those that the bytes say."""
    path.write_bytes(data)
    message, careers = "", None
    try:
        careers = read_table(TableSettings(files=(path,), occupations=listed))
    except LaborLLMError as error:
        message = str(error)
    if careers is None:
        assert "\n" not in message
        assert str(path) in message
        return False
    assert told(careers) == meant(data), data
    return True


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    titles = tuple(f"title of {code}" for code in CODES)
    write_occupations(Occupations(CODES, titles, ("",) * len(CODES)), tmp_path / "list.csv")
    return tmp_path / "list.csv"


def test_ways_to_write_a_table_mean_the_same(tmp_path: Path, listed: Path, rng: np.random.Generator) -> None:
    expected = meant(as_csv([HEADER, *LINES]))
    for _ in range(60):
        data = shaped(rng)
        assert meant(data) == expected
        assert judge(tmp_path / "table.csv", listed, data), data


@pytest.mark.parametrize("trials", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_tables_are_read_as_they_say_or_refused(
    trials: int, tmp_path: Path, listed: Path, rng: np.random.Generator
) -> None:
    read = 0
    for _ in range(trials):
        data = shaped(rng)
        for _ in range(int(rng.integers(1, 4))):
            data = mutated(data, rng)
        read += judge(tmp_path / "table.csv", listed, data)
    assert trials / 20 < read < trials / 2


@pytest.mark.parametrize("row", ["1\r2,1990,436", "1,1990,436\r2,1991,436", '1,1990,"436" ', '1,1990,4"36'])
def test_odd_ends_and_quotes_are_refused(row: str, tmp_path: Path, listed: Path) -> None:
    data = f"person,year,occupation\n{row}\n".encode()
    assert meant(data) is None
    assert not judge(tmp_path / "table.csv", listed, data)


@pytest.mark.parametrize("kind", [".dta", ".parquet"])
@pytest.mark.parametrize("trials", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_binary_files_are_read_or_refused(
    kind: str, trials: int, few_careers: Careers, tmp_path: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("pandas")
    path = tmp_path / f"table{kind}"
    export_careers(few_careers, path)
    whole = path.read_bytes()
    refused = 0
    for trial in range(trials):
        data = bytearray(whole[: rng.integers(1, len(whole))] if trial % 3 == 0 else whole)
        for place in rng.integers(len(data), size=trial % 3):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_frame(path, {"education"})
        except LaborLLMError as error:
            refused += "\n" not in str(error)
    assert refused >= trials // 3 - 1


def test_a_path_that_is_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"panel\xff.csv")
    path.write_bytes(as_csv([HEADER, *LINES]))
    with pytest.raises(LaborLLMError, match="panel\ufffd.csv: the path is no UTF-8, which polars needs; rename"):
        read_frame(path)
