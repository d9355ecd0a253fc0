"""The simulated population: known probabilities, switches that switch, two populations in one world."""

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import EDUCATION, ETHNICITIES, Careers
from laborllm.survey.occupations import STATES, crosswalk
from laborllm.survey.simulated.likeness import AGES, censuses
from laborllm.survey.simulated.population import draw_population, survey_rounds
from laborllm.survey.simulated.simulate import (
    Mechanisms,
    SimulatedSettings,
    Situation,
    World,
    build_world,
    latent_types,
    simulate,
    situations,
    true_log_probabilities,
)
from laborllm.survey.simulated.world import logits, similarity, unemployment_index, with_type

SETTINGS = SimulatedSettings(people=400, occupations=20, seed=3)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SETTINGS)


@pytest.fixture(scope="module")
def careers() -> Careers:
    return simulate(SETTINGS)


def types_of(settings: SimulatedSettings, careers: Careers) -> np.ndarray:
    return latent_types(settings)[np.unique(careers.table["person"].to_numpy()) - 1]


def without(mechanism: str) -> SimulatedSettings:
    return SETTINGS.model_copy(update={"mechanisms": Mechanisms(**{mechanism: False})})


def log_probabilities(settings: SimulatedSettings, careers: Careers, **changes: np.ndarray) -> np.ndarray:
    """True log-probabilities for the middle type (or the only one) once some of the situation is changed."""
    world = build_world(settings)
    situation = replace(situations(world, careers), **changes)
    types = np.full(len(careers), (len(world.type_shares) - 1) // 2)
    return with_type(world, logits(world, situation), previous=situation.previous, types=types)


def one_logit(world: World, at: Situation, row: int, destination: int, kind: int) -> float:
    """The sum of mechanisms written out for one row and one destination."""
    previous, education = at.previous[row], at.education[row]
    stays = previous == destination
    total = world.moves[previous, destination] + world.education[education, destination]
    total += world.gender[at.gender[row], destination] + world.ethnicity[at.ethnicity[row], destination]
    total += world.region[at.region[row], destination] + world.type_preference[kind, destination]
    total += world.cohort[destination] * (at.birth_year[row] - world.middle_birth_year)
    if world.occupations.codes[destination] == "in_education":
        total += world.schooling[education, at.year[row] - at.birth_year[row]]
    if stays:
        return total + world.duration[previous] * np.log(at.tenure[row] / 3) + world.type_stay[kind, previous]
    total += world.cycle[destination] * float(unemployment_index(at.year[row]))
    return total + (world.former[destination] if at.held[row, destination] else 0.0)


def test_probabilities_equal_the_sum_written_out_row_by_row(world: World, careers: Careers) -> None:
    types = types_of(SETTINGS, careers)
    answer = true_log_probabilities(world, careers, types=types)
    at = situations(world, careers)
    for row in range(0, len(careers), 37):
        kind = types[careers.person_of_row[row]]
        logits = np.array([one_logit(world, at, row, k, kind) for k in range(len(world.occupations))])
        np.testing.assert_allclose(answer[row], logits - np.logaddexp.reduce(logits), atol=1e-10)


def test_situation_equals_a_walk_through_each_career(world: World, careers: Careers) -> None:
    at = situations(world, careers)
    for first, last in list(zip(careers.starts[:-1], careers.starts[1:], strict=True))[:60]:
        previous, tenure, held = -1, 0, set()
        for row in range(first, last):
            assert (at.previous[row], at.tenure[row], set(np.flatnonzero(at.held[row]))) == (previous, tenure, held)
            now = careers.occupation[row]
            tenure, previous = (tenure + 1 if now == previous else 1), now
            held.add(now)


def test_same_seed_same_careers_to_the_last_bit(careers: Careers) -> None:
    again = simulate(SETTINGS)
    assert again.table.equals(careers.table)
    assert again.flow == careers.flow
    for name, values in vars(build_world(SETTINGS)).items():
        if isinstance(values, np.ndarray):
            assert values.tobytes() == vars(build_world(SETTINGS))[name].tobytes()


def test_another_seed_gives_other_careers(careers: Careers) -> None:
    assert not simulate(SETTINGS.model_copy(update={"seed": 4})).table.equals(careers.table)


@pytest.mark.parametrize("name", ["gender", "ethnicity", "region", "education"])
def test_a_covariate_matters_only_if_switched_on(careers: Careers, world: World, name: str) -> None:
    swapped = {name: (getattr(situations(world, careers), name) + 1) % {"education": 5, "gender": 2}.get(name, 4)}
    on = log_probabilities(SETTINGS, careers)
    off = log_probabilities(without(name), careers)
    assert np.abs(log_probabilities(SETTINGS, careers, **swapped) - on).max() > 0.1
    np.testing.assert_array_equal(log_probabilities(without(name), careers, **swapped), off)


def test_tenure_matters_only_if_switched_on(careers: Careers, world: World) -> None:
    tenure = situations(world, careers).tenure
    longer = np.where(tenure > 0, tenure + 5, 0)
    gain = log_probabilities(SETTINGS, careers, tenure=longer) - log_probabilities(SETTINGS, careers)
    later = np.flatnonzero(careers.previous >= 0)
    assert (gain[later, careers.previous[later]] > 0).all()
    np.testing.assert_array_equal(
        log_probabilities(without("duration"), careers, tenure=longer), log_probabilities(without("duration"), careers)
    )


def test_former_occupations_matter_only_if_switched_on(careers: Careers, world: World) -> None:
    never = np.zeros((len(careers), len(world.occupations)), dtype=bool)
    drop = log_probabilities(SETTINGS, careers, held=never) - log_probabilities(SETTINGS, careers)
    assert drop.min() < -1
    off = without("former_occupations")
    np.testing.assert_array_equal(log_probabilities(off, careers, held=never), log_probabilities(off, careers))


def test_year_and_birth_year_matter_through_cycle_school_and_cohort_alone(careers: Careers, world: World) -> None:
    at = situations(world, careers)
    still = SETTINGS.model_copy(update={"mechanisms": Mechanisms(business_cycle=False, education=False, cohort=False)})
    moved = {"year": at.year + 4, "birth_year": at.birth_year - 3}
    assert np.abs(log_probabilities(SETTINGS, careers, **moved) - log_probabilities(SETTINGS, careers)).max() > 0.1
    np.testing.assert_array_equal(log_probabilities(still, careers, **moved), log_probabilities(still, careers))


def test_without_types_there_is_one_and_it_changes_nothing() -> None:
    world = build_world(without("types"))
    assert world.type_shares.tolist() == [1.0]
    assert not world.type_stay.any()
    assert not world.type_preference.any()


def test_similarity_follows_groups_and_title_words(world: World) -> None:
    alike = similarity(world.occupations)
    groups = np.array(world.occupations.groups)
    job = ~np.array(world.occupations.is_state)
    assert (alike[~job] == 0).all()
    assert (alike[np.ix_(job, job)][groups[job][:, None] == groups[job]] >= 1).all()
    plain = build_world(without("similarity")).moves
    off_diagonal = np.outer(job, job) & ~np.eye(len(job), dtype=bool)
    change = (world.moves[:-1] - plain[:-1])[off_diagonal]
    assert np.corrcoef(change, alike[off_diagonal])[0, 1] > 0.9


def test_a_switch_changes_its_own_parameters_only(world: World) -> None:
    other = build_world(without("ethnicity"))
    changed = [n for n, v in vars(world).items() if isinstance(v, np.ndarray) and not np.array_equal(v, vars(other)[n])]
    assert changed == ["ethnicity"]


def test_frequencies_agree_with_the_probabilities() -> None:
    settings = SimulatedSettings(people=6000, occupations=12, seed=5)
    careers, world = simulate(settings), build_world(settings)
    chances = np.exp(true_log_probabilities(world, careers, types=types_of(settings, careers)))
    happened = np.eye(len(world.occupations))[careers.occupation]
    surprise = (happened - chances).sum(axis=0) / np.sqrt((chances * (1 - chances)).sum(axis=0))
    assert np.abs(surprise).max() < 4  # a z-score per occupation


def test_nothing_given_from_outside_tells_the_type() -> None:
    settings = SimulatedSettings(people=20_000, occupations=10, seed=2)
    world = build_world(settings)
    people = draw_population(settings, world, np.random.default_rng(0))
    traits = {
        "school": people.education[:, -1],
        "rows": people.interviewed.sum(axis=1),
        "gender": people.gender,
        "cohort": people.birth_year,
    }
    for values in traits.values():
        means = [values[people.type == kind].mean() for kind in range(3)]
        assert np.ptp(means) < 5 * values.std() / np.sqrt(np.bincount(people.type).min())


def test_survey_population_is_a_survey(careers: Careers) -> None:
    table = careers.table.with_columns(age=pl.col("year") - pl.col("birth_year"))
    assert table["age"].is_between(16, 45).all()
    assert table["survey"].unique().to_list() == ["simulated"]
    assert table.null_count().sum_horizontal().item() == 0
    level = table["education"].replace_strict(list(EDUCATION), range(5), return_dtype=pl.Int64)
    rises = table.with_columns(level=level).select(pl.col("level").diff().over("person")).drop_nulls()
    assert (rises["level"] >= 0).all()
    assert set(table["occupation"].cast(pl.String)) <= set(careers.occupations.codes)
    assert len(careers.occupations) == 23
    shares = (careers.transition == "stay").sum() / (careers.transition != "first").sum()
    assert 0.65 < shares < 0.85


def test_flow_adds_up(careers: Careers) -> None:
    born, dropped, kept = careers.flow
    assert born.person_years - dropped.person_years == kept.person_years == len(careers)
    assert born.people - dropped.people == kept.people == careers.people


def test_rounds_become_biennial() -> None:
    assert survey_rounds(1979, 2000).tolist() == [*range(1979, 1994), 1995, 1997, 1999]
    assert survey_rounds(1990, 1990).tolist() == [1990]


def test_resumes_are_an_unrepresentative_sample_of_the_same_world(careers: Careers) -> None:
    settings = SETTINGS.model_copy(update={"population": "resume", "people": 2000})
    resumes = simulate(settings)
    assert resumes.occupations == careers.occupations
    assert resumes.table["survey"].unique().to_list() == ["simulated résumés"]
    assert not np.array(resumes.occupations.is_state)[resumes.occupation].any()
    assert resumes.table.select("gender", "ethnicity", "birth_year").null_count().row(0) == (len(resumes),) * 3
    assert resumes.table.select("education", "region", "year").null_count().sum_horizontal().item() == 0
    high = ["college", "graduate degree"]
    assert resumes.table["education"].is_in(high).mean() > careers.table["education"].is_in(high).mean() + 0.1
    born, states, miscoded, kept = resumes.flow
    assert born.person_years - states.person_years == kept.person_years == len(resumes)
    assert born.people - states.people == kept.people == resumes.people
    assert miscoded.person_years / len(resumes) == pytest.approx(0.05, abs=0.005)


def test_resumes_tell_every_calendar_year_of_working_age() -> None:
    settings = SETTINGS.model_copy(update={"population": "resume"})
    people = draw_population(settings, build_world(settings), np.random.default_rng(0))
    assert people.rounds.tolist() == list(range(1979, 2001))
    age = people.rounds - people.birth_year[:, None]
    np.testing.assert_array_equal(people.interviewed, (age >= 16) & (age <= 45))
    resumes = simulate(settings)
    assert resumes.flow[0].people == 400
    assert 400 * 21 < resumes.flow[0].person_years < 400 * 22  # in 1979 people are 15 to 22 years old
    assert set(range(1994, 2001)) <= set(resumes.table["year"])  # the survey is biennial there
    gaps = resumes.table.group_by("person").agg(gap=pl.col("year").diff().max()).drop_nulls()
    assert (gaps["gap"] == 1).mean() > 0.1  # the others have years outside employment between


def test_the_survey_population_is_what_it_was() -> None:
    """Other populations may change; this one is the yardstick of studies already run."""
    table = simulate(SETTINGS).table.cast({"occupation": pl.String, "survey": pl.String})
    assert hashlib.sha256(table.write_csv().encode()).hexdigest()[:16] == "1d0c5cf4743d649c"


def test_more_occupations_than_there_are_is_an_error() -> None:
    with pytest.raises(LaborLLMError, match=r"survey.occupations is 9999; occ1990dd has \d+ jobs"):
        simulate(SimulatedSettings(people=5, occupations=9999))


def test_years_in_the_wrong_order_are_an_error() -> None:
    with pytest.raises(ValidationError, match="last_year 1980 is before first_year 1990; swap them"):
        SimulatedSettings(first_year=1990, last_year=1980)


def test_truth_wants_one_type_a_person(careers: Careers, world: World) -> None:
    with pytest.raises(LaborLLMError, match=f"3 types for {careers.people} people; index latent_types"):
        true_log_probabilities(world, careers, types=np.zeros(3, dtype=int))


def test_truth_refuses_careers_of_another_world(few_careers: Careers, world: World, careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match="5 occupations that are not the 23 of the simulated world"):
        situations(world, few_careers)
    unknown = replace(careers, table=careers.table.with_columns(gender=pl.lit("none of them")))
    with pytest.raises(LaborLLMError, match="column gender, row 1: 'none of them' is none of female, male"):
        situations(world, unknown)
    unborn = replace(careers, table=careers.table.with_columns(birth_year=pl.lit(None, dtype=pl.Int32)))
    with pytest.raises(LaborLLMError, match="column birth_year, row 1: the value is missing"):
        situations(world, unborn)


RESEMBLED = {
    "nlsy79": (
        (*range(1979, 1995), *range(1996, 2023, 2)),
        (1957, 1964),
        {"white", "black or african american", "hispanic"},
    ),
    "nlsy97": ((*range(1997, 2012), *range(2013, 2020, 2)), (1980, 1984), None),
    "psid": ((*range(1981, 1998), *range(1999, 2022, 2)), (1921, 2001), None),
}


@pytest.mark.parametrize("like", RESEMBLED)
def test_a_survey_to_resemble_gives_rounds_births_and_ethnicities(like: str) -> None:
    rounds, births, ethnicities = RESEMBLED[like]
    settings = SimulatedSettings(like=like, people=1500)
    table = simulate(settings).table
    assert tuple(sorted(set(table["year"]))) == rounds == tuple(censuses(like))
    assert (table["birth_year"].min(), table["birth_year"].max()) == births == settings.births
    age = table["year"] - table["birth_year"]
    assert age.min() == AGES[like][0]
    assert age.max() <= AGES[like][1]
    assert set(table["ethnicity"]) == (ethnicities or set(ETHNICITIES))


def test_a_survey_to_resemble_gives_jobs_that_each_of_its_classifications_has() -> None:
    settings = SimulatedSettings(like="nlsy79", people=100, occupations=262)
    jobs = set(build_world(settings).occupations.codes) - set(STATES)
    assert len(jobs) == 262
    for census in (1970, 1980, 2000, 2002):
        assert jobs <= set(crosswalk(census).values())
    late = SimulatedSettings(like="nlsy79", first_year=2004, people=100, occupations=300)
    assert len(build_world(late).occupations) == 303
    with pytest.raises(LaborLLMError, match="nlsy79 has 264 jobs: give 264 or fewer"):
        simulate(settings.model_copy(update={"occupations": 300}))


def test_the_truth_is_known_of_a_survey_to_resemble() -> None:
    settings = SimulatedSettings(like="psid", people=200, occupations=20, seed=3)
    careers = simulate(settings)
    chances = true_log_probabilities(build_world(settings), careers, types=types_of(settings, careers))
    np.testing.assert_allclose(np.exp(chances).sum(axis=1), 1.0)
    realised = chances[np.arange(len(careers)), careers.occupation]
    expected = (np.exp(chances) * chances).sum(axis=1)
    assert abs((realised - expected).mean()) < 4 * (realised - expected).std() / np.sqrt(len(careers))


def test_both_populations_of_a_survey_to_resemble_live_in_one_world() -> None:
    settings = SimulatedSettings(like="nlsy97", people=300)
    resume = settings.model_copy(update={"population": "resume"})
    careers = simulate(resume)
    assert careers.occupations == simulate(settings).occupations
    assert set(careers.table["year"]) == set(range(1997, 2020))


def test_years_that_are_given_bound_the_rounds_of_a_survey_to_resemble() -> None:
    settings = SimulatedSettings(like="psid", first_year=1996, last_year=2000, people=200)
    assert sorted(set(simulate(settings).table["year"])) == [1996, 1997, 1999]
    assert SimulatedSettings(like="psid", first_year=1996).last_year == 2021
    with pytest.raises(ValidationError, match="psid has no round from 1998 to 1998; its rounds are 1981 to 2021"):
        SimulatedSettings(like="psid", first_year=1998, last_year=1998)
    with pytest.raises(ValidationError, match="like"):
        SimulatedSettings(like="cps")
