"""The dates of jobs as they stand in open résumé sets: years, quarters, months and days, as first and last days."""

import polars as pl

FORMS = (
    r"^(?P<y1>\d{4})$",
    r"^(?P<y2>\d{4})[-/.](?P<m2>0?[1-9]|1[0-2])$",
    r"^(?P<m3>0?[1-9]|1[0-2])[-/.](?P<y3>\d{4})$",
    r"^(?P<y4>\d{4})[-/.](?P<m4>0?[1-9]|1[0-2])[-/.](?P<d4>0?[1-9]|[12]\d|3[01])([T ]\d{2}:\d{2}.*)?$",
    r"^[Qq](?P<q5>[1-4])[- /]?(?P<y5>\d{4})$",
    r"^(?P<y6>\d{4})[- /]?[Qq](?P<q6>[1-4])$",
)
"""Year, year and month, month and year, ISO day (and time), quarter and year (JobHop), year and quarter."""

WRITTEN = 'a year, "1996-03", "03/1996", "1996-03-15", "Q1 1996" or "1996-Q1"'
"""The forms, for messages. A day before its month (15/03/1996) is not told from a month before its day: refused."""


def first_and_last_day(dates: pl.Series) -> pl.DataFrame:
    """The first and the last day that a date may mean.

    Args:
        dates: texts in one of ``FORMS``, whole numbers (years) or dates, shape (rows,).

    Returns:
        Columns first and last (Date), shape (rows,); null where a value has no such form or is no day of the calendar.

    Examples:
        >>> first_and_last_day(pl.Series(["1996", "Q1 1996", "1996-02", "soon"])).rows()
        [(datetime.date(1996, 1, 1), datetime.date(1996, 12, 31)),
         (datetime.date(1996, 1, 1), datetime.date(1996, 3, 31)),
         (datetime.date(1996, 2, 1), datetime.date(1996, 2, 29)), (None, None)]
    """
    if dates.dtype.is_temporal() and dates.dtype != pl.Time:
        days = dates.cast(pl.Date)
        return pl.DataFrame({"first": days, "last": days})
    texts = pl.DataFrame({"text": _texts(dates).str.strip_chars()})
    meanings = texts.unique().with_columns(_number(name) for name in "ymdq").with_columns(first=_first())
    meanings = meanings.select("text", "first", last=pl.col("first").dt.offset_by(_width()).dt.offset_by("-1d"))
    return texts.join(meanings, on="text", how="left", nulls_equal=True, maintain_order="left").select("first", "last")


def _texts(dates: pl.Series) -> pl.Series:
    """Years that are whole floats (a column with gaps) are written as whole numbers."""
    if dates.dtype.is_float() and (dates.is_null() | (dates == dates.floor())).all():
        dates = dates.cast(pl.Int64, strict=False)
    return dates.cast(pl.String)


def _number(name: str) -> pl.Expr:
    """The number that a group of any form found: y is the group y1 of the first form, y2 of the second, ..."""
    found = [
        pl.col("text").str.extract_groups(form).struct.field(f"{name}{place}")
        for place, form in enumerate(FORMS, start=1)
        if f"<{name}{place}>" in form
    ]
    return pl.coalesce(found).cast(pl.Int64).alias(name)


def _first() -> pl.Expr:
    """31 February is null."""
    month = pl.coalesce("m", pl.col("q") * 3 - 2, 1)
    return pl.format("{}-{}-{}", "y", month, pl.coalesce("d", 1)).str.to_date("%Y-%m-%d", strict=False)


def _width() -> pl.Expr:
    """How long the named time is."""
    known = pl.when(pl.col("d").is_not_null()).then(pl.lit("1d"))
    return (
        known.when(pl.col("m").is_not_null())
        .then(pl.lit("1mo"))
        .when(pl.col("q").is_not_null())
        .then(pl.lit("1q"))
        .otherwise(pl.lit("1y"))
    )
