"""A simulated population whose every transition probability is known, and an unrepresentative sample of its résumés.

The process runs over rows. In the survey a year without an interview is skipped, and the next row's occupation depends
on the last observed one however many years lie between. So the truth is exact for the rows there are, with nothing to
integrate over but the latent type (``models.oracle``). In the résumés every calendar year of working age is a row;
those outside employment are left out afterwards.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import EDUCATION, ETHNICITIES, GENDERS, REGIONS, Careers, Step
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.population import Population, draw_population
from laborllm.survey.simulated.world import (
    Mechanisms,
    SimulatedSettings,
    Situation,
    World,
    build_world,
    logits,
    with_type,
)

__all__ = [
    "Mechanisms",
    "SimulatedSettings",
    "Situation",
    "World",
    "build_world",
    "latent_types",
    "simulate",
    "simulated_population",
    "situations",
    "true_log_probabilities",
]

MISCODED = 0.05
"""Share of a résumé's jobs that bear the code of another job, drawn evenly from the list."""
NAMES = {"survey": "simulated", "resume": "simulated résumés"}


@dataclass(frozen=True)
class _Rows:
    """Rows in the order of person and round: the person, the round and the occupation drawn, each (rows,)."""

    person: np.ndarray
    round: np.ndarray
    occupation: np.ndarray


def simulate(settings: SimulatedSettings) -> Careers:
    """Draw the careers of a made-up population: same settings, same careers, to the last bit.

    Returns:
        Careers over the chosen jobs of occ1990dd and the states unemployed, not_in_labor_force and in_education.
        The survey ("simulated") has every covariate. The résumés ("simulated résumés") have education and region
        alone, a job in every year but those outside employment, and 5 % of jobs miscoded. The flow counts what was
        left out.

    Raises:
        LaborLLMError: more occupations are asked for than occ1990dd has, or nobody is left.
    """
    world = build_world(settings)
    rng = _people_rng(settings)
    population = draw_population(settings, world, rng)
    rows = _live(world, population, rng)
    resume = settings.population == "resume"
    if resume:
        rows, steps = _resumes(world.occupations, rows, rng)
    else:
        steps = _interview_steps(population, rows)
    if not len(rows.person):
        raise LaborLLMError(f"survey.people is {settings.people}: no row is left; ask for more people or more years")
    frame = _frame(world.occupations, population, rows, covariates=not resume)
    name = NAMES[settings.population]
    return careers_from_frame(frame, world.occupations, source=name, survey=name, flow=steps)


def simulated_population(settings: SimulatedSettings) -> Population:
    """Everybody drawn, with a row or not: entry p - 1 is person p of ``simulate``."""
    return draw_population(settings, build_world(settings), _people_rng(settings))


def latent_types(settings: SimulatedSettings) -> np.ndarray:
    """The latent type that no model may see: entry p - 1 is person p's, interviewed or not; shape (people drawn,)."""
    return simulated_population(settings).type


def true_log_probabilities(world: World, careers: Careers, *, types: np.ndarray) -> np.ndarray:
    """log P(occupation | past rows, covariates, year and education of the row, latent type).

    Args:
        world: the parameters.
        careers: careers of the survey population, whole histories, every covariate known.
        types: the latent type of each person of the careers, shape (people,).

    Returns:
        nats, float64, shape (person_years, occupations); exp of each row sums to 1.

    Raises:
        LaborLLMError: the list of occupations is not the world's, a covariate is missing or unknown to it, or there
            is not one type a person.
    """
    if len(types) != careers.people:
        raise LaborLLMError(
            f"{len(types)} types for {careers.people} people; index latent_types(settings) by person - 1"
        )
    scores = logits(world, situations(world, careers))
    return with_type(world, scores, previous=careers.previous, types=types[careers.person_of_row])


def situations(world: World, careers: Careers) -> Situation:
    """What each row's occupation depends on, read off the careers.

    Raises:
        LaborLLMError: the list of occupations is not the world's, or a covariate is missing or unknown to it.
    """
    if careers.occupations.codes != world.occupations.codes:
        raise LaborLLMError(
            f"the careers have {len(careers.occupations)} occupations that are not the {len(world.occupations)} of the "
            f"simulated world; use the settings (seed, occupations) that simulated them"
        )
    return Situation(
        previous=careers.previous,
        tenure=_tenure(careers),
        held=_held(careers),
        education=_positions(careers, "education", EDUCATION),
        gender=_positions(careers, "gender", GENDERS),
        ethnicity=_positions(careers, "ethnicity", ETHNICITIES),
        region=_positions(careers, "region", REGIONS),
        birth_year=_birth_year(careers),
        year=careers.table["year"].to_numpy().astype(np.int64),
    )


def _tenure(careers: Careers) -> np.ndarray:
    """Rows in the previous occupation without a break, 0 in a first row, shape (person_years,)."""
    rows = np.arange(len(careers))
    begins = careers.previous != careers.occupation  # first rows begin a spell too
    begun = np.maximum.accumulate(np.where(begins, rows, 0))
    tenure = rows - np.append(0, begun[:-1])
    tenure[careers.starts[:-1]] = 0
    return tenure  # (person_years,)


def _held(careers: Careers) -> np.ndarray:
    """Whether each occupation was held in an earlier row of the person, bool, shape (person_years, occupations)."""
    rows = np.arange(len(careers))
    first = np.full((careers.people, len(careers.occupations)), len(careers))
    np.minimum.at(first, (careers.person_of_row, careers.occupation), rows)
    return first[careers.person_of_row] < rows[:, None]  # (person_years, occupations)


def _positions(careers: Careers, name: str, words: tuple[str, ...]) -> np.ndarray:
    place = careers.table[name].replace_strict(list(words), range(len(words)), default=None, return_dtype=pl.Int64)
    if place.null_count():
        row = place.is_null().arg_true()[0]
        raise LaborLLMError(
            f"careers, column {name}, row {row + 1}: {careers.table[name][row]!r} is none of {', '.join(words)}; "
            f"the truth is known for the simulated survey population alone"
        )
    return place.to_numpy()  # (person_years,)


def _birth_year(careers: Careers) -> np.ndarray:
    values = careers.table["birth_year"]
    if values.null_count():
        row = values.is_null().arg_true()[0] + 1
        raise LaborLLMError(
            f"careers, column birth_year, row {row}: the value is missing; "
            f"the truth is known for the simulated survey population alone"
        )
    return values.to_numpy().astype(np.int64)  # (person_years,)


def _people_rng(settings: SimulatedSettings) -> np.random.Generator:
    return np.random.default_rng([settings.seed, 1 + list(NAMES).index(settings.population)])


def _live(world: World, population: Population, rng: np.random.Generator) -> _Rows:
    """Draw every interview's occupation, round by round, all people of a round at once."""
    people, rounds = population.interviewed.shape
    luck = rng.random((people, rounds))
    drawn = np.full((people, rounds), -1)
    previous, tenure = np.full(people, -1), np.zeros(people, dtype=np.int64)
    held = np.zeros((people, len(world.occupations)), dtype=bool)
    for turn in range(rounds):
        who = np.flatnonzero(population.interviewed[:, turn])
        now = Situation(
            previous=previous[who],
            tenure=tenure[who],
            held=held[who],
            education=population.education[who, turn],
            gender=population.gender[who],
            ethnicity=population.ethnicity[who],
            region=population.region[who],
            birth_year=population.birth_year[who],
            year=np.full(len(who), population.rounds[turn]),
        )
        chances = with_type(world, logits(world, now), previous=previous[who], types=population.type[who])
        chosen = _draw(chances, luck[who, turn])
        tenure[who] = np.where(chosen == previous[who], tenure[who] + 1, 1)
        previous[who], drawn[who, turn] = chosen, chosen
        held[who, chosen] = True
    person, turns = np.nonzero(population.interviewed)
    return _Rows(person=person, round=turns, occupation=drawn[person, turns])


def _draw(log_probabilities: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Inverse of the distribution function at ``luck`` in [0, 1), shape (rows,)."""
    reached = np.cumsum(np.exp(log_probabilities), axis=1)  # (rows, occupations)
    return (reached[:, :-1] <= luck[:, None]).sum(axis=1)


def _interview_steps(population: Population, rows: _Rows) -> list[Step]:
    of_age = population.of_age
    people, person_years = int(of_age.any(axis=1).sum()), int(of_age.sum())
    met = len(np.unique(rows.person))
    return [
        Step("simulated: person-years of working age in a survey round", people, person_years),
        Step("dropped: no interview, at random", people - met, person_years - len(rows.person), "dropped"),
        Step("interviewed", met, len(rows.person)),
    ]


def _resumes(occupations: Occupations, rows: _Rows, rng: np.random.Generator) -> tuple[_Rows, list[Step]]:
    """Leave out the states outside employment, then give a random other job's code to some rows."""
    state = np.array(occupations.is_state)[rows.occupation]
    person, occupation = rows.person[~state], rows.occupation[~state].copy()
    wrong = np.flatnonzero(rng.random(len(person)) < MISCODED)
    jobs = np.flatnonzero(~np.array(occupations.is_state))
    place = np.searchsorted(jobs, occupation[wrong])
    occupation[wrong] = jobs[(place + rng.integers(1, len(jobs), len(wrong))) % len(jobs)]
    without = len(np.unique(rows.person)) - len(np.unique(person))
    steps = [
        Step("simulated: person-years of working age", len(np.unique(rows.person)), len(rows.person)),
        Step("dropped: not employed, which a résumé does not tell", without, int(state.sum()), "dropped"),
        Step("recoded: miscoded as another job", len(np.unique(person[wrong])), len(wrong), "recoded"),
        Step("résumés", len(np.unique(person)), len(person)),
    ]
    return _Rows(person=person, round=rows.round[~state], occupation=occupation), steps


def _frame(occupations: Occupations, population: Population, rows: _Rows, *, covariates: bool) -> pl.DataFrame:
    """Person-year rows in words; without covariates only education and region."""
    columns = {
        "person": rows.person + 1,
        "year": population.rounds[rows.round],
        "occupation": np.array(occupations.codes)[rows.occupation],
        "education": np.array(EDUCATION)[population.education[rows.person, rows.round]],
        "region": np.array(REGIONS)[population.region[rows.person]],
    }
    if covariates:
        columns["gender"] = np.array(GENDERS)[population.gender[rows.person]]
        columns["ethnicity"] = np.array(ETHNICITIES)[population.ethnicity[rows.person]]
        columns["birth_year"] = population.birth_year[rows.person]
    return pl.DataFrame(columns)
