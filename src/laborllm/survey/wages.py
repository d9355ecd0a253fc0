"""Hourly rates of pay: dollars of the survey year or of one year, and rates that nobody can have earned.

Prices are the consumer price index for all urban consumers, U.S. city average, all items, annual average, 1982-84 = 100
(Bureau of Labor Statistics, series CUUR0000SA0), in ``data/prices.csv``. A table of one's own has the columns year and
price_index, in any base.
"""

from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.flow import first_names, step
from laborllm.survey.tables.files import read_frame

PRICES = Path(__file__).with_name("data") / "prices.csv"
COLUMNS = ("year", "price_index")


def read_prices(path: Path | None = None) -> pl.DataFrame:
    """The price index by year.

    Args:
        path: a CSV with the columns year and price_index; None reads the table that comes with the package.

    Returns:
        Columns year (int32) and price_index (float64), sorted, one row a year.

    Raises:
        LaborLLMError: as ``read_frame``; or a column is missing, or a year is none, stands twice, or has no index above
            zero.

    Examples:
        >>> read_prices().filter(pl.col("year") == 1979).row(0)
        (1979, 72.6)
    """
    file = path or PRICES
    table = read_frame(file).cast(pl.String)
    for column in COLUMNS:
        if column not in table.columns:
            found = ", ".join(table.columns)
            raise LaborLLMError(f"{file}: column {column!r} is missing; the columns are {found}; rename or add it")
    prices = table.select(
        pl.col("year").str.strip_chars().cast(pl.Int32, strict=False),
        pl.col("price_index").str.strip_chars().cast(pl.Float64, strict=False),
    )
    _require_index(prices, table, file)
    return prices.sort("year")


def _require_index(prices: pl.DataFrame, table: pl.DataFrame, file: Path) -> None:
    seen: set[int] = set()
    for row, (year, index) in enumerate(prices.iter_rows(), start=1):
        for column, sound, kind in (
            ("year", year is not None and 1000 <= year <= 9999, "calendar year"),
            ("price_index", index is not None and 0 < index < float("inf"), "index above zero"),
        ):
            if not sound:
                text = table[column][row - 1]
                raise LaborLLMError(f"{file}, column {column}, row {row}: {text!r} is no {kind}; mend it")
        if year in seen:
            raise LaborLLMError(f"{file}, column year, row {row}: {year} stands twice; keep one row a year")
        seen.add(year)


def deflate(wages: pl.Series, years: pl.Series, *, prices: pl.DataFrame, base_year: int) -> pl.Series:
    """Dollars of each row's year in dollars of one year: wage * index of the base year / index of the row's year.

    Args:
        wages: dollars of the row's year, null where unknown, shape (rows,).
        years: calendar years, shape (rows,).
        prices: as ``read_prices`` gives it.
        base_year: the year whose dollars are wanted.

    Returns:
        Dollars of the base year, under the same name, float64, shape (rows,).

    Raises:
        LaborLLMError: the table has no index of the base year, or of the year of a known wage.

    Examples:
        >>> wages, years = pl.Series("wage", [3.63, None]), pl.Series([1979, 1900])
        >>> deflate(wages, years, prices=read_prices(), base_year=1980).round(2).to_list()
        [4.12, None]
    """
    index = dict(prices.select(COLUMNS).iter_rows())
    missing = sorted({base_year, *years.filter(wages.is_not_null())} - set(index))
    if missing:
        raise LaborLLMError(
            f"the price index has no {first_names([str(year) for year in missing])}, but {min(index)}-{max(index)}; "
            f"give a table with these years in survey.prices"
        )
    own = years.replace_strict(list(index), list(index.values()), default=None, return_dtype=pl.Float64)
    return (wages.cast(pl.Float64) * index[base_year] / own).alias(wages.name)


def require_sense(*, wage: bool, bounds: tuple[float, float], base_year: int | None, prices: Path | None) -> None:
    """Refuse settings about wages that contradict each other.

    Args:
        wage: whether wages are asked for.
        bounds: survey.wage_bounds.
        base_year: survey.wage_dollars.
        prices: survey.prices.

    Raises:
        ValueError: dollars or prices without wages, prices without a year to deflate to, or bounds that do not rise.
    """
    if not wage and (base_year is not None or prices is not None):
        raise ValueError("wage_dollars and prices are about wages; set wage = true, or leave them out")
    if base_year is None and prices is not None:
        raise ValueError("prices serve to deflate wages; say to which year in wage_dollars, or leave them out")
    if not 0 <= bounds[0] < bounds[1]:
        raise ValueError(f"wage_bounds are {list(bounds)}; give the lower and the higher one, in dollars")


def wages_of_jobs(
    rows: pl.DataFrame,
    cents: pl.Expr,
    *,
    job: pl.Expr,
    bounds: tuple[float, float],
    base_year: int | None,
    prices: Path | None,
) -> tuple[pl.DataFrame, list[Step]]:
    """Adds wage, dollars an hour, to the rows with a job.

    Args:
        rows: with the columns person and year, and those of the expressions.
        cents: the hourly rate in cents, null where unknown.
        job: whether a row has a job.
        bounds, base_year, prices: as ``checked_wages`` takes them.

    Returns:
        The rows, and a step each for jobs without a wage and for what ``checked_wages`` did.

    Raises:
        LaborLLMError: as ``checked_wages``.
    """
    rows = rows.with_columns(wage=pl.when(job).then(hundredths(cents)))
    unpaid = rows.filter(job & pl.col("wage").is_null())
    rows, steps = checked_wages(rows, bounds=bounds, base_year=base_year, prices=prices)
    return rows, [*([step("left missing: wage of a job", unpaid, "recoded")] if unpaid.height else []), *steps]


def hundredths(whole: pl.Expr) -> pl.Expr:
    """Whole numbers with two implied decimals as float64: 559040 is 5590.4.

    Polars divides by a constant as it multiplies by its inverse, which gives 5590.400000000001; rounding gives the
    nearest float.
    """
    return (whole / 100).round(2)


def checked_wages(
    rows: pl.DataFrame, *, bounds: tuple[float, float], base_year: int | None, prices: Path | None
) -> tuple[pl.DataFrame, list[Step]]:
    """The rows with wages outside the bounds left missing, and deflated where a base year is asked for.

    Args:
        rows: columns person, year and wage (dollars of the year an hour, null where unknown).
        bounds: lowest and highest rate that is kept, in dollars of the row's year.
        base_year: the year whose dollars are wanted; None leaves dollars of the row's year.
        prices: a table of one's own, as ``read_prices`` takes it.

    Returns:
        The rows, and a step for each thing done.

    Raises:
        LaborLLMError: as ``read_prices`` and ``deflate``.
    """
    low, high = bounds
    wage = pl.col("wage")
    reasons = [(f"below {low:g} dollars an hour", wage < low), (f"above {high:g} dollars an hour", wage > high)]
    steps = [step(f"left missing: wage {words}", rows.filter(outside), "recoded") for words, outside in reasons]
    rows = rows.with_columns(pl.when(wage.is_between(low, high)).then(wage).alias("wage"))
    if base_year is not None:
        known = rows.filter(wage.is_not_null())
        steps.append(step(f"recoded: wage to dollars of {base_year} ({(prices or PRICES).name})", known, "recoded"))
        dollars = deflate(rows["wage"], rows["year"], prices=read_prices(prices), base_year=base_year)
        rows = rows.with_columns(dollars)
    return rows, [each for each in steps if each.person_years]
