"""Careers from the National Longitudinal Survey of Youth 1997: annual rounds 1997-2011, then odd years 2013-2023.

Which variables make a career stands in ``data/nlsy97_variables.csv``: concept, year, reference number, the question
names that headers may bear, and where the number was seen: "codebook", "Investigator file" (a dictionary or list of
variables that the Investigator wrote), "study code" (published code that uses the variable; no codebook of it was at
hand: check yours), "position" (not seen, but it fits between neighbours that were) or "name only". A codebook beside
the extract goes before a number: where it gives another question name, the variable is not read and the flow says so.
The weekly history is known by its pattern (``nlsy97_weeks.py``). ``data/tagsets/careers.NLSY97`` re-creates the
extract.

- Rows: a person and round, under the survey year; fieldwork reaches into the next year. From age 16 on, year less year
  of birth: the labor force of the US is counted from that age (Bureau of Labor Statistics); ``youngest`` changes it.
- Occupation: the code of the round's main job, the current or most recent employer at the interview. All employers
  since the last interview stand in the round's roster, and CV_MAINJOB_FLG says which is the main one; where it says
  nothing the first with a code is taken, and the flow counts it. Codes are of Census 2002 (YEMP_OCCODE-2002.01 and so
  on) in all rounds, those of 1997-2001 too, which the survey coded anew. No variable with Census 2010 codes was found
  for later rounds; a table of one's own may name one (``occupation_2010_01``). -5: no interview. -4: no job since the
  last interview; but where a main job is told, that its occupation was not asked: no row but by another source.
- Job or state: the first source of ``precedence`` that says something.
  "job": a job of the round, be it current or not; one whose code is invalid or maps nowhere leaves no row;
  "enrollment": at the interview (CV_ENROLLSTAT, where there is one its edited form): 8 to 11 is in education;
  "week": EMP_STATUS in the week of the interview, or in the week before where that one holds nothing: 4 unemployed, 5
  and 1 out of the labor force, 2 not working; at work (3, employers) or in the armed forces (6) is the round's job,
  and no row where it has none; "interview": employed on its day (CV_DOI_EMPLOYED, seen for 2019 and 2021; 1 is the
  round's job likewise, 0 not working). Else: not working. With "week" first a job counts only while it lasts, and one
  that is over gives way to a state; with "enrollment" first students with a job are in education.
- Education: highest degree (CV_HIGHEST_DEGREE_EVER_EDT, from 1998) and highest grade (CV_HGC_EVER), each the last
  known up to the year. Some college: an associate degree, or grade 13 and more without a bachelor's. Without a degree
  variable the grade decides alone.
- Ethnicity: KEY!RACE_ETHNICITY, in the words of ``ETHNICITY``. Region: the first one known, one value a person. Weight:
  people represented, cumulating cases (SAMPLING_WEIGHT_CC) or panel, two implied decimals.
- Wage: hourly rate of pay of the main job (CV_HRLY_PAY) in cents. It is computed from pay and hours: rates outside
  ``wage_bounds`` are left missing and counted.
"""

import re
from collections.abc import Sequence
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
    require_classified,
    require_rows,
    sift,
    step,
    unmapped_codes,
)
from laborllm.survey.nls import cohort
from laborllm.survey.nls.cohort import FIXED_CONCEPTS, NO_INTERVIEW, NO_JOB, by_year, concept_years, has
from laborllm.survey.nls.extracts import ID_REFERENCE, PERSON, read_extracts
from laborllm.survey.nls.nlsy97_weeks import week_reference, week_variables, with_week_state, without_weeks
from laborllm.survey.occupations import STATES, map_codes
from laborllm.survey.variables import VariableTable, read_variables
from laborllm.survey.wages import require_sense, wages_of_jobs

CENSUSES = (2002, 2010, 1990)
"""Classifications of the occupations; where a round has coded jobs in several, the first counts."""
JOBS = 15
"""Jobs of a round's roster that can be told apart."""
OCCUPATION = re.compile(r"occupation_(\d{4})_(\d\d)")
"""Concepts of occupations: the classification, and the job of the roster."""
PAY = re.compile(r"pay_(\d\d)")
"""Concepts of the hourly rate of pay: the job of the roster."""
ENROLLED = (8, 9, 10, 11)
"""CV_ENROLLSTAT: in grades 1-12, in a 2-year college, in a 4-year college, in a graduate program."""
AT_INTERVIEW = {0: "not_working", 1: "employed"}
"""CV_DOI_EMPLOYED -> state."""
GENDER = {1: "male", 2: "female"}
ETHNICITY = {1: "black or african american", 2: "hispanic", 3: "other", 4: "white"}
"""KEY!RACE_ETHNICITY -> word: 3 is mixed race and 4 neither Black nor Hispanic, so "white" holds some others too."""
REGION = dict(enumerate(REGIONS, start=1))
DEGREES = {
    0: EDUCATION[0],
    1: EDUCATION[1],
    2: EDUCATION[1],
    3: EDUCATION[2],
    4: EDUCATION[3],
    **dict.fromkeys((5, 6, 7), EDUCATION[4]),
}
"""Highest degree -> education: 0 none, 1 GED, 2 high school, 3 associate, 4 bachelor's, 5 to 7 above."""
LEVEL_OF_GRADE = {
    **dict.fromkeys(range(12), EDUCATION[0]),
    12: EDUCATION[1],
    **dict.fromkeys((13, 14, 15), EDUCATION[2]),
    16: EDUCATION[3],
    **dict.fromkeys((17, 18, 19, 20), EDUCATION[4]),
}
"""Highest grade completed -> education where no degree is known; 95 (ungraded) is no level."""
_UNKNOWN_JOB, _UNCODED_JOB = "a job, but none of the list", "a main job without a code"

Source = Literal["job", "enrollment", "week", "interview"]
Weight = Literal["1997", "round", "panel"]


class NLSY97Settings(Settings):
    """Section ``[survey]`` of a study of the NLSY97.

    Attributes:
        source: "nlsy97".
        files: NLS Investigator extracts (.csv, .dct or .zip) that join on PUBID.
        states: whether interviewed people without a coded job have a row with their state; False keeps coded jobs
            alone.
        precedence: the sources of a row's job or state, the strongest first; a source that is left out says nothing,
            "job" may not be.
        youngest: the age, year less year of birth, from which rows are kept.
        variables: CSV of variables by year, as ``nlsy97_variables`` takes it: a new round, or names of one's own.
        weight: whose sampling weight a row bears, that of 1997, that of its round, or the panel weight of its round.
        wage: whether rows with a job have its hourly rate of pay.
        wage_dollars: the year whose dollars wages are in; None: of the survey year.
        wage_bounds: lowest and highest hourly rate that is kept, in dollars of the survey year.
        prices: CSV with the columns year and price_index, in place of the consumer price index.
    """

    source: Literal["nlsy97"] = "nlsy97"
    files: tuple[Path, ...] = Field(min_length=1)
    states: bool = True
    precedence: tuple[Source, ...] = ("job", "enrollment", "week", "interview")
    youngest: int = Field(default=16, ge=0)
    variables: Path | None = None
    weight: Weight = "1997"
    wage: bool = False
    wage_dollars: int | None = None
    wage_bounds: tuple[float, float] = (1.0, 1000.0)
    prices: Path | None = None

    @model_validator(mode="after")
    def _of_one_mind(self) -> "NLSY97Settings":
        if "job" not in self.precedence or len(set(self.precedence)) < len(self.precedence):
            raise ValueError(f"precedence {list(self.precedence)} must name job, and each source once at most")
        require_sense(wage=self.wage, bounds=self.wage_bounds, base_year=self.wage_dollars, prices=self.prices)
        return self


def read_nlsy97(settings: NLSY97Settings) -> Careers:
    """Read careers and the flow of people and person-years that led to them.

    The closed list holds the occ1990dd codes that the census codes of these files can reach, then the states that
    occur. A covariate without a variable in the files is missing for all, and the flow says so.

    Raises:
        LaborLLMError: as ``read_extracts``, ``read_variables`` and ``checked_wages``; or the files are of the NLSY79 or
            hold no occupation, a round is coded in another classification than the table of variables says, wages are
            asked for and there are none, or no person-year remains.
    """
    table = nlsy97_variables(settings.variables)
    extract = read_extracts(settings.files, wanted=lambda variable: _needed(concept_years(variable, table), settings))
    cohort.require_cohort(extract, settings.source)
    values = cohort.values_by_concept(without_weeks(extract, table), table)
    source = ", ".join(path.name for path in settings.files)
    rows = _main_jobs(values, source)
    steps = [step("read: interview rounds with an occupation variable", rows, "kept")]
    steps += cohort.unread(extract, table, rows=rows, files=settings.files)
    steps += cohort.missing_rounds(
        extract, table, concepts=[f"occupation_{census}_01" for census in CENSUSES], rows=rows
    )
    people = cohort.people(values, {"gender": GENDER, "ethnicity": ETHNICITY, "region": REGION})
    rows = rows.join(people, on=PERSON, how="left", maintain_order="left")
    rows, outside = sift(rows, _outside(settings))
    rows, undated = with_week_state(rows, values, extract=extract, table=table)
    rows = _with_occupation(rows, values, settings)
    rows, unusable = sift(rows, _unusable(rows, settings))
    require_rows(rows, [*outside, *unusable], source)
    rows = _with_education(rows, values)
    weight = "weight_panel" if settings.weight == "panel" else "weight_cc"
    rows = cohort.with_weight(rows, values, concept=weight, each_round=settings.weight != "1997")
    rows, paid = _with_wage(rows, values, settings, source)
    steps += [*outside, *undated, *unusable, *_recoded(rows, values), *paid]
    steps.append(step("kept: person-years with an occupation", rows, "kept"))
    names = (PERSON, "year", "occupation", "education", *FIXED_CONCEPTS, "weight", "wage")
    frame = rows.select(name for name in names if name in rows.columns)
    return careers_from_frame(frame, closed_list(rows), source=source, survey="NLSY97", flow=steps)


def nlsy97_variables(extra: Path | None = None) -> VariableTable:
    """The variables that make a career: the table that ships, a user's rows, and the weekly history by its pattern.

    Args:
        extra: as ``read_variables`` takes it; the concepts ``occupation_CENSUS_JOB`` are known for each of CENSUSES.

    Raises:
        LaborLLMError: as ``read_variables``.
    """
    jobs = [f"{job:02}" for job in range(1, JOBS + 1)]
    concepts = [*(f"occupation_{census}_{job}" for census in CENSUSES for job in jobs), *(f"pay_{job}" for job in jobs)]
    table = read_variables("nlsy97", extra, concepts)
    return VariableTable(pl.concat([table.rows, week_variables()], how="diagonal"), table.own)


def careers_tagset() -> list[str]:
    """The lines of ``data/tagsets/careers.NLSY97``: the variables of careers, and the weeks since the first interviews.

    Weeks end with the last one that published code was seen to read, week 9 of 2022; a later round has more.
    """
    weeks = week_variables()["reference"]
    seen = weeks.filter(weeks.is_between(week_reference(1997, 1), week_reference(2022, 9)))
    person, *others = read_variables("nlsy97").tagset(ID_REFERENCE)
    return [person, *sorted([*others, *seen])]


def _needed(meanings: set[tuple[str, str]], settings: NLSY97Settings) -> bool:
    """Whether the settings ask for one of the concepts in that year; others are known, but not read."""
    return any(_asked(concept, year, settings) for concept, year in meanings)


def _asked(concept: str, year: str, settings: NLSY97Settings) -> bool:
    if PAY.fullmatch(concept):
        return settings.wage
    match settings.weight:
        case "1997":
            return not concept.startswith("weight_") or (concept, year) == ("weight_cc", "1997")
        case "round":
            return concept != "weight_panel"
        case "panel":
            return concept != "weight_cc"


def _main_jobs(values: pl.DataFrame, source: str) -> pl.DataFrame:
    """Columns person, year, loop, flagged, census, code and job (occ1990dd): a row per person and round.

    The code is null where the main job is one whose occupation the files lack.
    """
    jobs = _by_job(values, OCCUPATION, names=("census", "loop"), value="code")
    if not jobs.height:
        raise LaborLLMError(
            f"{source}: no occupation among the variables; add an extract with YEMP_OCCODE-2002.01 (1997-2023) and "
            f"CV_MAINJOB_FLG, question names in its header or a codebook beside it"
        )
    flags = by_year(values, "main_job").filter(pl.col("main_job") > 0)
    first = jobs.filter(pl.col("code") != NO_JOB).group_by(PERSON, "year").agg(pl.col("loop").min().alias("first"))
    rounds = jobs.select(PERSON, "year").unique()
    for known in (flags, first):
        rounds = rounds.join(known, on=[PERSON, "year"], how="left")
    flagged, loop = pl.col("main_job").is_not_null(), pl.coalesce("main_job", "first", pl.lit(1))
    rounds = rounds.select(PERSON, "year", loop=loop, flagged=flagged)
    order = pl.col("census").replace_strict(list(CENSUSES), list(range(len(CENSUSES))), return_dtype=pl.Int64)
    preferred = jobs.sort(pl.col("code") < 0, order)
    preferred = preferred.unique([PERSON, "year", "loop"], keep="first", maintain_order=True)
    rows = rounds.join(preferred, on=[PERSON, "year", "loop"], how="left").sort(PERSON, "year")
    maps = [pl.when(pl.col("census") == census).then(map_codes(rows["code"], census)) for census in CENSUSES]
    rows = rows.with_columns(job=pl.coalesce(maps), census=pl.col("census").fill_null(CENSUSES[0]))
    require_classified(rows, source)
    return rows


def _by_job(values: pl.DataFrame, concepts: re.Pattern[str], *, names: Sequence[str], value: str) -> pl.DataFrame:
    """The values of concepts that differ by job: columns person, year, the numbers in the concept's name, value."""
    parts = [pl.DataFrame(schema={PERSON: pl.Int64, "year": pl.Int32, **dict.fromkeys((*names, value), pl.Int64)})]
    for concept in values["concept"].unique().sort():
        if found := concepts.fullmatch(concept):
            numbers = [
                pl.lit(int(number), pl.Int64).alias(name) for name, number in zip(names, found.groups(), strict=True)
            ]
            parts.append(by_year(values, concept).select(PERSON, "year", *numbers, pl.col(concept).alias(value)))
    return pl.concat(parts)


def _outside(settings: NLSY97Settings) -> list[tuple[str, pl.Expr]]:
    age = pl.col("year") - pl.col("birth_year")
    return [
        ("no interview (-5)", pl.col("code") == NO_INTERVIEW),
        (f"younger than {settings.youngest}", age < settings.youngest),
    ]


def _with_occupation(rows: pl.DataFrame, values: pl.DataFrame, settings: NLSY97Settings) -> pl.DataFrame:
    """Adds occupation: the answer of the first source that has one, "employed" or "armed_forces" without a job."""
    for concept in ("enrollment", "at_interview"):
        rows = rows.join(by_year(values, concept), on=[PERSON, "year"], how="left", maintain_order="left")
    jobless = pl.col("code").eq_missing(NO_JOB)
    job = pl.when(~jobless).then(pl.col("job").fill_null(_UNKNOWN_JOB))
    at_interview = pl.col("at_interview").replace_strict(AT_INTERVIEW, default=None, return_dtype=pl.String)
    answers = {
        "job": job,
        "enrollment": pl.when(pl.col("enrollment").is_in(ENROLLED)).then(pl.lit("in_education")),
        **{
            source: pl.when(state.is_in(["employed", "armed_forces"]) & ~jobless).then(job).otherwise(state)
            for source, state in (("week", pl.col("week_state")), ("interview", at_interview))
        },
    }
    unanswered = pl.when(jobless & pl.col("flagged")).then(pl.lit(_UNCODED_JOB)).otherwise(pl.lit("not_working"))
    occupation = pl.coalesce(*[answers[source] for source in settings.precedence], unanswered)
    return rows.with_columns(occupation=occupation)


def _unusable(rows: pl.DataFrame, settings: NLSY97Settings) -> list[tuple[str, pl.Expr]]:
    occupation, code = pl.col("occupation"), pl.col("code")
    unknown = occupation == _UNKNOWN_JOB
    unmapped = rows.filter(unknown & (code >= 0))
    reasons = [
        ("main job is a later job of the roster, whose occupation the files lack", unknown & code.is_null()),
        ("invalid, unknown or refused occupation (-1 to -3)", unknown & (code < 0)),
        (f"code maps to no occupation ({unmapped_codes(unmapped)})", unknown),
        ("main job without an occupation (-4)", occupation == _UNCODED_JOB),
        ("at work at the interview, without a coded job", occupation == "employed"),
        ("in the armed forces at the interview, without a coded job", occupation == "armed_forces"),
    ]
    if not settings.states:
        state = occupation.is_in(list(STATES))
        reasons += [
            ("interviewed without a job (-4), states are not asked for", state & (code == NO_JOB)),
            ("a state comes before the job, states are not asked for", state),
        ]
    return reasons


def _with_education(rows: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Adds education, from the last degree and grade known up to the year, and education_year, when told."""
    for concept, levels in (("degree", DEGREES), ("grade", LEVEL_OF_GRADE)):
        known = by_year(values, concept).filter(pl.col(concept).is_in(list(levels)))
        rows = carried_forward(rows, known, concept)
    degree, grade = (
        pl.col(concept).replace_strict(list(levels), list(levels.values()), return_dtype=pl.String)
        for concept, levels in (("degree", DEGREES), ("grade", LEVEL_OF_GRADE))
    )
    some_college = pl.when((pl.col("degree") <= 2) & (pl.col("grade") >= 13)).then(pl.lit(EDUCATION[2]))
    told = pl.max_horizontal("degree_year", "grade_year")
    return rows.with_columns(education=pl.coalesce(some_college, degree, grade), education_year=told)


def _with_wage(
    rows: pl.DataFrame, values: pl.DataFrame, settings: NLSY97Settings, source: str
) -> tuple[pl.DataFrame, list[Step]]:
    """Adds wage, dollars an hour of the round's main job, of rows with a job, if the settings ask for it."""
    if not settings.wage:
        return rows, []
    paid = _by_job(values, PAY, names=("loop",), value="pay")
    if not paid.height:
        raise LaborLLMError(
            f"{source}: no hourly rate of pay among the variables; add CV_HRLY_PAY, or set survey.wage = false"
        )
    rows = rows.join(paid.filter(pl.col("pay") >= 0), on=[PERSON, "year", "loop"], how="left", maintain_order="left")
    return wages_of_jobs(
        rows,
        pl.col("pay"),
        job=~pl.col("occupation").is_in(list(STATES)),
        bounds=settings.wage_bounds,
        base_year=settings.wage_dollars,
        prices=settings.prices,
    )


def _recoded(rows: pl.DataFrame, values: pl.DataFrame) -> list[Step]:
    """Steps for what was put in place of an answer, and for what is left missing."""
    jobless, state = pl.col("code").eq_missing(NO_JOB), pl.col("occupation").is_in(list(STATES))
    flagged, untold = pl.col("flagged"), "main job not told (CV_MAINJOB_FLG)"
    covariates = {"education": "degree" if has(values, "degree") else "grade", **FIXED_CONCEPTS}
    weight = "weight_panel" if has(values, "weight_panel") else "weight_cc"
    words = [
        ("recoded: a state comes before the job of the round", rows.filter(state & ~jobless)),
        ("recoded: main job without an occupation (-4) to a state", rows.filter(state & jobless & flagged)),
        (f"recoded: {untold}, job 01 in its place", rows.filter(~state & ~flagged & (pl.col("loop") == 1))),
        (
            f"recoded: {untold}, the first with a code in its place",
            rows.filter(~state & ~flagged & (pl.col("loop") > 1)),
        ),
        ("recoded: neither Black nor Hispanic to white", rows.filter(pl.col("ethnicity") == "white")),
        ("recoded: mixed race, not Hispanic, to other", rows.filter(pl.col("ethnicity") == "other")),
    ]
    return [
        *cohort.states_recoded(rows.filter(jobless & ~flagged)),
        *[step(what, part, "recoded") for what, part in words if part.height],
        *carried_steps(rows, "education"),
        *cohort.first_known_later(rows, values, concept="region", allowed=list(REGION)),
        *cohort.left_missing(rows, values, covariates),
        *(cohort.left_missing(rows, values, {"weight": weight}) if "weight" in rows.columns else []),
    ]
