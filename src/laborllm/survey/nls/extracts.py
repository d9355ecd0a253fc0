"""Extracts of the NLS Investigator, of any cohort: ``.csv``, ``.dct`` or ``.dat``, zipped or not.

Every value is a whole number. Those below zero say why there is none: -1 refusal, -2 don't know, -3 invalid skip,
-4 valid skip, -5 no interview (nlsinfo.org, "Missing values").
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook import Codebook, Entry, read_codebook
from laborllm.survey.nls.files import CODEBOOKS, file_beside, opened_extract, tagsets_beside
from laborllm.survey.nls.headers import HeadedStream, read_header
from laborllm.survey.nls.whole_numbers import Numbers, read_numbers
from laborllm.survey.variables import question_key

PERSON = "person"
ID_REFERENCE = "R0000100"
ID_QUESTIONS = ("CASEID", "PUBID")
"""Of the NLSY79 and of the NLSY97, which both call it R0000100."""
REFERENCE = re.compile(r"([A-Z][0-9]{5})\.?([0-9]{2})", re.IGNORECASE)
QUESTION = re.compile(r"([ -~]{1,120})_([0-9]{4}|XRND|78SCRN)", re.IGNORECASE)
_COHORTS = {".NLSY79": "CASEID", ".NLSY97": "PUBID"}
_PEOPLE = {12686: "CASEID", 8984: "PUBID"}
"""Everybody in the public-use file of a cohort: the last way to tell which one a whole extract is from."""


@dataclass(frozen=True)
class Variable:
    """One column of an extract.

    Attributes:
        column: its name in the file's header, and in ``Extract.table``.
        reference: reference number such as "R0216701", where known.
        question: question name such as "HGCREV79", where known.
        year: survey year as the survey writes it ("1979", "78SCRN", "XRND"), where known.
        label: the survey's description; empty where neither dictionary nor codebook gives one.
        file: the extract it comes from.
    """

    column: str
    reference: str | None = None
    question: str | None = None
    year: str | None = None
    label: str = ""
    file: str = ""

    @property
    def names(self) -> frozenset[str]:
        """The names under which another extract may hold the same variable."""
        question = f"{question_key(self.question)}_{self.year}" if self.question and self.year else None
        return frozenset(name for name in (self.reference, question) if name)

    @property
    def is_id(self) -> bool:
        return self.reference == ID_REFERENCE or (self.question or "").upper() in ID_QUESTIONS


@dataclass(frozen=True)
class Extract:
    """Variables of one or several extracts.

    Attributes:
        values: one row a person, sorted; column person (int64), then one column per variable under
            ``Variable.column``, each of the smallest of int16, int32 and int64 that holds it, with the survey's
            missing codes; null where the person is not in that variable's file.
        variables: one per column after person, in the same order.
        header: every variable of the files, wanted or not, in the order of the files; ids aside.
        id: the variable behind the column person.
    """

    values: pl.DataFrame
    variables: tuple[Variable, ...]
    header: tuple[Variable, ...] = ()
    id: Variable | None = None

    @cached_property
    def table(self) -> pl.DataFrame:
        """The values, all int64, so that no sum or product of two columns overflows."""
        return self.values.cast(pl.Int64)


def read_extract(
    path: Path, *, wanted: Callable[[Variable], bool] | None = None, codebook: Path | Codebook | None = None
) -> Extract:
    """Read the wanted variables of one extract; only they are ever turned into numbers.

    Args:
        path: a ``.csv`` with reference numbers (R0000100) or question names (CASEID_1979) in its header, a ``.dct``
            Stata dictionary with its data, a ``.dat`` beside the ``.sps``, ``.dct`` or ``.sdf`` that names its columns,
            or a ``.zip`` that holds one of them.
        wanted: which variables to keep; None keeps all. The id is always read.
        codebook: the ``.cdb`` or ``.sdf`` of the extract; None looks for one of the same name beside it or in its zip.

    Raises:
        LaborLLMError: the file is missing, empty, broken or no extract; a header names no variable or the id is
            absent; a row has too few or too many values, a value is no whole number, an id is below zero or stands
            twice, or the file ends within a row before everybody in its codebook has one.
    """
    with opened_extract(path) as (kind, raw):
        stream = HeadedStream(raw, path)
        header = read_header(stream, kind, path)
        entries = _entries(path, codebook)
        variables = _variables(header.columns, entries, path)
        id_place = _id_place(variables, path)
        kept = [i for i, variable in enumerate(variables) if i != id_place and (wanted is None or wanted(variable))]
        places = {i: variables[i].column for i in (id_place, *kept)}
        numbers = read_numbers(stream, header.layout, places, path)
    values = numbers.table.rename({places[id_place]: PERSON}).with_columns(pl.col(PERSON).cast(pl.Int64))
    people = values[PERSON]
    _require_ids(people, places[id_place], path)
    _require_whole(numbers, entries, path)
    values = values if people.is_sorted() else values.sort(PERSON)
    others = tuple(variable for variable in variables if not variable.is_id)
    id_variable = _with_cohort(variables[id_place], len(people), path)
    return Extract(values, tuple(variables[i] for i in kept), others, id_variable)


def read_extracts(paths: Sequence[Path], *, wanted: Callable[[Variable], bool] | None = None) -> Extract:
    """Read several extracts of one cohort and join them on the id.

    Raises:
        LaborLLMError: as ``read_extract``; two extracts hold the same variable with different values, or their ids are
            known to be those of two cohorts.
    """
    if not paths:
        raise LaborLLMError("no extract is given; name at least one .csv, .dct, .dat or .zip file")
    return reduce(_join, [read_extract(path, wanted=wanted) for path in paths])


def agreed_column(extract: Extract, variables: Sequence[Variable], name: str) -> pl.Series:
    """One column out of several that hold the same variable; a null in one is filled from the next.

    Raises:
        LaborLLMError: two of them differ for some person.
    """
    table, first = extract.table, variables[0]
    column = table[first.column]
    for other in variables[1:]:
        column = _agree(table[PERSON], ours=first, our_values=column, theirs=other, their_values=table[other.column])
    return column.alias(name)


def _agree(
    people: pl.Series, *, ours: Variable, our_values: pl.Series, theirs: Variable, their_values: pl.Series
) -> pl.Series:
    our_values, their_values = our_values.cast(pl.Int64), their_values.cast(pl.Int64)
    both = pl.DataFrame([people.alias(PERSON), our_values.alias("ours"), their_values.alias("theirs")])
    differ = both.filter(pl.col("ours") != pl.col("theirs"))
    if differ.height:
        person, our_value, their_value = differ.row(0)
        raise LaborLLMError(
            f"{theirs.file}, column {theirs.column}, person {person}: {their_value}, but {ours.file}, column "
            f"{ours.column} says {our_value} ({differ.height} such people); keep one of the two extracts' variables"
        )
    return our_values.fill_null(their_values)


def _join(left: Extract, right: Extract) -> Extract:
    """All people of both; a variable that both hold is kept once, if they agree."""
    _require_one_cohort(left, right)
    places = {variable.column: f"right {variable.column}" for variable in right.variables}
    values = left.values.join(right.values.rename(places), on=PERSON, how="full", coalesce=True).sort(PERSON)
    people, variables = values[PERSON], list(left.variables)
    known = {name: variable for variable in reversed(left.variables) for name in variable.names}
    for variable in right.variables:
        theirs = values.drop_in_place(places[variable.column])
        ours = next((known[name] for name in variable.names if name in known), None)
        if ours is None:
            values = values.with_columns(theirs.alias(variable.column))
            variables.append(variable)
        else:
            agreed = _agree(people, ours=ours, our_values=values[ours.column], theirs=variable, their_values=theirs)
            values = values.with_columns(agreed.alias(ours.column))
    return Extract(values, tuple(variables), left.header + right.header, _known_id(left, right))


def _known_id(left: Extract, right: Extract) -> Variable | None:
    return left.id if left.id and left.id.question else right.id


def _require_one_cohort(left: Extract, right: Extract) -> None:
    """NLSY79 and NLSY97 give their ids the same reference number, and both count from 1."""
    ours, theirs = left.id, right.id
    if (
        ours
        and theirs
        and ours.question
        and theirs.question
        and question_key(ours.question) != question_key(theirs.question)
    ):
        raise LaborLLMError(
            f"{theirs.file}, column {theirs.column}: the ids are {theirs.question}, but those of {ours.file} are "
            f"{ours.question}: these are two surveys' people; read the files of one survey at a time"
        )


def _variables(header: list[tuple[str, str]], entries: Mapping[str, Entry], path: Path) -> list[Variable]:
    by_question = {f"{question_key(entry.question)}_{entry.year}": entry for entry in entries.values()}
    variables: list[Variable] = []
    for place, (column, label) in enumerate(header, start=1):
        if found := REFERENCE.fullmatch(column):
            reference = "".join(found.groups()).upper()
            entry = entries.get(reference)
            variable = Variable(column, reference, label=label, file=str(path))
        elif found := QUESTION.fullmatch(column):
            question, year = found[1], found[2].upper()
            entry = by_question.get(f"{question_key(question)}_{year}")
            variable = Variable(column, question=question, year=year, label=label, file=str(path))
        else:
            raise LaborLLMError(
                f"{path}, column {place}: {column[:60]!r} is neither a reference number (R0000100) nor a question name "
                f"with its year (CASEID_1979); draw the extract with one of these headers or rename the column"
            )
        if entry:
            title = entry.title or label
            variable = replace(
                variable, reference=entry.reference, question=entry.question, year=entry.year, label=title
            )
        variables.append(variable)
    _require_each_once([variable.column for variable in variables], path)
    return variables


def _require_each_once(columns: list[str], path: Path) -> None:
    seen: set[str] = set()
    for place, column in enumerate(columns, start=1):
        if column in seen:
            raise LaborLLMError(f"{path}, column {place}: {column!r} stands twice in the header; keep one of them")
        seen.add(column)


def _id_place(variables: list[Variable], path: Path) -> int:
    for place, variable in enumerate(variables):
        if variable.is_id:
            return place
    found = ", ".join(variable.column for variable in variables[:5])
    raise LaborLLMError(
        f"{path}: no column holds the id; the columns are {found}, …; draw the extract with CASEID or PUBID "
        f"({ID_REFERENCE})"
    )


def codebook_beside(path: Path) -> Path | None:
    """The ``.cdb``, else the ``.sdf``, that bears an extract's name and lies in its folder; its zip, if inside."""
    return file_beside(path, CODEBOOKS)


def _entries(path: Path, codebook: Path | Codebook | None) -> Mapping[str, Entry]:
    """The codebook given, or the one beside the extract, or none."""
    file = codebook if codebook is not None else codebook_beside(path)
    return read_codebook(file) if isinstance(file, Path) else file or {}


def _with_cohort(variable: Variable, people: int, path: Path) -> Variable:
    """The id with its question name, where label, tagset or the number of people tell the cohort."""
    if variable.question:
        return variable
    words = re.search(r"\b(CASEID|PUBID)\b", variable.label, re.IGNORECASE)
    tagsets = [_COHORTS[suffix] for suffix in tagsets_beside(path) if suffix in _COHORTS]
    if words:
        question = words[0].upper()
    elif "12686" in variable.label:
        question = "CASEID"
    elif len(tagsets) == 1:
        question = tagsets[0]
    else:
        question = _PEOPLE.get(people, "")
    return replace(variable, question=question) if question else variable


def _require_whole(numbers: Numbers, entries: Mapping[str, Entry], path: Path) -> None:
    """A file that ends within its last row may be cut off there: then its codebook counts more people."""
    everybody = entries.people if isinstance(entries, Codebook) else None
    rows = numbers.table.height
    if everybody and rows < everybody and not numbers.last_row_ends:
        raise LaborLLMError(
            f"{path}, the last row has no line end and the codebook counts {everybody} people, not {rows}: "
            "the file is cut off; download the extract again"
        )


def _require_ids(people: pl.Series, name: str, path: Path) -> None:
    numbered = people.to_frame().with_row_index("row", offset=1)
    for row, person in numbered.filter(pl.col(PERSON) < 0).head(1).rows():
        raise LaborLLMError(
            f"{path}, column {name}, row {row}: {person} is no id, but says that a value is missing: mend it or "
            f"draw the extract again"
        )
    rows = numbered.filter(pl.col(PERSON).is_duplicated())
    if rows.height:
        person = rows[PERSON][0]
        first, second = rows.filter(pl.col(PERSON) == person)["row"].head(2)
        raise LaborLLMError(
            f"{path}, column {name}, rows {first} and {second}: id {person} stands twice ({rows.height} such rows); "
            f"keep one row a person"
        )
