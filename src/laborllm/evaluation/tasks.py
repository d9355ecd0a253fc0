"""Per-row quantities of each task: what was predicted in a person-year and what happened (LABOR-LLM, evaluation)."""

from dataclasses import dataclass

import numpy as np

from laborllm.evaluation.checks import BLOCK
from laborllm.evaluation.metrics import hit_share
from laborllm.evaluation.uncertainty import blocks
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import STATES, Occupations

OUT_OF_LABOR_FORCE = ("not_in_labor_force", "in_education")
MIXED_STATE = "not_working"
"""A declared state that mixes the unemployed with those out of the labor force."""
TOPS = {"accuracy": 1, "top5": 5, "top10": 10}


@dataclass(frozen=True)
class Event:
    """A yes-or-no outcome that is defined in some person-years.

    Attributes:
        task: "move" or "leave_labor_force".
        rows: the person-years in which it is defined, shape (event_rows,).
        happened: whether it happened, bool, shape (event_rows,).
        listed: positions of some occupations, shape (event_rows, listed).
        listed_happen: True if reaching a listed occupation is the event, False if it is the event's absence.
    """

    task: str
    rows: np.ndarray
    happened: np.ndarray
    listed: np.ndarray
    listed_happen: bool


@dataclass(frozen=True)
class EventScores:
    """One model's prediction of an event.

    Attributes:
        probability: predicted probability of the event, shape (event_rows,).
        nats: minus the log-probability of what happened, shape (event_rows,); may be infinite.
    """

    probability: np.ndarray
    nats: np.ndarray


def find_events(careers: Careers) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """The binary tasks these careers define, and a note for each that they do not."""
    events, notes = [], []
    for found in (_moves(careers), _leaves(careers)):
        if isinstance(found, Event):
            events.append(found)
        else:
            notes.append(found)
    return tuple(events), tuple(notes)


def _moves(careers: Careers) -> Event | str:
    rows = np.flatnonzero(careers.previous >= 0)
    if not len(rows):
        return "move: left out, no person has two rows"
    previous = careers.previous[rows]
    happened = careers.occupation[rows] != previous
    return Event("move", rows=rows, happened=happened, listed=previous[:, None], listed_happen=False)


def _leaves(careers: Careers) -> Event | str:
    """Leaving the labor force: from a job or unemployment to out of the labor force or in education."""
    out = _positions(careers.occupations, OUT_OF_LABOR_FORCE)
    if MIXED_STATE in careers.occupations.position:
        return f"leave_labor_force: left out, the state {MIXED_STATE!r} mixes unemployed and out of the labor force"
    if not len(out):
        return f"leave_labor_force: left out, the list has none of {', '.join(OUT_OF_LABOR_FORCE)}"
    outside = [code for code in STATES if code != "unemployed"]
    inside = ~np.isin(careers.previous, _positions(careers.occupations, outside)) & (careers.previous >= 0)
    rows = np.flatnonzero(inside)
    happened = np.isin(careers.occupation[rows], out)
    if not happened.any():
        return "leave_labor_force: left out, nobody leaves the labor force"
    listed = np.broadcast_to(out, (len(rows), len(out)))
    return Event("leave_labor_force", rows=rows, happened=happened, listed=listed, listed_happen=True)


def _positions(occupations: Occupations, codes: tuple[str, ...] | list[str]) -> np.ndarray:
    return np.array([occupations.position[code] for code in codes if code in occupations.position], dtype=np.int64)


def event_scores(log_probabilities: np.ndarray, event: Event) -> EventScores:
    """Probability of an event and nats spent on its outcome.

    Both sides of the event are summed on their own, never taken as one minus the other, so that a probability close
    to 0 or to 1 keeps its digits; each is divided by their total.

    Args:
        log_probabilities: nats, shape (person_years, occupations).
        event: the outcome and where it is defined.
    """
    sides = np.empty((len(event.rows), 2))
    for rows in blocks(len(event.rows), BLOCK):
        shares = np.exp(log_probabilities[event.rows[rows]], dtype=np.float64)  # (rows, occupations)
        sides[rows, 1] = np.take_along_axis(shares, event.listed[rows], axis=1).sum(axis=1)
        np.put_along_axis(shares, event.listed[rows], 0.0, axis=1)
        sides[rows, 0] = shares.sum(axis=1)
    if not event.listed_happen:
        sides = sides[:, ::-1]  # (event_rows, [absence, event])
    sides = sides / sides.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):  # the impossible happened: infinite nats
        nats = -np.log(np.take_along_axis(sides, event.happened[:, None].astype(np.int64), axis=1)[:, 0])
    return EventScores(probability=sides[:, 1], nats=nats)


def occupation_scores(prediction: Probabilities) -> dict[str, np.ndarray]:
    """What each metric of the task "occupation" averages over person-years, metric -> shape (person_years,).

    perplexity and perplexity_raw: nats spent on the realised occupation (the metric is exp of their mean); log_mass:
    nats; accuracy, top5, top10: chance of a hit under ``hit_share``. Metrics that the prediction does not define
    (method: raw, mass, normalised; realised-only form) are absent.
    """
    scores = {}
    if prediction.realised is not None:
        scores["perplexity"] = -prediction.realised
    if prediction.raw is not None:
        scores["perplexity_raw"] = -np.asarray(prediction.raw, dtype=np.float64)
    if prediction.log_mass is not None:
        scores["log_mass"] = np.asarray(prediction.log_mass, dtype=np.float64)
    if prediction.log_probabilities is not None:
        place = prediction.rows["occupation"].to_physical().to_numpy().astype(np.int64)
        greater, tied = realised_rank(prediction.log_probabilities, place)
        scores |= {metric: hit_share(greater, tied, top=top) for metric, top in TOPS.items()}
    return scores


def realised_rank(log_probabilities: np.ndarray, occupation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Occupations more probable than the realised one and as probable as it (itself included).

    Args:
        log_probabilities: shape (person_years, occupations).
        occupation: position of the realised occupation, shape (person_years,).

    Returns:
        Two counts, each of shape (person_years,).
    """
    greater, tied = np.empty((2, len(occupation)), dtype=np.int64)
    for rows in blocks(len(occupation), BLOCK):
        block = log_probabilities[rows]
        realised = np.take_along_axis(block, occupation[rows, None], axis=1)  # (rows, 1)
        greater[rows] = np.count_nonzero(block > realised, axis=1)
        tied[rows] = np.count_nonzero(block == realised, axis=1)
    return greater, tied
