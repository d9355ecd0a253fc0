"""Careers from the National Longitudinal Survey of Youth 1979: annual rounds 1979-1994, then even years 1996-2022.

Which variables make a career stands in ``data/nlsy79_variables.csv``: concept, year, reference number, the question
names that headers may bear, and where the number was seen: "codebook", "Investigator file" (a public file that the
Investigator wrote, names beside numbers), "study code" (published code that uses the variable; no codebook of it was
at hand: check yours) or "name only". A codebook beside the extract goes before a number: where it gives another
question name, the variable is not read and the flow says so. ``data/tagsets/careers.NLSY79`` re-creates the extract.

- Occupation: the job that the survey calls current or most recent. Census 1980 codes (CPSOCC80, 1982-2000); Census
  1970 codes (CPSOCC70, 1979-1993; from 1994 to 2000 job #1, OCCALL-EMP.01) for the rounds that have no 1980 code in
  the files; from 2002 job #1 in Census 2000 codes, of 3 digits in 2002 (``occupation_2000``) and of 4 digits since
  2004 (``occupation_2002``: the 4-digit code is the 3-digit one times ten). Since 1993 the current or most recent
  employer is job #1 (nlsinfo.org, NLSY79 Appendix 9); before, OCCALL-EMP.01 is skipped (-4) for that employer and is
  not read. From 1994 to 2000 it leaves out jobs under 10 hours a week or 9 weeks (codebook). Codes were checked
  against their classification to 2016; a later round that does not fit is refused. Census 1970 code 280, sales
  clerks, leads to no occ1990dd code and is counted. -4: no job since the last interview; -5: no interview. A most
  recent job need not be held at the interview: with ``jobs = "current"``, people whom "status", "status_collapsed" or
  "interview" (DOI_EMPLOYED 0) below calls not employed have a state instead.
- Without a coded job (-4), the first rule of ``precedence`` that says something: "enrollment": enrolled on May 1 of
  the year (ENROLLMTREV 2 high school or 3 college; 1979-2006) is in education; "status": the employment status recode
  of the week before the interview (ESR, ESR_KEY; 1979-1998 and 2006): 1-2 employed, 3 unemployed, 5 going to school
  and so in education, 4, 6 and 7 out of the labor force, 8 armed forces; "status_collapsed": its collapsed form,
  which does not tell school apart (ESR_COL: 1 employed, 2 unemployed, 3 out of the labor force, 4 armed forces);
  "interview": employed on the day of the interview (DOI_EMPLOYED 1; 0 says nothing more than -4 does); "weeks": of
  the past calendar year, more weeks unemployed (WKSUEMP-PCY) than out of the labor force (WKSOLF-PCY) is unemployed,
  fewer is out of the labor force, as many says nothing. Else: not working, also with weeks worked last year
  (WKSWK-PCY): the state is that of the interview; the flow counts these. The status is the state at the interview,
  the weeks only stand in for it. No extract with the recode was at hand: check its codes against your codebook.
- Education: highest grade completed as of May 1, revised (HGCREV, 1979-2016), highest grade completed as told (Q3-4)
  in 2018 and 2020: the last one known up to the year.
- Ethnicity: the screener's three cohorts (SAMPLE_RACE). Its "non-black, non-hispanic" is called "white", the word of
  the résumé template; it holds some people whom the census would call otherwise.
- Region: the first one known, one value a person. Birth year: as given in 1979. Weight: people represented, by the
  sampling weight of 1979 or of each round (SAMPWEIGHT, two implied decimals).
- Wage: hourly rate of pay in cents, of the current or most recent job (CPSHRP, 1979-1994) and else of job #1 (HRP1,
  1979-2020; before 1993 that is nearly always the same job, since 1993 it is). It is computed from pay and hours; no
  top code is printed, and extremes stand in the files (33,334.33 dollars in 1979): rates outside ``wage_bounds`` are
  left missing and counted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import EDUCATION, REGIONS, Careers, Step
from laborllm.survey.door import careers_from_frame
from laborllm.survey.flow import (
    carried_forward,
    carried_steps,
    closed_list,
    first_names,
    require_classified,
    require_rows,
    sift,
    step,
    unmapped_codes,
)
from laborllm.survey.nls import cohort
from laborllm.survey.nls.cohort import FIXED_CONCEPTS, NO_INTERVIEW, NO_JOB, by_year, concept_years, has
from laborllm.survey.nls.extracts import PERSON, read_extracts
from laborllm.survey.occupations import CENSUSES, map_codes
from laborllm.survey.variables import VariableTable, read_variables
from laborllm.survey.wages import require_sense, wages_of_jobs

Rule = Literal["enrollment", "status", "status_collapsed", "interview", "weeks"]
Classification = Literal[1970, 1980, 1990, 2000, 2002, 2010]

OCCUPATIONS = tuple(f"occupation_{census}" for census in CENSUSES)
ENROLLED = (2, 3)
STATUS = {
    "status": {1: "employed", 2: "employed", 3: "unemployed", 5: "in_education", 8: "armed_forces"}
    | dict.fromkeys((4, 6, 7), "not_in_labor_force"),
    "status_collapsed": {1: "employed", 2: "unemployed", 3: "not_in_labor_force", 4: "armed_forces"},
}
EMPLOYED = ("employed", "armed_forces")
"""What a status may say that is no state outside employment."""
EVIDENCE = ("enrollment", "status", "status_collapsed", "at_interview", "weeks_unemployed", "weeks_out", "weeks_worked")
"""Concepts that say what a person without a coded job does."""
WAGES = ("wage_cps", "wage")
"""Hourly rate of pay of the current or most recent job, and of job #1."""
WORDS = {
    "gender": {1: "male", 2: "female"},
    "ethnicity": {1: "hispanic", 2: "black or african american", 3: "white"},
    "region": dict(enumerate(REGIONS, start=1)),
}
LEVEL_OF_GRADE = {
    **dict.fromkeys((93, 94, *range(12)), EDUCATION[0]),
    12: EDUCATION[1],
    **dict.fromkeys((13, 14, 15), EDUCATION[2]),
    16: EDUCATION[3],
    **dict.fromkeys((17, 18, 19, 20), EDUCATION[4]),
}
"""Highest grade completed -> education; 93 and 94 are before first grade, 95 (ungraded) is no level."""


class NLSY79Settings(Settings):
    """Section ``[survey]`` of a study of the NLSY79.

    Attributes:
        source: "nlsy79".
        files: NLS Investigator extracts (.csv, .dct or .zip) that join on CASEID.
        jobs: "recent" takes the current or most recent job; "current" takes it only of people who are not known to be
            without a job at the interview.
        states: whether interviewed people without a coded job have a row with their state; False keeps coded jobs
            alone.
        precedence: the rules that name the state of a person without a coded job, the strongest first; a rule that is
            left out says nothing.
        classifications: Census classifications of the occupations, the preferred first. Where a round has codes of
            several, the first counts; codes of one that is left out are not read.
        variables: CSV of variables by year, as ``read_variables`` takes it: a new round, or names of one's own.
        weight: whose sampling weight a row bears, that of 1979 or that of its round.
        wage: whether rows with a job have their hourly rate of pay.
        wage_dollars: the year whose dollars wages are in; None: of the survey year.
        wage_bounds: lowest and highest hourly rate that is kept, in dollars of the survey year.
        prices: CSV with the columns year and price_index, in place of the consumer price index.
    """

    source: Literal["nlsy79"] = "nlsy79"
    files: tuple[Path, ...] = Field(min_length=1)
    jobs: Literal["recent", "current"] = "recent"
    states: bool = True
    precedence: tuple[Rule, ...] = ("enrollment", "status", "status_collapsed", "interview", "weeks")
    classifications: tuple[Classification, ...] = Field(default=(1980, 1970, 2000, 2002, 2010, 1990), min_length=1)
    variables: Path | None = None
    weight: Literal["1979", "round"] = "1979"
    wage: bool = False
    wage_dollars: int | None = None
    wage_bounds: tuple[float, float] = (1.0, 1000.0)
    prices: Path | None = None

    @model_validator(mode="after")
    def _of_one_mind(self) -> "NLSY79Settings":
        for name in ("precedence", "classifications"):
            chosen = getattr(self, name)
            if len(set(chosen)) < len(chosen):
                raise ValueError(f"{name} {list(chosen)} names one twice; name each once")
        require_sense(wage=self.wage, bounds=self.wage_bounds, base_year=self.wage_dollars, prices=self.prices)
        return self


def read_nlsy79(settings: NLSY79Settings) -> Careers:
    """Read careers and the flow of people and person-years that led to them.

    The closed list holds the occ1990dd codes that the census codes of these files can reach (330 for Census 1980),
    then the states that occur. A covariate without a variable in the files is missing for all, and the flow says so.

    Raises:
        LaborLLMError: as ``read_extracts``, ``read_variables`` and ``checked_wages``; or the files are of the NLSY97 or
            hold no occupation, a round is coded in another classification than the table of variables says, wages are
            asked for and there are none, or no person-year remains.
    """
    table = read_variables("nlsy79", settings.variables, OCCUPATIONS)
    extract = read_extracts(settings.files, wanted=lambda variable: _needed(concept_years(variable, table), settings))
    cohort.require_cohort(extract, settings.source)
    values = cohort.values_by_concept(extract, table)
    source = ", ".join(path.name for path in settings.files)
    rows = _interviews(values, settings, source)
    steps = [step("read: interview rounds with an occupation variable", rows, "kept")]
    steps += cohort.unread(extract, table, rows=rows, files=settings.files)
    steps += cohort.missing_rounds(extract, table, concepts=_occupations(settings, table), rows=rows)
    steps += _classifications(rows)
    rows, dropped = _occupied(_with_states(rows, values, settings), settings)
    require_rows(rows, dropped, source)
    rows = _with_education(rows, values)
    rows = rows.join(cohort.people(values, WORDS), on=PERSON, how="left", maintain_order="left")
    rows = cohort.with_weight(rows, values, concept="weight", each_round=settings.weight == "round")
    rows, paid = _with_wage(rows, values, settings, source)
    steps += [*dropped, *_recoded(rows, values), *paid, step("kept: person-years with an occupation", rows, "kept")]
    names = (PERSON, "year", "occupation", "education", *FIXED_CONCEPTS, "weight", "wage")
    frame = rows.select(name for name in names if name in rows.columns)
    return careers_from_frame(frame, closed_list(rows), source=source, survey="NLSY79", flow=steps)


def _needed(meanings: set[tuple[str, str]], settings: NLSY79Settings) -> bool:
    """Whether the settings ask for one of the concepts in that year; others are known, but not read."""
    unasked = set(WAGES) if not settings.wage else set()
    return any(
        concept not in unasked and (concept != "weight" or settings.weight == "round" or year == "1979")
        for concept, year in meanings
    )


def _occupations(settings: NLSY79Settings, table: VariableTable) -> list[str]:
    """The concepts that hold occupations of the chosen classifications, the preferred first."""
    chosen = [f"occupation_{census}" for census in settings.classifications]
    return [concept for concept in chosen if table.years(concept)]


def _interviews(values: pl.DataFrame, settings: NLSY79Settings, source: str) -> pl.DataFrame:
    """Columns person, year, code, census and job (occ1990dd): a row per person and round."""
    parts = []
    for census in settings.classifications:
        part = by_year(values, f"occupation_{census}").rename({f"occupation_{census}": "code"})
        jobs = map_codes(part["code"], census).alias("job")
        parts.append(part.with_columns(jobs, census=pl.lit(census, dtype=pl.Int32)))
    rows = pl.concat(parts).unique([PERSON, "year"], keep="first", maintain_order=True).sort(PERSON, "year")
    if not rows.height:
        raise LaborLLMError(
            f"{source}: no occupation among the variables; add an extract with CPSOCC80 (1982-2000), CPSOCC70 "
            f"(1979-1993) or OCCALL-EMP.01 (1994 on), question names in its header (CPSOCC80_1982) or a codebook "
            f"beside it"
        )
    require_classified(rows, source)
    return rows


def _classifications(rows: pl.DataFrame) -> list[Step]:
    """A step for each classification, where careers cross from one to another."""
    steps = []
    for (census,), part in rows.sort("year").group_by("census", maintain_order=True):
        years = [str(year) for year in part["year"].unique(maintain_order=True)]
        rounds = "1 round" if len(years) == 1 else f"{len(years)} rounds"
        steps.append(step(f"classification: Census {census} codes in {rounds} ({first_names(years)})", part, "noted"))
    return steps if len(steps) > 1 else []


def _with_states(rows: pl.DataFrame, values: pl.DataFrame, settings: NLSY79Settings) -> pl.DataFrame:
    """Adds state, employed and jobless.

    ``state`` is what a person without a job does: one of STATES, "employed" or "armed_forces". ``employed`` is whether
    the person is so at the interview, null where nothing says it. ``jobless`` is whether the state counts.
    """
    for concept in EVIDENCE:
        rows = rows.join(by_year(values, concept), on=[PERSON, "year"], how="left", maintain_order="left")
    rules = _rules()
    said = {rule: rules[rule].is_in(EMPLOYED) for rule in settings.precedence if rule in STATUS}
    if "interview" in settings.precedence:
        said["interview"] = pl.col("at_interview").replace_strict({0: False, 1: True}, default=None)
    speaking = [said[rule] for rule in settings.precedence if rule in said]
    employed = pl.coalesce(*speaking, pl.lit(None, pl.Boolean))
    lost = (pl.col("code") >= 0) & ~employed.fill_null(True) & (settings.jobs == "current")
    answers = [rules[rule] for rule in settings.precedence]
    idle = [pl.when(~answer.is_in(EMPLOYED)).then(answer) for answer in answers]  # a weaker rule may say employed
    rest = pl.lit("not_working")
    return rows.with_columns(
        state=pl.when(lost).then(pl.coalesce(*idle, rest)).otherwise(pl.coalesce(*answers, rest)),
        employed=employed,
        jobless=(pl.col("code") == NO_JOB) | lost,
    )


def _rules() -> Mapping[Rule, pl.Expr]:
    """What each rule says, null where it says nothing."""
    unemployed, out = pl.col("weeks_unemployed"), pl.col("weeks_out")
    more = (
        pl.when((unemployed > out) & (out >= 0))
        .then(pl.lit("unemployed"))
        .when((out > unemployed) & (unemployed >= 0))
        .then(pl.lit("not_in_labor_force"))
    )
    return {
        "enrollment": pl.when(pl.col("enrollment").is_in(ENROLLED)).then(pl.lit("in_education")),
        "status": _status("status"),
        "status_collapsed": _status("status_collapsed"),
        "interview": pl.when(pl.col("at_interview") == 1).then(pl.lit("employed")),
        "weeks": more,
    }


def _status(concept: str) -> pl.Expr:
    words = STATUS[concept]
    return pl.col(concept).replace_strict(list(words), list(words.values()), default=None, return_dtype=pl.String)


def _occupied(rows: pl.DataFrame, settings: NLSY79Settings) -> tuple[pl.DataFrame, list[Step]]:
    """The rows with an occupation, and a step for each reason why the others have none."""
    code, jobless = pl.col("code"), pl.col("jobless")
    unmapped = (code >= 0) & ~jobless & pl.col("job").is_null()
    reasons = [
        ("no interview (-5)", code == NO_INTERVIEW),
        ("invalid, unknown or refused occupation (-1 to -3)", (code < 0) & ~jobless),
        (f"code maps to no occupation ({unmapped_codes(rows.filter(unmapped))})", unmapped),
    ]
    if settings.states:
        reasons += [
            ("employed by status, without a coded job", jobless & (pl.col("state") == "employed")),
            ("in the armed forces, without a coded job", jobless & (pl.col("state") == "armed_forces")),
        ]
    else:
        reasons.append(("interviewed without a job (-4), states are not asked for", code == NO_JOB))
        reasons.append(("job not held at the interview, states are not asked for", jobless))
    rows, steps = sift(rows, reasons)
    unsaid = rows.filter(~jobless & pl.col("employed").is_null() & (settings.jobs == "current"))
    if unsaid.height:
        steps.append(
            step("kept: job of which the files do not say whether it is held at the interview", unsaid, "noted")
        )
    return rows.with_columns(occupation=pl.when(jobless).then(pl.col("state")).otherwise(pl.col("job"))), steps


def _with_education(rows: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Adds education, the level of the last grade known up to the year, and education_year, the year it was asked."""
    grade = pl.col("grade")
    grades = by_year(values, "grade").filter(grade.is_in(list(LEVEL_OF_GRADE)))
    levels = grade.replace_strict(list(LEVEL_OF_GRADE), list(LEVEL_OF_GRADE.values()), return_dtype=pl.String)
    return carried_forward(rows, grades.select(PERSON, "year", education=levels), "education")


def _with_wage(
    rows: pl.DataFrame, values: pl.DataFrame, settings: NLSY79Settings, source: str
) -> tuple[pl.DataFrame, list[Step]]:
    """Adds wage, dollars an hour of rows with a job, if the settings ask for it."""
    if not settings.wage:
        return rows, []
    if not any(has(values, concept) for concept in WAGES):
        raise LaborLLMError(
            f"{source}: no hourly rate of pay among the variables; add HRP1 or CPSHRP, or set survey.wage = false"
        )
    for concept in WAGES:
        paid = by_year(values, concept).filter(pl.col(concept) >= 0)
        rows = rows.join(paid, on=[PERSON, "year"], how="left", maintain_order="left")
    return wages_of_jobs(
        rows,
        pl.coalesce(WAGES),
        job=~pl.col("jobless"),
        bounds=settings.wage_bounds,
        base_year=settings.wage_dollars,
        prices=settings.prices,
    )


def _recoded(rows: pl.DataFrame, values: pl.DataFrame) -> list[Step]:
    """Steps for what was put in place of an answer, and for what is left missing."""
    never = pl.col("code") == NO_JOB
    lost = rows.filter(pl.col("jobless") & ~never)
    worked = rows.filter(never & (pl.col("weeks_worked") > 0))
    white = rows.filter(pl.col("ethnicity") == "white")
    steps = [
        *cohort.states_recoded(rows.filter(never)),
        step("recoded: job not held at the interview to the state then", lost, "recoded"),
        step("kept without a job: weeks worked in the past calendar year, no job at the interview", worked, "noted"),
        *carried_steps(rows, "education"),
        *cohort.first_known_later(rows, values, concept="region", allowed=list(WORDS["region"])),
        step("recoded: non-black, non-hispanic to white", white, "recoded"),
        *cohort.left_missing(rows, values, {"education": "grade", **FIXED_CONCEPTS}),
    ]
    if "weight" in rows.columns:
        steps += cohort.left_missing(rows, values, {"weight": "weight"})
    return [each for each in steps if each.person_years]
