"""The calendar of the NLSY97's weekly history, and the state in the week of an interview."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from laborllm.survey.nls.cohort import values_by_concept
from laborllm.survey.nls.extracts import read_extract
from laborllm.survey.nls.nlsy97 import nlsy97_variables
from laborllm.survey.nls.nlsy97_weeks import (
    FIRST_YEAR,
    LAST_YEAR,
    week_of,
    week_reference,
    week_variables,
    weeks_of,
    with_week_state,
    without_weeks,
)


def test_every_day_is_in_a_week_that_the_year_has() -> None:
    days = pl.date_range(date(1994, 1, 1), date(2030, 12, 31), eager=True)
    weeks = week_of(days).with_columns(day=days)
    last = weeks.group_by("week_year").agg(pl.col("week").max()).filter(pl.col("week_year") <= LAST_YEAR)
    assert dict(last.sort("week_year").iter_rows()) == {
        year: weeks_of(year) for year in range(FIRST_YEAR, LAST_YEAR + 1)
    }
    starts = weeks.filter(pl.struct("week_year", "week") != pl.struct("week_year", "week").shift())
    assert set(starts["day"].dt.weekday()) == {7}  # a Sunday


def test_the_week_of_january_1_is_the_first() -> None:
    days = pl.Series([date(year, 1, 1) for year in range(1994, 2031)])
    assert week_of(days).rows() == [(year, 1) for year in range(1994, 2031)]
    assert week_of(pl.Series([None], dtype=pl.Date)).rows() == [(None, None)]


def test_a_week_has_one_reference_and_one_name() -> None:
    rows = week_variables()
    assert rows["reference"].is_unique().all()
    assert rows.filter(pl.col("concept") == "week_2013_01").row(0) == (
        "week_2013_01",
        "XRND",
        "E0013301",
        "EMP_STATUS_2013.01",
    )


TUESDAY = date(2004, 11, 2)  # in week 45


def states(tmp_path: Path, text: str) -> list[tuple[int, str | None]]:
    (tmp_path / "a.csv").write_text(text)
    table = nlsy97_variables()
    extract = read_extract(tmp_path / "a.csv")
    values = values_by_concept(without_weeks(extract, table), table)
    rows = extract.table.select("person", year=pl.lit(2004, pl.Int32))
    rows, _ = with_week_state(rows, values, extract=extract, table=table)
    return rows.select("person", "week_state").rows()


HEADER = "PUBID_1997,CV_INTERVIEW_DATE~D_2004,CV_INTERVIEW_DATE~M_2004,CV_INTERVIEW_DATE~Y_2004"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (0, None),
        (1, "not_in_labor_force"),
        (2, "not_working"),
        (3, "employed"),
        (4, "unemployed"),
        (5, "not_in_labor_force"),
        (6, "armed_forces"),
        (7, None),
        (9700, None),
        (9701, "employed"),
        (200412, "employed"),
        (-3, None),
        (-4, None),
    ],
)
def test_codes(tmp_path: Path, status: int, state: str | None) -> None:
    by_number = f"{HEADER},{week_reference(2004, 45)}\n1,2,11,2004,{status}\n"
    assert states(tmp_path, by_number) == [(1, state)]
    by_name = f"{HEADER},EMP_STATUS_2004.45_XRND\n1,2,11,2004,{status}\n"
    assert states(tmp_path, by_name) == [(1, state)]


def test_each_person_has_the_week_of_the_own_interview(tmp_path: Path) -> None:
    assert week_of(pl.Series([TUESDAY, TUESDAY + timedelta(4), TUESDAY + timedelta(5)]))["week"].to_list() == [
        45,
        45,
        46,
    ]
    header = f"{HEADER},{week_reference(2004, 44)},{week_reference(2004, 45)},{week_reference(2005, 1)}"
    text = (
        f"{header}\n1,2,11,2004,5,4,9701\n2,26,12,2004,5,4,9701\n3,28,10,2004,5,4,9701\n4,1,1,2005,5,4,9701\n"
        f"5,-4,11,2004,5,4,9701\n6,31,11,2004,5,4,9701\n7,-5,-5,-5,5,4,9701\n"
    )
    assert states(tmp_path, text) == [
        (1, "unemployed"),
        (2, "employed"),  # the week of January 1 begins on December 26
        (3, "not_in_labor_force"),
        (4, "employed"),
        (5, None),
        (6, None),
        (7, None),
    ]


def test_the_week_before_where_the_interviews_week_holds_nothing(tmp_path: Path) -> None:
    header = f"{HEADER},{week_reference(2004, 43)},{week_reference(2004, 44)},{week_reference(2004, 45)}"
    text = f"{header}\n1,2,11,2004,4,5,-4\n2,2,11,2004,4,5,0\n3,2,11,2004,4,0,-4\n4,2,11,2004,4,5,6\n"
    assert states(tmp_path, text) == [
        (1, "not_in_labor_force"),
        (2, "not_in_labor_force"),
        (3, None),
        (4, "armed_forces"),
    ]


@pytest.mark.real_data
def test_the_pattern_is_that_of_the_surveys_own_list(real_data: Path) -> None:
    lines = (real_data / "data" / "nlsy97" / "y97_work.NLSY97").read_text().split()
    listed = {line for line in lines if line.startswith("E001")}
    expected = set(week_variables()["reference"])
    assert listed == {name for name in expected if name <= week_reference(2016, 32)}
    assert len(listed) == 1180
