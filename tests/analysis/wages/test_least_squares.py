"""Regressions against statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm

from laborllm.analysis.wages.least_squares import least_squares
from laborllm.errors import LaborLLMError


@pytest.fixture
def sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    person = np.repeat(np.arange(60), rng.integers(1, 8, size=60))
    x = np.column_stack([np.ones(len(person)), rng.normal(size=(len(person), 3)), rng.random(len(person)) < 0.4])
    y = x @ [1.0, 0.5, -0.2, 0.0, 0.3] + rng.normal(size=60)[person] + rng.normal(size=len(person))
    return y, x, person, rng.gamma(3, size=len(person))


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_statsmodels(sample: tuple[np.ndarray, ...], weighted: bool) -> None:
    y, x, person, w = sample
    weights = w if weighted else None
    ours = least_squares(y, x, names="abcde", cluster=person, weights=weights)
    model = sm.WLS(y, x, weights=w) if weighted else sm.OLS(y, x)
    theirs = model.fit(cov_type="cluster", cov_kwds={"groups": person}, use_t=True)
    np.testing.assert_allclose(ours.coefficients, theirs.params, rtol=1e-9)
    np.testing.assert_allclose(ours.covariance, theirs.cov_params(), rtol=1e-9)
    assert ours.r_squared == pytest.approx(theirs.rsquared, rel=1e-9)
    tidy = ours.tidy()
    np.testing.assert_allclose(tidy["p_value"], theirs.pvalues, rtol=1e-6)
    np.testing.assert_allclose(tidy.select("ci_low", "ci_high").to_numpy(), theirs.conf_int(), rtol=1e-6)


def test_clusters_matter(sample: tuple[np.ndarray, ...]) -> None:
    y, x, person, _ = sample
    clustered, rows = (least_squares(y, x, names="abcde", cluster=c) for c in (person, np.arange(len(y))))
    assert clustered.covariance[0, 0] > 1.5 * rows.covariance[0, 0]


def test_what_cannot_be_fitted_is_named(sample: tuple[np.ndarray, ...]) -> None:
    y, x, person, _ = sample
    with pytest.raises(LaborLLMError, match="regressor 'f' is a combination"):
        least_squares(y, np.column_stack([x, x[:, 1] - 2 * x[:, 2]]), names="abcdef", cluster=person)
    with pytest.raises(LaborLLMError, match="regressor 'b' is a combination of those before it, or always zero"):
        least_squares(y, x * [1, 0, 1, 1, 1], names="abcde", cluster=person)
    bad = y.copy()
    bad[3] = np.nan
    with pytest.raises(LaborLLMError, match="row 4: the outcome is nan"):
        least_squares(bad, x, names="abcde", cluster=person)
    hole = x.copy()
    hole[2, 1] = np.inf
    with pytest.raises(LaborLLMError, match="row 3: b is inf"):
        least_squares(y, hole, names="abcde", cluster=person)
    with pytest.raises(LaborLLMError, match="at least two people"):
        least_squares(y, x, names="abcde", cluster=np.zeros(len(y)))
