"""Distances between occupations from a file of one's own: what it costs, by one's own measure, to move between two."""

from pathlib import Path

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.occupations import Occupations
from laborllm.survey.tables.files import read_frame

COLUMNS = ("a", "b", "distance")


def read_distances(file: Path, occupations: Occupations) -> np.ndarray:
    """Read pairwise distances: a table with the columns a, b (codes) and distance (0 or more, in any unit).

    A pair that stands once holds in both directions; one that stands as a, b and as b, a has a distance from a to b
    and another from b to a. An occupation is at 0 from itself, written or not. Pairs with a code that is not on the
    list are of no use and left out; every pair of the list, the states outside employment among them, must be there.

    Returns:
        float64, shape (occupations, occupations): from the row's occupation to the column's.

    Raises:
        LaborLLMError: the file cannot be read, lacks a column or a pair, a pair stands twice, a distance is no number
            of at least 0, or an occupation is away from itself.
    """
    frame = read_frame(file)
    for name in COLUMNS:
        if name not in frame.columns:
            raise LaborLLMError(
                f"{file}: column {name!r} is missing; the columns are {', '.join(frame.columns)}, those that a file of "
                f"distances has are {', '.join(COLUMNS)}"
            )
    origin, destination = (_places(frame[name], occupations) for name in COLUMNS[:2])
    values = _numbers(frame, file)
    _require_sound(frame, file)
    listed = (origin >= 0) & (destination >= 0)
    found = np.full((len(occupations), len(occupations)), np.nan)
    found[origin[listed], destination[listed]] = values[listed]
    found = np.where(np.isnan(found), found.T, found)
    np.fill_diagonal(found, 0)
    _require_all(found, occupations, file)
    return found  # (occupations, occupations)


def _places(codes: pl.Series, occupations: Occupations) -> np.ndarray:
    """Positions of codes on the list, -1 for those that are not there, shape (rows,)."""
    return np.array([occupations.position.get(code, -1) for code in codes.cast(pl.String).to_list()], dtype=np.int64)


def _numbers(frame: pl.DataFrame, file: Path) -> np.ndarray:
    """The distances, shape (rows,)."""
    values = frame["distance"].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise LaborLLMError(
            f"{file}, column distance, row {bad[0] + 1}: {frame['distance'][int(bad[0])]!r} is no number of at least 0 "
            f"({len(bad)} such rows); mend the value or leave the file out"
        )
    return values


def _require_sound(frame: pl.DataFrame, file: Path) -> None:
    """Refuse pairs that stand twice and occupations that are away from themselves."""
    pairs = frame.select(pl.col("a", "b").cast(pl.String), pl.col("distance").cast(pl.Float64))
    for row in np.flatnonzero(pairs.select(~pl.struct("a", "b").is_first_distinct()).to_series())[:1]:
        a, b, _ = pairs.row(int(row))
        raise LaborLLMError(f"{file}, row {row + 1}: the pair {a!r}, {b!r} stands twice; keep one of the two")
    own = pairs.select((pl.col("a") == pl.col("b")) & (pl.col("distance") != 0)).to_series().fill_null(False)
    for row in np.flatnonzero(own)[:1]:
        a, _, value = pairs.row(int(row))
        raise LaborLLMError(
            f"{file}, column distance, row {row + 1}: {a!r} is {value:g} away from itself; give 0 or leave the row out"
        )


def _require_all(found: np.ndarray, occupations: Occupations, file: Path) -> None:
    missing = np.argwhere(np.triu(np.isnan(found)))
    if len(missing):
        a, b = (occupations.codes[place] for place in missing[0])
        pairs = len(found) * (len(found) - 1) // 2
        raise LaborLLMError(
            f"{file}: {len(missing)} of {pairs} pairs of occupations have no distance, the first is {a!r}, {b!r}; "
            f"give every pair of the list in one direction at least, states included"
        )
