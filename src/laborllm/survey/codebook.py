"""Codebooks of the NLS Investigator: what the survey says about each variable, and how often each value should occur.

Source: the ``.cdb`` and ``.sdf`` files that come with every extract (nlsinfo.org/investigator).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError

MISSING_CODES = (-1, -2, -3, -4, -5)
HEADING = re.compile(r"^([A-Z]\d{5}\.\d{2})\s+\[(.*)\]\s+Survey Year:\s*(\S+)\s*$")
VALUE = re.compile(r"^\s*(\d+)\s+(-?\d+)(?: TO (-?\d+))?(?::\s*|\s+|$)(.*)$")
MISSING = re.compile(r"(?:Refusal|Don't Know|Invalid Skip|VALID SKIP|NON-INTERVIEW)\((-\d)\)\s+(\d+)")
TOTAL = re.compile(r"^TOTAL =+>\s+(\d+)")
NUMBER = r"(-?\d*\.?\d+)"
RANGE = re.compile(rf"^Min:\s+{NUMBER}\s+Max:\s+{NUMBER}\s+Mean:\s+{NUMBER}\s*$")
SHORT = re.compile(r"^([A-Z]\d{5}\.\d{2})\s+(\S+)\s+(.*?)\s{2,}(\S+)\s*$")


@dataclass(frozen=True)
class ValueCount:
    """One printed line of frequencies.

    Attributes:
        low: the value, or the lowest of a range.
        high: the same value, or the highest of a range.
        label: the survey's words, empty where it prints none.
        count: people.
    """

    low: int
    high: int
    label: str
    count: int


@dataclass(frozen=True)
class Entry:
    """What a codebook says about one variable.

    Attributes:
        reference: reference number without the dot, e.g. "R0216701".
        question: question name, e.g. "HGCREV79".
        year: survey year as printed, e.g. "1979", "78SCRN" or "XRND".
        title: description.
        values: printed frequencies of valid values (no missing code), in order; empty where only a range is printed.
        valid: people with a valid value, where frequencies are printed; the lines of ``values`` need not
            name them all.
        missing: code of a missing value (-1 refusal, -2 don't know, -3 invalid skip, -4 valid skip,
            -5 no interview) -> people. A code that is not printed stands for nobody.
        total: people whose value is not -4 or -5.
        minimum, maximum, mean: of the valid values, where printed.
    """

    reference: str
    question: str
    year: str
    title: str
    values: tuple[ValueCount, ...] = ()
    valid: int | None = None
    missing: Mapping[int, int] | None = None
    total: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None


def read_codebook(path: Path) -> dict[str, Entry]:
    """Read a ``.cdb`` codebook or a ``.sdf`` short description (which has no frequencies).

    Returns:
        Reference number without the dot -> entry, in the file's order.

    Raises:
        LaborLLMError: the file cannot be read, holds no variable, or its frequencies do not add up.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise LaborLLMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    read = _short_entries if path.suffix.lower() == ".sdf" else _entries
    entries = {entry.reference: entry for entry in read(lines, path)}
    if not entries:
        raise LaborLLMError(f"{path}: describes no variable; give the .cdb or .sdf file of an NLS Investigator extract")
    return entries


def compare_frequencies(
    table: pl.DataFrame, codebook: Mapping[str, Entry], references: Mapping[str, str]
) -> pl.DataFrame:
    """Where a table's frequencies differ from those that the codebook prints.

    Args:
        table: one row a person, whole numbers with the survey's missing codes.
        codebook: what ``read_codebook`` gave.
        references: column of the table -> reference number of the codebook.

    Returns:
        Columns column, reference, what (a value, a range "1 TO 999", "other", a missing code, "total", "minimum",
        "maximum" or "mean"), printed and read (float64; null where there is none). No rows: they all agree.

    Raises:
        LaborLLMError: the table has no such column, or the codebook no such variable.
    """
    rows: list[tuple[str, str, str, float | None, float | None]] = []
    for column, reference in references.items():
        if column not in table.columns:
            raise LaborLLMError(f"column {column!r} is not in the table; read it first")
        if reference not in codebook:
            raise LaborLLMError(f"variable {reference} is not in the codebook; give the codebook of the same extract")
        for what, printed, read in _pairs(table[column], codebook[reference]):
            agree = printed == read if printed is None or read is None else abs(printed - read) <= _tolerance(what)
            if not agree:
                rows.append((column, reference, what, printed, read))
    schema = {"column": pl.String, "reference": pl.String, "what": pl.String, "printed": pl.Float64, "read": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _tolerance(what: str) -> float:
    """Means are printed with two decimals."""
    return 0.00501 if what == "mean" else 0.0


def _pairs(values: pl.Series, entry: Entry) -> Iterator[tuple[str, float | None, float | None]]:
    """What is printed and what was read, for every figure that the codebook prints."""
    missing = list(MISSING_CODES)
    valid = values.filter(~values.is_in(missing)).drop_nulls()
    listed = 0
    for line in entry.values:
        count = int(valid.is_between(line.low, line.high).sum())
        listed += count
        yield (str(line.low) if line.low == line.high else f"{line.low} TO {line.high}"), line.count, count
    if entry.valid is not None:
        yield "other", entry.valid - sum(line.count for line in entry.values), len(valid) - listed
    for code in missing:
        yield str(code), (entry.missing or {}).get(code, 0), int((values == code).sum())
    if entry.total is not None:
        yield "total", entry.total, int((~values.is_in([-4, -5])).sum())
    if entry.mean is not None and len(valid):
        numbers = valid.cast(pl.Float64).to_numpy()
        yield "minimum", entry.minimum, float(numbers.min())
        yield "maximum", entry.maximum, float(numbers.max())
        yield "mean", entry.mean, float(numbers.mean())


def _entries(lines: list[str], path: Path) -> Iterator[Entry]:
    starts = [place for place, line in enumerate(lines) if HEADING.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        yield _entry(lines[start:end], path, row=start + 1)


def _entry(block: list[str], path: Path, row: int) -> Entry:
    heading = HEADING.match(block[0])
    if heading is None:  # the caller cuts blocks at headings
        raise LaborLLMError(f"{path}, row {row}: no heading of a variable; draw the codebook again")
    reference, question, year = heading.groups()
    missing: dict[int, int] = {}
    total = None
    bounds: tuple[float, ...] = ()
    for line in block:
        missing.update((int(code), int(count)) for code, count in MISSING.findall(line))
        if found := TOTAL.match(line):
            total = int(found[1])
        if found := RANGE.match(line):
            bounds = tuple(float(number) for number in found.groups())
    minimum, maximum, mean = bounds or (None, None, None)
    values, valid = _values(block, path, row)
    return Entry(
        reference=reference.replace(".", ""),
        question=question,
        year=year,
        title=_title(block),
        values=values,
        valid=valid,
        missing=missing,
        total=total,
        minimum=minimum,
        maximum=maximum,
        mean=mean,
    )


def _title(block: list[str]) -> str:
    """The first indented paragraph after the heading."""
    words: list[str] = []
    for line in block[1:]:
        if line.startswith(" " * 10) and line.strip():
            words.append(line.strip())
        elif words:
            break
    return " ".join(words)


def _values(block: list[str], path: Path, row: int) -> tuple[tuple[ValueCount, ...], int | None]:
    """The lines above the rule ``-------`` and the number below it; long labels run on, deeply indented."""
    rule = next((place for place, line in enumerate(block) if line.strip() == "-------"), None)
    if rule is None:
        return (), None
    values: list[ValueCount] = []
    rest = ""
    for line in reversed(block[:rule]):
        if not line.strip():
            break
        found = VALUE.match(line)
        if found is None:
            rest = f"{line.strip()} {rest}".strip()
            continue
        count, low, high, label = found.groups()
        values.append(ValueCount(int(low), int(high or low), f"{label.strip()} {rest}".strip(), int(count)))
        rest = ""
    below = block[rule + 1].strip() if rule + 1 < len(block) else ""
    listed = sum(value.count for value in values)
    if not below.isdigit() or int(below) < listed:
        raise LaborLLMError(
            f"{path}, row {row + rule + 1}: the frequencies of {block[0].split()[0]} sum to {listed}, the codebook "
            f"says {below or 'nothing'}; draw the codebook again"
        )
    return tuple(reversed(values)), int(below)


def _short_entries(lines: list[str], path: Path) -> Iterator[Entry]:
    for line in lines:
        if found := SHORT.match(line):
            reference, year, title, question = found.groups()
            yield Entry(reference=reference.replace(".", ""), question=question, year=year, title=title)
