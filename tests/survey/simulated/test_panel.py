"""Codes drawn for simulated careers: every code of a word and no other, education told where it is new."""

import numpy as np
import polars as pl
import pytest

from laborllm.survey.occupations import STATES, map_codes
from laborllm.survey.simulated.panel import Panel, codes_of, draw_codes
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate, simulated_population
from laborllm.survey.simulated.telling import as_told

SETTINGS = SimulatedSettings(like="nlsy79", people=200, seed=4)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel.of(simulate(SETTINGS), simulated_population(SETTINGS))


def test_the_panel_holds_the_careers(panel: Panel) -> None:
    table = simulate(SETTINGS).table
    np.testing.assert_array_equal(panel.occupation >= 0, panel.population.interviewed)
    person, turn = np.nonzero(panel.population.interviewed)
    assert table["person"].to_list() == (person + 1).tolist()
    assert table["year"].to_list() == panel.population.rounds[turn].tolist()
    assert table["occupation"].cast(pl.String).to_list() == [panel.codes[i] for i in panel.occupation[person, turn]]


@pytest.mark.parametrize("census", [1970, 1980, 2000, 2002])
def test_census_codes_lead_back_to_the_job(panel: Panel, census: int) -> None:
    codes = panel.census_codes(census, np.random.default_rng(0))[panel.has_job]
    jobs = map_codes(pl.Series(codes), census).to_list()
    assert jobs == [panel.codes[place] for place in panel.occupation[panel.has_job]]
    assert not set(jobs) & set(STATES)


def test_each_code_of_a_word_is_drawn_and_no_other() -> None:
    options = codes_of(["b", "a"], {1: "a", 2: "b", 3: "a", 4: "c"})
    assert options == [[2], [1, 3]]
    places = np.array([0, 1] * 200)
    drawn = draw_codes(places, options, np.random.default_rng(0).random(400))
    assert set(drawn[::2]) == {2}
    assert set(drawn[1::2]) == {1, 3}


def test_what_is_told_of_education_gives_the_level_of_every_row(panel: Panel) -> None:
    asked = np.ones(panel.shape[1], dtype=bool)
    tells = panel.tells_education(asked, np.random.default_rng(0))
    met = panel.population.interviewed
    assert not (tells & ~met).any()
    assert 0.05 < (met & ~tells).sum() / met.sum() < 0.25
    np.testing.assert_array_equal(as_told(panel.population.education, tells)[met], panel.population.education[met])


def test_a_round_that_does_not_ask_tells_nothing(panel: Panel) -> None:
    asked = panel.population.rounds != 1979
    tells = panel.tells_education(asked, np.random.default_rng(0))
    assert not tells[:, 0].any()
    assert (as_told(panel.population.education, tells)[:, 0] == -1).all()


def test_the_last_level_told_is_carried_forward() -> None:
    levels = np.array([[0, 1, 2, 2], [3, 3, 4, 4]])
    tells = np.array([[False, True, False, True], [True, False, False, False]])
    assert as_told(levels, tells).tolist() == [[-1, 1, 1, 2], [3, 3, 3, 3]]


def test_people_move_only_after_their_first_row(panel: Panel) -> None:
    region = panel.regions(np.random.default_rng(0))
    home = panel.population.region[:, None]
    before = np.cumsum(panel.population.interviewed, axis=1) <= panel.population.interviewed
    assert (region == home)[before].all()
    assert 0.02 < (region != home)[~before].mean() < 0.1
