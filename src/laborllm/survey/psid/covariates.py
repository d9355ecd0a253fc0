"""Covariates of the PSID: education, gender, ethnicity, region, birth year and weight of heads and spouses."""

import polars as pl

from laborllm.survey.careers import Step
from laborllm.survey.flow import carried_forward, step
from laborllm.survey.psid.codes import HISPANIC, LEVEL_OF_GRADE, SEX
from laborllm.survey.psid.waves import PERSON, Waves

FIXED = ("gender", "ethnicity", "region", "birth_year")
OLDEST = 1850
"""Years of birth before it are none."""


def fixed_covariates(rows: pl.DataFrame, waves: Waves) -> pl.DataFrame:
    """One value a person out of all waves in which the person is head or spouse.

    Args:
        rows: columns person, year, race, spanish and region, one row per person and wave.
        waves: the files.

    Returns:
        Columns person, gender, ethnicity, region (words, null where unknown); region_year, the wave that told it;
        and differing, whether waves differ about the ethnicity.
    """
    by_year = rows.sort("year")
    known = (
        by_year.drop_nulls("region").group_by(PERSON).agg(pl.col("region").first(), region_year=pl.col("year").first())
    )
    told = pl.when("spanish").then(pl.lit(HISPANIC)).otherwise("race").alias("told")
    races = by_year.select(PERSON, told).drop_nulls().group_by(PERSON, maintain_order=True).agg("told")
    ethnicity = (
        pl.when(pl.col("told").list.contains(HISPANIC)).then(pl.lit(HISPANIC)).otherwise(pl.col("told").list.first())
    )
    races = races.select(PERSON, ethnicity=ethnicity, differing=pl.col("told").list.n_unique() > 1)
    people = rows.select(pl.col(PERSON).unique()).join(_genders(waves), on=PERSON, how="left")
    return people.join(races, on=PERSON, how="left").join(known, on=PERSON, how="left")


def _genders(waves: Waves) -> pl.DataFrame:
    sex = waves.of_people("sex", "XRND")
    code = pl.lit(None, pl.Int32) if sex is None else sex
    word = code.replace_strict(list(SEX), list(SEX.values()), default=None, return_dtype=pl.String)
    return waves.people.select(PERSON, word.alias("gender"))


def of_waves(waves: Waves, concept: str, *, people: pl.DataFrame, allowed: pl.Expr) -> pl.DataFrame:
    """A concept of the individual file in long form.

    Args:
        waves: the files.
        concept: "grades" or "year_born".
        people: column person, those who are wanted.
        allowed: a condition on the column of the concept and on year; other values are left out.

    Returns:
        Columns person, year (int32) and the concept, one row per person and wave that told an allowed value.
    """
    table = waves.people.join(people.select(PERSON).unique(), on=PERSON, how="semi")
    parts = [pl.DataFrame(schema={PERSON: pl.Int64, "year": pl.Int32, concept: pl.Int32})]
    for year in sorted(int(year) for name, year in waves.names if name == concept):
        column = waves.of_people(concept, year)
        if column is not None:
            part = table.select(PERSON, pl.lit(year, pl.Int32).alias("year"), column.cast(pl.Int32))
            parts.append(part.filter(allowed))
    return pl.concat(parts)


def with_covariates(
    rows: pl.DataFrame, waves: Waves, *, people: pl.DataFrame, weight: bool
) -> tuple[pl.DataFrame, list[Step]]:
    """Adds all covariates.

    Args:
        rows: the person-years that are kept.
        waves: the files.
        people: as ``fixed_covariates`` gives it.
        weight: whether to add the wave's weight.

    Returns:
        The rows with education, ``FIXED`` and, if asked for, weight added; and the steps that say what was put in
        place of an answer and what is left missing.
    """
    own = rows.columns
    rows = rows.join(people, on=PERSON, how="left", maintain_order="left")
    rows = _with_birth_year(rows, waves)
    grade, levels = pl.col("grades"), list(LEVEL_OF_GRADE.values())
    told = of_waves(waves, "grades", people=rows, allowed=grade.is_in(list(LEVEL_OF_GRADE)))
    level = grade.replace_strict(list(LEVEL_OF_GRADE), levels, return_dtype=pl.String)
    rows = carried_forward(rows, told.select(PERSON, "year", level.alias("education")), "education")
    names = ["education", *FIXED]
    if weight:
        rows, names = _with_weight(rows, waves), [*names, "weight"]
    reasons = {
        "recoded: education carried forward from an earlier wave": pl.col("education_year") < pl.col("year"),
        "recoded: region first known after the row's wave": pl.col("region_year") > pl.col("year"),
        "recoded: ethnicity one value a person, reports differ": pl.col("differing"),
        "left missing: birth year reported after the person's first row": pl.col("late"),
        **{f"left missing: {name}{_why(name, waves)}": pl.col(name).is_null() for name in names},
    }
    steps = [step(what, rows.select(PERSON, holds=holds).filter("holds"), "recoded") for what, holds in reasons.items()]
    if weight:
        steps.append(
            step("noted: weight 0, no member of the weighted sample", rows.filter(pl.col("weight") == 0), "noted")
        )
    return rows.select(*own, *names), [each for each in steps if each.person_years]


def _with_birth_year(rows: pl.DataFrame, waves: Waves) -> pl.DataFrame:
    """Adds birth_year and late, whether a report was set aside because it is after the person's first row."""
    allowed = pl.col("year_born").is_between(OLDEST, pl.col("year"))
    reports = of_waves(waves, "year_born", people=rows, allowed=allowed)
    last = reports.sort("year").group_by(PERSON).agg(pl.col("year_born").last())
    rows = rows.join(last, on=PERSON, how="left", maintain_order="left")
    late = (pl.col("year_born") > pl.col("year").min().over(PERSON)).fill_null(False)
    return rows.with_columns(late=late, birth_year=pl.when(~late).then("year_born"))


def _with_weight(rows: pl.DataFrame, waves: Waves) -> pl.DataFrame:
    parts = []
    for (year,), part in rows.group_by("year"):
        column = waves.of_people("weight", str(year))
        weight = (
            pl.lit(None, pl.Float64).alias("weight")
            if column is None
            else pl.when(column >= 0).then(column.cast(pl.Float64)).alias("weight")
        )
        parts.append(part.join(waves.people.select(PERSON, weight), on=PERSON, how="left"))
    return pl.concat(parts).sort(PERSON, "year")


def _why(name: str, waves: Waves) -> str:
    """The reason why a covariate is missing, where the files have no variable of it."""
    concepts = {
        "education": {"grades"},
        "gender": {"sex"},
        "ethnicity": {"head_race", "spouse_race", "head_hispanic", "spouse_hispanic"},
        "birth_year": {"year_born"},
    }
    held = {concept for concept, _ in waves.names}
    return "" if held & concepts.get(name, {name}) else ", for which the files have no variable"
