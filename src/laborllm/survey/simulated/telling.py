"""What a survey lets its readers know of the simulated careers.

A survey does not ask everything in every round: some rounds do not tell the unemployed from those out of the labor
force, and education is the last level told. The careers that a reader should find are the simulated ones with what is
not told taken out; the flow counts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from laborllm.survey.careers import EDUCATION, Careers, Step
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import STATES, occ1990dd
from laborllm.survey.simulated.panel import Panel


@dataclass(frozen=True)
class Telling:
    """What the survey lets a reader know of the simulated careers.

    Attributes:
        states: whether a round tells a state by its name, rather than that the person does not work; state ->
            shape (rounds,).
        education: whether a round tells the level, shape (people, rounds).
        weight: people represented, shape (people,) or (people, rounds); None where the files have none.
        wage: dollars an hour, nan where the survey tells none, shape (people, rounds).
        person: the survey's id, shape (people,).
        unasked: covariate -> people of whom the survey never asks it, bool, shape (people,).
        labor_income: dollars a year, nan where the survey tells none, shape (people, rounds); None where it has none.
    """

    states: Mapping[str, np.ndarray]
    education: np.ndarray
    weight: np.ndarray | None
    wage: np.ndarray
    person: np.ndarray
    unasked: Mapping[str, np.ndarray] = field(default_factory=dict)
    labor_income: np.ndarray | None = None


def careers_as_told(careers: Careers, panel: Panel, telling: Telling, *, survey: str) -> Careers:
    """The careers with what the survey cannot tell taken out, each change counted in the flow."""
    rows = careers.table.drop("survey")
    place = rows["person"].to_numpy() - 1
    turn = np.searchsorted(panel.population.rounds, rows["year"].to_numpy())
    level = as_told(panel.population.education, telling.education)[place, turn]
    frame = rows.with_columns(
        occupation=_told_states(rows["occupation"].cast(pl.String), telling, turn),
        education=pl.Series(np.array([*EDUCATION, ""])[level]).replace("", None),
        person=pl.Series(telling.person[place]),
        wage=pl.Series(telling.wage[place, turn], nan_to_null=True),
    )
    for name, people in telling.unasked.items():
        frame = frame.with_columns(pl.when(pl.Series(people[place])).then(None).otherwise(pl.col(name)).alias(name))
    if telling.weight is not None:
        weight = telling.weight[place] if telling.weight.ndim == 1 else telling.weight[place, turn]
        frame = frame.with_columns(weight=pl.Series(weight))
    if telling.labor_income is not None:
        frame = frame.with_columns(labor_income=pl.Series(telling.labor_income[place, turn], nan_to_null=True))
    states = [state for state in STATES if (frame["occupation"] == state).any()]
    occupations = occ1990dd(states).restrict({*careers.occupations.codes, *states})
    steps = [*careers.flow, *_changes(rows, frame)]
    told = careers_from_frame(frame.sort("person", "year"), occupations, source=survey, survey=survey)
    return replace(told, flow=tuple(steps))


def _told_states(occupation: pl.Series, telling: Telling, turn: np.ndarray) -> pl.Series:
    for state, rounds in telling.states.items():
        hidden = pl.Series(~rounds[turn]) & (occupation == state)
        occupation = occupation.set(hidden, "not_working")
    return occupation


def _changes(before: pl.DataFrame, after: pl.DataFrame) -> list[Step]:
    """A step for each column that the survey changes, row by row in the same order."""
    steps = []
    for name in ("occupation", "education", "gender", "ethnicity", "region", "birth_year"):
        changed = before[name].cast(pl.String).ne_missing(after[name].cast(pl.String))
        if changed.any():
            people = before.filter(changed)["person"].n_unique()
            what = f"recoded: {name} as far as the survey tells it"
            steps.append(Step(what, people, int(changed.sum()), "recoded"))
    return steps


def as_told(levels: np.ndarray, tells: np.ndarray) -> np.ndarray:
    """The last level told up to each round, -1 before the first.

    Args:
        levels: shape (people, rounds).
        tells: whether the round tells it, shape (people, rounds).
    """
    turns = np.arange(levels.shape[1])
    last = np.maximum.accumulate(np.where(tells, turns, -1), axis=1)
    return np.where(last >= 0, np.take_along_axis(levels, np.maximum(last, 0), axis=1), -1)
