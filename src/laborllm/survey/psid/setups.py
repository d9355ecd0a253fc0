"""Set-up files of the Panel Study of Income Dynamics: which variable stands in which columns of a text file.

The survey ships each fixed-width ``.txt`` with up to three set-ups that say the same: SPSS (``.sps``, its DATA LIST),
SAS (``.sas``, its INPUT) and Stata (``.do``, its infix). Their forms were checked against set-ups of packaged family
and individual files and of Data Center jobs that researchers published with their replication files.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from laborllm.errors import LaborLLMError

SUFFIXES = (".sps", ".sas", ".do")
"""Kinds of set-up, in the order in which they are looked for."""

_FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL
STATEMENTS = {
    ".sps": re.compile(r"^[ \t]*DATA[ \t]+LIST\b[^/]*/[ \t]*(?:\d+[ \t]*(?=[A-Z\n]))?(.*?)\.[ \t]*$", _FLAGS),
    ".sas": re.compile(r"^[ \t]*INPUT\b(.*?);", _FLAGS),
    ".do": re.compile(r"^[ \t]*infix\b(.*?)\busing\b", _FLAGS),
}
"""The statement that lists the columns, by kind of set-up."""

ITEM = re.compile(
    r"\s*(?:(?:byte|int|long|float|double|(?P<text>str\d*))\s+)?(?P<name>[A-Z_]\w*)\s+(?P<sign>\$\s*)?"
    r"(?P<first>\d+)(?:\s*-\s*(?P<last>\d+))?(?:\s*\((?P<kind>\w+)\)|\s+\.(?P<decimals>\d+))?(?=\s|$)",
    re.IGNORECASE,
)
"""One variable: a Stata type, its name, a SAS text sign, its columns, SPSS's kind or decimals, SAS's decimals."""

RECORD_LENGTH = re.compile(r"\bLRECL[ \t]*=[ \t]*(\d+)|\bMAX_REC_LENGTH[ \t]*:[ \t]*(\d+)", re.IGNORECASE)
ROWS = re.compile(r"^[ \t]*(?:Rows|N_OF_OBSERVATIONS)[ \t]*:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_WIDEST = 10**6
"""No record of the survey is longer; a longer one is a damaged number."""


@dataclass(frozen=True)
class Field:
    """Where a variable stands in each row.

    Attributes:
        first: its first column, from 1.
        last: its last column.
        decimals: digits behind a decimal point that the text leaves out; 0 where the text writes the point.
        is_text: whether it holds words rather than a number.
    """

    first: int
    last: int
    decimals: int = 0
    is_text: bool = False


@dataclass(frozen=True)
class Setup:
    """The layout of a fixed-width text.

    Attributes:
        file: the set-up, for messages.
        fields: variable in capitals -> its columns, in the order of the set-up.
        record_length: characters of a row.
        rows: rows that the set-up announces, where it does.
    """

    file: str
    fields: dict[str, Field]
    record_length: int
    rows: int | None = None


def parse_setup(text: str, file: str) -> Setup:
    """Read a set-up.

    Args:
        text: the whole file.
        file: its name; the suffix says which of the three languages it is.

    Raises:
        LaborLLMError: the statement that lists the columns is missing, cut off or damaged, a variable stands twice, or
            columns run backwards or beyond the record length.

    Examples:
        >>> setup = parse_setup('infix\\n long V3 2 - 5   V4 6 - 6\\nusing "F.txt", clear', "FAM1968.do")
        >>> setup.fields["V3"], setup.record_length
        (Field(first=2, last=5, decimals=0, is_text=False), 6)
    """
    kind = PurePath(file).suffix.lower()
    words = {".sps": "DATA LIST ... .", ".sas": "INPUT ... ;", ".do": "infix ... using"}
    if kind not in STATEMENTS:
        raise LaborLLMError(f"{file}: {kind or 'a file without suffix'} is no set-up; give a .sps, .sas or .do file")
    text = text.replace("\r\n", "\n")
    found = STATEMENTS[kind].search(text)
    if found is None:
        raise LaborLLMError(
            f"{file}: the statement {words[kind]!r} that lists the columns is missing or cut off; unpack the set-up "
            f"of the survey again"
        )
    fields: dict[str, Field] = {}
    for name, field in _items(found[1], file):
        if name in fields:
            raise LaborLLMError(f"{file}: variable {name} stands twice in the set-up; keep one of them")
        fields[name] = field
    if not fields:
        raise LaborLLMError(f"{file}: the statement {words[kind]!r} lists no variable; unpack the set-up again")
    rows = ROWS.search(text)
    length = _record_length(text, fields, file)
    return Setup(file, fields, record_length=length, rows=int(rows[1]) if rows else None)


def _items(statement: str, file: str) -> Iterator[tuple[str, Field]]:
    place, end = 0, len(statement.rstrip())
    while place < end:
        item = ITEM.match(statement, place)
        if item is None:
            rest = " ".join(statement[place:].split())[:60]
            raise LaborLLMError(f"{file}: {rest!r} is no variable with its columns; unpack the set-up again")
        place = item.end()
        yield item["name"].upper(), _field(item, file)


def _field(item: re.Match[str], file: str) -> Field:
    first, last = int(item["first"]), int(item["last"] or item["first"])
    if not 1 <= first <= last <= _WIDEST:
        raise LaborLLMError(
            f"{file}, variable {item['name']}: columns {first}-{last} are impossible; unpack the set-up again"
        )
    kind = item["kind"] or ""
    decimals = int(item["decimals"] or (kind if kind.isdigit() else 0))
    text = bool(item["text"] or item["sign"] or kind.upper().startswith("A"))
    if decimals > 15 or (kind and not kind.isdigit() and kind.upper() not in ("A", "F", "N")):
        raise LaborLLMError(
            f"{file}, variable {item['name']}: format ({kind or decimals}) is unknown; give F, A or up to 15 decimals"
        )
    return Field(first, last, decimals=decimals, is_text=text)


def _record_length(text: str, fields: dict[str, Field], file: str) -> int:
    last = max(field.last for field in fields.values())
    stated = [int(a or b) for a, b in RECORD_LENGTH.findall(text)]
    short = [length for length in stated if length < last]
    if short:
        name = next(name for name, field in fields.items() if field.last == last)
        raise LaborLLMError(
            f"{file}: variable {name} ends in column {last}, but rows have {short[0]} characters by the same file; "
            f"unpack the set-up again"
        )
    return max([last, *stated])


def require_agreement(first: Setup, other: Setup, names: list[str]) -> None:
    """Refuse two set-ups of one text that place a variable differently.

    Raises:
        LaborLLMError: one of the names has other columns, or stands in one set-up alone.
    """
    for name in names:
        ours, theirs = first.fields.get(name), other.fields.get(name)
        places = [f"{field.first}-{field.last}" if field else "no columns" for field in (ours, theirs)]
        if places[0] != places[1]:
            raise LaborLLMError(
                f"{other.file}, variable {name}: {places[1]}, but {first.file} says {places[0]}; the set-ups are of "
                f"different releases: keep the one that came with the text"
            )
