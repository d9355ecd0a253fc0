"""A multinomial logit on dense features: against scikit-learn, against its own likelihood, and its axes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from laborllm.models.regression.dense_logit import Axes, Rows, fit_dense


def drawn(rng: np.random.Generator, rows: int, width: int, outcomes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of unlike scales that go together, and outcomes that depend on them."""
    features = rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) * 10.0 ** rng.integers(-2, 3, width) + 7
    standard = (features - features.mean(0)) / features.std(0)
    logits = standard @ rng.normal(size=(width, outcomes)) + rng.gumbel(size=(rows, outcomes))
    return features, logits.argmax(1)


def rows_of(features: np.ndarray, chosen: np.ndarray, excluded: np.ndarray | None = None) -> Rows:
    return Rows(features, chosen, np.full(len(chosen), -1) if excluded is None else excluded)


def test_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    features, chosen = drawn(rng, 600, 12, 5)
    axes = Axes.of(features)
    ours = rows_of(axes(features).astype(np.float64), chosen)
    fitted = fit_dense(ours, ours, 5, l2=[20.0], tolerance=1e-12)
    standard = (features - features.mean(0)) / features.std(0)
    theirs = LogisticRegression(C=1 / 20, tol=1e-10, max_iter=10_000).fit(standard, chosen)
    probabilities = np.exp(fitted.log_probabilities(ours.features, ours.excluded))
    assert np.abs(probabilities - theirs.predict_proba(standard)).max() < 1e-5
    coefficients = axes.turn @ fitted.coefficients[1:] * features.std(0)[:, None]  # (width, outcomes)
    assert coefficients == pytest.approx(theirs.coef_.T, abs=1e-4)


def test_float32_states_give_what_float64_does(rng: np.random.Generator) -> None:
    features, chosen = drawn(rng, 3000, 8, 4)  # more rows than one block
    half = features.astype(np.float16)
    axes = Axes.of(half)
    coarse = rows_of(axes(half), chosen)
    exact = rows_of(axes(half).astype(np.float64), chosen)
    free = exact.excluded
    first, second = (fit_dense(each, each, 4, l2=[5.0], tolerance=1e-8) for each in (coarse, exact))
    difference = first.log_probabilities(coarse.features, free) - second.log_probabilities(exact.features, free)
    assert np.abs(difference).max() < 2e-3


def test_axes_are_uncorrelated_and_keep_distances(rng: np.random.Generator) -> None:
    features, _ = drawn(rng, 500, 6, 2)
    turned = Axes.of(features)(features)[:, 1:].astype(np.float64)
    standard = (features - features.mean(0)) / features.std(0)
    products = turned.T @ turned / len(turned)
    assert products - np.diag(np.diag(products)) == pytest.approx(0, abs=1e-4)
    assert (np.diff(np.diag(products)) <= 0).all()
    assert np.linalg.norm(turned, axis=1) == pytest.approx(np.linalg.norm(standard, axis=1), rel=1e-4)
    kept = Axes.of(features, keep=2)(features)
    assert np.abs(kept[:, 1:] - turned[:, :2]).max() < 1e-4


def test_constant_and_repeated_features_change_nothing(rng: np.random.Generator) -> None:
    features, chosen = drawn(rng, 400, 5, 3)
    more = np.column_stack([features, np.full(400, 3.14), features[:, 0]])
    axes = Axes.of(more)
    assert axes.constant == 1
    assert axes.turn.shape == (7, 5)
    rows = rows_of(axes(more), chosen)
    fit_dense(rows, rows, 3, l2=[1.0], tolerance=1e-6)  # stays finite


def test_the_penalty_is_the_best_on_validation_rows(rng: np.random.Generator) -> None:
    features, chosen = drawn(rng, 900, 10, 4)
    turned = Axes.of(features[:60])(features)
    train, validation = rows_of(turned[:60], chosen[:60]), rows_of(turned[60:], chosen[60:])
    grid = [1000.0, 100.0, 10.0, 1.0, 0.1]

    def nats(l2: list[float]) -> float:
        fitted = fit_dense(train, validation, 4, l2=l2, tolerance=1e-8)
        scores = fitted.log_probabilities(validation.features, validation.excluded)
        return float(-scores[np.arange(840), validation.chosen].sum())

    alone = [nats([each]) for each in grid]
    assert 0 < int(np.argmin(alone)) < 4
    assert nats(grid) == pytest.approx(min(alone), rel=1e-4)


def test_outcomes_never_seen_have_their_smoothed_share(rng: np.random.Generator) -> None:
    features, chosen = drawn(rng, 200, 4, 3)
    chosen = np.array([0, 2, 5])[chosen]  # of six
    rows = rows_of(Axes.of(features)(features), chosen)
    held_out = rows_of(rows.features, np.where(np.arange(200) < 5, 1, chosen))  # some rows chose what nobody did
    fitted = fit_dense(rows, held_out, 6, l2=[3.0], tolerance=1e-6)
    assert fitted.seen.tolist() == [0, 2, 5]
    probabilities = np.exp(fitted.log_probabilities(rows.features, rows.excluded))
    assert probabilities[:, [1, 3, 4]] == pytest.approx(0.5 / (200 + 6 * 0.5))
    assert probabilities.sum(1) == pytest.approx(1)


def test_an_excluded_outcome_has_no_probability(rng: np.random.Generator) -> None:
    features, chosen = drawn(rng, 300, 4, 3)
    excluded = np.where(np.arange(300) % 3 == 0, -1, (chosen + 1) % 3)
    rows = rows_of(Axes.of(features)(features), chosen, excluded)
    fitted = fit_dense(rows, rows, 4, l2=[1.0], tolerance=1e-6)
    excluded = np.where(excluded == 0, 3, excluded)  # now also the one that was never seen
    probabilities = np.exp(fitted.log_probabilities(rows.features, excluded))
    barred = np.flatnonzero(excluded >= 0)
    assert (probabilities[barred, excluded[barred]] == 0).all()
    assert probabilities.sum(1) == pytest.approx(1)
