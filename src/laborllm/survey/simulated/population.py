"""The made-up people of the simulated population: who they are, when they are interviewed, how they are schooled.

Nothing here depends on the latent type or on an occupation: schooling, interviews and covariates are given from
outside, so that seeing them tells nothing about the type, and the truth stays exactly known.
"""

from dataclasses import dataclass

import numpy as np

from laborllm.survey.careers import EDUCATION, ETHNICITIES, GENDERS, REGIONS
from laborllm.survey.simulated.likeness import AGES, SHARES, rounds_of
from laborllm.survey.simulated.world import SimulatedSettings, World

WORKING_AGES = (16, 45)
ETHNICITY_SHARES = (0.58, 0.22, 0.15, 0.05)
REGION_SHARES = (0.20, 0.25, 0.36, 0.19)
FINAL_EDUCATION = {"survey": (0.12, 0.38, 0.24, 0.17, 0.09), "resume": (0.02, 0.15, 0.23, 0.38, 0.22)}
"""Shares of the levels of ``EDUCATION`` that people end with: those who put a résumé online are the educated."""
REACHED_AT = (0, 18, 19, 22, 25)
"""Age at which each level of ``EDUCATION`` is reached without delay; up to two years of delay are drawn."""
MISSED, LEFT = 0.12, 0.025
"""Share of rounds missed, and of people who leave the survey for good before each round."""


@dataclass(frozen=True)
class Population:
    """People and the years in which they have a row.

    Attributes:
        type: latent type, shape (people,).
        gender: position in ``GENDERS``, shape (people,).
        ethnicity: position in ``ETHNICITIES``, shape (people,).
        region: position in ``REGIONS``, shape (people,).
        birth_year: calendar year, shape (people,).
        rounds: calendar years: those of the interviews, or every one in résumés, shape (rounds,).
        education: position in ``EDUCATION``, shape (people, rounds).
        of_age: whether the person is of working age, shape (people, rounds).
        interviewed: whether there is a row, shape (people, rounds).
    """

    type: np.ndarray
    gender: np.ndarray
    ethnicity: np.ndarray
    region: np.ndarray
    birth_year: np.ndarray
    rounds: np.ndarray
    education: np.ndarray
    of_age: np.ndarray
    interviewed: np.ndarray


def draw_population(settings: SimulatedSettings, world: World, rng: np.random.Generator) -> Population:
    """Draw people and their rows, one call of the generator per covariate; a résumé tells every year of working age."""
    yearly = settings.population == "resume"
    people = settings.people
    first_birth, last_birth = settings.births
    birth_year = last_birth - rng.integers(0, last_birth - first_birth + 1, people)
    rounds = np.arange(settings.first_year, settings.last_year + 1) if yearly else _rounds(settings)
    age = rounds - birth_year[:, None]  # (people, rounds)
    youngest, oldest = AGES[settings.like] if settings.like else WORKING_AGES
    of_age = (age >= youngest) & (age <= oldest)
    shares = np.array(SHARES[settings.like] if settings.like else ETHNICITY_SHARES)
    return Population(
        type=rng.choice(len(world.type_shares), people, p=world.type_shares),
        gender=rng.integers(0, len(GENDERS), people),
        ethnicity=rng.choice(len(ETHNICITIES), people, p=shares),
        region=rng.choice(len(REGIONS), people, p=REGION_SHARES),
        birth_year=birth_year,
        rounds=rounds,
        education=_education(age, FINAL_EDUCATION[settings.population], rng),
        of_age=of_age,
        interviewed=of_age if yearly else of_age & _present(of_age.shape, rng),
    )


def _rounds(settings: SimulatedSettings) -> np.ndarray:
    """The calendar years of the interviews, shape (rounds,)."""
    first_year, last_year = settings.first_year, settings.last_year
    if settings.like is None:
        return survey_rounds(first_year, last_year)
    return np.array(rounds_of(settings.like, first_year, last_year))  # (rounds,)


def survey_rounds(first_year: int, last_year: int) -> np.ndarray:
    """Every year at first, every other year in the last third, as the NLSY79 went biennial; shape (rounds,)."""
    biennial_after = first_year + round((last_year - first_year) * 2 / 3)
    yearly = np.arange(first_year, biennial_after + 1)
    return np.append(yearly, np.arange(biennial_after + 2, last_year + 1, 2))  # (rounds,)


def _education(age: np.ndarray, shares: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Level in each round: rises with age up to the level drawn for the person; shape (people, rounds)."""
    final = rng.choice(len(EDUCATION), len(age), p=shares)
    delay = rng.integers(0, 3, len(age))
    reached = np.array(REACHED_AT)[1:] + delay[:, None]  # (people, levels above the lowest)
    by_age = (age[:, :, None] >= reached[:, None, :]).sum(axis=2)  # (people, rounds)
    return np.minimum(by_age, final[:, None])


def _present(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Not missed at random, and not yet gone for good; shape (people, rounds)."""
    missed = rng.random(shape) < MISSED
    gone = np.logical_or.accumulate(rng.random(shape) < LEFT, axis=1)
    return ~(missed | gone)
