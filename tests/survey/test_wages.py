"""Hourly rates of pay in dollars of one year: the published index, and every refusal."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.wages import checked_wages, deflate, hundredths, read_prices


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_index_that_comes_with_the_package() -> None:
    prices = dict(read_prices().iter_rows())
    published = {1979: 72.6, 1980: 82.4, 1990: 130.7, 2000: 172.2, 2010: 218.056, 2023: 304.702, 2024: 313.689}
    assert {year: prices[year] for year in published} == published
    assert sorted(prices) == list(range(1967, 2025))
    # 1982-84 = 100 holds for the mean of the three years, to the rounding of the published figures
    assert abs(sum(prices[year] for year in (1982, 1983, 1984)) / 3 - 100) < 0.05
    growth = [prices[year] / prices[year - 1] for year in range(1968, 2025)]
    assert min(growth) > 0.995
    assert max(growth) < 1.14


def test_dollars_of_one_year() -> None:
    prices = pl.DataFrame({"year": [1990, 2000], "price_index": [50.0, 100.0]})
    wages, years = pl.Series("wage", [10.0, 10.0, None]), pl.Series([1990, 2000, 1800])
    assert deflate(wages, years, prices=prices, base_year=2000).to_list() == [20.0, 10.0, None]
    assert deflate(wages, years, prices=prices, base_year=1990).to_list() == [10.0, 5.0, None]


@pytest.mark.parametrize(("year", "base", "named"), [(2025, 1990, "2025"), (1990, 1901, "1901")])
def test_a_year_without_prices_is_refused(year: int, base: int, named: str) -> None:
    with pytest.raises(LaborLLMError, match=f"has no {named}, but 1967-2024; give a table.*survey.prices"):
        deflate(pl.Series("wage", [1.0]), pl.Series([year]), prices=read_prices(), base_year=base)


def test_amounts_in_cents_are_the_nearest_floats() -> None:
    cents = pl.DataFrame({"cents": [*range(10_000), 559040, 764095, 99_999_999, None]})
    amounts = cents.select(hundredths(pl.col("cents"))).to_series()
    assert amounts.to_list() == [None if cent is None else cent / 100 for cent in cents["cents"]]


def test_wages_nobody_can_have_earned_are_counted() -> None:
    rows = pl.DataFrame({"person": [1, 1, 2, 3], "year": [1990, 1991, 1990, 1990], "wage": [0.5, 1.0, 1000.0, 1000.01]})
    kept, steps = checked_wages(rows, bounds=(1, 1000), base_year=None, prices=None)
    assert kept["wage"].to_list() == [None, 1.0, 1000.0, None]
    assert steps == [
        Step("left missing: wage below 1 dollars an hour", 1, 1, "recoded"),
        Step("left missing: wage above 1000 dollars an hour", 1, 1, "recoded"),
    ]


def test_deflated_wages_say_so(tmp_path: Path) -> None:
    rows = pl.DataFrame({"person": [1, 2], "year": [1990, 1990], "wage": [10.0, None]})
    mine = written(tmp_path / "mine.csv", "year, price_index\n1990,50\n2000,100\n".replace(" ", ""))
    kept, steps = checked_wages(rows, bounds=(1, 15), base_year=2000, prices=mine)
    assert kept["wage"].to_list() == [20.0, None]  # the bounds are in dollars of the survey year
    assert steps == [Step("recoded: wage to dollars of 2000 (mine.csv)", 1, 1, "recoded")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year\n1990\n", "column 'price_index' is missing; the columns are year"),
        ("year,price_index\n1990,dear\n", "column price_index, row 1: 'dear'"),
        ("year,price_index\n1990,1\n90,1\n", "column year, row 2: '90' is no calendar year"),
        ("year,price_index\n,1\n", "column year, row 1: None"),
        ("year,price_index\n1990,0\n", "column price_index, row 1: '0' is no index above zero"),
        ("year,price_index\n1990,nan\n", "column price_index, row 1: 'nan'"),
        ("year,price_index\n1990,1\n1990,2\n", "row 2: 1990 stands twice"),
        ("", "the file is empty"),
        ("year,price_index\n", "has a header but no rows"),
        ("year,price_index\n1990\n", "row 1: has 1 values, the header has 2"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LaborLLMError, match=f"mine.csv.*{message}"):
        read_prices(written(tmp_path / "mine.csv", text))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.csv: no such file"):
        read_prices(tmp_path / "none.csv")
