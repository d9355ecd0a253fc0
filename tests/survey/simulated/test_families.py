"""Made-up families: everybody with a row heads one or is married into one, and ids are those of the survey's form."""

import numpy as np
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.simulated import families as simulated_families
from laborllm.survey.simulated.families import (
    ABSENT,
    CHILD,
    DIED,
    HEAD,
    INSTITUTION,
    MOVED_OUT,
    PARTNER,
    SPOUSE,
    Families,
    draw_families,
)
from laborllm.survey.simulated.population import Population
from laborllm.survey.simulated.simulate import SimulatedSettings, simulated_population

PEOPLE = 1500


@pytest.fixture(scope="module")
def population() -> Population:
    return simulated_population(SimulatedSettings(like="psid", people=PEOPLE, seed=2))


@pytest.fixture(scope="module")
def asked(population: Population) -> np.ndarray:
    return population.rounds >= 1985


@pytest.fixture(scope="module")
def families(population: Population, asked: np.ndarray) -> Families:
    return draw_families(population, asked, np.random.default_rng(1))


def present(families: Families) -> np.ndarray:
    return (families.sequence > 0) & (families.sequence <= 20)


def test_who_has_a_row_is_head_or_spouse_and_nobody_else_is(families: Families, population: Population) -> None:
    acts = present(families) & np.isin(families.role, (HEAD, SPOUSE, PARTNER))
    np.testing.assert_array_equal(acts, population.interviewed)


def test_a_family_has_one_head_and_at_most_one_spouse(families: Families) -> None:
    here = present(families)
    for wave in range(here.shape[1]):
        numbers = {
            roles: families.interview[here[:, wave] & np.isin(families.role[:, wave], roles), wave]
            for roles in ((HEAD,), (SPOUSE, PARTNER))
        }
        heads, spouses = numbers[HEAD,], numbers[SPOUSE, PARTNER]
        assert sorted(heads) == list(range(1, len(heads) + 1))
        assert len(set(spouses)) == len(spouses)
        assert set(spouses) <= set(heads)
        sequence = families.sequence[here[:, wave], wave]
        assert len(set(zip(families.interview[here[:, wave], wave], sequence, strict=True))) == len(sequence)


def test_couples_live_in_one_region_and_are_of_both_sexes(families: Families, population: Population) -> None:
    wave = 5
    here = present(families)[:, wave]
    head = {families.interview[p, wave]: p for p in np.flatnonzero(here & (families.role[:, wave] == HEAD))}
    spouses = np.flatnonzero(here & np.isin(families.role[:, wave], (SPOUSE, PARTNER)))
    heads = np.array([head[families.interview[p, wave]] for p in spouses])
    assert len(spouses) > 50
    assert (population.region[spouses] == population.region[heads]).all()
    assert (population.gender[spouses] != population.gender[heads]).all()
    assert (np.abs(population.birth_year[spouses] - population.birth_year[heads]) <= 12).all()
    assert (families.id_1968[spouses] == families.id_1968[heads]).all()


def test_a_spouse_is_asked_the_race_in_some_wave(families: Families, population: Population, asked: np.ndarray) -> None:
    married = (np.isin(families.role, (SPOUSE, PARTNER)) & present(families)).any(axis=1)
    assert (population.interviewed & asked)[married].any(axis=1).all()


def test_women_head_couples_from_the_wave_of_reference_persons_on(families: Families, population: Population) -> None:
    men = population.gender == 1
    acting = np.isin(families.role, (SPOUSE, PARTNER)) & present(families) & men[:, None]
    assert set(population.rounds[acting.any(axis=0)]) == {2017, 2019, 2021}


def test_children_become_heads_and_stand_in_the_family_of_a_parent(families: Families, population: Population) -> None:
    child = families.role == CHILD
    age = population.rounds - population.birth_year[:, None]
    assert age[child].min() >= 0
    assert age[child].max() < 25
    assert families.sequence[child].min() == 3
    person, wave = np.nonzero(child)
    for p, w in list(zip(person, wave, strict=True))[::50]:
        family = (families.interview[:, w] == families.interview[p, w]) & population.interviewed[:, w]
        assert (population.birth_year[family] <= population.birth_year[p] - 20).any()
    assert (population.interviewed & (np.cumsum(child, axis=1) > 0)).any(axis=1).sum() > 100


def test_those_listed_without_being_there_are_not_interviewed(families: Families, population: Population) -> None:
    listed = families.sequence > 20
    assert set(families.sequence[listed]) == {INSTITUTION, MOVED_OUT, DIED}
    assert not (listed & population.interviewed).any()
    assert set(families.role[listed]) == {HEAD, SPOUSE, PARTNER}
    person, wave = np.nonzero(families.sequence == DIED)
    assert not any(population.interviewed[p, w:].any() for p, w in zip(person, wave, strict=True))
    np.testing.assert_array_equal(families.interview > 0, families.role != ABSENT)


def test_ids_are_unique_and_of_the_form_of_the_survey(families: Families) -> None:
    assert len(set(families.person)) == PEOPLE
    assert families.id_1968.min() >= 1
    assert families.id_1968.max() <= 9999
    assert (np.unique(families.id_1968, return_counts=True)[1] > 1).mean() > 0.5
    married_in = families.number >= 170
    assert 0 < married_in.mean() < 0.5
    assert families.number[~married_in].max() < 170


def test_more_people_than_person_numbers_are_an_error(
    population: Population, asked: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_families, "IDS_1968", 5)
    with pytest.raises(LaborLLMError, match="survey.people is 1500: more than the PSID has person numbers for"):
        draw_families(population, asked, np.random.default_rng(1))
