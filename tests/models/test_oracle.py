"""The Oracle: exact filtering over latent types, calibrated, and a floor under every other model."""

from pathlib import Path

import numpy as np
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models import oracle
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle, filter_types
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import (
    Mechanisms,
    SimulatedSettings,
    build_world,
    latent_types,
    simulate,
    true_log_probabilities,
)

SETTINGS = SimulatedSettings(people=3000, occupations=25, seed=11)


@pytest.fixture(scope="module")
def careers() -> Careers:
    return split_by_person(simulate(SETTINGS), [0.7, 0.1, 0.2], np.random.default_rng(0))


@pytest.fixture(scope="module")
def test_part(careers: Careers) -> Careers:
    return careers.part("test")


def by_type(settings: SimulatedSettings, careers: Careers) -> np.ndarray:
    """True log-probabilities if everybody were of one type, for each; shape (types, rows, occupations)."""
    world = build_world(settings)
    kinds = range(len(world.type_shares))
    return np.stack([true_log_probabilities(world, careers, types=np.full(careers.people, kind)) for kind in kinds])


def test_equals_the_ratio_of_two_sums_over_types(test_part: Careers) -> None:
    """P(y_t | past) = sum_k P(k) P(y_1..t | k) / sum_k P(k) P(y_1..t-1 | k), career by career."""
    given = np.exp(by_type(SETTINGS, test_part))
    shares = build_world(SETTINGS).type_shares
    answer = Oracle(SETTINGS).predict(test_part)
    assert answer.log_probabilities is not None
    for first, last in list(zip(test_part.starts[:-1], test_part.starts[1:], strict=True))[:80]:
        past = shares.copy()  # joint probability of the type and the past, (types,)
        for row in range(first, last):
            expected = past @ given[:, row] / past.sum()  # (occupations,)
            np.testing.assert_allclose(answer.log_probabilities[row], np.log(expected), atol=2e-6)
            past *= given[:, row, test_part.occupation[row]]


def test_with_one_type_it_is_the_generator() -> None:
    settings = SETTINGS.model_copy(update={"people": 200, "mechanisms": Mechanisms(types=False)})
    careers = simulate(settings)
    known = true_log_probabilities(build_world(settings), careers, types=np.zeros(careers.people, dtype=int))
    np.testing.assert_allclose(Oracle(settings).predict(careers).log_probabilities, known, atol=2e-6)


def test_rows_sum_to_one_and_are_float32(test_part: Careers) -> None:
    answer = Oracle(SETTINGS).predict(test_part).log_probabilities
    assert answer is not None
    assert answer.dtype == np.float32
    np.testing.assert_allclose(np.exp(answer).sum(axis=1), 1, atol=1e-5)


def test_blocks_of_people_change_nothing(test_part: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Oracle(SETTINGS).predict(test_part).log_probabilities
    monkeypatch.setattr(oracle, "ROWS_AT_A_TIME", 1)
    np.testing.assert_allclose(Oracle(SETTINGS).predict(test_part).log_probabilities, whole, atol=2e-6)


def test_long_careers_do_not_underflow() -> None:
    realised = np.full((2, 5000), -5.0)
    realised[1] = -5.001
    posterior = filter_types(realised, np.log([0.5, 0.5]), np.zeros(5000, dtype=int))
    np.testing.assert_allclose(posterior[:, 0], np.log([0.5, 0.5]))
    np.testing.assert_allclose(np.diff(posterior[:, -1]), -0.001 * 4999, rtol=1e-6)


def test_is_calibrated(careers: Careers) -> None:
    """Inside each tenth of the predicted probability of moving, the share of moves is as predicted."""
    answer = Oracle(SETTINGS).predict(careers).log_probabilities
    later = np.flatnonzero(careers.previous >= 0)
    moves = 1 - np.exp(answer[later, careers.previous[later]].astype(float))
    moved = careers.transition[later] == "move"
    for tenth in np.array_split(np.argsort(moves, kind="stable"), 10):
        error = np.sqrt((moves[tenth] * (1 - moves[tenth])).sum())
        assert abs((moved[tenth] - moves[tenth]).sum()) < 4 * error


def test_no_model_is_better(careers: Careers, test_part: Careers) -> None:
    """Below the transition model by far, and above the truth that knows the type."""
    transition = TransitionFrequencies()
    transition.fit(careers.part("train"), careers.part("validation"))
    floor = -Oracle(SETTINGS).predict(test_part).realised.mean()
    assert np.exp(floor) < 0.85 * np.exp(-transition.predict(test_part).realised.mean())
    people = np.unique(test_part.table["person"].to_numpy())
    known = true_log_probabilities(build_world(SETTINGS), test_part, types=latent_types(SETTINGS)[people - 1])
    assert -known[np.arange(len(test_part)), test_part.occupation].mean() < floor


def test_filtering_is_worth_something(test_part: Careers) -> None:
    """Worse than the filter: the types' shares kept as they are whatever the past."""
    given = by_type(SETTINGS, test_part)
    shares = np.log(build_world(SETTINGS).type_shares)
    unfiltered = np.logaddexp.reduce(given + shares[:, None, None], axis=0)
    floor = Oracle(SETTINGS).predict(test_part).realised.mean()
    assert floor > unfiltered[np.arange(len(test_part)), test_part.occupation].mean() + 0.005


def test_saved_and_loaded_it_says_the_same(test_part: Careers, tmp_path: Path) -> None:
    model = Oracle(SETTINGS)
    model.fit(test_part, test_part)
    model.save(tmp_path)
    again = Oracle.load(tmp_path)
    assert again.facts == model.facts == {"latent types": 3}
    np.testing.assert_array_equal(
        again.predict(test_part).log_probabilities, model.predict(test_part).log_probabilities
    )


def test_loading_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"oracle.json: cannot be read as an oracle's settings"):
        Oracle.load(tmp_path)


def test_refuses_resumes() -> None:
    settings = SETTINGS.model_copy(update={"population": "resume", "people": 50})
    with pytest.raises(LaborLLMError, match="column gender, row 1: None is none of female, male; the truth is known"):
        Oracle(settings).predict(simulate(settings))
