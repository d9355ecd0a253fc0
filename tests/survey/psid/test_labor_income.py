"""Labor income of the PSID: what is an amount in which wave, and what the flow says of it."""

import polars as pl
import pytest

from laborllm.survey.psid.labor_income import TOP_CODES, top_code, with_labor_income
from laborllm.survey.psid.psid import psid_variables

NINES = "left missing: labor_income all nines in a wave of 1993-1997: not calculated, or the top code"
ABOVE = "left missing: labor_income above the top code of its wave"
AT_TOP = "noted: labor_income at the top code of its wave, or above it"


def one(role: str, year: int, income: float | None) -> tuple[float | None, set[str]]:
    """What becomes of one income, and what the flow says of it besides the year it is of."""
    row = pl.DataFrame({"person": [1], "year": [year], "role": [role], "labor_income": [income]})
    row = row.with_columns(pl.col("year").cast(pl.Int32), pl.col("labor_income").cast(pl.Float64))
    kept, steps = with_labor_income(row, base_year=None, prices=None)
    assert kept.columns == row.columns
    usual = ("calendar year before", "without farm")
    return kept["labor_income"][0], {step.what for step in steps if not any(words in step.what for words in usual)}


@pytest.mark.parametrize(
    ("role", "year", "top"),
    [
        ("head", 1968, 99_999),
        ("head", 1982, 99_999),
        ("head", 1983, 999_999),
        ("spouse", 1983, 99_999),
        ("spouse", 1984, 999_999),
        ("head", 1992, 999_999),
        ("head", 1999, 9_999_999),
        ("spouse", 1999, 9_999_997),
        ("spouse", 2001, 9_999_999),
        ("head", 2009, 9_999_999),
        ("head", 2011, 9_999_997),
        ("spouse", 2023, 9_999_997),
    ],
)
def test_top_codes_are_kept_and_counted(role: str, year: int, top: int) -> None:
    assert top_code(role, year) == top
    assert one(role, year, top - 1) == (top - 1, set())
    assert one(role, year, top) == (top, {AT_TOP})
    assert one(role, year, top + 1) == (None, {ABOVE})


@pytest.mark.parametrize("role", TOP_CODES)
@pytest.mark.parametrize(("year", "nines"), [(1993, 9_999_999), (1995, 9_999_999), (1996, 9_999_999), (1997, 999_999)])
def test_nines_that_may_be_no_amount_are_missing(role: str, year: int, nines: int) -> None:
    assert one(role, year, nines - 1) == (nines - 1, set())
    assert one(role, year, nines) == (None, {NINES})


def test_zero_is_an_amount_and_a_loss_is_not() -> None:
    assert one("head", 1985, 0) == (0, set())
    assert one("head", 1985, -1) == (None, {"left missing: labor_income below zero, which it cannot be"})
    assert one("head", 1985, None) == (None, {"left missing: labor_income has no value in the files"})
    code = "noted: labor_income 1, a code of its own of heads in 1976-1978, read as one dollar"
    assert one("head", 1977, 1) == (1, {code})
    assert one("spouse", 1977, 1) == one("head", 1979, 1) == (1, set())


def test_the_change_of_1994_is_said() -> None:
    frame = pl.DataFrame({"person": [1, 1, 2], "year": [1993, 1994, 2021], "role": "head", "labor_income": 5.0})
    frame = frame.with_columns(pl.col("year").cast(pl.Int32))
    _, steps = with_labor_income(frame, base_year=None, prices=None)
    told = {step.what: (step.people, step.person_years) for step in steps}
    assert told["noted: labor_income without farm and unincorporated business income, 1994 on"] == (2, 2)


def test_every_wave_has_both_variables() -> None:
    table = psid_variables()
    assert table.years("head_labor_income") == table.years("spouse_labor_income") == table.years("relation")
    assert len(table.years("head_labor_income")) == 42
