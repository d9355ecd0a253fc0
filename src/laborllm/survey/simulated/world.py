"""The made-up labor market behind the simulated population: every probability is known.

The logit of each destination is a sum of mechanisms, each of which ``Mechanisms`` turns off. Codes, titles and groups
are real (occ1990dd); every number is made up, stylised after common knowledge of the US labor market, estimated from
nothing.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from laborllm.errors import LaborLLMError
from laborllm.settings import Settings
from laborllm.survey.careers import ETHNICITIES, REGIONS
from laborllm.survey.occupations import STATES, Occupations, occ1990dd
from laborllm.survey.simulated.likeness import Like, births, censuses, reachable, rounds_of

SIMULATED_STATES = ("unemployed", "not_in_labor_force", "in_education")
OLDEST = 99
YOUNGEST_FIRST, OLDEST_FIRST = 15, 22
"""Ages in the first calendar year, as in the NLSY79."""
TYPE_SHARES = (0.40, 0.35, 0.25)
TYPE_STAY = (1.0, 0.0, -1.3)
"""Stayers, middling, movers: what the latent type adds to the logit of keeping a job."""
TYPE_PREFERENCE = 1.0
SIMILARITY = 1.6
EMPTY_WORDS = ("other", "misc", "related", "except", "occupation")
RETURN = 3.8
DURATION = 0.9
TYPICAL_TENURE = 3
GENDER = 1.7
UNDERQUALIFIED, OVERQUALIFIED = 1.8, 0.7
"""What each missing, and each superfluous, level of education costs an occupation in logits."""
GROUP_EFFECT = 0.35
"""Standard deviation, across groups of occupations, of the effects of ethnicity, region and four birth years.

Where people are born over more than eight years, the effect of cohort is spread over half of these."""
SCHOOL_UNTIL = (18, 19, 22, 23, 25)
"""Last age at which people of each level of ``EDUCATION`` are commonly still at school."""
SCHOOL, AFTER_SCHOOL = 3.0, -2.0
CYCLE_YEARS = 9
CYCLE_UNEMPLOYMENT, CYCLE_MOVES = 0.9, -0.35

PROFILES = (
    (22, -0.3, 3), (37, 0.1, 3), (68, -0.8, 3), (83, -0.4, 4), (89, -0.3, 4), (106, 0.9, 3), (154, 0.0, 4),
    (165, 0.8, 3), (177, 0.3, 4), (178, -0.3, 4), (200, 0.0, 3), (208, 0.8, 2), (235, -0.5, 2), (258, -0.2, 2),
    (283, 0.4, 1), (389, 0.8, 1), (408, 0.6, 0), (427, -0.7, 1), (444, 0.3, 0), (447, 0.9, 1), (455, -0.4, 0),
    (467, 0.3, 1), (472, 0.9, 1), (498, -0.7, 0), (549, -0.9, 1), (599, -0.9, 1), (617, -0.9, 0), (699, -0.4, 1),
    (799, -0.1, 0), (999, -0.8, 0),
)  # fmt: skip
"""Last occ1990dd code of a range, tilt towards women (-1 … 1), level of education asked for (0 … 4). Stylised."""


class Mechanisms(Settings):
    """What moves people between occupations, one switch each. Off means: exactly no effect.

    With only ``similarity`` on (``Mechanisms.first_order()``) the process is first-order Markov in the occupation.
    """

    similarity: bool = True
    duration: bool = True
    former_occupations: bool = True
    education: bool = True
    gender: bool = True
    ethnicity: bool = True
    region: bool = True
    cohort: bool = True
    business_cycle: bool = True
    types: bool = True

    @classmethod
    def first_order(cls) -> "Mechanisms":
        """Everything off that makes anything but the last occupation matter."""
        return cls(**{name: name == "similarity" for name in cls.model_fields})


class SimulatedSettings(Settings):
    """The simulated population: ``[survey] source = "simulated"``.

    Attributes:
        people: people drawn, the size of either population. Résumés are many more than interviewed people: choose a
            larger number for them. Those of the résumés who never hold a job are dropped, and counted.
        occupations: jobs on the closed list, spread over the groups of occ1990dd; three states come on top.
        first_year: first calendar year; people are 15 to 22 years old in it, unless ``like`` says otherwise.
        last_year: last calendar year; in the last third of the years the survey has a round every other year, unless
            ``like`` says otherwise.
        like: a real survey to resemble, "nlsy79", "nlsy97" or "psid": its rounds between the two years (all of them,
            where the years are left out), its years of birth, its ethnicities, and jobs that each of its
            classifications can code. ``simulated.surveys.write_survey`` needs it. None resembles none.
        seed: fixes the world and the people. Both populations of one seed live in the same world.
        population: "survey", with interviews missed; or "resume", an unrepresentative one with every calendar year of
            working age.
        mechanisms: the switches.
    """

    source: Literal["simulated"] = "simulated"
    people: int = Field(default=5000, ge=1)
    occupations: int = Field(default=60, ge=2)
    first_year: int = Field(default=1979, ge=1950, le=2050)
    last_year: int = Field(default=2000, ge=1950, le=2050)
    seed: int = Field(default=1, ge=0)
    population: Literal["survey", "resume"] = "survey"
    like: Like | None = None
    mechanisms: Mechanisms = Mechanisms()

    @model_validator(mode="before")
    @classmethod
    def _years_of_the_survey(cls, values: Any) -> Any:
        """Years that are left out become those of the survey to resemble."""
        if not isinstance(values, dict) or values.get("like") not in get_args(Like):
            return values
        rounds = list(censuses(values["like"]))
        return {"first_year": rounds[0], "last_year": rounds[-1]} | values

    @model_validator(mode="after")
    def _years_in_order(self) -> "SimulatedSettings":
        if self.last_year < self.first_year:
            raise ValueError(f"last_year {self.last_year} is before first_year {self.first_year}; swap them")
        if self.like and not rounds_of(self.like, self.first_year, self.last_year):
            first, *_, last = censuses(self.like)
            raise ValueError(
                f"{self.like} has no round from {self.first_year} to {self.last_year}; its rounds are {first} to {last}"
            )
        return self

    @property
    def births(self) -> tuple[int, int]:
        """First and last year of birth."""
        if self.like is None:
            return self.first_year - OLDEST_FIRST, self.first_year - YOUNGEST_FIRST
        return births(self.like, self.first_year, self.last_year)


@dataclass(frozen=True)
class World:
    """Every parameter of the made-up labor market, in logits unless stated.

    Origins are the occupations and then the start of the career, so that -1, "no previous occupation", finds the last.

    Attributes:
        occupations: the closed list: jobs in the order of occ1990dd, then the states.
        moves: first-order part, stays on the diagonal, shape (origins, destinations).
        duration: per log year of tenure relative to ``TYPICAL_TENURE``, added to staying, shape (occupations,).
        former: added to an occupation held before the present one, shape (destinations,).
        education: shape (levels, destinations).
        schooling: added to being in education, shape (levels, ages 0 … OLDEST).
        gender: shape (genders, destinations).
        ethnicity: shape (ethnicities, destinations).
        region: shape (regions, destinations).
        cohort: per year of birth after ``middle_birth_year``, shape (destinations,).
        middle_birth_year: calendar year.
        cycle: per unit of ``unemployment_index``, added to leaving for a destination, shape (destinations,).
        type_shares: shares of the latent types, sum 1, shape (types,).
        type_stay: added to staying, shape (types, occupations).
        type_preference: shape (types, destinations).
    """

    occupations: Occupations
    moves: np.ndarray
    duration: np.ndarray
    former: np.ndarray
    education: np.ndarray
    schooling: np.ndarray
    gender: np.ndarray
    ethnicity: np.ndarray
    region: np.ndarray
    cohort: np.ndarray
    middle_birth_year: float
    cycle: np.ndarray
    type_shares: np.ndarray
    type_stay: np.ndarray
    type_preference: np.ndarray


@dataclass(frozen=True)
class Situation:
    """All that the next occupation depends on, but the latent type; positions in the lists of ``survey.careers``.

    Attributes:
        previous: the previous observed occupation, -1 at the start, shape (rows,).
        tenure: observed rows in it without a break, 0 at the start, shape (rows,).
        held: occupations held in any earlier row, bool, shape (rows, occupations).
        education: level in the row itself, shape (rows,).
        gender: shape (rows,).
        ethnicity: shape (rows,).
        region: shape (rows,).
        birth_year: calendar year, shape (rows,).
        year: calendar year of the row itself, shape (rows,).
    """

    previous: np.ndarray
    tenure: np.ndarray
    held: np.ndarray
    education: np.ndarray
    gender: np.ndarray
    ethnicity: np.ndarray
    region: np.ndarray
    birth_year: np.ndarray
    year: np.ndarray

    def rows(self, chosen: slice) -> "Situation":
        """A slice of the rows."""
        return Situation(**{name: values[chosen] for name, values in vars(self).items()})


def unemployment_index(year: np.ndarray) -> np.ndarray:
    """The given path of the business cycle: -1 (boom) … 1 (slump in 1982 and every nine years), shape of ``year``."""
    return np.cos(2 * math.pi * (np.asarray(year) - 1982) / CYCLE_YEARS)


def logits(world: World, situation: Situation) -> np.ndarray:
    """Sum of all mechanisms but the latent type; nats, float64, shape (rows, destinations)."""
    at = situation
    total = world.moves[at.previous]  # (rows, destinations), a copy
    total += world.education[at.education] + world.gender[at.gender]
    total += world.ethnicity[at.ethnicity] + world.region[at.region]
    total += np.outer(at.birth_year - world.middle_birth_year, world.cohort)
    age = np.clip(at.year - at.birth_year, 0, OLDEST)
    total[:, world.occupations.position["in_education"]] += world.schooling[at.education, age]
    leaving = np.where(at.held, world.former, 0.0)  # (rows, destinations)
    leaving += np.outer(unemployment_index(at.year), world.cycle)
    rows = np.flatnonzero(at.previous >= 0)
    here = at.previous[rows]
    leaving[rows, here] = world.duration[here] * np.log(at.tenure[rows] / TYPICAL_TENURE)
    return total + leaving  # (rows, destinations)


def with_type(world: World, logits: np.ndarray, *, previous: np.ndarray, types: np.ndarray) -> np.ndarray:
    """True log-probabilities once the latent type is known; nats, float64, shape (rows, destinations).

    Args:
        world: the parameters.
        logits: from ``logits``, left as they are, shape (rows, destinations).
        previous: the previous observed occupation, -1 at the start, shape (rows,).
        types: each row's latent type, shape (rows,).
    """
    scores = logits + world.type_preference[types]  # (rows, destinations)
    rows = np.flatnonzero(previous >= 0)
    scores[rows, previous[rows]] += world.type_stay[types[rows], previous[rows]]
    scores -= scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))  # (rows, destinations)


def build_world(settings: SimulatedSettings) -> World:
    """The made-up labor market of these settings: same seed, occupations and switches, same world to the last bit.

    Raises:
        LaborLLMError: more occupations are asked for than occ1990dd has.
    """
    # Every mechanism draws from a stream of its own, so that a switch changes nothing but its own effect.
    streams = np.random.default_rng([settings.seed, 0]).spawn(7)
    on = settings.mechanisms
    occupations = _choose(settings, streams[0])
    first_birth, last_birth = settings.births
    half_births = max(4, (last_birth - first_birth) / 2)  # years of birth over which the cohort effect adds up
    tilt, asked = _profiles(occupations, streams[1])
    away = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, None] - asked  # (levels, destinations)
    job = ~np.array(occupations.is_state)
    education = np.where(job, UNDERQUALIFIED * np.minimum(away, 0) - OVERQUALIFIED * np.maximum(away, 0), 0.0)
    types = len(TYPE_SHARES) if on.types else 1
    return World(
        occupations=occupations,
        moves=_first_order(occupations, streams[2], similar=on.similarity),
        duration=on.duration * DURATION * np.where(job, 1.0, 0.3),
        former=on.former_occupations * RETURN * job,
        education=on.education * education,
        schooling=on.education * _schooling(),
        gender=on.gender * GENDER * np.outer([1.0, -1.0], tilt),
        ethnicity=on.ethnicity * GROUP_EFFECT * _by_group(occupations, streams[3], len(ETHNICITIES)),
        region=on.region * GROUP_EFFECT * _by_group(occupations, streams[4], len(REGIONS)),
        cohort=on.cohort * GROUP_EFFECT / half_births * _by_group(occupations, streams[5], 1)[0],
        middle_birth_year=(first_birth + last_birth) / 2,
        cycle=on.business_cycle * np.where(job, CYCLE_MOVES, _state(occupations, "unemployed") * CYCLE_UNEMPLOYMENT),
        type_shares=np.array(TYPE_SHARES) if on.types else np.ones(1),
        type_stay=on.types * np.outer(TYPE_STAY[:types], job),
        type_preference=on.types * TYPE_PREFERENCE * _by_group(occupations, streams[6], types),
    )


def _choose(settings: SimulatedSettings, rng: np.random.Generator) -> Occupations:
    """Take jobs from each group in turn, at random inside a group, until there are enough."""
    everything, jobs = _everything(settings), settings.occupations
    places = np.flatnonzero(~np.array(everything.is_state))
    if jobs > len(places):
        raise LaborLLMError(
            f"survey.occupations is {jobs}; {'occ1990dd' if settings.like is None else settings.like} has "
            f"{len(places)} jobs: give {len(places)} or fewer"
        )
    turns: dict[str, int] = {}
    ranked = []
    for place in rng.permutation(places):
        group = everything.groups[place]
        turns[group] = turns.get(group, 0) + 1
        ranked.append((turns[group], place))
    chosen = {everything.codes[place] for _, place in sorted(ranked)[:jobs]}
    return everything.restrict(chosen | set(SIMULATED_STATES))


def _everything(settings: SimulatedSettings) -> Occupations:
    """The list to choose from: occ1990dd, or the part of it that every round of the survey to resemble can express."""
    everything = occ1990dd(states=SIMULATED_STATES)
    if settings.like is None:
        return everything
    return everything.restrict(
        reachable(settings.like, settings.first_year, settings.last_year) | set(SIMULATED_STATES)
    )


def _profiles(occupations: Occupations, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Tilt towards women and level of education asked for; 0 for the states; each of shape (occupations,)."""
    tilt, asked = np.zeros(len(occupations)), np.zeros(len(occupations))
    for place, code in enumerate(occupations.codes):
        noise = 0.2 * rng.standard_normal()
        if code not in STATES:
            _, tilt[place], asked[place] = next(profile for profile in PROFILES if int(code) <= profile[0])
            tilt[place] += noise
    return tilt, asked


def _first_order(occupations: Occupations, rng: np.random.Generator, *, similar: bool) -> np.ndarray:
    """Logits of stays and moves from the previous occupation alone, shape (origins, destinations).

    From any origin the moves to jobs have a log-sum-exp of 0, whatever the number of jobs, so that the shares of
    stays and of unemployment do not hang on it.
    """
    number = len(occupations)
    job = ~np.array(occupations.is_state)
    popularity = np.where(job, 0.6 * rng.standard_normal(number), 0.0)
    stay = np.where(job, 1.9 + 0.3 * rng.standard_normal(number), 0.0)
    moves = np.tile(popularity, (number + 1, 1))
    moves[:number] += similar * SIMILARITY * similarity(occupations)
    reachable = job & ~np.eye(number + 1, number, dtype=bool)  # (origins, destinations)
    moves -= np.log(np.sum(np.exp(moves), axis=1, where=reachable, keepdims=True))
    moves[np.arange(number), np.arange(number)] = stay
    #                          from a job, unemployment, outside the labor force, education, the start
    for state, values in {
        "unemployed": (-1.2, -0.5, -2.0, -1.6, -1.3),
        "not_in_labor_force": (-1.9, -1.4, 1.0, -1.6, -1.2),
        "in_education": (-3.2, -3.2, -3.2, 0.3, -1.2),
    }.items():
        origins = np.full(number + 1, values[0])
        origins[[occupations.position[name] for name in SIMULATED_STATES]] = values[1:4]
        origins[-1] = values[4]
        moves[:, occupations.position[state]] = origins
    return moves


def similarity(occupations: Occupations) -> np.ndarray:
    """1 inside a group, plus twice the share of title words in common; 0 with the states; shape (occupations,) * 2."""
    words = [set(_words(title)) for title in occupations.titles]
    shared = np.array([[len(a & b) / max(len(a | b), 1) for a in words] for b in words])
    groups = np.array(occupations.groups)
    job = ~np.array(occupations.is_state)
    return ((groups[:, None] == groups) + 2 * shared) * np.outer(job, job)


def _words(title: str) -> list[str]:
    words = [word.strip(",.()").lower().removesuffix("s") for word in title.replace("-", " ").replace("/", " ").split()]
    return [word for word in words if len(word) > 3 and word not in EMPTY_WORDS]


def _schooling() -> np.ndarray:
    at_school = np.arange(OLDEST + 1) <= np.array(SCHOOL_UNTIL)[:, None]
    return np.where(at_school, SCHOOL, AFTER_SCHOOL)  # (levels, ages)


def _by_group(occupations: Occupations, rng: np.random.Generator, values: int) -> np.ndarray:
    """One normal draw per value and group of jobs, centred over the values; shape (values, occupations)."""
    groups, group = np.unique(occupations.groups, return_inverse=True)
    draws = rng.standard_normal((values, len(groups)))
    if values > 1:
        draws -= draws.mean(axis=0)
    job = ~np.array(occupations.is_state)
    return draws[:, group] * job  # (values, occupations)


def _state(occupations: Occupations, name: str) -> np.ndarray:
    return np.array([code == name for code in occupations.codes], dtype=np.float64)
