"""Forecasts out of time: what models that learned up to a year say of the years after it (LABOR-LLM, evaluation).

The people are test people with a row up to that year, their origin, and a row after it. Each later row is predicted in
two ways by the same model: *one step*, from the whole history observed up to the row before; and by *path*, from the
rows up to the year alone, the occupations in between averaged over drawn paths (CAREER's public code draws 1,000).
The horizon of a row is the number of calendar years since the person's origin, the last observed row.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from laborllm.files import whole_file
from laborllm.models.paths import draw_paths
from laborllm.models.probabilities import Model, Probabilities
from laborllm.settings import Settings
from laborllm.survey.careers import Careers

logger = logging.getLogger(__name__)

WAYS = ("one_step", "path")
NUMBERS = ("std_error", "ci_low", "ci_high", "person_years", "people")
DRAWING: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("model", "way", "horizon", "task", "metric"), pl.String),
    **dict.fromkeys(("estimate", *NUMBERS[:3]), pl.Float64),
    **dict.fromkeys(NUMBERS[3:], pl.Int64),
}
SHARE_OF_ERROR = 0.5
"""A Monte-Carlo bias above this share of a perplexity's standard error is warned of."""


class ForecastSettings(Settings):
    """The section [forecast] of a study file.

    Attributes:
        until: the last year that models learn from, and the last whose rows are history.
        paths: drawn for each person.
        longest: the longest horizon of its own, in calendar years; rows further ahead are taken together.
        models: names of the models; all if empty.
        seed: of the draws.
    """

    until: int
    paths: int = Field(default=1000, ge=2)
    longest: int = Field(default=10, ge=1)
    models: tuple[str, ...] = ()
    seed: int = Field(default=1, ge=0)


@dataclass(frozen=True)
class Forecast:
    """One model's predictions of the rows after a year, in the order of the careers.

    Attributes:
        one_step: given all rows before each.
        path: given the rows up to the year.
        monte_carlo_error: standard error of the realised occupation's log-probability by path that is due to the
            number of paths, nats, float64, shape (person_years,).
    """

    one_step: Probabilities
    path: Probabilities
    monte_carlo_error: np.ndarray

    def write(self, folder: Path) -> None:
        """Write one_step.parquet, path.parquet and monte_carlo.parquet."""
        error = self.path.rows.with_columns(monte_carlo_error=self.monte_carlo_error)
        with whole_file(folder / "monte_carlo.parquet") as temporary:
            error.write_parquet(temporary)
        self.one_step.write(folder / "one_step.parquet")
        self.path.write(folder / "path.parquet")

    @classmethod
    def read(cls, folder: Path) -> "Forecast":
        """Read what ``write`` wrote.

        Raises:
            LaborLLMError: a file is missing or cannot be read.
        """
        path = folder / "monte_carlo.parquet"
        try:
            error = pl.read_parquet(path)["monte_carlo_error"].to_numpy()
        except (OSError, pl.exceptions.PolarsError) as problem:
            raise LaborLLMError(f"{path}: cannot be read as Parquet; run the study again to write it") from problem
        one_step, by_path = (Probabilities.read(folder / f"{way}.parquet") for way in WAYS)
        return cls(one_step, by_path, error)


@dataclass(frozen=True)
class Forecasts:
    """Numbers of every model by horizon, with uncertainty clustered by person.

    Attributes:
        forecast: model, way ("one_step" | "path"), horizon ("1" … , "11+" beyond the longest, "all"), task, metric,
            estimate, std_error, ci_low, ci_high, person_years, people; units and intervals as in ``Evaluation``.
            Moving and leaving the labor force are counted from the last occupation that the prediction knows: by
            path that of the origin, in one step that of the row before. Of the way "path" also the metrics
            monte_carlo_error and monte_carlo_bias (nats, no interval): the standard error of the mean log-probability
            of what happened that is due to the number of paths, and by how much it is too low, half the mean squared
            error of its terms (where that is large, above 0.05 or so, it is more).
        comparisons: model_a, model_b, way, horizon, task, metric, difference, std_error, ci_low, ci_high,
            person_years, people: a - b on the same people, for all pairs in the order of the models.
        notes: what was left out, and what a reader must know of the numbers, one sentence each.
    """

    forecast: pl.DataFrame
    comparisons: pl.DataFrame
    notes: tuple[str, ...]


def careers_until(careers: Careers, year: int) -> Careers:
    """The rows up to a year; people without one drop out.

    Raises:
        LaborLLMError: there is no such row.
    """
    if not (careers.table["year"] <= year).any():
        raise LaborLLMError(f"forecast.until is {year}, but {_span(careers)}; choose a year in between")
    return replace(careers, table=careers.table.filter(pl.col("year") <= year), flow=())


def careers_to_forecast(test: Careers, year: int) -> Careers:
    """The whole careers of the people with a row up to a year and a row after it.

    Raises:
        LaborLLMError: there is nobody.
    """
    both = (pl.col("year").min() <= year) & (pl.col("year").max() > year)
    kept = test.table.filter(both.over("person"))
    if not kept.height:
        raise LaborLLMError(
            f"forecast.until is {year}: no test person has a row up to it and a row after it ({_span(test)}); "
            "choose a year in between"
        )
    return replace(test, table=kept, flow=())


def forecast(
    model: Model,
    careers: Careers,
    settings: ForecastSettings,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Forecast:
    """Predict the rows after a year in one step and by path.

    Args:
        model: fitted on rows up to ``settings.until`` alone.
        careers: what ``careers_to_forecast`` gives.
        settings: the year, the number of paths, the seed.
        progress: called with (people drawn, all people).

    Raises:
        LaborLLMError: as ``draw_paths``: the model gives the realised occupation alone, or no row is after the year.
    """
    later = (careers.table["year"] > settings.until).to_numpy()
    drawn = draw_paths(model, careers, later, paths=settings.paths, seed=settings.seed, progress=progress)
    row, one_step = drawn.row, model.predict(careers)
    by_path = replace(
        one_step,
        rows=one_step.rows[row],
        log_probabilities=drawn.log_probabilities,
        log_mass=None,
    )
    error = drawn.monte_carlo_error[np.arange(len(row)), careers.occupation[row]].astype(np.float64)
    return Forecast(_rows_of(one_step, row), by_path, error)


def evaluate_forecasts(
    forecasts: Mapping[str, Forecast],
    careers: Careers,
    settings: ForecastSettings,
    evaluation: EvaluationSettings | None = None,
    *,
    progress: Callable[[str, str], None] = lambda way, horizon: None,
) -> Forecasts:
    """Evaluate forecasts at each horizon, with person-clustered uncertainty and paired differences.

    Args:
        forecasts: model name -> its forecast of the careers.
        careers: what ``careers_to_forecast`` gives.
        settings: the year and the longest horizon.
        evaluation: replicates, confidence and seed of the bootstrap; groups are not formed.
        progress: called with the way and the horizon when they are done.

    Raises:
        LaborLLMError: a forecast is not of these careers.
    """
    evaluation = (evaluation or EvaluationSettings()).model_copy(update={"by": ()})
    ahead = RowsAhead.of(careers, settings.until)
    found: list[_Found] = []
    for horizon, chosen in ahead.by_horizon(settings.longest):
        for way in WAYS:
            predictions = {name: _rows_of(getattr(each, way), chosen) for name, each in forecasts.items()}
            result = evaluate(predictions, ahead.careers(way, chosen), evaluation)
            found.append(_Found(way, horizon, result))
            progress(way, horizon)
    errors = {name: each.monte_carlo_error for name, each in forecasts.items()}
    table = pl.concat([_labelled(each, each.result.evaluation, "model") for each in found])
    drawing = _drawing_table(errors, ahead, settings.longest)
    return Forecasts(
        forecast=pl.concat([table, drawing.select(table.columns)]),
        comparisons=pl.concat([_labelled(each, each.result.comparisons, "model_a", "model_b") for each in found]),
        notes=(*_gathered_notes(found), *_too_few_paths(table, drawing, settings.paths)),
    )


@dataclass(frozen=True)
class KnownBefore(Careers):
    """Single rows of careers that know the occupation before them, though its row is not among them.

    Attributes:
        known: position of the last occupation that the prediction of each row knows, shape (person_years,).
    """

    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @cached_property
    def previous(self) -> np.ndarray:
        """Position of the last occupation that is known before each row, shape (person_years,)."""
        return self.known


@dataclass(frozen=True)
class RowsAhead:
    """The rows after a year.

    Attributes:
        whole: the careers that they are rows of.
        row: their positions there, shape (rows_ahead,).
        horizon: calendar years since the person's last row up to the year, shape (rows_ahead,).
        origin: position of the occupation in that row, shape (rows_ahead,).
    """

    whole: Careers
    row: np.ndarray
    horizon: np.ndarray
    origin: np.ndarray

    @classmethod
    def of(cls, careers: Careers, year: int) -> "RowsAhead":
        """Find them; every person has a row up to the year."""
        years = careers.table["year"].to_numpy().astype(np.int64)
        row = np.flatnonzero(years > year)
        person = careers.person_of_row
        observed = np.bincount(person[years <= year], minlength=careers.people)
        last = (careers.starts[:-1] + observed - 1)[person[row]]  # (rows_ahead,): the row of the origin
        return cls(careers, row, years[row] - years[last], careers.occupation[last])

    def by_horizon(self, longest: int) -> Iterator[tuple[str, np.ndarray]]:
        """Every horizon that has a row: its name and the places of its rows among those ahead."""
        for horizon in range(1, longest + 1):
            yield from _if_any(str(horizon), np.flatnonzero(self.horizon == horizon))
        yield from _if_any(f"{longest + 1}+", np.flatnonzero(self.horizon > longest))
        yield "all", np.arange(len(self.row))

    def careers(self, way: str, chosen: np.ndarray) -> Careers:
        """Some of the rows, each with the last occupation that its prediction knows."""
        row = self.row[chosen]
        known = self.origin[chosen] if way == "path" else self.whole.previous[row]
        return KnownBefore(self.whole.table[row], self.whole.occupations, known=known)


@dataclass(frozen=True)
class _Found:
    way: str
    horizon: str
    result: Evaluation


def _if_any(horizon: str, chosen: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if len(chosen):
        yield horizon, chosen


def _rows_of(prediction: Probabilities, row: np.ndarray) -> Probabilities:
    """Some rows of a prediction."""
    scores, mass, raw = prediction.log_probabilities, prediction.log_mass, prediction.realised_raw
    return replace(
        prediction,
        rows=prediction.rows[row],
        log_probabilities=None if scores is None else scores[row],
        log_mass=None if mass is None else mass[row],
        realised_raw=None if raw is None else raw[row],
    )


def _labelled(found: _Found, frame: pl.DataFrame, *models: str) -> pl.DataFrame:
    """The numbers over all rows of a way and horizon, in the columns of ``Forecasts``."""
    value = "estimate" if models == ("model",) else "difference"
    chosen = frame.filter(subset="all", group="all").with_columns(way=pl.lit(found.way), horizon=pl.lit(found.horizon))
    return chosen.select(*models, "way", "horizon", "task", "metric", value, *NUMBERS)


def _gathered_notes(found: Sequence[_Found]) -> Iterator[str]:
    """Every note once, with the ways and horizons that it is of."""
    places: dict[str, dict[str, list[str]]] = {}
    for each in found:
        for note in each.result.notes:
            places.setdefault(note, {}).setdefault(each.way, []).append(each.horizon)
    for note, ways in places.items():
        where = "; ".join(f"{way} at {', '.join(horizons)}" for way, horizons in ways.items())
        yield f"forecasts, {where}: {note}"


def _drawing_table(errors: Mapping[str, np.ndarray], ahead: RowsAhead, longest: int) -> pl.DataFrame:
    """What the number of paths does to the mean log-probability of each horizon, in nats."""
    rows = []
    people = ahead.whole.person_of_row[ahead.row]
    for horizon, chosen in ahead.by_horizon(longest):
        size = len(chosen), len(np.unique(people[chosen]))
        for model, error in errors.items():
            square = error[chosen] ** 2
            for metric, value in (
                ("monte_carlo_error", np.sqrt(square.sum()) / len(chosen)),
                ("monte_carlo_bias", square.mean() / 2),
            ):
                rows.append((model, "path", horizon, "occupation", metric, float(value), None, None, None, *size))
    return pl.DataFrame(rows, schema=DRAWING, orient="row")


def _too_few_paths(table: pl.DataFrame, drawing: pl.DataFrame, paths: int) -> tuple[str, ...]:
    """A warning for each model whose perplexity by path the number of paths moves noticeably."""
    keys = ["model", "way", "horizon", "task"]
    bias = drawing.filter(metric="monte_carlo_bias").select(*keys, bias="estimate")
    both = table.filter(metric="perplexity", task="occupation").join(bias, on=keys, maintain_order="left")
    moved = both.filter(pl.col("bias") * pl.col("estimate") > SHARE_OF_ERROR * pl.col("std_error"))
    notes = []
    for (model,), rows in moved.group_by("model", maintain_order=True):
        worst = rows.sort("bias", descending=True).row(0, named=True)
        note = (
            f"{model}: with {paths} paths the perplexity by path at horizon {worst['horizon']} is too high by about "
            f"{100 * worst['bias']:.1f} %; raise forecast.paths"
        )
        logger.warning(note)
        notes.append(note)
    return tuple(notes)


def _span(careers: Careers) -> str:
    if not len(careers):
        return "there are no rows"
    years = careers.table["year"].to_numpy()
    return f"rows are of {years.min()} to {years.max()}"
