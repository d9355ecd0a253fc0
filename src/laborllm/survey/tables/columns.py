"""The columns of a user's own tables: under our names, stacked, with their missing values and their states said."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import COLUMNS, COVARIATES, KEYS, NUMBERS, Step
from laborllm.survey.flow import step

WORDS = ("education", "gender", "ethnicity", "region", "survey", "split")
"""Columns of which a labelled Stata value is read as its label; of all others, occupations too, the value counts."""

MAY_BE_MISSING = ("occupation", *COVARIATES, *NUMBERS)
"""Columns in which a declared missing value counts as one; in ids and years a 9 is a 9."""


def rename(
    frame: pl.DataFrame,
    columns: dict[str, str],
    file: Path | str,
    *,
    names: Sequence[str] = COLUMNS,
    keys: Sequence[str] = KEYS,
) -> pl.DataFrame:
    """Keep the columns we know under our names; a mapped column goes before one that bears our name.

    Args:
        frame: the table as it stands.
        columns: our name -> theirs.
        file: for messages.
        names: the columns that are kept, if they are there.
        keys: those that must be there.

    Raises:
        LaborLLMError: the file lacks a column that is needed or mapped, or a column holds lists or bytes.
    """
    for ours, theirs in columns.items():
        if theirs not in frame.columns:
            raise LaborLLMError(
                f"{file}: column {theirs!r}, which survey.columns maps to {ours}, is not there; "
                f"the columns are {', '.join(frame.columns)}"
            )
    theirs_of = {name: columns.get(name, name) for name in names}
    for ours in keys:
        if theirs_of[ours] not in frame.columns:
            raise LaborLLMError(
                f"{file}: column {ours!r} is missing; the columns are {', '.join(frame.columns)[:200]}; name one of "
                f'them in survey.columns, e.g. {{ {ours} = "..." }}, and separate columns by commas'
            )
    known = frame.select(pl.col(theirs).alias(ours) for ours, theirs in theirs_of.items() if theirs in frame.columns)
    for column in known:
        require_plain(column, theirs_of[column.name], file)
    return known


def require_plain(column: pl.Series, theirs: str, file: Path | str) -> None:
    """Refuse lists and bytes."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise LaborLLMError(f"{file}, column {theirs}: holds {column.dtype}; give numbers or text")


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All rows in the order of the frames; a column that is text in one of them (ids, codes) is text in all."""
    plain = [frame.with_columns(_plain(column) for column in frame) for frame in frames]
    mixed = {
        name
        for name in COLUMNS
        if len({frame[name].dtype.is_numeric() for frame in plain if name in frame.columns}) > 1
    }
    text = [frame.with_columns(pl.col(name).cast(pl.String) for name in mixed & {*frame.columns}) for frame in plain]
    return pl.concat(text, how="diagonal_relaxed")


def blank_missing(frame: pl.DataFrame, missing: Sequence[int | float | str]) -> tuple[pl.DataFrame, list[Step]]:
    """Drop rows whose occupation is a declared missing value; blank such values of covariates, weight and wage.

    Args:
        frame: columns of ``Careers.table`` and any others.
        missing: values that stand for missing ones; -9 is also "-9" and -9.0.

    Returns:
        The frame, and a step for every column concerned.

    Examples:
        >>> frame = pl.DataFrame({"person": [1, 2], "occupation": [436, -9], "education": ["NA", "college"]})
        >>> kept, steps = blank_missing(frame, [-9, "NA"])
        >>> kept["education"].to_list(), [(each.what, each.person_years) for each in steps]
        ([None], [('dropped: occupation is a missing value (-9)', 1),
                  ('recoded: education NA is missing', 1)])
    """
    steps = []
    texts = [str(value) for value in missing]
    numbers = [float(value) for value in missing if not isinstance(value, str)]
    for name in MAY_BE_MISSING if missing else ():
        if name not in frame.columns:
            continue
        value = pl.col(name)
        hit = value.cast(pl.String).is_in(texts)
        if frame[name].dtype != pl.Boolean:
            hit = hit | value.cast(pl.Float64, strict=False).is_in(numbers).fill_null(False)
        hit = hit.fill_null(False)
        rows = frame.filter(hit)
        if not rows.height:
            continue
        found = ", ".join(sorted(rows[name].cast(pl.String).unique()))
        if name == "occupation":
            steps.append(step(f"dropped: occupation is a missing value ({found})", rows, "dropped"))
            frame = frame.filter(~hit)
        else:
            steps.append(step(f"recoded: {name} {found} is missing", rows, "recoded"))
            frame = frame.with_columns(pl.when(hit).then(None).otherwise(value).alias(name))
    return frame, steps


def _plain(column: pl.Series) -> pl.Series:
    """Numbers (whole ones as int64, so that 436.0 reads as 436) or text; neither categories nor dates."""
    if column.dtype.is_integer():
        wide = column.cast(pl.Int64, strict=False)
        return wide if wide.null_count() == column.null_count() else column
    if not column.dtype.is_numeric():
        return column.cast(pl.String)
    numbers = column.cast(pl.Float64)
    whole = numbers.is_finite() & (numbers.abs() < 2**53) & (numbers == numbers.floor())
    return numbers.cast(pl.Int64) if whole.all() else numbers
