"""A mixture is no worse on validation than its best member, and is exact."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.ensemble import Ensemble, mixture_weights
from laborllm.models.no_change import NoChange
from laborllm.survey.careers import Careers


@pytest.fixture
def fitted(few_careers: Careers) -> Ensemble:
    model = Ensemble({"again": NoChange(), "transition": TransitionFrequencies()})
    model.fit(few_careers, few_careers)
    return model


def test_the_mixture_is_the_weighted_sum(fitted: Ensemble, few_careers: Careers) -> None:
    parts = [np.exp(model.predict(few_careers).log_probabilities) for model in fitted.members.values()]
    answer = fitted.predict(few_careers).log_probabilities
    assert answer is not None
    np.testing.assert_allclose(np.exp(answer), np.tensordot(fitted.weights, parts, 1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(answer.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    assert set(fitted.facts) == {"weight of again", "weight of transition"}


def test_the_weights_are_the_likeliest(rng: np.random.Generator) -> None:
    realised = np.log(rng.uniform(0.01, 0.99, (2, 300)))

    def nats(weight: float) -> float:
        return -np.logaddexp(np.log(weight) + realised[0], np.log1p(-weight) + realised[1]).sum()

    best = minimize_scalar(nats, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-9})
    assert mixture_weights(realised)[0] == pytest.approx(best.x, abs=1e-4)


def test_a_member_that_is_always_better_takes_all() -> None:
    assert mixture_weights(np.log([[0.9] * 5, [0.1] * 5])).round(6).tolist() == [1, 0]


def test_what_is_not_fitted_says_so(few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match="call fit first"):
        Ensemble({"again": NoChange()}).predict(few_careers)


def test_the_weights_are_kept(fitted: Ensemble, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert '"transition"' in (tmp_path / "ensemble.json").read_text()
