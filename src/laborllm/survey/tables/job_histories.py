"""Open résumé sets and other job histories, one row a job with its dates -> Careers, one job a year.

The default columns are those of JobHop, résumés of the Flemish public employment service with ESCO codes and dates by
the quarter (huggingface.co/datasets/aida-ugent/JobHop: resume_id, matched_code, start_date, end_date,
university_level). As read from its public page: codes such as "2353.1", and "unknown"; dates such as "Q3 1996", both
missing in some rows; levels None, Secondary school, Bachelor, Master and PhD.
"""

from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import FIXED, Careers, Step
from laborllm.survey.door import FIRST_YEAR, LAST_YEAR, Source, careers_from_frame
from laborllm.survey.flow import step
from laborllm.survey.occupations import Occupations
from laborllm.survey.own_list import OwnList, name_states, read_own_list
from laborllm.survey.tables.columns import WORDS, rename, stacked
from laborllm.survey.tables.files import read_frame
from laborllm.survey.tables.spell_dates import WRITTEN, first_and_last_day

JOBHOP = {
    "person": "resume_id",
    "occupation": "matched_code",
    "start": "start_date",
    "end": "end_date",
    "education": "university_level",
}
NEEDED = ("person", "occupation", "start", "end")
NAMES = (*NEEDED, "education", *FIXED, "weight", "split")


class JobHistoriesSettings(Settings):
    """Jobs with a start and an end: ``[survey] source = "job_histories"``.

    Attributes:
        files: one or more tables with the same columns, stacked; the extension (.csv, .parquet, .dta) names the format.
        survey: the population's name, where the table has no column ``survey``.
        columns: our column name -> theirs, over JobHop's; ours are person, occupation, start, end, education, gender,
            ethnicity, region, birth_year, survey, weight and split.
        occupations: CSV with the columns code, title and, if wanted, group and state: the whole closed list. Default:
            the codes found, each its own title, in the order of the alphabet.
        code_length: characters of a code that count: 4 makes ESCO's "2353.1.7" the ISCO-08 code "2353".
        education: their word -> ours; empty: words as they stand.
        missing: values that stand for missing ones, in all columns but person.
        present: words that stand for an end that has not come, in capitals or not; so does a missing end.
        last_year: the year to whose end such jobs run; default: the last year that a date names.
        inverted: what becomes of jobs that end before they start: "drop", counted, or "error".
    """

    source: Literal["job_histories"] = "job_histories"
    files: tuple[Path, ...] = Field(min_length=1)
    survey: str = "job histories"
    columns: dict[str, str] = Field(default_factory=dict)
    occupations: Path | None = None
    code_length: int | None = Field(default=None, ge=1)
    education: dict[str, str] = Field(default_factory=dict)
    missing: tuple[int | float | str, ...] = ("unknown",)
    present: tuple[str, ...] = ("present", "current", "now")
    last_year: int | None = Field(default=None, ge=FIRST_YEAR, le=LAST_YEAR)
    inverted: Literal["drop", "error"] = "drop"


def read_job_histories(settings: JobHistoriesSettings) -> Careers:
    """Read jobs with their dates and take, in every year, the job held for most of its days.

    A date that names a year, a quarter or a month starts on its first and ends on its last day. Of two jobs with as
    many days the one that started later is taken; then the one that ended later; then the later row. A year without a
    job has no row.

    Raises:
        LaborLLMError: a file or a column is missing, a date has no known form or names no year of 1900-2100, a level
            of education is not mapped, a code is off the list, no job is left; or, if asked for, a job ends before it
            starts. The message names the file and the row in that file.
    """
    own = None if settings.occupations is None else read_own_list(settings.occupations)
    theirs = _mapping(settings)
    tables = [read_frame(file, {theirs.get(name, name) for name in WORDS}) for file in settings.files]
    frames = [
        rename(table, _present(theirs, table, settings), file, names=NAMES, keys=NEEDED)
        for table, file in zip(tables, settings.files, strict=True)
    ]
    spells = stacked(frames).with_row_index("row", offset=1)
    places = (tuple(str(file) for file in settings.files), tuple(table.height for table in tables))
    spells, steps = usable_spells(spells, settings, Source(*places, theirs=theirs))
    rows = one_job_a_year(spells)
    steps += [step("kept: the job held for most days of each year", rows, "kept")]
    own = _found(rows["occupation"]) if own is None else own
    rows, named = name_states(rows, own.states)
    return careers_from_frame(
        rows,
        own.occupations,
        source=Source(*places, origin=rows["row"].to_numpy(), theirs=theirs),
        survey=settings.survey,
        flow=[*steps, *named],
    )


def usable_spells(
    spells: pl.DataFrame, settings: JobHistoriesSettings, source: Source
) -> tuple[pl.DataFrame, list[Step]]:
    """Jobs with a code, a start and an end; all others are dropped and counted.

    Args:
        spells: columns row, person, occupation, start, end and any covariates, as they stand.
        settings: which values are missing, where open ends run to, what becomes of inverted dates.
        source: for messages.

    Returns:
        The spells with the columns first and last (Date) in place of start and end; and the steps.

    Raises:
        LaborLLMError: see ``read_job_histories``.
    """
    steps = [step("read: jobs", spells, "kept")]
    spells = _blanked(spells, settings, steps)
    spells = _coded(spells, settings, steps)
    spells = _dated(spells, settings, source, steps)
    spells = _ordered(spells, settings, source, steps)
    if not spells.height:
        raise LaborLLMError(f"{source}: no job has a code, a start and an end; check survey.columns and survey.missing")
    return _with_education(spells, settings, source), steps


def one_job_a_year(spells: pl.DataFrame) -> pl.DataFrame:
    """For every person and year, the spell that covers most days of the year.

    Args:
        spells: columns person, first and last (Date) and any others, shape (spells,).

    Returns:
        The other columns of the chosen spell, person and year, sorted by both, shape (person_years,). Ties go to the
        later first, then the later last, then the later row.

    Examples:
        >>> from datetime import date
        >>> spells = pl.DataFrame({
        ...     "person": [1, 1],
        ...     "occupation": ["a", "b"],
        ...     "first": [date(1996, 1, 1), date(1997, 6, 1)],
        ...     "last": [date(1997, 5, 31), date(1998, 1, 31)],
        ... })
        >>> one_job_a_year(spells).select("person", "year", "occupation").rows()
        [(1, 1996, 'a'), (1, 1997, 'b'), (1, 1998, 'b')]
    """
    ranked = spells.sort("first", "last", maintain_order=True).with_row_index("rank")
    first, last = pl.col("first").dt.year(), pl.col("last").dt.year()
    years = ranked.lazy().select(
        pl.col("rank").cast(pl.Int64),
        pl.col("person").rank("dense").alias("who"),
        pl.col("first", "last").cast(pl.Int32),
        year=pl.int_ranges(first, last + 1, dtype=pl.Int16),
    )
    start = pl.date(pl.col("year"), 1, 1).cast(pl.Int32)
    end = pl.date(pl.col("year"), 12, 31).cast(pl.Int32)
    days = pl.min_horizontal("last", end) - pl.max_horizontal("first", start) + 1
    best = (
        years.explode("year")
        .with_columns(days=days.cast(pl.Int64))
        .group_by("who", "year")
        .agg(((pl.col("days") * 2**32) + pl.col("rank")).max().alias("key"))
        .sort("who", "year")
        .select("year", rank=pl.col("key") % 2**32)
        .collect(engine="streaming")
    )
    chosen = ranked.drop("rank", "first", "last")[best["rank"]]
    return chosen.with_columns(best["year"])


def _mapping(settings: JobHistoriesSettings) -> dict[str, str]:
    unknown = [ours for ours in settings.columns if ours not in NAMES]
    if unknown:
        raise LaborLLMError(f"survey.columns maps {unknown[0]!r}, which is none of {', '.join(NAMES)}")
    twice = [file for file in settings.files if settings.files.count(file) > 1]
    if twice:
        raise LaborLLMError(f"survey.files names {twice[0]} twice; name every file once")
    return {**JOBHOP, **settings.columns}


def _present(theirs: dict[str, str], table: pl.DataFrame, settings: JobHistoriesSettings) -> dict[str, str]:
    """The mapping without those of JobHop's names that a table lacks and nobody asked for."""
    return {ours: name for ours, name in theirs.items() if name in table.columns or ours in settings.columns}


def _blanked(spells: pl.DataFrame, settings: JobHistoriesSettings, steps: list[Step]) -> pl.DataFrame:
    """Counts what is blanked of a covariate; a job without a code or a start is counted when it is dropped."""
    texts = [str(value) for value in settings.missing]
    names = [name for name in spells.columns if name not in ("row", "person")]
    hit = {name: pl.col(name).cast(pl.String).is_in(texts).fill_null(False) for name in names}
    for name in (name for name in names if name not in NEEDED):
        rows = spells.filter(hit[name])
        if rows.height:
            found = ", ".join(sorted(rows[name].cast(pl.String).unique()))
            steps.append(step(f"recoded: {name} {found} is missing", rows, "recoded"))
    return spells.with_columns(pl.when(~hit[name]).then(pl.col(name)).alias(name) for name in names)


def _coded(spells: pl.DataFrame, settings: JobHistoriesSettings, steps: list[Step]) -> pl.DataFrame:
    spells = spells.with_columns(pl.col("occupation").cast(pl.String))
    kept = _kept(spells, pl.col("occupation").is_not_null(), "dropped: job without a code", steps)
    if settings.code_length is None:
        return kept
    short = pl.col("occupation").str.head(settings.code_length)
    longer = kept.filter(short != pl.col("occupation"))
    steps.append(step(f"recoded: codes cut to {settings.code_length} characters", longer, "recoded"))
    return kept.with_columns(short)


def _dated(spells: pl.DataFrame, settings: JobHistoriesSettings, source: Source, steps: list[Step]) -> pl.DataFrame:
    """Adds first and last; an open end runs to the end of the last year."""
    spells = _kept(spells, pl.col("start").is_not_null(), "dropped: job without a start", steps)
    words = pl.col("end").cast(pl.String).str.strip_chars().str.to_lowercase()
    is_open = words.is_null() | words.is_in([word.lower() for word in settings.present])
    spells = spells.with_columns(open=is_open, end=pl.when(~is_open).then(pl.col("end")))
    first = _days(spells, "start", source)["first"]
    last = _days(spells, "end", source)["last"]
    years = [days.dt.year().max() for days in (first, last) if days.count()]
    run = settings.last_year or max((year for year in years if isinstance(year, int)), default=FIRST_YEAR)
    opened = spells.filter("open")
    if opened.height:
        steps.append(step(f"noted: open ends run to the end of {run}", opened, "noted"))
    end = pl.select(pl.date(run, 12, 31)).item()
    dated = spells.drop("start", "end").with_columns(first.alias("first"), last.fill_null(end).alias("last"))
    in_time = ~pl.col("open") | (pl.col("first") <= end)
    return _kept(dated, in_time, f"dropped: job with an open end starts after {run}", steps).drop("open")


def _days(spells: pl.DataFrame, name: str, source: Source) -> pl.DataFrame:
    days = first_and_last_day(spells[name])
    bad = days["first"].is_null() & spells[name].is_not_null()
    off = ~days["first"].dt.year().is_between(FIRST_YEAR, LAST_YEAR).fill_null(True)
    for wrong, what in ((bad, f"is none of {WRITTEN}"), (off, f"is outside {FIRST_YEAR}-{LAST_YEAR}")):
        if wrong.any():
            rows = spells.filter(wrong)
            raise LaborLLMError(
                f"{source.at(name, rows['row'][0])}: {rows[name][0]!r} {what} ({rows.height} such rows); "
                f"mend it, or name it in survey.missing"
            )
    return days


def _ordered(spells: pl.DataFrame, settings: JobHistoriesSettings, source: Source, steps: list[Step]) -> pl.DataFrame:
    inverted = spells.filter(pl.col("last") < pl.col("first"))
    if inverted.height and settings.inverted == "error":
        row = inverted["row"][0]
        raise LaborLLMError(
            f"{source.at('end', row)}: the job ends before it starts ({inverted.height} such rows); mend the dates, or "
            f'set survey.inverted = "drop"'
        )
    return _kept(spells, pl.col("last") >= pl.col("first"), "dropped: job ends before it starts", steps)


def _with_education(spells: pl.DataFrame, settings: JobHistoriesSettings, source: Source) -> pl.DataFrame:
    if not settings.education or "education" not in spells.columns:
        return spells
    words = pl.col("education").cast(pl.String)
    unmapped = spells.filter(words.is_not_null() & ~words.is_in(list(settings.education)))
    if unmapped.height:
        raise LaborLLMError(
            f"{source.at('education', unmapped['row'][0])}: survey.education has no word for "
            f"{unmapped['education'][0]!r} ({unmapped.height} such rows); add one, or name it in survey.missing"
        )
    return spells.with_columns(words.replace(settings.education))


def _kept(spells: pl.DataFrame, keep: pl.Expr, what: str, steps: list[Step]) -> pl.DataFrame:
    dropped = spells.filter(~keep)
    if dropped.height:
        steps.append(step(what, dropped, "dropped"))
    return spells.filter(keep) if dropped.height else spells


def _found(codes: pl.Series) -> OwnList:
    found = tuple(codes.unique().sort())
    return OwnList(Occupations(found, found, groups=("",) * len(found)), {})
