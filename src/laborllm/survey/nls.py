"""Extracts of the NLS Investigator, of any cohort: CSV files and Stata dictionaries, zipped or not.

Every value is a whole number. Those below zero say why there is none: -1 refusal, -2 don't know, -3 invalid skip,
-4 valid skip, -5 no interview (nlsinfo.org, "Missing values").
"""

import csv
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import IO, cast

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.codebook import Entry, read_codebook
from laborllm.survey.variables import question_key

PERSON = "person"
ID_REFERENCE = "R0000100"
ID_QUESTIONS = ("CASEID", "PUBID")
REFERENCE = re.compile(r"([A-Z]\d{5})\.?(\d{2})", re.IGNORECASE)
QUESTION = re.compile(r"(.+)_(\d{4}|XRND|78SCRN)", re.IGNORECASE)
DICTIONARY_LINE = re.compile(r'\s*(\S+)\s+"(.*)"\s*')
_CHUNK = 1000
"""Rows turned into numbers at a time: keeps the text of a 50 MB file out of memory."""


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
        table: one row a person, sorted; column person, then one column per variable under ``Variable.column``, all
            int64, with the survey's missing codes; null where the person is not in that variable's file.
        variables: one per column after person, in the same order.
        header: every variable of the files, wanted or not, in the order of the files; ids aside.
    """

    table: pl.DataFrame
    variables: tuple[Variable, ...]
    header: tuple[Variable, ...] = ()


def read_extract(
    path: Path, *, wanted: Callable[[Variable], bool] | None = None, codebook: Path | None = None
) -> Extract:
    """Read the wanted variables of one extract.

    Args:
        path: a ``.csv`` with reference numbers (R0000100) or question names (CASEID_1979) in its header, a ``.dct``
            Stata dictionary with its data, or a ``.zip`` that holds one of them.
        wanted: which variables to keep; None keeps all. The id is always read.
        codebook: the ``.cdb`` or ``.sdf`` of the extract; None looks for one beside it with the same stem.

    Raises:
        LaborLLMError: the file is missing, empty, broken or no extract; a header names no variable or the id is
            absent; a row has too few or too many values, a value is no whole number, or an id stands twice.
    """
    with _opened(path) as (kind, lines):
        header, rows = _header(lines, kind, path)
        variables = _variables(header, _entries(path, codebook), path)
        id_place = _id_place(variables, path)
        kept = [i for i, variable in enumerate(variables) if i != id_place and (wanted is None or wanted(variable))]
        names = [variables[i].column for i in (id_place, *kept)]
        values = _numbers(rows, [id_place, *kept], names=names, width=len(variables), path=path)
    _require_one_row_per_person(values[:, 0], names[0], path)
    table = pl.DataFrame(values, schema=[PERSON, *names[1:]], orient="row").sort(PERSON)
    others = tuple(variable for variable in variables if not variable.is_id)
    return Extract(table=table, variables=tuple(variables[i] for i in kept), header=others)


def read_extracts(paths: Sequence[Path], *, wanted: Callable[[Variable], bool] | None = None) -> Extract:
    """Read several extracts of one cohort and join them on the id.

    Raises:
        LaborLLMError: as ``read_extract``; or two extracts hold the same variable with different values.
    """
    if not paths:
        raise LaborLLMError("no extract is given; name at least one .csv, .dct or .zip file")
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
    places = {variable.column: f"right {variable.column}" for variable in right.variables}
    table = left.table.join(right.table.rename(places), on=PERSON, how="full", coalesce=True).sort(PERSON)
    people, variables = table[PERSON], list(left.variables)
    for variable in right.variables:
        values = table.drop_in_place(places[variable.column])
        ours = next((known for known in left.variables if known.names & variable.names), None)
        if ours is None:
            table = table.with_columns(values.alias(variable.column))
            variables.append(variable)
        else:
            agreed = _agree(people, ours=ours, our_values=table[ours.column], theirs=variable, their_values=values)
            table = table.with_columns(agreed.alias(ours.column))
    return Extract(table=table, variables=tuple(variables), header=left.header + right.header)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """The kind of extract (csv or dct) and its lines."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                member = _member(archive, path)
                with archive.open(member) as raw, _text(raw) as lines:
                    yield Path(member).suffix.lower(), lines
        else:
            with path.open("rb") as raw, _text(raw) as lines:
                yield path.suffix.lower(), lines
    except (zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError) as error:
        raise LaborLLMError(f"{path}: the zip is truncated or corrupt ({error}); download the extract again") from error
    except csv.Error as error:
        raise LaborLLMError(f"{path}: is no CSV file ({error}); draw the extract again") from error
    except FileNotFoundError as error:
        raise LaborLLMError(f"{path}: there is no such file; check the path, relative to the study file") from error
    except OSError as error:
        raise LaborLLMError(f"{path}: cannot be read ({error.strerror or error}); check the file") from error


def _text(raw: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(cast(io.BufferedReader, raw), encoding="utf-8-sig", errors="replace", newline="")


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
    for suffix in (".dct", ".csv"):
        found = [name for name in names if name.lower().endswith(suffix)]
        if len(found) > 1:
            raise LaborLLMError(f"{path}: holds {len(found)} {suffix} files ({', '.join(found)}); zip one at a time")
        if found:
            return found[0]
    raise LaborLLMError(f"{path}: holds no .dct or .csv file but {', '.join(names) or 'nothing'}; zip the extract")


def _header(lines: Iterator[str], kind: str, path: Path) -> tuple[list[tuple[str, str]], Iterator[list[str]]]:
    """Name and label of each column, and the rows that follow."""
    rows: Iterator[list[str]]
    if kind == ".csv":
        rows = csv.reader(lines)
        header = [(name.strip(), "") for name in next(rows, [])]
    elif kind == ".dct":
        header = list(_dictionary(lines, path))
        rows = (line.split() for line in lines)
    else:
        raise LaborLLMError(f"{path}: {kind or 'a file without suffix'} is no extract; give a .csv, .dct or .zip file")
    if not header:
        raise LaborLLMError(f"{path}: the file is empty; draw the extract again")
    return header, rows


def _dictionary(lines: Iterator[str], path: Path) -> Iterator[tuple[str, str]]:
    """The lines between ``infile dictionary {`` and ``}``."""
    first = next(lines, "")
    if not first:
        return
    if not first.strip().startswith("infile dictionary"):
        raise LaborLLMError(f"{path}, row 1: {first.strip()[:60]!r} is no 'infile dictionary'; give a Stata .dct file")
    for row, line in enumerate(lines, start=2):
        if line.strip() == "}":
            return
        found = DICTIONARY_LINE.fullmatch(line)
        if found is None:
            raise LaborLLMError(
                f"{path}, row {row}: {line.strip()[:60]!r} is no variable with its label; draw the extract again"
            )
        yield found[1], found[2]
    raise LaborLLMError(f"{path}: the dictionary is cut off before its closing brace; download the extract again")


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
                f"{path}, column {place}: {column!r} is neither a reference number (R0000100) nor a question name with "
                f"its year (CASEID_1979); draw the extract with one of these headers or rename the column"
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
    """The ``.cdb``, else the ``.sdf``, that bears an extract's name and lies in its folder."""
    stem = re.sub(r"(\.(csv|dct))?(\.zip)?$", "", path.name, flags=re.IGNORECASE)
    found = (path.with_name(stem + suffix) for suffix in (".cdb", ".sdf"))
    return next((file for file in found if file.is_file()), None)


def _entries(path: Path, codebook: Path | None) -> dict[str, Entry]:
    """The codebook given, or the one beside the extract, or none."""
    file = codebook or codebook_beside(path)
    return {} if file is None else read_codebook(file)


def _numbers(rows: Iterator[list[str]], places: list[int], *, names: list[str], width: int, path: Path) -> np.ndarray:
    """The values at ``places`` of every row, int64, shape (people, places)."""
    chunks: list[np.ndarray] = []
    texts: list[list[str]] = []
    count = 0
    for values in rows:
        if not values:
            continue
        count += 1
        if len(values) != width:
            raise LaborLLMError(
                f"{path}, row {count}: has {len(values)} values for {width} columns; the file is cut off or was "
                f"edited: download the extract again"
            )
        texts.append([values[place] for place in places])
        if len(texts) == _CHUNK:
            chunks.append(_whole(texts, names, path=path, first_row=count - len(texts) + 1))
            texts = []
    if texts:
        chunks.append(_whole(texts, names, path=path, first_row=count - len(texts) + 1))
    if not chunks:
        raise LaborLLMError(f"{path}: has a header but no rows; draw the extract again")
    return np.concatenate(chunks)  # (people, places)


def _whole(texts: list[list[str]], names: list[str], *, path: Path, first_row: int) -> np.ndarray:
    try:
        return np.array(texts).astype(np.int64)  # (rows, places)
    except (ValueError, OverflowError):
        for row, values in enumerate(texts, start=first_row):
            for name, value in zip(names, values, strict=True):
                if not re.fullmatch(r"\s*-?\d{1,18}\s*", value):
                    raise LaborLLMError(
                        f"{path}, column {name}, row {row}: {value!r} is no whole number; NLS extracts hold numbers "
                        f"alone (-5 to -1 where there is none): mend the value or draw the extract again"
                    ) from None
        raise


def _require_one_row_per_person(people: np.ndarray, name: str, path: Path) -> None:
    rows = pl.DataFrame({PERSON: people}).with_row_index("row", offset=1).filter(pl.col(PERSON).is_duplicated())
    if rows.height:
        person = rows[PERSON][0]
        first, second = rows.filter(pl.col(PERSON) == person)["row"].head(2)
        raise LaborLLMError(
            f"{path}, column {name}, rows {first} and {second}: id {person} stands twice ({rows.height} such rows); "
            f"keep one row a person"
        )
