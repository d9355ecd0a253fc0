"""Per-row quantities of each task: what was predicted in a person-year, and what that was worth (LABOR-LLM)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from laborllm.evaluation.metrics import brier_of_classes, hit_share
from laborllm.evaluation.row_sums import RowSums
from laborllm.evaluation.tasks import Event, Tasks
from laborllm.models.probabilities import Probabilities

TOPS = {"accuracy": 1, "top5": 5, "top10": 10}


@dataclass(frozen=True)
class Score:
    """What a metric averages over the person-years of its task.

    Attributes:
        task: e.g. "occupation".
        metric: "perplexity" and "perplexity_raw" average nats (the metric is exp of the mean), "log_mass" nats, the
            others shares.
        values: one number per person-year in which the task is defined, shape (task_rows,).
    """

    task: str
    metric: str
    values: np.ndarray


@dataclass(frozen=True)
class Forecast:
    """A probability, and whether what it was given to happened.

    Attributes:
        task: a yes-or-no task; or "occupation" or "broad_group", whose forecast is that the most probable one happens.
        probability: shape (task_rows,).
        happened: 0 or 1, or a chance under ``hit_share`` where several are most probable, shape (task_rows,).
        binary: whether it is a yes-or-no task.
    """

    task: str
    probability: np.ndarray
    happened: np.ndarray
    binary: bool


@dataclass(frozen=True)
class RowScores:
    """All that one model's metrics are made of; what the prediction does not define is absent."""

    scores: tuple[Score, ...]
    forecasts: tuple[Forecast, ...] = ()


def row_scores(prediction: Probabilities, sums: RowSums | None, tasks: Tasks) -> RowScores:
    """Scores of one model in every person-year.

    Args:
        prediction: of the careers.
        sums: of its array; None in the realised-only form, which raw perplexity alone is made of.
        tasks: of the careers.
    """
    scores, realised = _likelihood_scores(prediction), prediction.realised
    if sums is None or realised is None:
        return RowScores(tuple(scores))
    own, squares = np.exp(realised) / sums.total, sums.squares / sums.total**2
    scores.append(Score("occupation", "brier", brier_of_classes(own, squares)))
    scores += _hits("occupation", sums.greater, sums.tied, tops=TOPS)
    forecasts = [_confidence("occupation", sums.highest / sums.total, sums.greater, sums.tied)]
    if tasks.has_groups:
        scores += _group_scores(sums, groups=int(tasks.group.max()) + 1)
        highest = sums.group_highest / sums.total
        forecasts.append(_confidence("broad_group", highest, sums.group_greater, sums.group_tied))
    for event in tasks.events:
        event_scores, forecast = _event_scores(sums, event)
        scores += event_scores
        forecasts.append(forecast)
    if len(tasks.moved):
        scores.append(Score("destination", "perplexity", destination_nats(realised, sums.other, tasks.moved)))
    return RowScores(tuple(scores), tuple(forecasts))


def _likelihood_scores(prediction: Probabilities) -> list[Score]:
    """Nats of the realised occupation (method: raw, mass, normalised)."""
    scores = []
    if prediction.realised is not None:
        scores.append(Score("occupation", "perplexity", -prediction.realised))
    if prediction.raw is not None:
        scores.append(Score("occupation", "perplexity_raw", -np.asarray(prediction.raw, dtype=np.float64)))
    if prediction.log_mass is not None:
        scores.append(Score("occupation", "log_mass", np.asarray(prediction.log_mass, dtype=np.float64)))
    return scores


def _hits(task: str, greater: np.ndarray, tied: np.ndarray, *, tops: Mapping[str, int]) -> list[Score]:
    return [Score(task, metric, hit_share(greater, tied, top=top)) for metric, top in tops.items()]


def _confidence(task: str, probability: np.ndarray, greater: np.ndarray, tied: np.ndarray) -> Forecast:
    return Forecast(task, probability, hit_share(greater, tied, top=1), binary=False)


def _group_scores(sums: RowSums, *, groups: int) -> list[Score]:
    """Nats, Brier score and hits among fewer than all groups."""
    own, squares = sums.group / sums.total, sums.group_squares / sums.total**2
    tops = {metric: top for metric, top in TOPS.items() if top < groups}
    return [
        Score("broad_group", "perplexity", _nats(own)),
        Score("broad_group", "brier", brier_of_classes(own, squares)),
        *_hits("broad_group", sums.group_greater, sums.group_tied, tops=tops),
    ]


def _event_scores(sums: RowSums, event: Event) -> tuple[list[Score], Forecast]:
    """Nats and Brier score (here of the event alone, 0 … 1) of a yes-or-no task."""
    yes, no = (getattr(sums, side)[event.rows] for side in (event.yes, event.no))
    total = yes + no
    probability = yes / total
    scores = [
        Score(event.task, "perplexity", _nats(np.where(event.happened, yes, no) / total)),
        Score(event.task, "brier", (probability - event.happened) ** 2),
    ]
    return scores, Forecast(event.task, probability, event.happened.astype(np.float64), binary=True)


def destination_nats(realised: np.ndarray, other: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Minus the log-probability of the occupation given that the person moves.

    P(occupation | history, move) is the occupation's probability divided by that of all occupations but the previous.

    Args:
        realised: log-probability of the realised occupation, nats, shape (person_years,).
        other: probability of all occupations but the previous one, shape (person_years,).
        moved: the person-years in which somebody moves, shape (moves,).

    Returns:
        Nats, shape (moves,); infinite where the model excludes what happened.
    """
    nats = np.full(len(moved), np.inf)
    possible = np.flatnonzero((other[moved] > 0) & np.isfinite(realised[moved]))
    nats[possible] = np.log(other[moved[possible]]) - realised[moved[possible]]
    return nats  # (moves,)


def _nats(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # the impossible happened: infinite nats
        return -np.log(probability)
