"""Vectors of occupations: groups that are planted are found, by chance nothing is."""

import numpy as np
import pytest

from laborllm.analysis.structure import (
    Vectors,
    explained_by_groups,
    flat_map,
    neighbours,
    prediction_vectors,
)
from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Probabilities
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import Mechanisms, SimulatedSettings


def listed(groups: int, each: int) -> Occupations:
    count = groups * each
    return Occupations(
        codes=tuple(f"c{i}" for i in range(count)),
        titles=tuple(f"Job {i}" for i in range(count)),
        groups=tuple(f"group {i // each}" for i in range(count)),
    )


def test_planted_groups_are_found_and_random_ones_are_not(rng: np.random.Generator) -> None:
    jobs = listed(6, 8)
    centres = rng.normal(size=(6, 20))
    planted = Vectors("m", "s", np.arange(48), np.repeat(centres, 8, axis=0) + 0.3 * rng.normal(size=(48, 20)))
    found = explained_by_groups(planted, jobs.groups, rng)
    assert found.share > 0.7
    assert found.p_value == pytest.approx(0.001)
    assert found.nearest_alike > 0.9
    assert found.nearest_chance == pytest.approx(7 / 47)
    nothing = Vectors("m", "s", np.arange(48), rng.normal(size=(48, 20)))
    chance = explained_by_groups(nothing, jobs.groups, rng)
    assert chance.p_value > 0.01
    assert chance.share == pytest.approx(chance.chance, abs=0.05)
    assert chance.chance == pytest.approx(5 / 47, abs=0.02)  # the expected share of six random groups
    near = neighbours(planted, jobs, most=3)
    assert near.height == 48 * 3
    assert near["same_group"].mean() > 0.9


def test_the_map_keeps_distances_that_lie_in_a_plane(rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 2 * np.pi, size=30)
    flat = np.column_stack([np.cos(angle), np.sin(angle)])
    flat = np.concatenate([flat, -flat])  # mean zero, length one
    turned = flat @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]
    found, shares = flat_map(Vectors("m", "s", np.arange(60), turned))
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found[None], axis=2),
        np.linalg.norm(flat[:, None] - flat[None], axis=2),
        atol=1e-9,
    )


def test_predictions_of_the_truth_order_occupations_by_group() -> None:
    """Similar jobs are near in the simulator; none of it is left where likeness has no part in moves."""
    found = {}
    for similarity in (True, False):
        mechanisms = Mechanisms(**{name: similarity and name == "similarity" for name in Mechanisms.model_fields})
        settings = SimulatedSettings(people=1500, occupations=40, seed=3, mechanisms=mechanisms)
        careers = simulate(settings)
        oracle = Oracle(settings)
        oracle.fit(careers, careers)
        vectors = prediction_vectors("oracle", oracle.predict(careers), careers)
        found[similarity] = explained_by_groups(vectors, careers.occupations.groups, np.random.default_rng(0))
    assert found[True].share - found[True].chance > 0.2
    assert found[True].nearest_alike > 0.6
    assert found[False].share - found[False].chance < 0.03  # what is left: the states, which lead elsewhere than jobs
    assert found[False].nearest_alike < 0.15


def test_a_vector_is_the_average_of_its_rows() -> None:
    careers = simulate(SimulatedSettings(people=200, occupations=8, seed=5))
    model = TransitionFrequencies()
    model.fit(careers, careers)
    prediction = model.predict(careers)
    vectors = prediction_vectors("t", prediction, careers)
    place = vectors.position[2]
    rows = careers.previous == place
    mean = np.exp(prediction.log_probabilities[rows]).mean(axis=0)
    mean[place] = np.delete(mean, place).max()
    np.testing.assert_allclose(vectors.values[2] ** 2, mean / mean.sum(), rtol=1e-5)


def test_a_model_of_realised_titles_alone_is_refused() -> None:
    careers = simulate(SimulatedSettings(people=20, occupations=5))
    rows = careers.table.select("person", "year", "occupation")
    raw = Probabilities(rows, careers.occupations, realised_raw=np.full(len(careers), -1.0))
    with pytest.raises(LaborLLMError, match="scores realised titles alone"):
        prediction_vectors("llm", raw, careers)
