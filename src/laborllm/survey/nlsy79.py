"""Careers from the National Longitudinal Survey of Youth 1979.

Which variables make a career stands in ``data/nlsy79_variables.csv``: concept, year, reference number, and the
question names that headers may bear. Reference numbers are those printed in the survey's codebooks; where no codebook
at hand prints one (CPSOCC80 except 1993, the employment status recode), the question name alone is recognised.

- Occupation: current or most recent job at the interview, Census 1980 codes 1982-2000 (CPSOCC80); Census 1970 codes
  (CPSOCC70, 1979-1993) for the years that have no 1980 code in the files.
- Without a coded job (-4), the first of these that applies: (1) in education, if enrolled on May 1 of the year
  (ENROLLMTREV 2 high school or 3 college), whatever the recode says; (2) by the employment status recode of the week
  before the interview, which the survey has for 1979-1998 and 2006 (ESR, ESR_KEY: 1-2 employed, 3 unemployed, 5 going
  to school and so in education, 4, 6 and 7 out of the labor force, 8 armed forces), also of people not enrolled on
  May 1; (3) by its collapsed form, which does not tell school apart (ESR_COL: 1 employed, 2 unemployed, 3 out of the
  labor force, 4 armed forces); (4) not working. No extract with the recode was at hand: check its names and codes
  against your codebook.
- Education: highest grade completed as of May 1, revised (HGCREV), the last one known up to the year.
- Ethnicity: the screener's three cohorts (SAMPLE_RACE). Its "non-black, non-hispanic" is called "white", the
  word of the résumé template; it holds some people whom the census would call otherwise.
- Region: the first one known, one value a person. Birth year: as given in 1979. Weight: sampling weight of 1979,
  people represented.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import EDUCATION, REGIONS, Careers, Step
from laborllm.survey.door import careers_from_frame
from laborllm.survey.flow import closed_list, first_names, step, unmapped_codes
from laborllm.survey.nls import PERSON, Extract, Variable, agreed_column, read_extracts
from laborllm.survey.occupations import STATES, map_codes
from laborllm.survey.variables import VariableTable, read_variables

NO_JOB, NO_INTERVIEW = -4, -5
ENROLLED = (2, 3)
STATUS = {
    "status": {1: "employed", 2: "employed", 3: "unemployed", 5: "in_education", 8: "armed_forces"}
    | dict.fromkeys((4, 6, 7), "not_in_labor_force"),
    "status_collapsed": {1: "employed", 2: "unemployed", 3: "not_in_labor_force", 4: "armed_forces"},
}
REGION = dict(enumerate(REGIONS, start=1))
WORDS = {
    "gender": {1: "male", 2: "female"},
    "ethnicity": {1: "hispanic", 2: "black or african american", 3: "white"},
    "region": REGION,
}
LEVEL_OF_GRADE = {
    **dict.fromkeys((93, 94, *range(12)), EDUCATION[0]),
    12: EDUCATION[1],
    **dict.fromkeys((13, 14, 15), EDUCATION[2]),
    16: EDUCATION[3],
    **dict.fromkeys((17, 18, 19, 20), EDUCATION[4]),
}
"""Highest grade completed -> education; 93 and 94 are before first grade, 95 (ungraded) is no level."""
CENSUSES = (1980, 1970)
"""Classifications of the occupations; where a round has codes of both, the first counts."""
FIXED_CONCEPTS = {"gender": "sex", "ethnicity": "race", "region": "region", "birth_year": "birth_year"}


class NLSY79Settings(Settings):
    """Section ``[survey]`` of a study of the NLSY79.

    Attributes:
        source: "nlsy79".
        files: NLS Investigator extracts (.csv, .dct or .zip) that join on CASEID.
        states: whether interviewed people without a coded job have a row with their state; False keeps coded jobs
            alone.
    """

    source: Literal["nlsy79"] = "nlsy79"
    files: tuple[Path, ...] = Field(min_length=1)
    states: bool = True


def read_nlsy79(settings: NLSY79Settings) -> Careers:
    """Read careers and the flow of people and person-years that led to them.

    The closed list holds the occ1990dd codes that the census codes of these files can reach (330 for Census 1980),
    then the states that occur. A covariate without a variable in the files is missing for all, and the flow says so.

    Raises:
        LaborLLMError: as ``read_extracts``; or the files hold no occupation, or no person-year remains.
    """
    extract = read_extracts(settings.files, wanted=lambda variable: bool(_concept_years(variable)))
    values = _values(extract)
    rows = _interviews(values, settings.files)
    steps = [step("read: interview rounds with an occupation variable", rows, "kept")]
    steps += [*_unread(extract, rows, settings.files), *_missing_rounds(extract, rows)]
    rows = _with_states(rows, values)
    rows, dropped = _sift(rows, settings.states)
    if not rows.height:
        raise LaborLLMError(f"{settings.files[0]}: no person-year has a usable occupation; draw the extract again")
    rows = _with_education(rows, values)
    people = _people(values)
    rows = rows.join(people, on=PERSON, how="left", maintain_order="left")
    steps += [*dropped, *_recoded(rows, values), step("kept: person-years with an occupation", rows, "kept")]
    names = (PERSON, "year", "occupation", "education", *FIXED_CONCEPTS, "weight")
    table = rows.select(name for name in names if name in rows.columns)
    source = ", ".join(path.name for path in settings.files)
    return careers_from_frame(table, closed_list(rows), source=source, survey="NLSY79", flow=steps)


@cache
def _table() -> VariableTable:
    return read_variables("nlsy79")


def _concept_years(variable: Variable) -> set[tuple[str, str]]:
    """The concept and year that a variable measures; empty where it is none of the table."""
    meaning = _table().meaning
    return {meaning[name] for name in variable.names if name in meaning}


def _values(extract: Extract) -> pl.DataFrame:
    """Columns person, concept, year (text as in the table) and value; one row per person and variable."""
    found: dict[tuple[str, str], list[Variable]] = {}
    for variable in extract.variables:
        for concept_year in _concept_years(variable):
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


def _concept(values: pl.DataFrame, concept: str) -> pl.DataFrame:
    """Columns person, year (int32) and the concept's value."""
    part = values.filter(pl.col("concept") == concept)
    return part.select(PERSON, pl.col("year").cast(pl.Int32), pl.col("value").alias(concept))


def _has(values: pl.DataFrame, concept: str) -> bool:
    return bool((values["concept"] == concept).any())


def _interviews(values: pl.DataFrame, files: Sequence[Path]) -> pl.DataFrame:
    """Columns person, year, code, census and job (occ1990dd): a row per person and round, Census 1980 codes first."""
    parts = []
    for census in CENSUSES:
        part = _concept(values, f"occupation_{census}").rename({f"occupation_{census}": "code"})
        jobs = map_codes(part["code"], census).alias("job")
        parts.append(part.with_columns(jobs, census=pl.lit(census, dtype=pl.Int32)))
    rows = pl.concat(parts).unique([PERSON, "year"], keep="first", maintain_order=True).sort(PERSON, "year")
    if not rows.height:
        names = ", ".join(path.name for path in files)
        raise LaborLLMError(
            f"{names}: no occupation among the variables; add an extract with CPSOCC80 (1982-2000) or CPSOCC70 "
            f"(1979-1993), question names in its header (CPSOCC80_1982) or a codebook beside it"
        )
    return rows


def _unread(extract: Extract, rows: pl.DataFrame, files: Sequence[Path]) -> list[Step]:
    """A step for each file that holds nothing of a career, or columns that nothing at hand describes.

    Other columns of an extract that has a dictionary or a codebook are expected, and not told.
    """
    steps = []
    for path in dict.fromkeys(files):
        header = [variable for variable in extract.header if variable.file == str(path)]
        others = [variable for variable in header if not _concept_years(variable)]
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
    return steps


def _missing_rounds(extract: Extract, rows: pl.DataFrame) -> list[Step]:
    """A step for each occupation variable that the files have for some of its rounds only.

    Rounds without Census 1970 codes that have the preferred Census 1980 codes lack nothing.
    """
    meant = set(_table().meaning.values())
    found = {concept_year for variable in extract.header for concept_year in _concept_years(variable)}
    people, steps = rows[PERSON].n_unique(), []
    preferred: set[str] = set()
    for census in CENSUSES:
        concept = f"occupation_{census}"
        rounds = {year for name, year in meant if name == concept}
        have = {year for name, year in found if name == concept}
        missing = sorted(rounds - have - preferred)
        preferred |= have
        if have and missing:
            which = f"CPSOCC{census % 100} has {len(have)} of {len(rounds)} rounds; not {first_names(missing)}"
            steps.append(Step(f"missing rounds: {which}", people, person_years=people * len(missing), kind="noted"))
    return steps


def _with_states(rows: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Adds state: what a person without a coded job does, one of STATES, "employed" or "armed_forces"."""
    for concept in ("enrollment", *STATUS):
        rows = rows.join(_concept(values, concept), on=[PERSON, "year"], how="left", maintain_order="left")
    by_status = [
        pl.col(concept).replace_strict(list(words), list(words.values()), default=None, return_dtype=pl.String)
        for concept, words in STATUS.items()
    ]
    enrolled = pl.when(pl.col("enrollment").is_in(ENROLLED)).then(pl.lit("in_education"))
    return rows.with_columns(state=pl.coalesce(enrolled, *by_status, pl.lit("not_working")))


def _sift(rows: pl.DataFrame, states: bool) -> tuple[pl.DataFrame, list[Step]]:
    """The rows with an occupation, and a step for each reason why the others have none."""
    code, jobless = pl.col("code"), pl.col("code") == NO_JOB
    unmapped = rows.filter((code >= 0) & pl.col("job").is_null())
    reasons = [
        ("no interview (-5)", rows.filter(code == NO_INTERVIEW)),
        (
            "invalid, unknown or refused occupation (-1 to -3)",
            rows.filter((code < 0) & ~jobless & (code != NO_INTERVIEW)),
        ),
        (f"code maps to no occupation ({unmapped_codes(unmapped)})", unmapped),
    ]
    if states:
        reasons += [
            ("employed by status, without a coded job", rows.filter(jobless & (pl.col("state") == "employed"))),
            ("in the armed forces, without a coded job", rows.filter(jobless & (pl.col("state") == "armed_forces"))),
        ]
    else:
        reasons.append(("interviewed without a job (-4), states are not asked for", rows.filter(jobless)))
    steps = [step(f"dropped: {reason}", part, "dropped") for reason, part in reasons if part.height]
    has_state = jobless & pl.col("state").is_in(list(STATES)) & states
    occupation = pl.when(code >= 0).then(pl.col("job")).when(has_state).then(pl.col("state"))
    return rows.with_columns(occupation=occupation).drop_nulls("occupation"), steps


def _with_education(rows: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Adds education, the level of the last grade known up to the year, and grade_year, the year it was asked."""
    grade = pl.col("grade")
    grades = _concept(values, "grade").filter(grade.is_in(list(LEVEL_OF_GRADE)))
    levels = grade.replace_strict(list(LEVEL_OF_GRADE), list(LEVEL_OF_GRADE.values()), return_dtype=pl.String)
    levelled = grades.select(PERSON, "year", education=levels, grade_year="year").sort("year")
    joined = rows.sort("year").join_asof(levelled, on="year", by=PERSON, strategy="backward", check_sortedness=False)
    return joined.sort(PERSON, "year")


def _people(values: pl.DataFrame) -> pl.DataFrame:
    """Columns person, gender, ethnicity, region, birth_year (null where unknown), and weight if the files have it."""
    people = values.select(pl.col(PERSON).unique())
    for name, words in WORDS.items():
        known = _first_known(values, FIXED_CONCEPTS[name], list(words))
        word = pl.col("value").replace_strict(list(words), list(words.values()), return_dtype=pl.String)
        people = people.join(known.select(PERSON, word.alias(name)), on=PERSON, how="left")
    births = values.filter((pl.col("concept") == "birth_year") & (pl.col("value") > 0))
    year = pl.col("value") + pl.when(pl.col("value") < 100).then(1900).otherwise(0)
    people = people.join(births.select(PERSON, year.alias("birth_year")), on=PERSON, how="left")
    if _has(values, "weight"):
        weights = values.filter((pl.col("concept") == "weight") & (pl.col("value") >= 0))
        people = people.join(weights.select(PERSON, weight=pl.col("value") / 100), on=PERSON, how="left")
    return people


def _first_known(values: pl.DataFrame, concept: str, allowed: list[int]) -> pl.DataFrame:
    """Columns person, year (text) and value: each person's first value among those allowed."""
    known = values.filter((pl.col("concept") == concept) & pl.col("value").is_in(allowed))
    return known.sort("year").group_by(PERSON).agg(pl.col("year").first(), pl.col("value").first())


def _recoded(rows: pl.DataFrame, values: pl.DataFrame) -> list[Step]:
    """Steps for what was put in place of an answer, and for what is left missing."""
    steps = []
    for state, title in STATES.items():
        steps.append(step(f"recoded: no job (-4) to {title}", rows.filter(pl.col("occupation") == state), "recoded"))
    carried = rows.filter(pl.col("grade_year") < pl.col("year"))
    steps.append(step("recoded: education carried forward from an earlier round", carried, "recoded"))
    first = _first_known(values, "region", list(REGION))
    later = first.filter(pl.col("year") > pl.col("year").min())
    regions = rows.filter(pl.col(PERSON).is_in(later[PERSON].implode()))
    steps.append(step("recoded: region first known after the first round", regions, "recoded"))
    white = rows.filter(pl.col("ethnicity") == "white")
    steps.append(step("recoded: non-black, non-hispanic to white", white, "recoded"))
    for name in ("education", *FIXED_CONCEPTS):
        why = "" if _has(values, FIXED_CONCEPTS.get(name, "grade")) else ", for which the files have no variable"
        steps.append(step(f"left missing: {name}{why}", rows.filter(pl.col(name).is_null()), "recoded"))
    return [each for each in steps if each.person_years]
