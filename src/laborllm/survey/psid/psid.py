"""Careers from the Panel Study of Income Dynamics, 1968-2021.

Which variables make a career stands in ``data/psid_variables.csv``; every number is that of the survey's own index of
variables 1968-2021 (psid_cross_year_index.xlsx). ``data/psid_cart.txt`` lists them for the Data Center's cart.

- People: the person is ER30001 times 1000 plus ER30002, in every wave, whatever family the person has moved to. In
  the family at the interview: sequence number 1-20 (1968: a relation to head). The family file speaks of the head
  (reference person) and of the spouse (wife, "wife", partner); each row goes to whoever has that relation in that
  wave. Nobody else has an occupation.
- Occupation: main job. "Present main job" 1981-2001, Census 1970 codes, stands for people who work for money now.
  "Present or last main job" 2003-2015 (3-digit Census 2000) and 2017-2021 (4-digit Census 2010) is read of people at
  work alone: the last job of the unemployed is no present one. ``retrospective`` adds 1968-1980 (Census 1970),
  which the survey coded later for a selection of people (those who told main jobs in three waves, or had died by
  1992), also of people at work alone: heads, and spouses in the waves that ask for their status (1976, 1979, 1980).
- At work: "working now" among the mentions of employment status (one mention to 1993, three later), or, from 1994
  on, "doing any work for money now". Who is on lay-off or leave has a job where one is coded.
- State: the first of ``precedence`` that applies decides. "job": at work, or with a coded present job; "in_education":
  student; "unemployed": looking for work, or laid off; "not_in_labor_force": retired, disabled, keeping house, other.
- Education: years of completed education of the individual file, the last known up to the year.
- Ethnicity: hispanic where any wave says so, of race (Spanish-American to 1984, Latino origin 1990-2003) or of
  Spanish descent (1985-1996, 2005 on; 1997-2003 do not ask), else the first race known, first mention.
- Region: of the family, the first known, one value a person. Birth year: the most recent report (1983 on) that is not
  after the person's first row. Gender: ER32000.
- Weight: individual longitudinal weight of the wave: core to 1992, core revised 1993-1996, core and immigrant from
  1997 on; these are not comparable across kinds.
- Wage: average hourly earnings, labor income by hours, of the calendar year before the interview; none in 1993.
- Labor income: the survey's total of the calendar year before the interview, of all rows, with or without a job; from
  1994 on without farm and unincorporated business income (``labor_income.py``).
"""

from functools import cache
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import NUMBERS, Careers, Step
from laborllm.survey.door import careers_from_frame
from laborllm.survey.flow import closed_list, require_classified, sift, step, unmapped_codes
from laborllm.survey.occupations import STATES, map_codes
from laborllm.survey.psid.codes import (
    ARMED_FORCES_1970,
    CENSUS,
    MILITARY,
    PRESENT_JOB_ALONE,
    TOP_WAGE,
    UNKNOWN_OCCUPATION,
)
from laborllm.survey.psid.covariates import FIXED, fixed_covariates, with_covariates
from laborllm.survey.psid.labor_income import with_labor_income
from laborllm.survey.psid.roles import answers, heads_and_spouses, missing_waves, roster
from laborllm.survey.psid.waves import PERSON, Waves, read_waves
from laborllm.survey.variables import VariableTable, read_variables
from laborllm.survey.wages import checked_wages

Answer = Literal["job", "in_education", "unemployed", "not_in_labor_force"]
CART_LINE = 10
"""Variables in a line of the cart."""


class PSIDSettings(Settings):
    """Section ``[survey]`` of a study of the PSID.

    Attributes:
        source: "psid".
        files: the cross-year individual file and the family files of the waves (each a .zip as downloaded, or a .txt
            with a set-up beside it), Data Center extracts (.txt with a set-up, or .csv), or a folder of such files.
        states: whether people without a present job have a row with their state; False keeps jobs alone.
        precedence: what a row is if several apply, first the one that counts first; "job" must be among them, and
            people to whom none applies have no row.
        retrospective: whether occupations of 1968-1980, coded later for a selection of people, are read.
        variables: a CSV with rows for ``data/psid_variables.csv``, e.g. for a new wave.
        wage: whether rows with a job have hourly earnings, in dollars of the year before the survey year.
        wage_bounds: lowest and highest hourly earnings that are kept, in those dollars; others are missing.
        labor_income: whether rows, with a job or without, have the labor income of the year before the survey year, in
            dollars of that year.
        wage_dollars: the year in whose dollars wages and labor incomes are given; None leaves them as they are.
        prices: a CSV with the columns year and price_index in place of the consumer price index.
        weight: whether rows have the wave's individual weight.
    """

    source: Literal["psid"] = "psid"
    files: tuple[Path, ...] = Field(min_length=1)
    states: bool = True
    precedence: tuple[Answer, ...] = ("job", "in_education", "unemployed", "not_in_labor_force")
    retrospective: bool = False
    variables: Path | None = None
    wage: bool = False
    wage_bounds: tuple[float, float] = (1.0, 1000.0)
    labor_income: bool = False
    wage_dollars: int | None = None
    prices: Path | None = None
    weight: bool = True

    @model_validator(mode="after")
    def _of_one_mind(self) -> "PSIDSettings":
        if "job" not in self.precedence or len(set(self.precedence)) < len(self.precedence):
            raise ValueError(f"precedence {list(self.precedence)} must name job, and each answer at most once")
        paid = self.wage or self.labor_income
        if not paid and (self.wage_dollars is not None or self.prices is not None):
            raise ValueError(
                "wage_dollars and prices are about wages and labor income; set wage = true or labor_income = true, or "
                "leave them out"
            )
        if self.wage_dollars is None and self.prices is not None:
            raise ValueError("prices serve to deflate; say to which year in wage_dollars, or leave them out")
        if not 0 <= self.wage_bounds[0] < self.wage_bounds[1]:
            raise ValueError(f"wage_bounds {list(self.wage_bounds)} must be zero or more, the lower one first")
        return self


def read_psid(settings: PSIDSettings) -> Careers:
    """Read careers and the flow of people and person-years that led to them.

    The closed list holds the occ1990dd codes that the census codes of these files can reach, then the states that
    occur. A covariate without a variable in the files is missing for all, and the flow says so.

    Raises:
        LaborLLMError: as ``read_waves``, ``read_variables`` and ``checked_wages``; or the files hold no wave with
            occupations, or no person-year remains.
    """
    table = psid_variables(settings.variables)
    waves = read_waves(settings.files, table)
    source = ", ".join(path.name for path in settings.files)
    rows, steps = _heads_and_spouses(waves, table, settings)
    people = fixed_covariates(rows, waves)
    rows = rows.with_columns(_jobs(rows))
    require_classified(rows.filter((pl.col("code") > 0) & ~_unknown_code()), source)
    rows = _with_occupation(rows, settings.precedence if settings.states else ("job",))
    rows, dropped = sift(rows, _unusable(rows, settings.states))
    if not rows.height:
        raise LaborLLMError(
            f"{settings.files[0]}: no person-year has a usable occupation; add waves or draw them again"
        )
    rows = rows.select(PERSON, "year", "role", "census", "code", "chosen", "occupation", "wage", "labor_income")
    rows, covariates = with_covariates(rows, waves, people=people, weight=settings.weight)
    rows, wages = _with_wage(rows, settings)
    rows, incomes = _with_labor_income(rows, settings)
    steps += [*dropped, *_recoded(rows), *covariates, *wages, *incomes]
    steps.append(step("kept: person-years with an occupation", rows, "kept"))
    names = [PERSON, "year", "occupation", "education", *FIXED, *(name for name in NUMBERS if name in rows.columns)]
    return careers_from_frame(rows.select(names), closed_list(rows), source=source, survey="PSID", flow=steps)


@cache
def psid_variables(extra: Path | None = None) -> VariableTable:
    """The variables that make a career, with a user's rows in them.

    Raises:
        LaborLLMError: as ``read_variables``.
    """
    return read_variables("psid", extra)


def cart(table: VariableTable) -> str:
    """The variables of a table as the Data Center's cart takes them: numbers parted by spaces, some to a line.

    Examples:
        >>> cart(psid_variables()).split()[:4]
        ['ER30001', 'ER30002', 'ER32000', 'ER30020']
    """
    names = list(dict.fromkeys(table.rows["reference"].drop_nulls()))
    lines = [" ".join(names[first : first + CART_LINE]) for first in range(0, len(names), CART_LINE)]
    return "\n".join([*lines, ""])


def _heads_and_spouses(waves: Waves, table: VariableTable, settings: PSIDSettings) -> tuple[pl.DataFrame, list[Step]]:
    """A row per head or spouse and wave with the family file's answers, and the steps that lead to them."""
    everyone = roster(waves, table, retrospective=settings.retrospective)
    steps = [step("read: people of families that answered, in waves with an occupation", everyone, "kept")]
    people = everyone[PERSON].n_unique()
    steps += missing_waves(waves, table, people=people, retrospective=settings.retrospective)
    steps += _unread(waves, table, everyone)
    named, absent = heads_and_spouses(everyone)
    rows, without = answers(named, waves, retrospective=settings.retrospective)
    return rows, [*steps, *absent, *without]


def _unread(waves: Waves, table: VariableTable, rows: pl.DataFrame) -> list[Step]:
    """A step for each file of which nothing but ids is read."""
    keys = ("id_1968", "person_number", "interview", "family_interview")
    known = set(table.rows.filter(~pl.col("concept").is_in(keys))["reference"].drop_nulls())
    return [
        step(f"not read: no variable of a career in {Path(file).name}", rows, "noted")
        for file, header in waves.headers.items()
        if not known & set(header)
    ]


def _jobs(rows: pl.DataFrame) -> pl.Expr:
    """The occ1990dd code of each census code, null where it maps nowhere."""
    census, code = pl.col("census"), pl.col("code")
    maps = [pl.when(census == each).then(map_codes(rows["code"], each)) for each in sorted(set(CENSUS.values()))]
    military = pl.when((census == 1970) & (code == ARMED_FORCES_1970)).then(pl.lit(MILITARY))
    return pl.coalesce(military, *maps).alias("job")


def _with_occupation(rows: pl.DataFrame, precedence: tuple[str, ...]) -> pl.DataFrame:
    """Adds chosen, the first of precedence that applies (null for none), and occupation (null where none is known)."""
    coded = (pl.col("code") > 0).fill_null(False)
    present = pl.col("kind").is_in(PRESENT_JOB_ALONE) | pl.col("on_leave")
    applies = {"job": pl.col("at_work") | (coded & present)}
    words = [pl.when(applies.get(word, pl.col(word))).then(pl.lit(word)) for word in precedence]
    rows = rows.with_columns(pl.coalesce(words).alias("chosen"))
    state = pl.when(pl.col("chosen").is_in(list(STATES))).then("chosen")
    return rows.with_columns(occupation=pl.when(pl.col("chosen") == "job").then("job").otherwise(state))


def _unusable(rows: pl.DataFrame, states: bool) -> list[tuple[str, pl.Expr]]:
    """Why rows have no occupation, and when."""
    code, at_job = pl.col("code"), pl.col("chosen") == "job"
    unmapped = rows.filter(at_job & (code > 0) & ~_unknown_code() & pl.col("job").is_null())
    without = "employment status unknown, or one that survey.precedence leaves out"
    return [
        (without if states else "without a present job, states are not asked for", pl.col("chosen").is_null()),
        ("at work, without a coded occupation (0 or blank)", at_job & ((code <= 0) | code.is_null())),
        ("occupation unknown (999, 9999)", at_job & _unknown_code()),
        (f"code maps to no occupation ({unmapped_codes(unmapped)})", at_job & pl.col("job").is_null()),
    ]


def _unknown_code() -> pl.Expr:
    """Whether the code says that the occupation is unknown."""
    either = [(pl.col("census") == census) & (pl.col("code") == code) for census, code in UNKNOWN_OCCUPATION.items()]
    return pl.any_horizontal(either).fill_null(False)


def _recoded(rows: pl.DataFrame) -> list[Step]:
    """Steps for states in place of a job, and for codes that were put in place of others."""
    occupation, code = pl.col("occupation"), pl.col("code")
    steps = [
        step(f"recoded: no present job to {title}", rows.filter(occupation == state), "recoded")
        for state, title in STATES.items()
    ]
    last = rows.filter((pl.col("chosen") != "job") & (code > 0))
    steps.append(step("recoded: last, or second, job of people counted by their state not read", last, "recoded"))
    soldiers = rows.filter((pl.col("census") == 1970) & (code == ARMED_FORCES_1970) & (pl.col("chosen") == "job"))
    steps.append(step(f"recoded: the survey's 1970 code {ARMED_FORCES_1970} to Military", soldiers, "recoded"))
    return [each for each in steps if each.person_years]


def _with_wage(rows: pl.DataFrame, settings: PSIDSettings) -> tuple[pl.DataFrame, list[Step]]:
    """The rows with the wage of those who have a job, or without the column."""
    if not settings.wage:
        return rows.drop("wage"), []
    rows = rows.with_columns(pl.when(pl.col("chosen") == "job").then("wage").alias("wage"))
    top = rows.filter(pl.col("wage") == TOP_WAGE)
    notes = [step(f"noted: wage at the top code {TOP_WAGE}, or above it", top, "noted")]
    earned = rows.with_columns(pl.col("year") - 1)
    earned, steps = checked_wages(
        earned, bounds=settings.wage_bounds, base_year=settings.wage_dollars, prices=settings.prices
    )
    rows = earned.with_columns(pl.col("year") + 1)
    notes.append(step("noted: wage is of the calendar year before the interview", rows.drop_nulls("wage"), "noted"))
    jobs = rows.filter((pl.col("chosen") == "job") & pl.col("wage").is_null())
    notes.append(step("left missing: wage of a job", jobs, "recoded"))
    return rows, [each for each in [*steps, *notes] if each.person_years]


def _with_labor_income(rows: pl.DataFrame, settings: PSIDSettings) -> tuple[pl.DataFrame, list[Step]]:
    """The rows with the labor income of all, or without the column."""
    if not settings.labor_income:
        return rows.drop("labor_income"), []
    return with_labor_income(rows, base_year=settings.wage_dollars, prices=settings.prices)
