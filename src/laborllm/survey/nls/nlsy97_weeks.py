"""The weekly employment history of the NLSY97, and what a person did in the week of an interview.

EMP_STATUS_YEAR.WEEK has the reference number E001, the year less 1980, and the week: E0013301 is EMP_STATUS_2013.01.
Weeks run from Sunday to Saturday, and a year's first is the one with January 1. That 1994, 2000, 2005 and 2011 have 53
weeks in the survey's own list of variables bears this out. Codes are those of the survey's value labels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from laborllm.survey.careers import Step
from laborllm.survey.flow import step
from laborllm.survey.nls.cohort import by_year, concept_years
from laborllm.survey.nls.extracts import PERSON, Extract, Variable, agreed_column
from laborllm.survey.variables import COLUMNS, VariableTable

FIRST_YEAR, LAST_YEAR = 1994, 2030
"""Years whose weeks are recognised: from the year in which the oldest were 14 to one that no round has reached."""
EMPLOYER = 9701
"""The lowest number of an employer in EMP_STATUS."""
WEEK_STATUS = {
    1: "not_in_labor_force",
    2: "not_working",
    3: "employed",
    4: "unemployed",
    5: "not_in_labor_force",
    6: "armed_forces",
}
"""EMP_STATUS -> state. 1 has no employer and does not search, 3 has one but the weeks off are not known; 0, no
information, is no answer."""
_CONCEPT = re.compile(r"week_(\d{4})_(\d\d)")


def week_of(days: pl.Series) -> pl.DataFrame:
    """The week of the survey's calendar in which each day lies.

    Args:
        days: dates, shape (rows,).

    Returns:
        Columns week_year and week (1 to 53), both int32; null where the day is.

    Examples:
        >>> week_of(pl.Series([date(2011, 1, 1), date(2011, 12, 31), date(2012, 1, 1)])).rows()
        [(2011, 1), (2011, 53), (2012, 1)]
    """
    saturday = pl.col("day") + pl.duration(days=(13 - pl.col("day").dt.weekday()) % 7)
    week = (saturday.dt.ordinal_day() - 1) // 7 + 1
    return days.to_frame("day").select(week_year=saturday.dt.year(), week=week.cast(pl.Int32))


def weeks_of(year: int) -> int:
    """Weeks of a year in the survey's calendar, 52 or 53.

    Examples:
        >>> [year for year in range(1994, 2016) if weeks_of(year) == 53]
        [1994, 2000, 2005, 2011]
    """
    last = date(year, 12, 31)
    saturday = last - timedelta((last.weekday() - 5) % 7)
    return (saturday.timetuple().tm_yday - 1) // 7 + 1


def week_reference(year: int, week: int) -> str:
    """The reference number of a week's status.

    Examples:
        >>> week_reference(2013, 1)
        'E0013301'
    """
    return f"E001{year - 1980}{week:02}"


def week_variables() -> pl.DataFrame:
    """Rows of a table of variables (``variables.COLUMNS``), one a week; the concept is ``week_YEAR_WEEK``."""
    rows = [
        (f"week_{year}_{week:02}", "XRND", week_reference(year, week), f"EMP_STATUS_{year}.{week:02}")
        for year in range(FIRST_YEAR, LAST_YEAR + 1)
        for week in range(1, weeks_of(year) + 1)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def without_weeks(extract: Extract, table: VariableTable) -> Extract:
    """The extract less its weekly history, whose long form would have a thousand rows a person."""
    weekly = {variable for variables in _weekly(extract, table).values() for variable in variables}
    return replace(extract, variables=tuple(variable for variable in extract.variables if variable not in weekly))


def with_week_state(
    rows: pl.DataFrame, values: pl.DataFrame, *, extract: Extract, table: VariableTable
) -> tuple[pl.DataFrame, list[Step]]:
    """What each person did in the week of the interview, or in the week before where that one holds nothing.

    Args:
        rows: with the columns person and year (int32), the round.
        values: the long form with interview_day, interview_month and interview_year.
        extract: all files joined, weekly history included.
        table: the variables that make a career.

    Returns:
        The rows and the column week_state, null where nothing is known; and a step each for rows without a date and for
        rows that have the week before.
    """
    weekly = _weekly(extract, table)
    if not weekly:
        return rows.with_columns(week_state=pl.lit(None, pl.String)), []
    days = _interview_days(rows, values)
    for name, before in (("this_week", 0), ("week_before", 7)):
        weeks = days.select(PERSON, "year").hstack(week_of(days["day"] - timedelta(before)))
        states = _states(weeks, extract, weekly).rename({"state": name})
        days = days.join(states, on=[PERSON, "year"], how="left", maintain_order="left")
    state = days.select(pl.coalesce("this_week", "week_before").alias("week_state"))
    told_before = days["this_week"].is_null() & days["week_before"].is_not_null()
    steps = [
        step("interview's week: its date is unknown", rows.filter(days["day"].is_null()), "noted"),
        step("interview's week: holds nothing, the week before is taken", rows.filter(told_before), "noted"),
    ]
    return rows.hstack(state), [each for each in steps if each.person_years]


def _weekly(extract: Extract, table: VariableTable) -> dict[tuple[int, int], list[Variable]]:
    """Year and week -> the columns with its status."""
    found: dict[tuple[int, int], list[Variable]] = {}
    for variable in extract.variables:
        for concept, _ in concept_years(variable, table):
            if name := _CONCEPT.fullmatch(concept):
                found.setdefault((int(name[1]), int(name[2])), []).append(variable)
    return found


def _interview_days(rows: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Columns person, year and day, the date of the interview; null where a part of it is missing."""
    days = rows.select(PERSON, "year")
    parts: Sequence[str] = ("interview_year", "interview_month", "interview_day")
    for part in parts:
        days = days.join(by_year(values, part), on=[PERSON, "year"], how="left", maintain_order="left")
    text = pl.concat_str(parts, separator="-")
    return days.select(PERSON, "year", day=text.str.to_date("%Y-%m-%d", strict=False))


def _states(
    weeks: pl.DataFrame, extract: Extract, weekly: Mapping[tuple[int, int], Sequence[Variable]]
) -> pl.DataFrame:
    """Columns person, year and state: the state in the week (columns week_year and week) of each row."""
    parts = [pl.DataFrame(schema={PERSON: pl.Int64, "year": pl.Int32, "status": pl.Int64})]
    for (year, week), part in weeks.drop_nulls("week").group_by("week_year", "week", maintain_order=True):
        if variables := weekly.get((year, week)):
            status = extract.table.select(PERSON, agreed_column(extract, variables, "status"))
            parts.append(part.select(PERSON, "year").join(status, on=PERSON, how="left", maintain_order="left"))
    word = pl.col("status").replace_strict(
        list(WEEK_STATUS), list(WEEK_STATUS.values()), default=None, return_dtype=pl.String
    )
    works = pl.when(pl.col("status") >= EMPLOYER).then(pl.lit("employed"))
    return pl.concat(parts).select(PERSON, "year", state=works.otherwise(word))
