"""A table of published transition rates, e.g. of the Current Population Survey between major groups of occupations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.evaluation.cells import GROUPINGS
from laborllm.settings import Settings
from laborllm.survey.occupations import STATES, Occupations
from laborllm.survey.tables.files import read_frame

ANY, EMPLOYED = "any", "employed"
REQUIRED = ("from", "to", "rate")
LINES = {
    **dict.fromkeys(("from", "to"), pl.String),
    "rate": pl.Float64,
    **dict.fromkeys(("year_from", "year_to"), pl.Int64),
    "std_error": pl.Float64,
    **dict.fromkeys(("group", "source"), pl.String),
}
"""Column -> type, in the order of ``Aggregates.lines``."""
NAMED = 5
"""Codes named in a note."""


class PublishedSettings(Settings):
    """The section [evaluation.published] of a study file.

    Attributes:
        file: published transition rates, as ``read_aggregates`` reads them.
        groups: which occupation belongs to which published group: a CSV with the columns code and aggregate. Without
            it, rates name the broad groups of the careers' own list.
    """

    file: Path
    groups: Path | None = None


@dataclass(frozen=True)
class Aggregates:
    """Published transition rates from one year to the next.

    Attributes:
        lines: one row per rate; columns from, to, rate (share 0 … 1), year_from, year_to (calendar years of the later
            of the two years, both included; null is open), std_error (of the published rate, null where unknown),
            group ("all", or COVARIATE=VALUE), source (null where unnamed).
        members: name -> which occupations of the list it holds, bool, shape (occupations,); every name in from and to.
        notes: what of the groups' file concerns no occupation, and which occupations are in no group.
    """

    lines: pl.DataFrame
    members: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


def read_aggregates(path: Path, occupations: Occupations, mapping: Path | None = None) -> Aggregates:
    """Read published transition rates, or refuse them with the first line that is wrong.

    ``from`` and ``to`` name a broad group of the list, a state on the list (unemployed, not_in_labor_force, ...), a
    group of the mapping, "employed" (every job) or "any". A mapping may hold states too: an aggregate that bears a
    state's name and holds that state takes its place, e.g. not_in_labor_force with in_education, as the Current
    Population Survey counts.

    Args:
        path: CSV with the columns from, to, rate and, if wanted, year_from, year_to, std_error, group, source.
        occupations: the careers' list.
        mapping: CSV with the columns code and aggregate.

    Raises:
        LaborLLMError: a file cannot be read, a column is missing or unknown, a name, rate, year, standard error or
            group is not allowed, a rate is published twice, a code is mapped twice, or a name has two meanings.
    """
    members, notes = _members(occupations, mapping)
    frame = _table(path, required=REQUIRED, allowed=tuple(LINES))
    lines = _typed(frame, path).with_columns(pl.col("group").fill_null("all"))
    _require_sound(lines, members, path)
    return Aggregates(lines, members, notes)


def _require_sound(lines: pl.DataFrame, members: Mapping[str, np.ndarray], path: Path) -> None:
    """Refuse names, rates, years and groups that are not allowed, and what is published twice."""
    for name in ("from", "to"):
        unknown = ~pl.col(name).is_in(list(members)).fill_null(False)
        _refuse(path, lines, unknown, name, f"is no group here; use {', '.join(members)}")
    _refuse(path, lines, ~pl.col("rate").is_between(0, 1).fill_null(False), "rate", "is no share; give 0 … 1, "
            "0.032 for 3.2 per cent")  # fmt: skip
    _refuse(path, lines, ~(pl.col("std_error") >= 0), "std_error", "is negative; give a share, or leave it blank")
    reverse = pl.col("year_to") < pl.col("year_from")
    _refuse(path, lines, reverse, "year_to", "is before year_from; swap the two years")
    covariate = pl.col("group").str.extract(r"^([^=]+)=.")
    no_group = (pl.col("group") != "all") & ~covariate.is_in(list(GROUPINGS)).fill_null(False)
    words = f"is no group of people; give COVARIATE=VALUE with one of {', '.join(GROUPINGS)}, or leave it blank"
    _refuse(path, lines, no_group, "group", words)
    key = [name for name in LINES if name not in ("rate", "std_error")]
    again = pl.struct(key).is_first_distinct().not_()
    words = "is published a second time for the same to, years, group and source; keep one of them"
    _refuse(path, lines, again, "from", words)


def _table(path: Path, *, required: tuple[str, ...], allowed: tuple[str, ...]) -> pl.DataFrame:
    """A CSV file as text, with every allowed column, blanks null."""
    if path.suffix.lower() != ".csv":
        raise LaborLLMError(f"{path}: is no .csv; give a CSV file with the columns {', '.join(required)}")
    frame = read_frame(path)
    for name in required:
        if name not in frame.columns:
            raise LaborLLMError(f"{path}: column {name!r} is missing; the columns are {', '.join(frame.columns)}")
    for name in frame.columns:
        if name not in allowed:
            raise LaborLLMError(f"{path}: column {name!r} is unknown; use {', '.join(allowed)}, or remove it")
    frame = frame.cast(pl.String).with_columns(pl.all().str.strip_chars().replace("", None))
    absent = [pl.lit(None, pl.String).alias(name) for name in allowed if name not in frame.columns]
    frame = frame.with_columns(absent).select(allowed)
    for name in required:
        _refuse(path, frame, pl.col(name).is_null(), name, "stands for nothing; fill it in, or remove the row")
    return frame


def _typed(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Columns of the types of ``LINES``; what does not read as a number is refused."""
    for name, kind in LINES.items():
        if kind == pl.String:
            continue
        number = pl.col(name).cast(pl.Float64, strict=False)
        wrong = pl.col(name).is_not_null() & ~number.is_finite().fill_null(False)
        _refuse(path, frame, wrong, name, "is no number; write it with a decimal point, or leave it blank")
        if kind == pl.Int64:
            broken = (number != number.floor()) | ~number.is_between(1900, 2100)
            _refuse(path, frame, broken, name, "is no calendar year; give four digits, or leave it blank")
    return frame.with_columns(
        pl.col(name).cast(pl.Float64).cast(kind) for name, kind in LINES.items() if kind != pl.String
    )


def _refuse(path: Path, frame: pl.DataFrame, wrong: pl.Expr, column: str, words: str) -> None:
    """Raise at the first row of which an expression is true; null is not."""
    rows = frame.select(wrong.fill_null(False)).to_series().arg_true()
    if not len(rows):
        return
    value = frame[column][rows[0]]
    raise LaborLLMError(
        f"{path}, column {column}, row {rows[0] + 1}: {'a blank' if value is None else repr(value)} {words}"
    )


def _members(occupations: Occupations, mapping: Path | None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """What every name that a rate may use holds, and notes on the mapping."""
    codes, states = np.array(occupations.codes), np.array(occupations.is_state)
    members = {ANY: np.ones(len(codes), dtype=bool), EMPLOYED: ~states}
    members |= {code: codes == code for code in STATES if code in occupations.position}
    for group in dict.fromkeys(occupations.groups):
        if group and group not in members:
            members[group] = np.array([each == group for each in occupations.groups])
    if mapping is None:
        return members, ()
    frame = _table(mapping, required=("code", "aggregate"), allowed=("code", "aggregate"))
    words = "is mapped a second time; a code belongs to one aggregate"
    _refuse(mapping, frame, pl.col("code").is_first_distinct().not_(), "code", words)
    for aggregate, rows in frame.group_by("aggregate", maintain_order=True):
        name = str(aggregate[0])
        holds = np.isin(codes, rows["code"].to_list())
        _require_one_meaning(mapping, name, holds, members)
        if holds.any():
            members[name] = holds
    return members, _mapping_notes(mapping, frame["code"].to_list(), occupations)


def _require_one_meaning(mapping: Path, name: str, holds: np.ndarray, members: Mapping[str, np.ndarray]) -> None:
    """An aggregate may bear a name that has a meaning only if it is the same, or a state and more."""
    if name not in members or (members[name] == holds).all():
        return
    if name in STATES and not (members[name] & ~holds).any():
        return
    what = "a state that it does not hold" if name in STATES else "a group that holds other occupations"
    raise LaborLLMError(f"{mapping}, column aggregate: {name!r} is also the name of {what}; rename the aggregate")


def _mapping_notes(mapping: Path, mapped: list[str], occupations: Occupations) -> tuple[str, ...]:
    known = set(mapped)
    absent = [code for code in mapped if code not in occupations.position]
    alone = [code for code in occupations.codes if code not in known]
    notes = []
    if absent:
        notes.append(f"{mapping.name}: {len(absent)} codes are not on the careers' list, {_listed(absent)}")
    if alone:
        notes.append(f"{mapping.name}: {len(alone)} occupations are in no aggregate, {_listed(alone)}")
    return tuple(notes)


def _listed(codes: list[str]) -> str:
    return ", ".join(codes[:NAMED]) + (" and others" if len(codes) > NAMED else "")
