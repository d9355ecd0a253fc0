"""The blocks of a codebook: one a variable, read paragraph by paragraph until nothing of it is left.

A block is a heading, then paragraphs parted by blank lines: the title, the original name of the question, its words,
the universe, the frequencies over a rule ``-------`` with their sum below it, the missing codes with the total, the
range with the mean, and which question leads here and follows. A figure that this module cannot read, or that
contradicts another of its block, is an error: a codebook is there to prove the data, so it must be whole itself.

Source: the ``.cdb`` and ``.sdf`` files that come with every extract (nlsinfo.org/investigator).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from laborllm.errors import LaborLLMError

HEADING = re.compile(r"([A-Z][0-9]{5}\.[0-9]{2}) +\[(.*)\] +Survey Year: +([0-9A-Z]\S*) *")
VALUE = re.compile(r" {0,7}([0-9]{1,8}) +(-?[0-9]+)(?: TO (-?[0-9]+))?(?:(?:: *| +)(\S.*))?:? *")
CONTINUATION = re.compile(r" {9,}\S.*")
NO_ANSWER = re.compile(r"(?:Refusal|Don't Know|Invalid Skip)\((-[123])\) +([0-9]+)(?: +\(Go To .*\))? *")
TOTAL = re.compile(r"TOTAL =+> +([0-9]+) +VALID SKIP\((-4)\) +([0-9]+) +NON-INTERVIEW\((-5)\) +([0-9]+) *")
NUMBER = r"(-?[0-9]*\.?[0-9]+)"
RANGE = re.compile(rf"Min: +(?:{NUMBER} +)?Max: +(?:{NUMBER} +)?Mean: +{NUMBER} *")
SHORT = re.compile(r"([A-Z][0-9]{5}\.[0-9]{2}) +(\S+) +(\S.*?) {2,}(\S+) *")
CHOICE = re.compile(r".*~([0-9]{6})")
_RULE = "-------"
_END = re.compile(r"-{20,}")
_FIGURES = re.compile(r" {1,7}[0-9]+ {2,}-?[0-9]+\b|.*\((-[1-5])\) +[0-9]+|.*\bMin: .*Max: |.*\bMax: .*Mean: |TOTAL =")
"""Lines that only a paragraph of figures has."""
_MARKS = {"ORIGINAL QUESTION NAME:": "original_question", "UNIVERSE:": "universe"}
_NEXT = "Default Next Question:"


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
            Of a question with several choices the codebook prints "1 SELECTED" for each choice's variable, but the
            extract holds the number of the choice, which is also the printed maximum: that number stands here.
        valid: people with a valid value, where frequencies are printed; the lines of ``values`` need not
            name them all.
        missing: code of a missing value (-1 refusal, -2 don't know, -3 invalid skip, -4 valid skip,
            -5 no interview) -> people. A code that is not printed stands for nobody.
        total: people whose value is not -4 or -5.
        minimum, maximum, mean: of the valid values, where printed; the mean is rounded to two decimals, halves up.
        universe: who was asked, empty where not printed.
        original_question: the question's name in the survey's own instrument, where printed.
        text: the words of the question, notes and everything else that is printed, paragraphs parted by newlines.
        primary: whether it is marked "PRIMARY VARIABLE".
        lead_in: the questions that lead here, as printed.
        default_next: the question that follows, as printed.
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
    universe: str = ""
    original_question: str = ""
    text: str = ""
    primary: bool = False
    lead_in: str = ""
    default_next: str = ""

    @property
    def people(self) -> int | None:
        """Everybody in the survey's file, where the codebook prints frequencies."""
        if self.total is None or self.missing is None:
            return None
        return self.total + self.missing.get(-4, 0) + self.missing.get(-5, 0)


def codebook_entries(lines: list[str], path: Path) -> Iterator[Entry]:
    """The variables of a ``.cdb``.

    Raises:
        LaborLLMError: a line of figures cannot be read, the figures of a block contradict each other, or a block is
            cut off.
    """
    starts = [place for place, line in enumerate(lines) if HEADING.fullmatch(line)]
    before = next((place for place, line in enumerate(lines[: starts[0] if starts else 0]) if line.strip()), None)
    if before is not None:
        raise _error(path, before + 1, f"{lines[before].strip()[:60]!r} stands before the first heading of a variable")
    blocks = [_Block(lines[start:end], path, start + 1) for start, end in pairwise([*starts, len(lines)])]
    last = next((place for place, line in reversed(list(enumerate(lines))) if line.strip()), 0)
    if blocks and _END.fullmatch(lines[last].strip()):
        raise _error(path, last + 1, "the file ends where another variable should follow; it is cut off")
    for block in blocks:
        yield block.entry()


def short_entries(lines: list[str], path: Path) -> Iterator[Entry]:
    """The variables of a ``.sdf``, which has no frequencies.

    Raises:
        LaborLLMError: a line under the header is no variable.
    """
    rule = next((place for place, line in enumerate(lines) if _END.fullmatch(line.strip())), -1)
    for place, line in enumerate(lines[rule + 1 :], start=rule + 2):
        if not line.strip():
            continue
        found = SHORT.fullmatch(line.rstrip())
        if found is None:
            raise _error(path, place, f"{line.strip()[:60]!r} is no reference number, year, description and question")
        reference, year, title, question = found.groups()
        yield Entry(reference=reference.replace(".", ""), question=question, year=year, title=title)


def _error(path: Path, row: int, what: str) -> LaborLLMError:
    return LaborLLMError(f"{path}, row {row}: {what}; draw the codebook again")


@dataclass
class _Block:
    """One variable's lines on their way into an entry; what is None has not been met."""

    lines: list[str]
    path: Path
    row: int
    values: tuple[ValueCount, ...] | None = None
    valid: int | None = None
    missing: dict[int, int] | None = None
    total: int | None = None
    bounds: tuple[float | None, ...] | None = None
    title: str = ""
    words: dict[str, str] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    primary: bool = False
    lead_in: str = ""
    default_next: str | None = None

    def __post_init__(self) -> None:
        heading = HEADING.fullmatch(self.lines[0])
        if heading is None:  # the caller cuts blocks at headings
            raise _error(self.path, self.row, "no heading of a variable")
        self.reference, self.question, self.year = heading[1], heading[2], heading[3]
        for start, paragraph in self._paragraphs():
            self._take(start, paragraph)

    def _paragraphs(self) -> Iterator[tuple[int, list[str]]]:
        """Row of the first line, and the lines, of every paragraph below the heading."""
        paragraph: list[str] = []
        ended = False
        for row, line in enumerate([*self.lines[1:], ""], start=self.row + 1):
            if line.strip() and ended:
                raise _error(self.path, row, f"{line.strip()[:60]!r} is no heading of a variable")
            ended = ended or bool(_END.fullmatch(line.strip()))
            if line.strip() and not ended:
                paragraph.append(line)
            elif paragraph:
                yield row - len(paragraph), paragraph
                paragraph = []

    def _take(self, row: int, lines: list[str]) -> None:
        """One paragraph, told by what only its kind has."""
        if any(line.strip() == _RULE for line in lines):
            self._take_values(row, lines)
        elif any(line.startswith("TOTAL") for line in lines):
            self._take_missing(row, lines)
        elif lines[0].startswith("Min:"):
            self._take_range(row, lines)
        elif any(_FIGURES.match(line) for line in lines):
            raise _error(self.path, row, f"{lines[0].strip()[:60]!r} are figures of {self.reference} that stand alone")
        elif any("Survey Year:" in line for line in lines):
            raise _error(self.path, row, f"{lines[0].strip()[:60]!r} is no heading of a variable")
        elif any(line.startswith(_NEXT) for line in lines):
            self._take_links(row, lines)
        else:
            self._take_words(lines)

    def _take_values(self, row: int, lines: list[str]) -> None:
        """The lines above the rule and the sum below it; long labels run on, deeply indented."""
        rule = next(place for place, line in enumerate(lines) if line.strip() == _RULE)
        values: list[ValueCount] = []
        for place, line in enumerate(lines[:rule], start=row):
            if found := VALUE.fullmatch(line):
                count, low, high, label = found.groups()
                values.append(ValueCount(int(low), int(high or low), (label or "").strip(), int(count)))
            elif values and CONTINUATION.fullmatch(line):
                label = f"{values[-1].label} {line.strip()}".strip()
                values[-1] = ValueCount(values[-1].low, values[-1].high, label, values[-1].count)
            else:
                raise _error(self.path, place, f"{line.strip()[:60]!r} is no count, value and label")
        listed = sum(value.count for value in values)
        below = " ".join(line.strip() for line in lines[rule + 1 :])
        if not re.fullmatch(r"[0-9]+", below) or int(below) < listed:
            raise _error(
                self.path,
                row + rule + 1,
                f"the frequencies of {self.reference} sum to {listed}, the codebook says {below[:60] or 'nothing'}",
            )
        self._require_first(self.valid, row, "frequencies")
        self.values, self.valid = tuple(values), int(below)

    def _take_missing(self, row: int, lines: list[str]) -> None:
        self._require_first(self.missing, row, "missing codes")
        self.missing = {}
        for place, line in enumerate(lines, start=row):
            found = NO_ANSWER.fullmatch(line)
            if found and int(found[1]) not in self.missing:
                self.missing[int(found[1])] = int(found[2])
            elif found := TOTAL.fullmatch(line):
                self._require_first(self.total, place, "totals")
                self.total = int(found[1])
                self.missing |= {int(found[2]): int(found[3]), int(found[4]): int(found[5])}
            else:
                raise _error(self.path, place, f"{line.strip()[:60]!r} is no missing code with its count")

    def _take_range(self, row: int, lines: list[str]) -> None:
        found = RANGE.fullmatch(lines[0])
        if found is None or len(lines) > 1:
            raise _error(self.path, row, f"{' '.join(lines)[:60]!r} is no 'Min:', 'Max:' and 'Mean:'")
        self._require_first(self.bounds, row, "ranges")
        self.bounds = tuple(None if number is None else float(number) for number in found.groups())

    def _require_first(self, earlier: object, row: int, what: str) -> None:
        if earlier is not None:
            raise _error(self.path, row, f"the block of {self.reference} has {what} twice; a heading may be broken")

    def _take_links(self, row: int, lines: list[str]) -> None:
        if not lines[-1].startswith(_NEXT):
            raise _error(self.path, row + len(lines) - 1, f"{lines[-1].strip()[:60]!r} is no heading of a variable")
        self._require_first(self.default_next, row, f"{_NEXT!r}")
        self.default_next = lines[-1].removeprefix(_NEXT).strip()
        self.lead_in = _joined(lines[:-1]).removeprefix("Lead In:").strip()

    def _take_words(self, lines: list[str]) -> None:
        if lines[0].strip() == "PRIMARY VARIABLE":
            self.primary = True
            lines = lines[1:]
        if not lines:
            return
        mark = next((mark for mark in _MARKS if lines[0].startswith(mark)), None)
        if not self.title and lines[0].startswith(" " * 10):
            self.title = _joined(lines)
        elif mark and _MARKS[mark] not in self.words:
            self.words[_MARKS[mark]] = _joined(lines).removeprefix(mark).strip()
        else:
            self.text.append(_joined(lines))

    def entry(self) -> Entry:
        if self.missing is None or self.total is None:
            raise _error(self.path, self.row, f"the block of {self.reference} is cut off before 'TOTAL'")
        if self.default_next is None:
            raise _error(self.path, self.row, f"the block of {self.reference} is cut off before {_NEXT!r}")
        answered = self.total - sum(self.missing.get(code, 0) for code in (-1, -2, -3))
        if self.valid is not None and self.valid != answered:
            raise _error(
                self.path,
                self.row,
                f"{self.reference} has {self.valid} valid values by its frequencies, {answered} by its total",
            )
        minimum, maximum, mean = self.bounds or (None, None, None)
        mean = None if minimum is None else mean  # printed as 0 where nobody has a value
        return Entry(
            reference=self.reference.replace(".", ""),
            question=self.question,
            year=self.year,
            title=self.title,
            values=_choice_numbers(self.values or (), self.question, maximum),
            valid=self.valid,
            missing=self.missing,
            total=self.total,
            minimum=minimum,
            maximum=maximum,
            mean=mean,
            text="\n".join(self.text),
            primary=self.primary,
            lead_in=self.lead_in,
            default_next=self.default_next,
            universe=self.words.get("universe", ""),
            original_question=self.words.get("original_question", ""),
        )


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)


def _choice_numbers(values: tuple[ValueCount, ...], question: str, maximum: float | None) -> tuple[ValueCount, ...]:
    """The number of the choice in place of the printed 1, where the printed maximum is that number."""
    choice = CHOICE.fullmatch(question)
    labels = [(line.low, line.high, line.label) for line in values]
    if not choice or maximum != int(choice[1]) or labels != [(1, 1, "SELECTED"), (0, 0, "NOT SELECTED")]:
        return values
    number = int(choice[1])
    return (ValueCount(number, number, "SELECTED", values[0].count), values[1])
