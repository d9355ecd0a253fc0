"""The doubly robust gap: by hand in cells, by brute force, and with one of its nuisances wrong."""

import numpy as np
import polars as pl
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from laborllm.analysis.wages.gap import FEWEST_EFFECTIVE, GapFindings, Nuisances, adjusted_gap, folds_of_people
from laborllm.analysis.wages.gap_learning import GapSample, calibrated_slope, cross_fitted, decompose
from laborllm.analysis.wages.gap_network import LOSSES, Batch, GapNetwork
from laborllm.analysis.wages.gap_settings import GapNetworkSettings, GapSettings
from laborllm.analysis.wages.gap_tables import oaxaca_draws
from laborllm.analysis.wages.oaxaca import oaxaca_blinder
from laborllm.analysis.wages.semi_simulated import GapTruth, gap_truth, replicate
from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.report.gap import gap_rows, sentences
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings

SMALL = GapNetworkSettings(width=4, hidden=8, updates=20, learning_rate=0.03)


@pytest.fixture
def cells(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, first, cell, person: two rows a person, the cell decides both group and outcome."""
    person = np.repeat(np.arange(300), 2)
    cell = rng.integers(0, 3, 300)[person]
    first = (rng.random(300) < np.array([0.2, 0.5, 0.7])[cell[::2]])[person]
    outcome = cell - 0.3 * first + rng.normal(size=300)[person] + 0.2 * rng.normal(size=600)
    return outcome, first, cell, person


def in_cells(outcome: np.ndarray, first: np.ndarray, cell: np.ndarray) -> Nuisances:
    second = np.array([outcome[(cell == one) & ~first].mean() for one in range(3)])
    share = np.array([first[cell == one].mean() for one in range(3)])
    return Nuisances(second[cell], share[cell])


def test_in_cells_it_is_the_weighted_difference_of_means(cells: tuple[np.ndarray, ...]) -> None:
    outcome, first, cell, person = cells
    found = adjusted_gap(outcome, first, in_cells(outcome, first, cell), person=person)
    by_hand = sum(
        (cell[first] == one).mean() * (outcome[(cell == one) & first].mean() - outcome[(cell == one) & ~first].mean())
        for one in range(3)
    )
    assert found.unexplained == pytest.approx(by_hand)
    assert found.gap == pytest.approx(outcome[first].mean() - outcome[~first].mean())
    assert found.explained + found.unexplained == pytest.approx(found.gap)
    assert (found.rows, found.people, found.trimmed) == (600, 300, 0)


def test_errors_are_those_of_resampling_people(cells: tuple[np.ndarray, ...], rng: np.random.Generator) -> None:
    """Whole people are drawn; rows of one person taken for independent would halve the variance."""
    outcome, first, cell, person = cells
    nuisances = in_cells(outcome, first, cell)
    found = adjusted_gap(outcome, first, nuisances, person=person)
    draws = []
    for _ in range(600):
        rows = (2 * rng.integers(0, 300, 300)[:, None] + [0, 1]).ravel()
        drawn = Nuisances(nuisances.second[rows], nuisances.propensity[rows])
        again = adjusted_gap(outcome[rows], first[rows], drawn, person=np.repeat(np.arange(300), 2))
        draws.append([again.gap, again.unexplained, again.explained])
    errors = np.array([found.gap_error, found.unexplained_error, found.explained_error])
    np.testing.assert_allclose(errors, np.std(draws, axis=0), rtol=0.1)
    apart = adjusted_gap(outcome, first, nuisances, person=np.arange(600))
    assert apart.unexplained_error < 0.8 * found.unexplained_error


def test_weights_are_repeated_rows(cells: tuple[np.ndarray, ...]) -> None:
    outcome, first, cell, person = cells
    nuisances, weights = in_cells(outcome, first, cell), 1 + person % 3
    rows = np.repeat(np.arange(600), weights)
    weighted = adjusted_gap(outcome, first, nuisances, person=person, weights=weights.astype(float))
    again = Nuisances(nuisances.second[rows], nuisances.propensity[rows])
    repeated = adjusted_gap(outcome[rows], first[rows], again, person=person[rows])
    for part in ("gap", "unexplained", "explained", "gap_error", "unexplained_error", "explained_error"):
        assert getattr(weighted, part) == pytest.approx(getattr(repeated, part)), part


def test_one_wrong_nuisance_does_no_harm(rng: np.random.Generator) -> None:
    history = rng.normal(size=60_000)
    propensity = 1 / (1 + np.exp(-history))
    first = rng.random(60_000) < propensity
    outcome = 0.5 * history - 0.2 * first + rng.normal(size=60_000)
    nothing, half = np.zeros(60_000), np.full(60_000, 0.5)
    for second, share, right in (
        (0.5 * history, half, True),
        (nothing, propensity, True),
        (nothing, half, False),
    ):
        found = adjusted_gap(outcome, first, Nuisances(second, share), person=np.arange(60_000))
        assert (abs(found.unexplained + 0.2) < 4 * found.unexplained_error) == right


def test_trimming_is_counted(cells: tuple[np.ndarray, ...]) -> None:
    outcome, first, cell, person = cells
    second = np.zeros(600)
    found = adjusted_gap(outcome, first, Nuisances(second, np.where(cell == 0, 1e-4, 0.5)), person=person)
    assert found.trimmed == pytest.approx((cell == 0).mean())
    with pytest.raises(LaborLLMError, match="needs people of both groups"):
        adjusted_gap(outcome, np.ones_like(first), Nuisances(second, second + 0.5), person=person)


def test_linear_draws_are_those_of_repeated_people(cells: tuple[np.ndarray, ...]) -> None:
    outcome, first, cell, person = cells
    x = np.column_stack([np.ones(600), cell == 1, cell == 2]).astype(float)
    draws = draw_weights(300, 3, np.random.default_rng(1))
    found = oaxaca_draws(outcome, x, first, person=person, draws=draws)
    for number in range(4):
        rows = np.repeat(np.arange(600), draws[person, number])
        direct = oaxaca_blinder(outcome[rows], x[rows], first[rows], names="abc", cluster=person[rows])
        np.testing.assert_allclose(found[:, number], [direct.gap, direct.explained, direct.unexplained], rtol=1e-8)


def test_one_row_does_not_carry_the_estimate(rng: np.random.Generator) -> None:
    """Odds of 99 in one row of the second group: weights that are not normalised would add its outcome thrice."""
    first = np.arange(60) < 30
    outcome = np.where(np.arange(60) == 59, 1.0, 0.0) + 0.01 * rng.normal(size=60)
    propensity = np.where(np.arange(60) == 59, 0.99, 0.01)
    found = adjusted_gap(outcome, first, Nuisances(np.zeros(60), propensity), person=np.arange(60))
    odds = propensity[~first] / (1 - propensity[~first])
    assert found.unexplained == pytest.approx(outcome[first].mean() - odds @ outcome[~first] / odds.sum())
    assert -1.1 < found.unexplained < -0.9
    assert found.effective_people == pytest.approx(odds.sum() ** 2 / (odds**2).sum())
    assert found.effective_people < 1.01
    assert not found.reliable


def test_effective_people_are_people(cells: tuple[np.ndarray, ...]) -> None:
    """With equal weights they are all people of the second group, however many rows each has."""
    outcome, first, _, person = cells
    found = adjusted_gap(outcome, first, Nuisances(np.zeros(600), np.full(600, 0.4)), person=person)
    assert found.effective_people == pytest.approx(len(np.unique(person[~first])))
    assert found.reliable


def test_numbers_without_overlap_are_said_not_to_be_used() -> None:
    methods, parts = ["Naive", "Joint"], ("gap", "explained", "unexplained")
    lines = [(method, part, -0.2, 0.1, -0.4, 0.0, method == "Naive") for method in methods for part in parts]
    names = ["method", "part", "estimate", "std_error", "ci_low", "ci_high", "reliable"]
    overlap = {
        "method": methods,
        "trimmed": [0.0, 0.045],
        "largest_weight": [0.01, 0.02],
        "effective_people": [200.0, FEWEST_EFFECTIVE - 26.2],
        "reliable": [True, False],
    }
    table = pl.DataFrame(lines, schema=names, orient="row")
    findings = GapFindings(table, pl.DataFrame(overlap), pl.DataFrame(), 900, 300, 150)
    said = sentences(findings, GapSettings())
    assert "0.200" in said[1]
    assert "do not use" not in said[1]
    assert said[2].startswith(
        "Joint: do not use this number, for 4.5% of propensities were trimmed and the people to compare with count for "
        "no more than 24 (effective people). "
    )
    assert [row[0].badge for row in gap_rows(findings, "95% CI").rows] == ["", "do not use"]


@pytest.fixture
def sample(rng: np.random.Generator) -> GapSample:
    inputs = rng.normal(size=(400, 5)).astype(np.float32)
    person = np.repeat(np.arange(200), 2)
    first = (rng.random(200) < 0.5)[person]
    return GapSample(inputs[:, 0] - 0.2 * first + rng.normal(size=400), first, inputs, person)


def test_nobody_is_learned_from_and_asked(sample: GapSample) -> None:
    """Other outcomes and groups of a fold's people change nothing in what is said of that fold."""
    settings = GapSettings(folds=2, seed=3, network=SMALL)
    fold = folds_of_people(sample.person, 2, np.random.default_rng(3))
    inside = fold == 0
    changed = GapSample(
        np.where(inside, 5.0, sample.outcome),
        np.where(inside, ~sample.first, sample.first),
        sample.inputs,
        sample.person,
    )
    before, after = cross_fitted(sample, settings), cross_fitted(changed, settings)
    for objective, found in before.items():
        np.testing.assert_array_equal(found.second[inside], after[objective].second[inside])
        np.testing.assert_array_equal(found.propensity[inside], after[objective].propensity[inside])
        assert not np.allclose(found.second[~inside], after[objective].second[~inside])


def test_same_seed_same_bits(sample: GapSample) -> None:
    batches = SMALL.model_copy(update={"rows_per_batch": 32})
    for network in (SMALL, batches):
        settings = GapSettings(network=network)
        assert decompose(sample, settings) == decompose(sample, settings)


def test_objectives_by_hand(sample: GapSample) -> None:
    """Every loss from the outputs of the network alone; only naive and projection keep the group out of lambda."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"group_weight": 3.0, "projection_weight": 7.0})
    network = GapNetwork(5, settings)
    columns = sample.inputs, sample.outcome, sample.first, np.ones(400), np.random.default_rng(1).random(400)
    batch = Batch(*(torch.tensor(each, dtype=torch.float32) for each in columns))
    state = network.represent(batch.inputs)
    second, difference = (each.detach().numpy().astype(float) for each in network.outcome(state).unbind(1))
    share = network.group(state)[:, 0].sigmoid().detach().numpy().astype(float)
    y, g, e = sample.outcome, sample.first.astype(float), columns[4]
    entropy = -(g * np.log(share) + (1 - g) * np.log(1 - share)).mean()
    left = y - second - g * difference
    told = e - np.where(sample.first, e[sample.first].mean(), e[~sample.first].mean())
    own = (left**2).mean() + 3 * entropy
    expected = {
        "naive": own,
        "joint": own,
        "projection": own + 7 * (left * told).mean() ** 2 / (told**2).mean(),
        "residual": ((y - second) ** 2).mean() + 3 * entropy + ((y - second - difference * (g - share)) ** 2).mean(),
    }
    for objective, value in expected.items():
        assert LOSSES[objective](network, batch, settings).item() == pytest.approx(value, rel=1e-4), objective
    slopes = {}
    for objective in expected:
        network.zero_grad()
        LOSSES[objective](network, batch, settings).backward()
        slopes[objective] = network.represent.weight.grad.clone()
    assert not torch.allclose(slopes["naive"], slopes["joint"])


def test_an_overconfident_logit_is_brought_back(rng: np.random.Generator) -> None:
    """Three times too far from the centre: a third of it. Not far enough: left as it is. Noise: nothing is left."""
    right = rng.normal(0.5, 1.5, size=40_000)
    first = (rng.random(40_000) < special.expit(right)).astype(float)
    weights, centre = np.ones(40_000), float(special.logit(first.mean()))
    wide = centre + 3 * (right - centre)
    assert calibrated_slope(wide, first, weights, centre=centre) == pytest.approx(1 / 3, abs=0.02)
    assert calibrated_slope((right + centre) / 2, first, weights, centre=centre) == pytest.approx(1, abs=1e-4)
    assert calibrated_slope(rng.normal(centre, 3, 40_000), first, weights, centre=centre) < 0.03


def many_features(people: int, seed: int) -> GapSample:
    """Six years a person in one of 8 broad groups, which moves both G and Y: shares of 240 occupations and 8 groups."""
    rng = np.random.default_rng(seed)
    person, group = np.repeat(np.arange(people), 6), rng.integers(0, 8, people)
    held = np.eye(240)[group[:, None] * 30 + rng.integers(0, 30, (people, 6))].cumsum(axis=1)  # (people, years, titles)
    shares = (held / np.arange(1, 7)[:, None]).reshape(-1, 240)  # (rows, occupations)
    inputs = np.hstack([shares, shares.reshape(-1, 8, 30).sum(axis=2)]).astype(np.float32)
    score = np.linspace(-1.5, 1.5, 8)[group]
    first = (rng.random(people) < special.expit(score))[person]
    noise = 0.3 * rng.normal(size=people)[person] + 0.3 * rng.normal(size=len(person))
    return GapSample(0.3 * score[person] - 0.2 * first + noise, first, inputs, person)


@pytest.mark.parametrize("evaluations", [20, 1], ids=["stopped early", "learned by heart"])
def test_propensities_are_calibrated_where_people_are_few(evaluations: int) -> None:
    """400 people, 248 features, three worlds, for the slope of one is noisy (0.7 to 1.7 in these).

    Perfect propensities would be off by 0.04 in bins of 80 people. Without calibration those of the network that
    learned by heart are off by 0.2 to 0.3, at slopes of 0.1 to 0.2.
    """
    settings = GapSettings(
        objectives=("naive", "joint"), folds=4, network=GapNetworkSettings(updates=100, evaluations=evaluations)
    )
    errors, slopes = [], []
    for seed in range(3):
        sample = many_features(400, seed)
        found = cross_fitted(sample, settings)
        share = found["joint"].propensity
        bins = np.searchsorted(np.quantile(share, [0.2, 0.4, 0.6, 0.8]), share)
        errors += [abs(share[bins == one].mean() - sample.first[bins == one].mean()) for one in range(5)]
        logit = special.logit(share)[:, None]
        slopes.append(LogisticRegression(C=1e6).fit(logit, sample.first).coef_[0, 0])
        naive, joint = (
            adjusted_gap(sample.outcome, sample.first, found[objective], person=sample.person)
            for objective in settings.objectives
        )
        assert joint.unexplained_error < 3 * naive.unexplained_error
        assert joint.unexplained == pytest.approx(-0.2, abs=3 * joint.unexplained_error)
        assert joint.reliable
    assert np.mean(errors) < 0.08
    assert 0.7 < np.mean(slopes) < 1.4


def test_too_few_people_are_refused(sample: GapSample) -> None:
    with pytest.raises(LaborLLMError, match="people of the first group are left to learn from, at least 20 are needed"):
        decompose(sample.rows(np.arange(40)), GapSettings(network=SMALL))


@pytest.fixture(scope="module")
def truth() -> GapTruth:
    return gap_truth(simulate(SimulatedSettings(people=30_000, occupations=30, first_year=1979, last_year=1994)))


BENCHMARK = GapNetworkSettings(
    width=4, hidden=8, updates=80, learning_rate=0.03, rows_per_batch=4096, weight_decay=0.06, group_weight=20.0
)


@pytest.mark.slow
def test_naive_fine_tuning_is_biased_and_the_others_are_less(truth: GapTruth) -> None:
    """The 200 replications of benchmarks/decomposition.py, whose table says what is left of the bias."""
    settings = GapSettings(folds=2, network=BENCHMARK)
    found = replicate(truth, settings, people=3000, seeds=range(1000, 1200))
    bias = dict(found.group_by("method").agg(pl.col("estimate").mean() - truth.tau).iter_rows())
    coverage = dict(found.group_by("method").agg(pl.col("covered").mean()).iter_rows())
    assert bias["naive"] > 0.02
    assert coverage["naive"] < 0.85
    for objective in ("joint", "projection", "residual"):
        assert abs(bias[objective]) < bias["naive"] / 3
        assert 0.9 <= coverage[objective] <= 0.97
