"""A user's own table, long or wide (CSV, Parquet, Stata) -> Careers."""

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import COLUMNS, Careers, Step
from laborllm.survey.door import FIRST_YEAR, LAST_YEAR, Source, careers_from_frame
from laborllm.survey.flow import require_rows
from laborllm.survey.occupations import Occupations, occ1990dd
from laborllm.survey.own_list import OwnList, name_states, read_own_list
from laborllm.survey.tables.columns import WORDS, blank_missing, rename, stacked
from laborllm.survey.tables.files import read_frame
from laborllm.survey.tables.wide import drop_absent, long_from_wide, require_patterns, wide_source, yearly_column

THREE_STATES = ("unemployed", "not_in_labor_force", "in_education")


class TableSettings(Settings):
    """A table of one's own: ``[survey] source = "table"``.

    Attributes:
        files: one or more tables with the same columns, stacked; the extension (.csv, .parquet, .dta) names the format.
        survey: the population's name, where the table has no column ``survey``.
        columns: our column name -> theirs; not needed for columns that bear our name.
        wide: for tables of one row a person: occupation and, if wanted, education, weight, wage and labor_income -> the
            names of their columns, with {year} for four digits or {yy} for two (50-99 are 1950-1999, 00-49 are
            2000-2049).
        missing: values that stand for missing ones, e.g. -9 or "NA", in all columns but person, year, survey and split.
        occupations: CSV with the columns code, title and, if wanted, group and state: the whole closed list, states
            included; state says which codes are no jobs (see ``read_own_list``). Default: occ1990dd and the states
            unemployed, not_in_labor_force and in_education (and not_working, where the table has it).
    """

    source: Literal["table"] = "table"
    files: tuple[Path, ...] = Field(min_length=1)
    survey: str = "survey"
    columns: dict[str, str] = Field(default_factory=dict)
    wide: dict[str, str] = Field(default_factory=dict)
    missing: tuple[int | float | str, ...] = ()
    occupations: Path | None = None


def read_table(settings: TableSettings) -> Careers:
    """Read, rename and check the table.

    Raises:
        LaborLLMError: a file is missing, empty, of another format or ragged; the mapping names a column that is not
            there; no row has an occupation; or the rows, taken together, are no careers (see ``careers_from_frame``).
            The message names the file and the row in that file.
    """
    _require_sense(settings)
    own = None if settings.occupations is None else read_own_list(settings.occupations)
    tables = [read_frame(file, _words(settings)) for file in settings.files]
    frame, steps = _wide_rows(tables, settings) if settings.wide else _long_rows(tables, settings)
    frame, blanked = blank_missing(frame, settings.missing)
    require_rows(frame, [*steps, *blanked], " + ".join(map(str, settings.files)))
    own = OwnList(_standard_list(frame), {}) if own is None else own
    frame, named = name_states(frame, own.states)
    return careers_from_frame(
        frame,
        own.occupations,
        source=_source(tables, frame, settings),
        survey=settings.survey,
        flow=[*steps, *blanked, *named],
    )


def _long_rows(tables: list[pl.DataFrame], settings: TableSettings) -> tuple[pl.DataFrame, list[Step]]:
    frames = [rename(table, settings.columns, file) for table, file in zip(tables, settings.files, strict=True)]
    steps = [
        Step(f"read from {file.name}", frame["person"].n_unique(), frame.height)
        for file, frame in zip(settings.files, frames, strict=True)
    ]
    return stacked(frames).with_row_index("row", offset=1), steps


def _wide_rows(tables: list[pl.DataFrame], settings: TableSettings) -> tuple[pl.DataFrame, list[Step]]:
    """The person-years of all files; row counts the files' rows from 1 over all of them."""
    frames, steps, before = [], [], 0
    for table, file in zip(tables, settings.files, strict=True):
        long, read = long_from_wide(table, settings.wide, columns=settings.columns, file=file)
        frames.append(long.with_columns(pl.col("row") + before))
        steps += read
        before += table.height
    long, dropped = drop_absent(stacked(frames))
    return long, [*steps, *dropped]


def _source(tables: list[pl.DataFrame], frame: pl.DataFrame, settings: TableSettings) -> Source:
    names = tuple(str(file) for file in settings.files)
    rows = tuple(table.height for table in tables)
    if settings.wide:
        return wide_source(names, rows, frame, patterns=settings.wide, columns=settings.columns)
    return Source(names, rows, origin=frame["row"].to_numpy(), theirs=settings.columns)


def _words(settings: TableSettings) -> set[str]:
    """The columns of which labels count, under the names of the files."""
    words = {settings.columns.get(name, name) for name in WORDS}
    if "education" in settings.wide:
        words |= {yearly_column(settings.wide["education"], year) for year in range(FIRST_YEAR, LAST_YEAR + 1)}
    return words


def _require_sense(settings: TableSettings) -> None:
    twice = [file for file in settings.files if settings.files.count(file) > 1]
    if twice:
        raise LaborLLMError(f"survey.files names {twice[0]} twice; name every file once")
    unknown = [ours for ours in settings.columns if ours not in COLUMNS]
    if unknown:
        raise LaborLLMError(f"survey.columns maps {unknown[0]!r}, which is none of {', '.join(COLUMNS)}")
    if settings.wide:
        require_patterns(settings.wide, settings.columns)


def _standard_list(frame: pl.DataFrame) -> Occupations:
    not_working = frame["occupation"].cast(pl.String).eq("not_working").any()
    return occ1990dd(states=(*THREE_STATES, "not_working") if not_working else THREE_STATES)
