import numpy as np
import pytest

from laborllm.evaluation.groups.sampling_noise import distance_noise, mean_absolute_deviation, normalised, widened
from laborllm.evaluation.simultaneous import adjusted_p_values
from laborllm.evaluation.uncertainty import bootstrap_std_error, draw_weights


def test_the_noise_of_a_distance_is_that_of_outcomes_drawn_from_the_model(rng: np.random.Generator) -> None:
    shares = rng.dirichlet(np.full(40, 0.15), size=700)
    weight = rng.uniform(0.2, 2, size=700)
    for w in (np.ones(700), weight):
        moments = np.stack([w @ shares, w**2 @ shares, w**2 @ shares**2])[:, None, :]
        noise = distance_noise(moments, w.sum(keepdims=True))
        expected, distances = w @ shares / w.sum(), []
        for _ in range(1500):
            drawn = (shares.cumsum(axis=1) > rng.random((700, 1))).argmax(axis=1)
            counts = np.bincount(drawn, w, minlength=40) / w.sum()
            distances.append(0.5 * np.abs(counts - expected).sum())
        assert noise.mean[0] == pytest.approx(np.mean(distances), rel=0.02)
        assert 0.02 < np.mean(np.array(distances) > noise.high[0]) < 0.09


def test_mean_absolute_deviation_of_whole_trials() -> None:
    for trials, share in ((7, 0.3), (40, 0.02), (1, 0.5)):
        counts = np.arange(trials + 1)
        chance = np.array([np.prod([(trials - i) / (i + 1) for i in range(k)]) for k in counts])
        chance *= share**counts * (1 - share) ** (trials - counts)
        exact = (chance * np.abs(counts - trials * share)).sum()
        assert mean_absolute_deviation(np.array(trials * share), np.array(share)) == pytest.approx(exact)
    with np.errstate(all="raise"):  # impossible, certain
        found = mean_absolute_deviation(np.array([0.0, 3.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_draws_that_know_no_spread_are_given_the_models(rng: np.random.Generator) -> None:
    draws = np.stack([np.full(4001, 0.2), rng.normal(0.1, 0.5, size=4001)])
    error, wide = widened(draws, np.array([0.1, 0.3]), rng)
    np.testing.assert_allclose(error, [0.1, np.std(draws[1, 1:], ddof=1)])
    np.testing.assert_array_equal(wide[1], draws[1])
    assert wide[0, 0] == 0.2
    assert np.std(wide[0, 1:]) == pytest.approx(0.1, rel=0.05)


def test_normalised_draws_keep_covariances_and_lose_their_skew(rng: np.random.Generator) -> None:
    rare = rng.poisson(1, size=2001) - 1.0
    draws = np.stack([rare, 2 * rare + rng.normal(size=2001), rng.normal(size=2001)])
    draws[:, 0] = draws[:, 1:].mean(axis=1)
    found = normalised(draws, rng)
    np.testing.assert_array_equal(found[:, 0], draws[:, 0])
    own, mixed = (values[:, 1:] - values[:, :1] for values in (draws, found))
    np.testing.assert_allclose(mixed @ mixed.T, own @ own.T, rtol=1e-9)
    skew = [np.mean(values**3) / np.std(values) ** 3 for values in (own[0], mixed[0])]
    assert skew[0] > 0.8
    assert abs(skew[1]) < 0.2
    np.testing.assert_allclose(bootstrap_std_error(found[:, 1:]), bootstrap_std_error(draws[:, 1:]), rtol=0.01)


def test_a_plain_bootstrap_of_rare_things_flags_a_right_model_too_often(rng: np.random.Generator) -> None:
    """Eighty things that a right model expects thirty times in 600 rows, in each of eighty samples."""
    rows, things, chance = 600, 80, 0.05
    least = np.full(things, np.sqrt(chance * (1 - chance) / rows))
    plain, ours = [], []
    for _ in range(80):
        gap = chance - (rng.random((things, rows)) < chance)
        draws = gap @ draw_weights(rows, 300, rng) / rows  # (things, replicates + 1)
        plain.append(adjusted_p_values(draws).min() < 0.05)
        ours.append(adjusted_p_values(normalised(widened(draws, least, rng)[1], rng)).min() < 0.05)
    assert np.mean(plain) > 0.15
    assert np.mean(ours) < 0.1
