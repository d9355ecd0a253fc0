"""Who gains: planted differences are found, none are not, and every number is that of brute force."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.gains import FEATURES, LEAVES, Gains, who_gains
from laborllm.evaluation.groups.row_features import row_features
from laborllm.evaluation.uncertainty import clustered_std_error, draw_weights
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

from ..conftest import noisy

SETTINGS = EvaluationSettings(bootstrap=300)
NAMES = ("better", "plain")


def made_careers(people: int, seed: int, jobs: Occupations) -> Careers:
    """Twelve years each; a third of the rows move; education never changes."""
    rng = np.random.default_rng(seed)
    moves = rng.random((people, 12)) < 0.3
    moves[:, 0] = True
    fresh = rng.integers(0, 5, (people, 12))
    last_move = np.maximum.accumulate(np.where(moves, np.arange(12), 0), axis=1)
    occupation = np.take_along_axis(fresh, last_move, axis=1)
    education = rng.choice(["high school", "some college", "college"], people)
    frame = pl.DataFrame(
        {
            "person": np.repeat(np.arange(people), 12),
            "year": np.tile(np.arange(1980, 1992), people),
            "occupation": np.array(jobs.codes)[occupation.ravel()],
            "education": np.repeat(education, 12),
            "gender": np.repeat(rng.choice(["female", "male"], people), 12),
            "birth_year": np.repeat(rng.integers(1957, 1965, people), 12),
        }
    )
    return careers_from_frame(frame, jobs)


def giving(careers: Careers, realised: np.ndarray) -> Probabilities:
    """A model that gives what happened these log-probabilities, and shares the rest out evenly."""
    places = len(careers.occupations)
    rest = np.log1p(-np.exp(realised)) - np.log(places - 1)
    scores = np.repeat(rest[:, None], places, axis=1)
    scores[np.arange(len(careers)), careers.occupation] = realised
    rows = careers.table.select("person", "year", "occupation")
    return Probabilities(rows, careers.occupations, log_probabilities=scores.astype(np.float32))


def gains_of(careers: Careers, gain: np.ndarray, settings: EvaluationSettings = SETTINGS) -> Gains:
    """Who gains where the better model's gain is this."""
    plain = np.full(len(careers), np.log(0.2))
    better = giving(careers, np.clip(plain + gain, -20, -0.01))
    return who_gains(better, giving(careers, plain), careers, careers, names=NAMES, settings=settings)


def noise(careers: Careers, rng: np.random.Generator) -> np.ndarray:
    """Nats that a person's rows share, and nats of each row."""
    return 0.2 * rng.normal(size=careers.people)[careers.person_of_row] + 0.3 * rng.normal(size=len(careers))


def test_a_planted_gain_is_found_and_its_size_is_in_the_interval(five_occupations: Occupations) -> None:
    careers = made_careers(600, 1, five_occupations)
    tenure = next(f for f in row_features(careers, careers) if f.name == "tenure").codes
    college = (careers.table["education"] == "college").to_numpy()
    served = (tenure > 3) & college
    found = gains_of(careers, 0.5 * served + noise(careers, np.random.default_rng(2)))
    best, *others = found.leaves[1:].iter_rows(named=True)
    assert set(best["rule"].split(" and ")) == {"tenure ≥ 4", "education = college"}
    assert best["ci_low"] < 0.5 < best["ci_high"]
    assert best["p_value"] < 0.01
    assert best["share_of_gain"] > 0.8
    assert others
    assert all(other["ci_low"] < 0 < other["ci_high"] for other in others)
    assert 0.05 < found.leaves["variance_explained"][0] < 0.6
    assert "explain" in found.notes[0]
    assert "nothing" not in found.notes[0]


@pytest.mark.slow
def test_planted_gains_are_mostly_found_and_their_intervals_cover(five_occupations: Occupations) -> None:
    found, covered = [], []
    for trial in range(50):
        careers = made_careers(600, 500 + trial, five_occupations)
        tenure = next(f for f in row_features(careers, careers) if f.name == "tenure").codes
        served = (tenure > 3) & (careers.table["education"] == "college").to_numpy()
        gains = gains_of(careers, 0.5 * served + noise(careers, np.random.default_rng(trial)))
        best = gains.leaves.row(min(1, gains.leaves.height - 1), named=True)
        found.append(set(best["rule"].split(" and ")) == {"tenure ≥ 4", "education = college"})
        if found[-1]:
            covered.append(best["ci_low"] < 0.5 < best["ci_high"])
    assert np.mean(found) > 0.85
    assert np.mean(covered) > 0.88


@pytest.mark.slow
def test_where_all_gain_alike_the_tree_mostly_stays_a_root_and_intervals_cover(five_occupations: Occupations) -> None:
    roots, covered = 0, []
    for trial in range(50):
        careers = made_careers(200, 100 + trial, five_occupations)
        found = gains_of(careers, 0.1 + noise(careers, np.random.default_rng(trial)))
        roots += found.leaves.height == 1
        covered += ((found.features["ci_low"] < 0.1) & (found.features["ci_high"] > 0.1)).to_list()
        covered += ((found.leaves["ci_low"] < 0.1) & (found.leaves["ci_high"] > 0.1)).to_list()
    assert roots >= 43
    assert 0.91 < np.mean(covered) < 0.97


def test_a_root_alone_is_said_to_explain_nothing(five_occupations: Occupations) -> None:
    careers = made_careers(150, 3, five_occupations)
    found = gains_of(careers, 0.1 + noise(careers, np.random.default_rng(6)))
    assert found.leaves["rule"].to_list() == ["everybody"]
    assert found.leaves["variance_explained"].to_list() == [0.0]
    assert found.leaves["people"].to_list() == [75]
    assert "no split of the people holds up" in found.notes[0]


@pytest.fixture(scope="module")
def simulated() -> tuple[Careers, Careers, Gains, np.ndarray]:
    """Test careers, training careers, gains of the Oracle over transition frequencies, and the gain by row."""
    survey = SimulatedSettings(people=1500)
    careers = split_by_person(simulate(survey), (0.4, 0.1, 0.5), np.random.default_rng(1))
    train, validation, test = (careers.part(name) for name in ("train", "validation", "test"))
    transition = TransitionFrequencies()
    transition.fit(train, validation)
    oracle, frequencies = Oracle(survey).predict(test), transition.predict(test)
    found = who_gains(oracle, frequencies, test, train, names=("oracle", "transition"), settings=SETTINGS)
    assert oracle.realised is not None
    assert frequencies.realised is not None
    return test, train, found, oracle.realised - frequencies.realised


def holds(rule: str, features: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The rows of which a rule in words is true, found by reading the words."""
    rows = np.ones(len(next(iter(features.values()))[0]), dtype=bool)
    for part in rule.split(" and "):
        either, _, absent = part.strip("()").partition(" or ")
        name = next(name for name in sorted(features, key=len, reverse=True) if name in either)
        order, labels = features[name]
        place = {label: code for code, label in zip(order, labels, strict=True)}
        words = either.split(f" {name} ") if " ≤ " + name in either else either.split(name + " ")
        if len(words) == 2 and words[0]:  # "2 ≤ tenure ≤ 3"
            low, high = words[0].split(" ")[0], words[1].removeprefix("≤ ")
            true = (order >= place[low]) & (order <= place[high])
        else:
            sign, _, value = words[-1].partition(" ")
            signs = {"≤": np.less_equal, "≥": np.greater_equal, "=": np.equal, "≠": np.not_equal}
            true = signs[sign](order, place[value]) & ~np.isnan(order) if sign in "≤≥=" else order != place[value]
        rows &= true | (np.isnan(order) if absent else False)
    return rows


def test_the_words_of_a_rule_are_the_rows_of_its_leaf(simulated: tuple[Careers, Careers, Gains, np.ndarray]) -> None:
    test, train, found, gain = simulated
    features = {
        feature.name.replace("_", " "): (feature.codes, np.array([feature.label(code) for code in feature.codes]))
        for feature in row_features(test, train)
    }
    people = np.random.default_rng([SETTINGS.seed, 1]).permutation(test.people)
    half = np.isin(test.person_of_row, people[test.people // 2 :])
    assert found.leaves.height >= 4
    total = np.zeros(len(test), dtype=int)
    for leaf in found.leaves[1:].iter_rows(named=True):
        rows = holds(leaf["rule"], features)
        total += rows
        assert leaf["person_years"] == (rows & half).sum()
        assert leaf["people"] == len(np.unique(test.person_of_row[rows & half]))
        assert leaf["gain"] == pytest.approx(gain[rows & half].mean(), abs=1e-12)
        assert leaf["share_of_gain"] == pytest.approx(gain[rows & half].sum() / gain[half].sum(), abs=1e-12)
    assert (total == 1).all()


def test_the_features_of_the_oracle_s_gain_are_those_it_knows(
    simulated: tuple[Careers, Careers, Gains, np.ndarray],
) -> None:
    _, _, found, gain = simulated
    everybody = found.features.row(0, named=True)
    assert everybody["gain"] == pytest.approx(gain.mean(), abs=1e-12)
    assert everybody["person_years"] == len(gain)
    tenure = found.features.filter(pl.col("feature") == "tenure", pl.col("level") != "first row")
    assert tenure["gain"].is_sorted(descending=True)  # transitions do not know how long a job has lasted
    assert tenure["p_value"][0] < 0.01
    assert found.leaves["variance_explained"][0] > 0.02
    assert (found.leaves["gain"] > 0).all()
    for feature in found.features["feature"].unique():
        rows = found.features.filter(pl.col("feature") == feature)
        assert rows["person_years"].sum() == len(gain)
        assert rows["share_of_gain"].sum() == pytest.approx(1)


def test_spread_is_that_of_drawing_people_one_by_one(simulated: tuple[Careers, Careers, Gains, np.ndarray]) -> None:
    test, _, found, gain = simulated
    weights = draw_weights(test.people, SETTINGS.bootstrap, np.random.default_rng(SETTINGS.seed))
    rows = (test.table["education"] == "college").to_numpy()
    draws = []
    for column in weights.T[1:]:
        again = np.repeat(np.flatnonzero(rows), column[test.person_of_row[rows]])  # a person's rows as often as drawn
        draws.append(gain[again].mean())
    college = found.features.filter(pl.col("level") == "college").row(0, named=True)
    assert college["std_error"] == pytest.approx(np.std(draws, ddof=1), rel=1e-9)
    assert (college["ci_low"], college["ci_high"]) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), rel=1e-9)
    counts = np.bincount(test.person_of_row[rows], minlength=test.people)
    sums = np.bincount(test.person_of_row[rows], gain[rows], minlength=test.people)
    assert college["std_error"] == pytest.approx(clustered_std_error(sums, counts), rel=0.15)
    naive = gain[rows].std(ddof=1) / np.sqrt(rows.sum())
    assert college["std_error"] > 1.2 * naive


def test_same_seed_same_bits_and_swapped_models_have_swapped_signs(
    simulated: tuple[Careers, Careers, Gains, np.ndarray], few_careers: Careers
) -> None:
    a, b = noisy(few_careers, 1), noisy(few_careers, 2)
    one = who_gains(a, b, few_careers, few_careers, names=("a", "b"), settings=SETTINGS)
    again = who_gains(a, b, few_careers, few_careers, names=("a", "b"), settings=SETTINGS)
    other = who_gains(b, a, few_careers, few_careers, names=("b", "a"), settings=SETTINGS)
    assert one.leaves.equals(again.leaves)
    assert one.features.equals(again.features)
    np.testing.assert_allclose(one.features["gain"], -other.features["gain"], atol=1e-12)
    assert dict(one.leaves.schema) == LEAVES
    assert dict(one.features.schema) == FEATURES


def test_shares_are_left_out_where_the_gain_may_be_nothing(few_careers: Careers) -> None:
    found = who_gains(noisy(few_careers, 1), noisy(few_careers, 2), few_careers, few_careers, names=("a", "b"))
    assert found.leaves["share_of_gain"].null_count() == found.leaves.height
    assert any("shares of the gain are left out" in note for note in found.notes)


def test_impossible_rows_are_counted_and_left_out(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    log_probabilities = models["relative"].log_probabilities.copy()
    realised = few_careers.occupation[:3]
    log_probabilities[np.arange(3), (realised + 1) % 5] = 0.0
    log_probabilities[np.arange(3)[:, None], np.arange(5)] = -np.inf
    log_probabilities[np.arange(3), (realised + 1) % 5] = 0.0
    broken = replace(models["relative"], log_probabilities=log_probabilities)
    found = who_gains(models["language"], broken, few_careers, few_careers, names=("language", "broken"))
    assert found.features["person_years"][0] == len(few_careers) - 3
    assert "broken gives probability 0 to 3 realised occupations" in found.notes[0]
    certain = np.full_like(log_probabilities, -np.inf)
    certain[np.arange(len(certain)), (few_careers.occupation + 1) % 5] = 0
    never = replace(broken, log_probabilities=certain)
    with pytest.raises(LaborLLMError, match="no person-year has a finite difference"):
        who_gains(models["language"], never, few_careers, few_careers, names=("language", "never"))


def test_realised_only_models_are_refused(few_careers: Careers, models: dict[str, Probabilities]) -> None:
    with pytest.raises(LaborLLMError, match="model 'raw' has raw probabilities of the realised titles only"):
        who_gains(models["language"], models["realised"], few_careers, few_careers, names=("language", "raw"))


def test_without_draws_there_is_no_spread_and_without_people_no_tree(few_careers: Careers) -> None:
    none = who_gains(
        noisy(few_careers, 1), noisy(few_careers, 2), few_careers, few_careers, names=NAMES,
        settings=EvaluationSettings(bootstrap=0),
    )  # fmt: skip
    for column in ("std_error", "ci_low", "ci_high", "share_of_gain", "p_value"):
        assert none.features[column].null_count() == none.features.height
    alone = few_careers.first_people(1)
    found = who_gains(noisy(alone, 1), noisy(alone, 2), alone, alone, names=NAMES)
    assert found.leaves["people"].to_list() == [1]
    assert found.leaves["std_error"].to_list() == [None]
