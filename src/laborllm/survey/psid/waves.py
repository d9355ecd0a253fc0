"""Waves of the Panel Study of Income Dynamics put together: who is in which family, and what the family file says.

A file with the ids of people (ER30001 and ER30002) has one row a person: the cross-year individual file, or a Data
Center extract, where the variables of the person's families stand beside. A file without them has one row a family:
a packaged family file, or an extract of families. People find their families by the wave's interview number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.flow import first_names
from laborllm.survey.psid.codes import IN_FAMILY
from laborllm.survey.psid.files import PSIDFile, read_psid_file
from laborllm.survey.variables import VariableTable

PERSON = "person"
ID_CONCEPTS = ("id_1968", "person_number")
PERSON_CONCEPTS = (*ID_CONCEPTS, "sex", "interview", "sequence", "relation", "grades", "year_born", "weight")
"""Concepts of the individual file; all others are of a family."""

WITH_FRACTIONS = ("weight", "head_wage", "spouse_wage", "head_labor_income", "spouse_labor_income")
"""Labor income of heads has cents in 1997."""


@dataclass(frozen=True)
class Waves:
    """What the files hold of the table of variables.

    Attributes:
        people: one row a person, sorted; column person (ER30001 times 1000 plus ER30002, int64), then one column per
            variable of the individual file under its number, null where blank.
        families: wave -> one row a family, sorted; column interview, then one column per concept.
        names: concept and year -> the variable that the files have for it.
        headers: file -> its variables, wanted or not.
    """

    people: pl.DataFrame
    families: dict[int, pl.DataFrame]
    names: dict[tuple[str, str], str]
    headers: dict[str, tuple[str, ...]]

    def of_people(self, concept: str, year: int | str) -> pl.Expr | None:
        """A column of ``people`` under the concept's name, or None where the files lack it."""
        name = self.names.get((concept, str(year)))
        return pl.col(name).alias(concept) if name in self.people.columns else None


DATA = (".txt", ".zip", ".csv")
"""Suffixes of the data files that are looked for in a folder."""


def read_waves(paths: Sequence[Path], table: VariableTable) -> Waves:
    """Read the variables of the table out of all files, and of all in a folder that is named, and join them.

    Raises:
        LaborLLMError: a folder holds no data; as ``read_psid_file``; a file holds neither ids of people nor an
            interview number; no file holds people; a person stands twice, or a family with different values; two files
            hold the same variable with different values; the files have two variables of one concept and year.
    """
    known = set(table.rows["reference"].drop_nulls())
    files = [read_psid_file(path, wanted=known.__contains__) for path in _files(paths)]
    ids = [_reference(table, concept) for concept in ID_CONCEPTS]
    of_people = [file for file in files if set(ids) <= set(file.header)]
    if not of_people:
        raise LaborLLMError(
            f"{files[0].file}: no file holds people ({' and '.join(ids)}); add the cross-year individual file, or draw "
            f"an extract of all individuals"
        )
    for file in files:
        _require_whole(file, table)
    names = _names(files, table)
    keyed = [_one_row_each(_with_person(file, ids)) for file in of_people]
    others = [file for file in files if not set(ids) <= set(file.header)]
    for file in others:
        _require_family_file(file, names)
    headers = {file.file: file.header for file in files}
    return Waves(reduce(_joined, keyed).table.sort(PERSON), _families([*keyed, *others], names), names, headers)


def _require_whole(file: PSIDFile, table: VariableTable) -> None:
    """Refuse codes and numbers of families that are not whole."""
    fractions = set(table.rows.filter(pl.col("concept").is_in(WITH_FRACTIONS))["reference"])
    for name in file.table.columns:
        if name not in fractions and file.table[name].dtype.is_float():
            value = pl.col(name)
            odd = file.table.with_row_index("row", 1).filter((value != value.floor()) | (value.abs() >= 10**9))
            row, wrong = odd.select("row", name).row(0)
            raise LaborLLMError(
                f"{file.file}, variable {name}, row {row}: {wrong} is no whole number below 10^9 ({odd.height} "
                f"such rows); check the columns of the set-up, or download the file again"
            )


def _files(paths: Sequence[Path]) -> list[Path]:
    """Each file once; of a folder its data files, in the order of their names."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in DATA) if path.is_dir() else [path]
        if not inside:
            raise LaborLLMError(f"{path}: holds no {', '.join(DATA)} file; name the folder of the PSID's files")
        found += inside
    return list(dict.fromkeys(found))


def _reference(table: VariableTable, concept: str) -> str:
    names = table.rows.filter(pl.col("concept") == concept)["reference"].drop_nulls()
    if names.len() != 1:
        raise LaborLLMError(f"the table of variables has {names.len()} variables of {concept}; give one")
    return str(names[0])


def _names(files: list[PSIDFile], table: VariableTable) -> dict[tuple[str, str], str]:
    held = {name for file in files for name in file.table.columns}
    names: dict[tuple[str, str], str] = {}
    for concept, year, name in table.rows.select("concept", "year", "reference").iter_rows():
        if name in held:
            other = names.setdefault((concept, year), name)
            if other != name:
                raise LaborLLMError(
                    f"{files[0].file}: the files have {other} and {name}, both {concept} of {year} by the table of "
                    f"variables; keep one of them in the table"
                )
    return names


def _require_family_file(file: PSIDFile, names: dict[tuple[str, str], str]) -> None:
    keys = {name for (concept, _), name in names.items() if concept == "family_interview"}
    if not keys & set(file.header):
        raise LaborLLMError(
            f"{file.file}: holds neither people (ER30001 and ER30002) nor a family's interview number, but "
            f"{first_names(file.header)}; leave it out, or draw it with the interview number of its wave"
        )


def _with_person(file: PSIDFile, ids: list[str]) -> PSIDFile:
    """The file with the column person."""
    for name in ids:
        value = pl.col(name)
        sound = value.is_between(1, 9999 if name == ids[0] else 999) & (value == value.floor())
        rows = file.table.with_row_index("row", 1).filter(~sound.fill_null(False))
        if rows.height:
            row, wrong = rows.select("row", name).row(0)
            raise LaborLLMError(f"{file.file}, variable {name}, row {row}: {wrong} is no id; download the file again")
    person = pl.col(ids[0]).cast(pl.Int64) * 1000 + pl.col(ids[1]).cast(pl.Int64)
    return PSIDFile(file.file, file.header, file.table.with_columns(person.alias(PERSON)))


def _one_row_each(file: PSIDFile) -> PSIDFile:
    twice = file.table.with_row_index("row", 1).filter(pl.col(PERSON).is_duplicated())
    if twice.height:
        person = twice[PERSON][0]
        first, second = twice.filter(pl.col(PERSON) == person)["row"].head(2)
        raise LaborLLMError(
            f"{file.file}, rows {first} and {second}: person {person} stands twice; keep one row a person"
        )
    return file


def _joined(left: PSIDFile, right: PSIDFile, key: str = PERSON) -> PSIDFile:
    """All rows of both; a column that both have must agree, and is filled from the second where the first is null."""
    shared = [name for name in right.table.columns if name in left.table.columns and name != key]
    table = left.table.join(right.table, on=key, how="full", coalesce=True, suffix=" right")
    for name in shared:
        differ = table.filter(pl.col(name) != pl.col(f"{name} right"))
        if differ.height:
            who, ours, theirs = differ.select(key, name, f"{name} right").row(0)
            raise LaborLLMError(
                f"{right.file}, {name}, {key} {who}: {theirs}, but {left.file} says {ours} ({differ.height} such "
                f"rows); the files are of different releases: keep one of them"
            )
    filled = [pl.coalesce(name, f"{name} right").alias(name) for name in shared]
    table = table.with_columns(filled).drop(f"{name} right" for name in shared)
    return PSIDFile(left.file, left.header, table)


def _families(files: list[PSIDFile], names: dict[tuple[str, str], str]) -> dict[int, pl.DataFrame]:
    """One table of families a wave, out of all files that hold some of its variables."""
    families = {}
    for year in sorted({int(year) for _, year in names if year.isdecimal()}):
        parts = [part for file in files if (part := _families_of(file, year, names)) is not None]
        if parts:
            joined = reduce(lambda left, right: _joined(left, right, "interview"), parts)
            families[year] = joined.table.sort("interview")
    return families


def _families_of(file: PSIDFile, year: int, names: dict[tuple[str, str], str]) -> PSIDFile | None:
    """The families of one wave in one file, or None where it holds none of their variables."""
    held = {concept: name for (concept, y), name in names.items() if y == str(year) and name in file.table.columns}
    values = {concept: name for concept, name in held.items() if concept not in (*PERSON_CONCEPTS, "family_interview")}
    if not values:
        return None
    key = held.get("interview") or held.get("family_interview")
    if key is None:
        wanted = " or ".join(names[c, str(year)] for c in ("interview", "family_interview") if (c, str(year)) in names)
        raise LaborLLMError(
            f"{file.file}: has {first_names(list(values.values()))} of {year} but no interview number of that wave"
            f"{f' ({wanted})' if wanted else ''}; draw it with the interview number"
        )
    present = pl.col(key) > 0
    if "interview" in held and "sequence" in held:
        present &= pl.col(held["sequence"]).is_between(*IN_FAMILY)
    columns = [pl.col(name).alias(concept) for concept, name in values.items()]
    rows = file.table.filter(present).select(pl.col(key).cast(pl.Int64).alias("interview"), *columns)
    return PSIDFile(file.file, file.header, _one_row_a_family(rows, file.file, values=values))


def _one_row_a_family(rows: pl.DataFrame, file: str, *, values: dict[str, str]) -> pl.DataFrame:
    """One row an interview number; rows of one family may leave a value blank but must not differ."""
    groups = rows.group_by("interview")
    counts = groups.agg(pl.all().drop_nulls().n_unique())
    for concept, name in values.items():
        differ = counts.filter(pl.col(concept) > 1)
        if differ.height:
            family = int(differ["interview"].sort()[0])
            both = (
                rows.filter(pl.col("interview") == family)[concept].drop_nulls().unique(maintain_order=True).to_list()
            )
            raise LaborLLMError(
                f"{file}, variable {name}, family {family}: has both {both[0]} and {both[1]} ({differ.height} such "
                f"families); download the file again"
            )
    return groups.agg(pl.all().drop_nulls().first())
