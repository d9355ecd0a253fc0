"""What careers add up to, person by person: spells, shares, moves, transitions, whether drawn or the survey's own.

Everything that is told of careers is a ratio of two sums over people, so that the survey's own careers and those drawn
are counted by the very same code, ends of observation included, and a bootstrap draw of people is a matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import sparse

from laborllm.analysis.simulation.workers import UNEMPLOYED, Workers
from laborllm.evaluation.groups.implied_rates import broad_groups

ALL = "all"
MOST = 10**6
SPELL_YEARS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, MOST))
"""Classes of the length of a spell, in calendar years, both ends included."""
AGES = (16, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65)
"""First ages of classes."""
SINCE = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
"""First calendar years of classes of the time since the last given row."""


@dataclass(frozen=True)
class Quantity:
    """One number that is told of careers.

    Attributes:
        summary: "occupation_share", "unemployment", "moves", "occupations_held", "spell_length", "transition" or
            "lifetime_transition".
        what: a broad group, "A → B", a class of lengths, …
        when: class of ages, or of calendar years since the last given row; "all" for all rows.
        unit: "share", "years", "jobs", or "a year".
        base: position of its denominator.
    """

    summary: str
    what: str
    when: str
    unit: str
    base: int

    @property
    def matrix(self) -> bool:
        """Whether it is one of a table of groups by groups."""
        return "transition" in self.summary


@dataclass(frozen=True)
class When:
    """Classes of rows.

    Attributes:
        names: of the classes.
        place: class of each drawn row, -1 where it is not known, shape (drawn_rows,).
    """

    names: tuple[str, ...]
    place: np.ndarray


def by_age(workers: Workers) -> When:
    """Classes of five years of age, those that have a row."""
    born = workers.careers.table["birth_year"].to_numpy().astype(float)
    return _classes((workers.year - born)[workers.drawn], AGES)


def by_years_since(workers: Workers) -> When:
    """Calendar years since the last given row."""
    since = workers.year - workers.year[workers.last_given][workers.careers.person_of_row]
    return _classes(since[workers.drawn].astype(float), SINCE)


def _classes(values: np.ndarray, firsts: Sequence[int]) -> When:
    ends = [*(first - 1 for first in firsts[1:]), None]
    names = [f"{a}+" if b is None else str(a) if a == b else f"{a}-{b}" for a, b in zip(firsts, ends, strict=True)]
    place = np.where(np.isnan(values), -1, np.searchsorted(firsts, np.nan_to_num(values, nan=-1.0), side="right") - 1)
    used = np.unique(place[place >= 0])
    again = np.append(np.searchsorted(used, np.arange(len(firsts))), -1)  # the last for -1
    return When(tuple(names[place] for place in used), again[place])


@dataclass
class Entries:
    """Numbers to add up: where, whose, how much."""

    place: list[np.ndarray] = field(default_factory=list)
    person: list[np.ndarray] = field(default_factory=list)
    value: list[np.ndarray] = field(default_factory=list)

    def add(self, place: np.ndarray | int, person: np.ndarray, value: np.ndarray | float = 1.0) -> None:
        """One number for each entry of ``person``; those whose place is negative are left out."""
        where = np.broadcast_to(np.asarray(place), person.shape)
        kept = where >= 0
        self.place.append(where[kept])
        self.person.append(person[kept])
        self.value.append(np.broadcast_to(np.asarray(value, dtype=float), person.shape)[kept])

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places, people and values, each of shape (entries,)."""
        return np.concatenate(self.place), np.concatenate(self.person), np.concatenate(self.value)


class CareerSums:
    """How the careers of some workers are counted.

    Args:
        workers: careers with rows to draw.
        when: classes of the drawn rows.

    Attributes:
        quantities: what is told, in order.
        bases: number of denominators.
        groups: names of the broad groups; every state is a group of its own.
    """

    def __init__(self, workers: Workers, when: When) -> None:
        self.workers, self.when, careers = workers, when, workers.careers
        self.groups, self.broad = broad_groups(careers)
        self.job = ~np.array(careers.occupations.is_state)
        self.unemployed = careers.occupations.position.get(UNEMPLOYED, -1)
        self.row = np.flatnonzero(workers.drawn)
        self.person, self.people = careers.person_of_row[self.row], careers.people
        self.quantities: list[Quantity] = []
        self.bases = 0
        self._lay_out()

    def _lay_out(self) -> None:
        """Give every quantity and every denominator its place."""
        groups, times = self.groups, (ALL, *self.when.names)
        pairs = [f"{a} → {b}" for a in groups for b in groups]
        self.rows, self.years = self._bases(len(times)), self._bases(len(times))
        self.persons, self.spells = self._bases(1), self._bases(1 + len(groups))
        self.at, self.origin = self._bases(len(groups)), self._bases(len(groups))
        one, each = np.zeros(1, dtype=np.int64), np.arange(len(groups))
        over_times = np.arange(len(times))
        self.share = self._told(
            "occupation_share", groups * len(times), self.rows + np.repeat(over_times, len(groups)),
            times=[time for time in times for _ in groups],
        )  # fmt: skip
        self.moves = self._told("moves", ["any occupation"] * len(times), self.years + over_times, "a year", times)
        self.ever = self._told("unemployment", ["ever"], self.persons + one)
        self.years_of = self._told("unemployment", ["share of rows"], self.rows + one)
        self.held = self._told("occupations_held", ["jobs"], self.persons + one, "jobs")
        self.mean = self._told("spell_length", ["mean"], self.spells + one, "years")
        self.mean_of = self._told("spell_length", [f"mean: {g}" for g in groups], self.spells + 1 + each, "years")
        classes = [f"{a}+" if b == MOST else str(a) if a == b else f"{a}-{b}" for a, b in SPELL_YEARS]
        self.length = self._told("spell_length", [f"{name} years" for name in classes], self.spells + 0 * np.arange(5))
        self.cut = self._told("spell_length", ["cut off by the end"], self.spells + one)
        self.transition = self._told("transition", pairs, self.at + np.repeat(each, len(groups)))
        self.lifetime = self._told("lifetime_transition", pairs, self.origin + np.repeat(each, len(groups)))

    def _bases(self, size: int) -> int:
        self.bases += size
        return self.bases - size

    def _told(
        self, summary: str, whats: Sequence[str], bases: np.ndarray, unit: str = "share", times: Sequence[str] = ()
    ) -> int:
        """Quantities of one kind; the place of the first."""
        first = len(self.quantities)
        times = times or [ALL] * len(whats)
        self.quantities += [
            Quantity(summary, what, time, unit, int(base))
            for what, time, base in zip(whats, times, bases, strict=True)
        ]  # fmt: skip
        return first

    @cached_property
    def base(self) -> np.ndarray:
        """Position of each quantity's denominator, shape (quantities,)."""
        return np.array([quantity.base for quantity in self.quantities])

    def entries(self, occupation: np.ndarray) -> tuple[Entries, Entries]:
        """What one career of each person adds to the quantities and to their denominators.

        Args:
            occupation: position of the occupation in every drawn row, shape (drawn_rows,).
        """
        whole = self.workers.careers.occupation.copy()
        whole[self.row] = occupation
        top, base = Entries(), Entries()
        self._of_rows(whole, top, base)
        self._of_spells(whole, top, base)
        self._of_people(whole, top, base)
        return top, base

    def _of_rows(self, whole: np.ndarray, top: Entries, base: Entries) -> None:
        """Shares, moves and transitions, row by row."""
        now, before, n = whole[self.row], whole[self.row - 1], len(self.groups)
        group, origin = self.broad[now], self.broad[before]
        years = self.workers.year[self.row] - self.workers.year[self.row - 1]
        moved = (now != before).astype(float)
        for time in (np.zeros_like(self.when.place), np.where(self.when.place < 0, -1, self.when.place + 1)):
            known = time >= 0
            top.add(np.where(known, self.share + time * n + group, -1), self.person)
            top.add(np.where(known, self.moves + time, -1), self.person, moved)
            base.add(np.where(known, self.rows + time, -1), self.person)
            base.add(np.where(known, self.years + time, -1), self.person, years)
        top.add(self.years_of, self.person, now == self.unemployed)
        top.add(self.transition + origin * n + group, self.person)
        base.add(self.at + origin, self.person)

    def _of_spells(self, whole: np.ndarray, top: Entries, base: Entries) -> None:
        """Spells that run in the last given row or begin later; a length is in calendar years.

        A spell lasts to the year before the first row of the next one; the last spell to the last row, where
        observation ends: of the drawn and of the survey's own careers alike.
        """
        row, person, began = self._beginnings(whole)
        last = np.append(person[1:] != person[:-1], True)
        year = self.workers.year
        ends = np.where(last, year[self.workers.careers.starts[1:] - 1][person] + 1, np.append(began[1:], 0))
        length, group = (ends - began).astype(float), self.broad[whole[row]]
        top.add(self.mean, person, length)
        top.add(self.mean_of + group, person, length)
        top.add(self.length + np.searchsorted([b for _, b in SPELL_YEARS], length), person)
        top.add(self.cut, person, last)
        base.add(self.spells, person)
        base.add(self.spells + 1 + group, person)

    def _beginnings(self, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A row of each spell, its person, and the calendar year in which it began, in the order of the rows."""
        moved = self.row[whole[self.row] != whole[self.row - 1]]
        given = self.workers.last_given
        row = np.sort(np.concatenate([given, moved]))
        return row, self.workers.careers.person_of_row[row], self.workers.year[self._first_row[row]]

    @cached_property
    def _first_row(self) -> np.ndarray:
        """Of the last given row of each person the row in which its spell began; of other rows the row itself."""
        careers = self.workers.careers
        begins = np.where(careers.previous != careers.occupation, np.arange(len(careers)), 0)
        first, given = np.arange(len(careers)), self.workers.last_given
        first[given] = np.maximum.accumulate(begins)[given]
        return first

    def _of_people(self, whole: np.ndarray, top: Entries, base: Entries) -> None:
        """Unemployment in a life, jobs held, and where a career ends, person by person."""
        everyone = np.arange(self.people)
        now, n = whole[self.row], len(self.groups)
        top.add(self.ever, np.unique(self.person[now == self.unemployed]))
        base.add(self.persons, everyone)
        given, jobs = self.workers.last_given, len(self.broad)
        who, what = np.append(everyone, self.person), whole[np.append(given, self.row)]
        top.add(self.held, np.unique((who * jobs + what)[self.job[what]]) // jobs)
        origin, end = self.broad[whole[given]], self.broad[whole[self.workers.careers.starts[1:] - 1]]
        top.add(self.lifetime + origin * n + end, everyone)
        base.add(self.origin + origin, everyone)


@dataclass(frozen=True)
class PersonSums:
    """Sums of each person, the mean over paths, and the totals of every path.

    Attributes:
        top: numerators, shape (people, quantities).
        base: denominators, shape (people, bases).
        path_top: sums over a group's people, shape (paths, groups, quantities).
        path_base: shape (paths, groups, bases).
    """

    top: np.ndarray
    base: np.ndarray
    path_top: np.ndarray
    path_base: np.ndarray


def person_sums(sums: CareerSums, occupation: np.ndarray, member: np.ndarray) -> PersonSums:
    """Count the careers of every path.

    Args:
        sums: how careers are counted.
        occupation: of every drawn row and path, shape (drawn_rows, paths).
        member: whether a person is in a group, bool, shape (groups, people).
    """
    paths, groups = occupation.shape[1], len(member)
    sizes = len(sums.quantities), sums.bases
    means = [np.zeros((sums.people, size)) for size in sizes]
    totals = [np.zeros((paths, groups, size)) for size in sizes]
    within = sparse.csr_array(member.astype(float))
    for path in range(paths):
        for mean, total, entries in zip(means, totals, sums.entries(occupation[:, path].astype(np.int64)), strict=True):
            place, person, value = entries.joined()
            np.add.at(mean.reshape(-1), person * mean.shape[1] + place, value / paths)
            one = sparse.csr_array((value, (person, place)), shape=mean.shape)
            total[path] = (within @ one).toarray()  # (groups, quantities)
    return PersonSums(*means, *totals)
