"""What the readers of both NLS cohorts share: values by concept and year, and the lines of the sample flow.

A concept is a word of a table of variables (``variables.py``). Values keep the survey's codes; those below zero say why
there is none (-1 refusal, -2 don't know, -3 invalid skip, -4 valid skip, -5 no interview).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.flow import first_names, step
from laborllm.survey.nls.extracts import PERSON, Extract, Variable, agreed_column
from laborllm.survey.occupations import STATES
from laborllm.survey.variables import VariableTable, question_key
from laborllm.survey.wages import hundredths

NO_JOB, NO_INTERVIEW = -4, -5
SOURCES = {"CASEID": "nlsy79", "PUBID": "nlsy97"}
"""Name of the ids -> the source that reads their cohort."""
FIXED_CONCEPTS = {"gender": "sex", "ethnicity": "race", "region": "region", "birth_year": "birth_year"}
"""Covariates with one value a person -> concept."""


def require_cohort(extract: Extract, source: str) -> None:
    """Refuse the other cohort's files, where anything tells whose they are.

    Args:
        extract: all files joined.
        source: "nlsy79" or "nlsy97", the one that reads them.

    Raises:
        LaborLLMError: the ids are known to be those of the other cohort.
    """
    ids = extract.id
    told = SOURCES.get((ids.question or "").upper()) if ids else None
    if ids and told and told != source:
        raise LaborLLMError(
            f"{ids.file}, column {ids.column}: the ids are {ids.question}, of the {told.upper()}, but survey.source is "
            f'"{source}"; set source = "{told}", or give files of the {source.upper()}, each with its own codebook'
        )


def concept_years(variable: Variable, table: VariableTable) -> set[tuple[str, str]]:
    """The concept and year that a variable measures; empty where it is none of the table.

    A reference number counts for nothing where the file's codebook gives it another question name than the table.
    """
    names = variable.names - ({variable.reference} if _contradicts(variable, table) else set())
    return {table.meaning[name] for name in names if name in table.meaning}


def _contradicts(variable: Variable, table: VariableTable) -> bool:
    """Whether the codebook calls the variable otherwise than the table of variables does."""
    expected = table.questions.get(variable.reference or "")
    return bool(expected and variable.question and question_key(variable.question) not in expected)


def values_by_concept(extract: Extract, table: VariableTable) -> pl.DataFrame:
    """The values of an extract in long form.

    Returns:
        Columns person, concept, year (text as in the table) and value (int64, missing codes included); one row per
        person and variable of the table, none where the person is not in the variable's file.

    Raises:
        LaborLLMError: two columns hold the same variable and differ for some person.
    """
    found: dict[tuple[str, str], list[Variable]] = {}
    for variable in extract.variables:
        for concept_year in concept_years(variable, table):
            found.setdefault(concept_year, []).append(variable)
    parts = [
        extract.table.select(
            PERSON,
            pl.lit(concept).alias("concept"),
            pl.lit(year).alias("year"),
            agreed_column(extract, variables, "value"),
        ).drop_nulls("value")
        for (concept, year), variables in found.items()
    ]
    schema = {PERSON: pl.Int64, "concept": pl.String, "year": pl.String, "value": pl.Int64}
    return pl.concat([pl.DataFrame(schema=schema), *parts])


def by_year(values: pl.DataFrame, concept: str) -> pl.DataFrame:
    """One concept of the long form: columns person, year (int32) and the concept's value under its name.

    Raises:
        LaborLLMError: a year of the concept is no calendar year ("XRND").
    """
    part = values.filter(pl.col("concept") == concept)
    odd = part.filter(~pl.col("year").str.contains(r"^\d{4}$"))
    if odd.height:
        raise LaborLLMError(
            f"the table of variables has {concept} for the year {odd['year'][0]!r}; {concept} varies by year: give "
            f"the survey year with four digits"
        )
    return part.select(PERSON, pl.col("year").cast(pl.Int32), pl.col("value").alias(concept))


def has(values: pl.DataFrame, concept: str) -> bool:
    """Whether the files hold a variable of the concept."""
    return bool((values["concept"] == concept).any())


def rounds_held(extract: Extract, table: VariableTable, concept: str) -> set[str]:
    """The years for which the header of some file has a variable of the concept."""
    found = {pair for variable in extract.header for pair in concept_years(variable, table)}
    return {year for name, year in found if name == concept}


def unread(extract: Extract, table: VariableTable, *, rows: pl.DataFrame, files: Sequence[Path]) -> list[Step]:
    """A step for each file that holds nothing of a career, or columns that nothing at hand describes; and one each for
    variables that the codebook calls otherwise than the table, and for those of a user's own table that are not there.

    Other columns of an extract that has a dictionary or a codebook are expected, and not told.

    Args:
        extract: all files joined.
        table: the variables that make a career.
        rows: the sample that the steps count, with the column person.
        files: the files, in the order in which they are told.
    """
    steps = []
    for path in dict.fromkeys(files):
        header = [variable for variable in extract.header if variable.file == str(path)]
        others = [variable for variable in header if not concept_years(variable, table)]
        unknown = [variable.column for variable in others if not variable.label]
        if len(others) == len(header):
            named = first_names([variable.column for variable in others]) or "the id alone"
            what = f"not read: no variable of a career in {path.name} ({named})"
        elif unknown:
            columns = "1 column is" if len(unknown) == 1 else f"{len(unknown)} columns are"
            what = f"not read: {columns} no variable of a career in {path.name} ({first_names(unknown)})"
        else:
            continue
        steps.append(step(what, rows, "noted"))
    return [*steps, *_renamed(extract, table, rows), *_not_found(extract, table, rows)]


def _not_found(extract: Extract, table: VariableTable, rows: pl.DataFrame) -> list[Step]:
    """A step for the variables of a user's own table that no file holds: a slip in the table, or files left out."""
    if not table.own:
        return []
    held = {pair for variable in extract.header for pair in concept_years(variable, table)}
    names = [f"{concept} of {year}" for concept, year in table.own if (concept, year) not in held]
    what = f"not found: no file holds what survey.variables names as {first_names(names)}"
    return [step(what, rows, "noted")] if names else []


def _renamed(extract: Extract, table: VariableTable, rows: pl.DataFrame) -> list[Step]:
    """A step for variables whose codebook says that they are another question than the table of variables does."""
    names = [
        f"{variable.reference} is {variable.question}, not {' or '.join(sorted(table.questions[variable.reference]))}"
        for variable in extract.header
        if variable.reference and _contradicts(variable, table)
    ]
    what = f"not read: the codebook gives another question name ({first_names(names)}); check the table of variables"
    return [step(what, rows, "noted")] if names else []


def missing_rounds(
    extract: Extract, table: VariableTable, *, concepts: Sequence[str], rows: pl.DataFrame
) -> list[Step]:
    """A step that says which of the survey's rounds the files lack, if any.

    Args:
        extract: all files joined.
        table: the variables that make a career.
        concepts: the concepts of which one is enough for a round, e.g. the occupation in each classification.
        rows: the sample whose people the step counts, with the column person.
    """
    rounds = {year for concept in concepts for year in table.years(concept)}
    held = {year for concept in concepts for year in rounds_held(extract, table, concept)}
    missing = sorted(rounds - held)
    if not missing:
        return []
    people = rows[PERSON].n_unique()
    what = f"missing rounds: the files have occupations of {len(held)} of {len(rounds)} rounds; not "
    return [Step(what + first_names(missing), people, person_years=people * len(missing), kind="noted")]


def first_known(values: pl.DataFrame, concept: str, allowed: Sequence[int]) -> pl.DataFrame:
    """Columns person, year (text) and value: each person's first value among those allowed."""
    known = values.filter((pl.col("concept") == concept) & pl.col("value").is_in(list(allowed)))
    return known.sort("year").group_by(PERSON).agg(pl.col("year").first(), pl.col("value").first())


def first_words(values: pl.DataFrame, concept: str, *, name: str, words: Mapping[int, str]) -> pl.DataFrame:
    """Columns person and ``name``: the word for each person's first value that has one."""
    known = first_known(values, concept, list(words))
    word = pl.col("value").replace_strict(list(words), list(words.values()), return_dtype=pl.String)
    return known.select(PERSON, word.alias(name))


def people(values: pl.DataFrame, words: Mapping[str, Mapping[int, str]]) -> pl.DataFrame:
    """What is one value a person: the first known.

    Args:
        values: the long form.
        words: gender, ethnicity and region -> their code -> word.

    Returns:
        Columns person, those of ``words`` and birth_year (two digits are of the 1900s); null where unknown.
    """
    found = values.select(pl.col(PERSON).unique())
    for name, meanings in words.items():
        known = first_words(values, FIXED_CONCEPTS[name], name=name, words=meanings)
        found = found.join(known, on=PERSON, how="left")
    births = values.filter((pl.col("concept") == FIXED_CONCEPTS["birth_year"]) & (pl.col("value") > 0)).sort("year")
    year = pl.col("value") + pl.when(pl.col("value") < 100).then(1900).otherwise(0)
    births = births.unique(PERSON, keep="first", maintain_order=True).select(PERSON, year.alias("birth_year"))
    return found.join(births, on=PERSON, how="left")


def with_weight(rows: pl.DataFrame, values: pl.DataFrame, *, concept: str, each_round: bool) -> pl.DataFrame:
    """Adds weight, people represented, if the files have it; the surveys' have two implied decimals.

    Args:
        rows: with the columns person and year.
        values: the long form.
        concept: of the weight.
        each_round: whether a row has its round's weight; else the files hold that of one round, and all rows have it.
    """
    if not has(values, concept):
        return rows
    known = by_year(values, concept).filter(pl.col(concept) >= 0)
    known = known.select(PERSON, "year", weight=hundredths(pl.col(concept)))
    if each_round:
        return rows.join(known, on=[PERSON, "year"], how="left", maintain_order="left")
    return rows.join(known.drop("year"), on=PERSON, how="left", maintain_order="left")


def states_recoded(rows: pl.DataFrame) -> list[Step]:
    """A step for each state that stands in a row of a person without a coded job (column occupation)."""
    steps = [
        step(f"recoded: no job (-4) to {title}", rows.filter(pl.col("occupation") == state), "recoded")
        for state, title in STATES.items()
    ]
    return [each for each in steps if each.person_years]


def first_known_later(rows: pl.DataFrame, values: pl.DataFrame, *, concept: str, allowed: Sequence[int]) -> list[Step]:
    """A step for the rows of people whose fixed covariate was first known after the first round."""
    first = first_known(values, concept, allowed)
    later = first.filter(pl.col("year") > pl.col("year").min())
    part = rows.filter(pl.col(PERSON).is_in(later[PERSON].implode()))
    return [step(f"recoded: {concept} first known after the first round", part, "recoded")] if part.height else []


def left_missing(rows: pl.DataFrame, values: pl.DataFrame, concepts: Mapping[str, str]) -> list[Step]:
    """A step for each covariate that some rows lack.

    Args:
        rows: with a column for each covariate.
        values: the long form.
        concepts: covariate -> concept of the table that it comes from.
    """
    steps = []
    for name, concept in concepts.items():
        why = "" if has(values, concept) else ", for which the files have no variable"
        steps.append(step(f"left missing: {name}{why}", rows.filter(pl.col(name).is_null()), "recoded"))
    return [each for each in steps if each.person_years]
