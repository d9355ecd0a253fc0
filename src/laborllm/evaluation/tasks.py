"""The tasks: which person-years each is defined in, what happened there, and what its probability is summed from.

occupation: the next occupation. broad_group: its broad group, the states outside employment being one of their own.
destination: the occupation of those who move, P(occupation | history, move) (LABOR-LLM, evaluation: the log score of an
occupation is that of moving or staying plus, for movers, that of the destination). move, leave_labor_force,
enter_labor_force: yes or no.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laborllm.survey.careers import Careers
from laborllm.survey.occupations import NOT_EMPLOYED, STATES, Occupations

OUT_OF_LABOR_FORCE = ("not_in_labor_force", "in_education")
MIXED_STATE = "not_working"
"""A declared state that mixes the unemployed with those out of the labor force."""


@dataclass(frozen=True)
class Event:
    """A yes-or-no outcome that is defined in some person-years.

    Attributes:
        task: "move", "leave_labor_force" or "enter_labor_force".
        rows: the person-years in which it is defined, shape (event_rows,).
        happened: whether it happened, bool, shape (event_rows,).
        yes: the field of ``RowSums`` that holds the probability of its happening.
        no: the field that holds the probability of its not happening.
    """

    task: str
    rows: np.ndarray
    happened: np.ndarray
    yes: str
    no: str


@dataclass(frozen=True)
class Tasks:
    """What there is to predict in these careers, the same for every model.

    Attributes:
        occupation: position of the realised occupation, shape (person_years,).
        previous: position of the previous one, -1 in a first row, shape (person_years,).
        outside: whether an occupation is out of the labor force, bool, shape (occupations,).
        group: broad group of each occupation, 0 … groups - 1, shape (occupations,).
        events: the yes-or-no tasks.
    """

    occupation: np.ndarray
    previous: np.ndarray
    outside: np.ndarray
    group: np.ndarray
    events: tuple[Event, ...]

    @cached_property
    def moved(self) -> np.ndarray:
        """The person-years in which somebody moves, shape (moves,)."""
        return np.flatnonzero((self.previous >= 0) & (self.previous != self.occupation))

    @cached_property
    def by_group(self) -> np.ndarray:
        """Occupations in the order of their broad groups, shape (occupations,)."""
        return np.argsort(self.group, kind="stable")

    @cached_property
    def group_starts(self) -> np.ndarray:
        """Where each broad group begins in ``by_group``, shape (groups,)."""
        return np.searchsorted(self.group[self.by_group], np.arange(self.group.max() + 1))

    @property
    def has_groups(self) -> bool:
        """Whether there is more than one broad group."""
        return bool(self.group.any())

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Task -> the person-years in which it is defined, shape (task_rows,)."""
        everywhere = np.arange(len(self.occupation))
        rows = {"occupation": everywhere} | {event.task: event.rows for event in self.events}
        if self.has_groups:
            rows["broad_group"] = everywhere
        if len(self.moved):
            rows["destination"] = self.moved
        return rows


def find_tasks(careers: Careers) -> tuple[Tasks, tuple[str, ...]]:
    """The tasks these careers define, and a note for each that they do not."""
    events, notes = find_events(careers)
    tasks = Tasks(
        occupation=careers.occupation,
        previous=careers.previous,
        outside=np.isin(careers.occupations.codes, OUT_OF_LABOR_FORCE),
        group=_broad_groups(careers.occupations),
        events=events,
    )
    if not tasks.has_groups:
        notes += ("broad_group: left out, all occupations are of one broad group",)
    return tasks, notes


def _broad_groups(occupations: Occupations) -> np.ndarray:
    """Numbers in the order in which the groups first stand on the list, shape (occupations,)."""
    pairs = zip(occupations.groups, occupations.is_state, strict=True)
    names = [NOT_EMPLOYED if state else group for group, state in pairs]
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])


def find_events(careers: Careers) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """The binary tasks these careers define, and a note for each that they do not."""
    events, notes = [], []
    for found in (_moves(careers), _leaves(careers), _enters(careers)):
        if isinstance(found, Event):
            events.append(found)
        else:
            notes.append(found)
    return tuple(events), tuple(notes)


def _moves(careers: Careers) -> Event | str:
    rows = np.flatnonzero(careers.previous >= 0)
    if not len(rows):
        return "move: left out, no person has two rows"
    happened = careers.occupation[rows] != careers.previous[rows]
    return Event("move", rows=rows, happened=happened, yes="other", no="previous")


def _leaves(careers: Careers) -> Event | str:
    """Leaving the labor force: from a job or unemployment to out of the labor force or in education."""
    reason = _no_boundary(careers.occupations)
    if reason:
        return f"leave_labor_force: left out, {reason}"
    out, outside = (_positions(careers.occupations, codes) for codes in (OUT_OF_LABOR_FORCE, _not_active()))
    rows = np.flatnonzero(~np.isin(careers.previous, outside) & (careers.previous >= 0))
    happened = np.isin(careers.occupation[rows], out)
    if not happened.any():
        return "leave_labor_force: left out, nobody leaves the labor force"
    return Event("leave_labor_force", rows=rows, happened=happened, yes="outside", no="inside")


def _enters(careers: Careers) -> Event | str:
    """Entering the labor force: from out of the labor force or in education to a job or unemployment."""
    reason = _no_boundary(careers.occupations)
    if reason:
        return f"enter_labor_force: left out, {reason}"
    out = _positions(careers.occupations, OUT_OF_LABOR_FORCE)
    rows = np.flatnonzero(np.isin(careers.previous, out))
    happened = ~np.isin(careers.occupation[rows], out)
    if not happened.any():
        return "enter_labor_force: left out, nobody enters the labor force"
    return Event("enter_labor_force", rows=rows, happened=happened, yes="inside", no="outside")


def _no_boundary(occupations: Occupations) -> str:
    """Why the list does not tell who is in the labor force; empty where it does."""
    if MIXED_STATE in occupations.position:
        return f"the state {MIXED_STATE!r} mixes unemployed and out of the labor force"
    if not len(_positions(occupations, OUT_OF_LABOR_FORCE)):
        return f"the list has none of {', '.join(OUT_OF_LABOR_FORCE)}"
    return ""


def _not_active() -> tuple[str, ...]:
    return tuple(code for code in STATES if code != "unemployed")


def _positions(occupations: Occupations, codes: tuple[str, ...]) -> np.ndarray:
    return np.array([occupations.position[code] for code in codes if code in occupations.position], dtype=np.int64)
