"""Labor income of heads and spouses of the PSID: what is no amount, top codes, dollars of one year.

The variable of each wave is the survey's own total, under "INCOME, Labor, total (includes wages and other labor)" of
its index; spouses have it to 1993 alone, and from 1994 on "total excluding farm and business". Heads keep the name of
the row, but from 1994 on theirs leaves out farm income and the labor part of unincorporated business income too, as
codebook texts of 2009 to 2015 say: the survey gives no total that is the same over both periods. Missing answers were
assigned by the survey, and a loss of a business has the labor part 0, so that no amount is below zero.

Top codes are those that published recodes of the survey's value labels give; those of 1968 and 1969, where the labels
print amounts alone, are taken from the width of the variable. None was seen in a codebook of the survey itself.
"""

from pathlib import Path

import polars as pl

from laborllm.survey.careers import Step
from laborllm.survey.flow import step
from laborllm.survey.wages import PRICES, deflate, read_prices

FIVE, SIX, SEVEN = 99_999, 999_999, 9_999_999
TOP_CODES = {
    "head": {1968: FIVE, 1983: SIX, 1993: SEVEN, 1997: SIX, 1999: SEVEN, 2011: 9_999_997},
    "spouse": {1968: FIVE, 1984: SIX, 1993: SEVEN, 1997: SIX, 1999: 9_999_997, 2001: SEVEN, 2011: 9_999_997},
}
"""Role -> first wave -> the code of that many dollars or more."""
UNCLEAR = (1993, 1997)
"""Waves in which the nines may say that the amount was not calculated: for families of the Latino sample in 1994 and
1995, of the immigrant sample in 1997. Published readings of 1993, 1996 and 1997 differ: none is read as an amount."""
WITHOUT_BUSINESS = 1994
"""First wave whose total leaves out farm and unincorporated business income."""
OWN_CODE = (1976, 1978)
"""Waves in which 1 has a label of its own for heads, whose words we have not seen; it is read as one dollar."""


def top_code(role: str, year: int) -> int:
    """The code of that many dollars or more, in one wave.

    Examples:
        >>> top_code("head", 1983), top_code("spouse", 1983)
        (999999, 99999)
    """
    codes = TOP_CODES[role]
    return codes[max(first for first in codes if first <= year)]


def with_labor_income(
    rows: pl.DataFrame, *, base_year: int | None, prices: Path | None
) -> tuple[pl.DataFrame, list[Step]]:
    """The rows with labor incomes that are amounts, deflated where a base year is asked for.

    Args:
        rows: columns person, year (the wave), role and labor_income (float64, as the files have it).
        base_year: the year whose dollars are wanted; None leaves dollars of the year before the wave.
        prices: a table of one's own, as ``read_prices`` takes it.

    Returns:
        The rows, labor_income null where it is no amount, and a step for each thing done or worth knowing.

    Raises:
        LaborLLMError: as ``read_prices`` and ``deflate``.
    """
    rows = _with_top_codes(rows)
    reasons = _no_amount()
    steps = [step(f"left missing: labor_income {words}", rows.filter(holds), "recoded") for words, holds in reasons]
    no_amount = pl.any_horizontal([holds for _, holds in reasons])
    rows = rows.with_columns(pl.when(~no_amount).then("labor_income").alias("labor_income"))
    known = rows.drop_nulls("labor_income")
    steps += [step(f"noted: labor_income {words}", known.filter(holds), "noted") for words, holds in _notes()]
    if base_year is not None:
        steps.append(
            step(f"recoded: labor_income to dollars of {base_year} ({(prices or PRICES).name})", known, "recoded")
        )
        earned = rows["year"] - 1
        rows = rows.with_columns(deflate(rows["labor_income"], earned, prices=read_prices(prices), base_year=base_year))
    return rows.drop("top"), [each for each in steps if each.person_years]


def _with_top_codes(rows: pl.DataFrame) -> pl.DataFrame:
    """Adds top, the top code of each row's role and wave."""
    pairs = rows.select("role", "year").unique()
    tops = pl.Series("top", [top_code(role, year) for role, year in pairs.iter_rows()], dtype=pl.Int32)
    return rows.join(pairs.with_columns(tops), on=["role", "year"], how="left", maintain_order="left")


def _no_amount() -> list[tuple[str, pl.Expr]]:
    """Why a labor income is no amount, and when; at most one holds."""
    income, top, unclear = pl.col("labor_income"), pl.col("top"), pl.col("year").is_between(*UNCLEAR)
    waves = "-".join(map(str, UNCLEAR))
    return [
        ("has no value in the files", income.is_null()),
        ("below zero, which it cannot be", income < 0),
        (f"all nines in a wave of {waves}: not calculated, or the top code", unclear & (income >= top)),
        ("above the top code of its wave", ~unclear & (income > top)),
    ]


def _notes() -> list[tuple[str, pl.Expr]]:
    """What to know of labor incomes that are amounts, and of which."""
    income, year = pl.col("labor_income"), pl.col("year")
    own_code = year.is_between(*OWN_CODE) & (pl.col("role") == "head") & (income == 1)
    return [
        ("is of the calendar year before the interview", pl.lit(True)),
        (f"without farm and unincorporated business income, {WITHOUT_BUSINESS} on", year >= WITHOUT_BUSINESS),
        ("at the top code of its wave, or above it", income == pl.col("top")),
        (f"1, a code of its own of heads in {'-'.join(map(str, OWN_CODE))}, read as one dollar", own_code),
    ]
