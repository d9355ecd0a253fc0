"""Simulated careers as people by rounds, and the codes of a survey drawn for them.

Every code is drawn out of all those that a reader maps to the value: tables of codes are the readers' own, turned
round. Where a reader carries a value forward, it is left out of some rounds in which it has not changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laborllm.survey.careers import REGIONS, Careers
from laborllm.survey.occupations import STATES, crosswalk
from laborllm.survey.simulated.population import Population

TOLD = 0.8
"""Share of rounds in which education is told though it has not changed."""
PAY = (200, 9000)
"""Lowest and highest pay, cents an hour."""
INCOMES, WITHOUT_INCOME = (1, 99_999), 0.15
"""Lowest labor income and the first above the highest, dollars a year; share of years without any."""
MIGRANTS = 0.1
"""Share of later rounds in which people live in another region; readers take the first one."""


@dataclass(frozen=True)
class Panel:
    """What everybody does in each round.

    Attributes:
        population: who they are, and when they are interviewed.
        codes: occ1990dd codes and states, shape (occupations,).
        occupation: position in ``codes``, -1 where there is no row, shape (people, rounds).
    """

    population: Population
    codes: tuple[str, ...]
    occupation: np.ndarray

    @classmethod
    def of(cls, careers: Careers, population: Population) -> "Panel":
        """Careers and population of the same settings."""
        occupation = np.full(population.interviewed.shape, -1)
        person = careers.table["person"].to_numpy() - 1
        turn = np.searchsorted(population.rounds, careers.table["year"].to_numpy())
        occupation[person, turn] = careers.occupation
        return cls(population, careers.occupations.codes, occupation)

    @property
    def shape(self) -> tuple[int, int]:
        """People and rounds."""
        people, rounds = self.occupation.shape
        return people, rounds

    @cached_property
    def has_job(self) -> np.ndarray:
        """Whether there is a row with a job, shape (people, rounds)."""
        return self.population.interviewed & ~self.among(STATES)

    def among(self, states: Iterable[str]) -> np.ndarray:
        """Whether there is a row with one of these states, shape (people, rounds)."""
        wanted = set(states)
        return np.isin(self.occupation, [place for place, code in enumerate(self.codes) if code in wanted])

    def census_codes(self, census: int, rng: np.random.Generator, places: np.ndarray | None = None) -> np.ndarray:
        """A code of the classification for each job, drawn among all that lead to it.

        Args:
            census: the classification.
            rng: the source of randomness.
            places: positions in ``codes``; None stands for ``occupation``.

        Returns:
            Codes of the shape of the places; of no meaning where there is no job.
        """
        codes: dict[str, list[int]] = {}
        for code, job in crosswalk(census).items():
            codes.setdefault(job, []).append(code)
        places = self.occupation if places is None else places
        return draw_codes(places, [codes.get(job, [0]) for job in self.codes], rng.random(places.shape))

    def cents(self, rng: np.random.Generator) -> np.ndarray:
        """Pay an hour, within the bounds that readers keep; made up, and tied to nothing; shape (people, rounds)."""
        low, high = np.log(PAY)
        return np.exp(rng.uniform(low, high, self.shape)).astype(np.int64)

    def incomes(self, rng: np.random.Generator) -> np.ndarray:
        """Labor income of the year before, whole dollars; made up, and tied to nothing; shape (people, rounds)."""
        none = rng.random(self.shape) < WITHOUT_INCOME
        return np.where(none, 0, rng.integers(*INCOMES, self.shape))

    def other_jobs(self, rng: np.random.Generator) -> np.ndarray:
        """Positions of jobs drawn evenly, whatever people do; shape (people, rounds)."""
        return rng.choice([place for place, code in enumerate(self.codes) if code not in STATES], self.shape)

    def tells_education(self, asked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Whether a round tells education: where it is new, and in most other interviews; shape (people, rounds).

        Args:
            asked: rounds that ask for it, bool, shape (rounds,).
            rng: the source of randomness.
        """
        tells = np.zeros(self.shape, dtype=bool)
        known = np.full(self.shape[0], -1)
        luck = rng.random(self.shape) < TOLD
        for turn in np.flatnonzero(asked):
            level = self.population.education[:, turn]
            tells[:, turn] = self.population.interviewed[:, turn] & ((level != known) | luck[:, turn])
            known = np.where(tells[:, turn], level, known)
        return tells

    def regions(self, rng: np.random.Generator) -> np.ndarray:
        """Position of the region lived in: the simulated one up to the first row, some others later.

        Returns:
            Positions in ``REGIONS``, shape (people, rounds).
        """
        later = np.cumsum(self.population.interviewed, axis=1) > self.population.interviewed
        moved = later & (rng.random(self.shape) < MIGRANTS)
        return np.where(moved, rng.integers(0, len(REGIONS), self.shape), self.population.region[:, None])


def draw_codes(places: np.ndarray, options: Sequence[Sequence[int]], luck: np.ndarray) -> np.ndarray:
    """One of the options of each place; of no meaning where the place is negative.

    Args:
        places: positions in ``options``, any shape.
        options: the codes of each position, at least one.
        luck: in [0, 1), of a shape that broadcasts to that of ``places``.
    """
    counts = np.array([len(codes) for codes in options])
    starts = np.cumsum(counts) - counts
    flat = np.array([code for codes in options for code in codes])
    return flat[starts[places] + (luck * counts[places]).astype(np.int64)]


def codes_of(words: Sequence[str], meaning: Mapping[int, str]) -> list[list[int]]:
    """A reader's table of codes turned round: the codes of each word.

    Examples:
        >>> codes_of(["male", "female"], {1: "male", 2: "female", 3: "male"})
        [[1, 3], [2]]
    """
    return [[code for code, meant in meaning.items() if meant == word] for word in words]
