"""Whose careers are drawn from where on, and what is otherwise with them."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from laborllm.analysis.experiments.alterations import some_people
from laborllm.analysis.simulation.simulation_settings import Counterfactual, SimulateSettings
from laborllm.errors import LaborLLMError
from laborllm.models.paths import with_years
from laborllm.survey.careers import Careers

UNEMPLOYED = "unemployed"


@dataclass(frozen=True)
class Workers:
    """Careers with rows to draw.

    Attributes:
        careers: every person has a row that is given, then rows to draw.
        drawn: whether a row is drawn, bool, shape (person_years,).
        observed: whether the survey has the rows to draw, so that their occupations are its own.
    """

    careers: Careers
    drawn: np.ndarray
    observed: bool = True

    @property
    def last_given(self) -> np.ndarray:
        """The last row that is given of each person, shape (people,)."""
        given = np.bincount(self.careers.person_of_row[~self.drawn], minlength=self.careers.people)
        return self.careers.starts[:-1] + given - 1

    @property
    def year(self) -> np.ndarray:
        """Calendar year of each row, int64, shape (person_years,)."""
        return self.careers.table["year"].to_numpy().astype(np.int64)


def workers_to_simulate(test: Careers, settings: SimulateSettings, train: Careers) -> Workers:
    """The rows that are given and those to draw.

    Args:
        test: the people.
        settings: where careers begin and end.
        train: training people, from whom the paths of education are learned where these are modelled.

    Raises:
        LaborLLMError: there are fewer people than are asked for, or nobody has a row to draw.
    """
    people = _chosen(test, settings)
    workers = _beyond(people, settings) if settings.start == "last" else _within(people, settings.start, settings)
    return _schooled(workers, settings, train)


def _chosen(test: Careers, settings: SimulateSettings) -> Careers:
    """So many people as are asked for."""
    if settings.people is None:
        return test
    return some_people(test, settings.people, np.random.default_rng(settings.seed))


def _within(people: Careers, start: str | int, settings: SimulateSettings) -> Workers:
    """Rows of the survey up to a start are given, those after it drawn; what ends before or after is left out."""
    begins = pl.col("year").min().over("person") if start == "first" else pl.lit(start)
    last_given = pl.col("year").filter(pl.col("year") <= begins).max().over("person")
    ends = last_given + settings.years if settings.years is not None else pl.lit(2**31 - 1)
    if settings.until is not None:
        ends = pl.min_horizontal(ends, pl.lit(settings.until))
    rows = people.table.with_columns(drawn=pl.col("year") > begins, ends=ends).filter(
        last_given.is_not_null() & (~pl.col("drawn") | (pl.col("year") <= pl.col("ends")))
    )
    rows = rows.filter(pl.col("drawn").any().over("person"))
    if not rows.height:
        raise LaborLLMError(
            f"simulate: nobody has a row to draw with start = {start!r}, until = {_told(settings.until)} and years = "
            f"{_told(settings.years)}; {_span(people)}"
        )
    careers = replace(people, table=rows.select(people.table.columns), flow=())
    return Workers(careers, rows["drawn"].to_numpy())


def _beyond(people: Careers, settings: SimulateSettings) -> Workers:
    """All rows are given; those to draw stand in the survey's own years and, behind its last, at its last distance."""
    seen = people.table["year"].unique().sort().to_list()
    step = seen[-1] - seen[-2] if len(seen) > 1 else 1
    end = settings.until if settings.until is not None else seen[-1] + (settings.years or 0)
    years = [*seen, *range(seen[-1] + step, end + 1, step)]
    careers, drawn = with_years(people, [year for year in years if year <= end])
    last = pl.col("year").filter(~pl.col("drawn")).max().over("person")
    within = ~pl.col("drawn") | (pl.col("year") <= last + (settings.years or 2**30))
    rows = careers.table.with_columns(drawn=drawn).filter(within)
    rows = rows.filter(pl.col("drawn").any().over("person"))
    if not rows.height:
        raise LaborLLMError(f"simulate: nobody has a row to draw within {settings.years} years; {_span(people)}")
    return Workers(replace(careers, table=rows.drop("drawn")), rows["drawn"].to_numpy(), observed=False)


def _schooled(workers: Workers, settings: SimulateSettings, train: Careers) -> Workers:
    """Education of the rows to draw: the survey's, that of the last given row, or modelled."""
    if settings.education == "observed":
        return workers
    education = workers.careers.table["education"]
    carried = education[workers.last_given.tolist()][workers.careers.person_of_row.tolist()]
    chosen = pl.select(pl.when(pl.Series(workers.drawn)).then(carried).otherwise(education)).to_series()
    if settings.education == "modelled":
        chosen = modelled_education(workers, train, np.random.default_rng([settings.seed, 1]))
    table = workers.careers.table.with_columns(chosen.cast(education.dtype).alias("education"))
    return replace(workers, careers=replace(workers.careers, table=table))


def modelled_education(workers: Workers, train: Careers, rng: np.random.Generator) -> pl.Series:
    """One path of education for each person, drawn a row at a time from training people of the same age and level.

    A row's level is that of the next row of a training person drawn at random among those of the same level and age
    (without birth years: of the same level); where there is none it stays.

    Returns:
        Education of every row, those given as they were, shape (person_years,).
    """
    follows = _next_levels(train)
    table = workers.careers.table
    level, born = table["education"].to_list(), table["birth_year"].to_list()
    year, luck = workers.year.tolist(), rng.random(len(table)).tolist()
    for row in np.flatnonzero(workers.drawn).tolist():
        before = level[row - 1]
        age = None if born[row] is None else year[row - 1] - born[row]
        after = follows.get((before, age), follows.get((before, None), [before]))
        level[row] = after[int(luck[row] * len(after))]
    return pl.Series("education", level, dtype=table.schema["education"])


def _next_levels(train: Careers) -> dict[tuple[str | None, int | None], list[str]]:
    """Level, and age if known -> the levels of the next rows of training people."""
    table = train.table.with_columns(after=pl.col("education").shift(-1).over("person")).drop_nulls("after")
    table = table.with_columns(age=pl.col("year") - pl.col("birth_year"))
    found: dict[tuple[str | None, int | None], list[str]] = {}
    for level, age, after in table.select("education", "age", "after").iter_rows():
        found.setdefault((level, None), []).append(after)
        if age is not None:
            found.setdefault((level, age), []).append(after)
    return found


def factual_and_other(
    test: Careers, settings: SimulateSettings, name: str, *, train: Careers
) -> tuple[Workers, Workers]:
    """The workers whom a counterfactual concerns, as they are and as they would be.

    Args:
        test, settings, train: as of ``workers_to_simulate``. A layoff takes its own start.
        name: of the counterfactual.

    Raises:
        LaborLLMError: the careers lack the covariate, its value or the state "unemployed", or it concerns nobody.
    """
    what = settings.counterfactual[name]
    if what.layoff is not None:
        return _laid_off(test, settings, name, train)
    return _with_covariates(workers_to_simulate(test, settings, train), what, name)


def _with_covariates(workers: Workers, what: Counterfactual, name: str) -> tuple[Workers, Workers]:
    table = workers.careers.table
    differs = pl.lit(value=False)
    for covariate, value in what.set.items():
        known = table[covariate].drop_nulls() if covariate in table.columns else pl.Series([])
        if covariate == "birth_year" and not isinstance(value, int):
            raise LaborLLMError(f"simulate.counterfactual.{name}: birth_year is {value!r}; give a whole number")
        if covariate != "birth_year" and value not in known.cast(pl.String).to_list():
            raise LaborLLMError(
                f"simulate.counterfactual.{name}: nobody has {covariate} {value!r}; the test people have "
                f"{', '.join(map(str, known.unique().sort().to_list())) or 'no ' + covariate}"
            )
        differs |= pl.col(covariate).is_not_null() & (pl.col(covariate).cast(pl.String) != str(value))
    kept = table.select(differs.any().over("person")).to_series()
    factual = _some(workers, kept, name)
    other = factual.careers.table.with_columns(
        pl.lit(value).cast(table.schema[covariate]).alias(covariate) for covariate, value in what.set.items()
    )
    return factual, replace(factual, careers=replace(factual.careers, table=other))


def _laid_off(test: Careers, settings: SimulateSettings, name: str, train: Careers) -> tuple[Workers, Workers]:
    """People with a job in a year and in the row before it; and the same people, unemployed in that year."""
    year = settings.counterfactual[name].layoff or 0
    if UNEMPLOYED not in test.occupations.codes:
        raise LaborLLMError(
            f"simulate.counterfactual.{name}: a layoff needs the state {UNEMPLOYED!r}; the closed list has none"
        )
    people = _chosen(test, settings)
    workers = _schooled(_within(people, year, settings), settings, train)
    job = ~np.array(people.occupations.is_state)
    last, careers = workers.last_given, workers.careers
    before = careers.previous[last]
    lost = (workers.year[last] == year) & job[careers.occupation[last]] & (before >= 0) & job[before]
    factual = _some(workers, pl.Series(lost[careers.person_of_row]), name)
    laid_off = np.zeros(len(factual.careers), dtype=bool)
    laid_off[factual.last_given] = True
    table = factual.careers.table
    occupation = pl.when(pl.Series(laid_off)).then(pl.lit(UNEMPLOYED).cast(table.schema["occupation"]))
    other = table.with_columns(occupation.otherwise("occupation").alias("occupation"))
    return factual, replace(factual, careers=replace(factual.careers, table=other))


def _some(workers: Workers, kept: pl.Series, name: str) -> Workers:
    """Whole people of the workers; ``kept`` tells row by row."""
    if not kept.any():
        raise LaborLLMError(
            f"simulate.counterfactual.{name} concerns none of the test people; {_span(workers.careers)}"
        )
    careers = replace(workers.careers, table=workers.careers.table.filter(kept))
    return replace(workers, careers=careers, drawn=workers.drawn[kept.to_numpy()])


def beyond_training(workers: Workers, train: Careers) -> tuple[str, ...]:
    """Whether rows are drawn of years or ages that no training person has, where a model only extrapolates."""
    notes, drawn = [], pl.Series(workers.drawn)
    for what, column in (("year", pl.col("year")), ("age", pl.col("year") - pl.col("birth_year"))):
        seen = train.table.select(column.alias("x"))["x"].drop_nulls()
        found = workers.careers.table.filter(drawn).select(column.alias("x"))["x"].drop_nulls()
        if not len(seen) or not len(found):
            continue
        first, last = seen.to_numpy().min(), seen.to_numpy().max()
        outside = int(((found < first) | (found > last)).sum())
        if outside:
            notes.append(
                f"{outside} rows drawn are of {what}s before {first} or after {last}, which no training person has: "
                "there the model only extrapolates"
            )
    return tuple(notes)


def _told(number: int | None) -> str:
    return "(none)" if number is None else str(number)


def _span(careers: Careers) -> str:
    years = careers.table["year"].to_numpy()
    return f"their rows are of {years.min()} to {years.max()}" if len(years) else "there are no rows"
