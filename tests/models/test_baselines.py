"""Smoothed transition frequencies: the formula, the grid, the corners, and recovery of a first-order truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings, shrunk, transition_counts
from laborllm.models.oracle import Oracle
from laborllm.models.regression.features import Histories
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import Mechanisms, SimulatedSettings, simulate
from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text


@pytest.fixture
def split(few_careers: Careers, rng: np.random.Generator) -> Careers:
    return split_by_person(few_careers, [0.5, 0.25, 0.25], rng)


@pytest.fixture
def fitted(split: Careers) -> TransitionFrequencies:
    model = TransitionFrequencies()
    model.fit(split.part("train"), split.part("validation"))
    return model


def careers_of(rows: list[tuple[int, int, str]], occupations: Occupations) -> Careers:
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation"], orient="row")
    return careers_from_frame(frame, occupations)


def brute_force(train: Careers, previous: int, occupation: int, weight: float) -> float:
    """The formula of the class, by counting one row at a time."""
    number = len(train.occupations)
    marginal = (np.sum(train.occupation == occupation) + 0.5) / (len(train) + 0.5 * number)
    of_origin = train.previous == previous
    both = np.sum(of_origin & (train.occupation == occupation))
    return float((both + weight * marginal) / (np.sum(of_origin) + weight))


def test_equals_the_formula_counted_by_hand(split: Careers, fitted: TransitionFrequencies) -> None:
    test, train = split.part("test"), split.part("train")
    answer = fitted.predict(test).log_probabilities
    for row, previous in enumerate(test.previous):
        weight = fitted.first_weight if previous < 0 else fitted.weight
        expected = [brute_force(train, previous, k, weight) for k in range(len(test.occupations))]
        np.testing.assert_allclose(np.exp(answer[row]), expected, rtol=1e-6)


def test_rows_sum_to_one(split: Careers, fitted: TransitionFrequencies) -> None:
    answer = fitted.predict(split).log_probabilities
    assert answer.dtype == np.float32
    np.testing.assert_allclose(np.exp(answer).sum(axis=1), 1, atol=1e-5)


def test_the_weights_are_the_best_of_the_grid(split: Careers, fitted: TransitionFrequencies) -> None:
    train, validation = split.part("train"), split.part("validation")
    first = validation.transition == "first"

    def nats(weight: float) -> tuple[float, float]:
        model = TransitionFrequencies(TransitionSettings(weights=(weight,)))
        model.fit(train, validation)
        realised = model.predict(validation).realised
        return -realised[~first].sum(), -realised[first].sum()

    grid = fitted.settings.weights
    each = np.array([nats(weight) for weight in grid])  # (weights, 2)
    assert (fitted.weight, fitted.first_weight) == tuple(grid[i] for i in each.argmin(axis=0))


def test_after_an_occupation_never_seen_comes_the_marginal(five_occupations: Occupations) -> None:
    train = careers_of([(1, 1990, "313"), (1, 1991, "313"), (2, 1990, "313"), (2, 1991, "433")], five_occupations)
    model = TransitionFrequencies()
    model.fit(train, train)
    after = careers_of([(1, 1990, "unemployed"), (1, 1991, "436")], five_occupations)
    marginal = np.array([3.5, 0.5, 1.5, 0.5, 0.5]) / 6.5
    np.testing.assert_allclose(np.exp(model.predict(after).log_probabilities[1]), marginal, rtol=1e-6)
    assert model.facts["occupations never seen in training"] == 3
    assert model.facts["training rows"] == 4


def test_more_weight_is_nearer_the_marginal() -> None:
    counts = np.array([[8.0, 2.0, 0.0], [1.0, 5.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 0.0]])
    np.testing.assert_allclose(shrunk(counts, 1e9) - shrunk(counts, 1e9)[0], 0, atol=1e-6)
    np.testing.assert_allclose(shrunk(counts, 1e-9)[0], [0.8, 0.2, 0], atol=1e-6)


def test_order_of_people_changes_nothing(split: Careers, fitted: TransitionFrequencies) -> None:
    renamed = split.table.with_columns(person=1000 - pl.col("person")).sort("person", "year")
    other = replace(split, table=renamed)
    model = TransitionFrequencies()
    model.fit(other.part("train"), other.part("validation"))
    np.testing.assert_array_equal(model.counts, fitted.counts)
    assert model.facts == fitted.facts


def test_counts_first_rows_apart() -> None:
    counts = transition_counts(np.array([-1, 0, 1, -1]), np.array([0, 1, 1, 1]), 2)
    np.testing.assert_array_equal(counts, [[0, 1], [0, 1], [1, 1]])


def test_converges_to_a_first_order_truth() -> None:
    """With memory, covariates and types off the Oracle is first-order Markov, and many people recover it."""
    settings = SimulatedSettings(people=20_000, occupations=10, seed=8, mechanisms=Mechanisms.first_order())
    careers = split_by_person(simulate(settings), [0.8, 0.1, 0.1], np.random.default_rng(0))
    model = TransitionFrequencies()
    model.fit(careers.part("train"), careers.part("validation"))
    test = careers.part("test")
    found, truth = model.predict(test), Oracle(settings).predict(test)
    assert 0 <= truth.realised.mean() - found.realised.mean() < 0.002
    chances = np.exp(truth.log_probabilities)
    divergence = (chances * (truth.log_probabilities - found.log_probabilities)).sum(axis=1).mean()
    # a fitted multinomial is off by (destinations - 1) / 2 nats per training row, origin by origin
    assert 0 <= divergence < 2 * 14 * 12 / 2 / len(careers.part("train"))


def test_saved_and_loaded_it_says_the_same(split: Careers, fitted: TransitionFrequencies, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = TransitionFrequencies.load(tmp_path)
    assert again.facts == fitted.facts
    np.testing.assert_array_equal(again.predict(split).log_probabilities, fitted.predict(split).log_probabilities)


def backed_off(train: Careers, test: Careers, row: int, model: TransitionFrequencies) -> np.ndarray:
    """Second order by gender for one row, by counting one training row at a time."""
    first = test.previous[row] < 0
    weight = model.first_weight if first else model.weight
    answer = np.array(
        [brute_force(train, test.previous[row], k, weight) for k in range(len(test.occupations))]
    )  # (occupations,)
    before, of_test = Histories(train).before, Histories(test).before[row]
    context = (train.previous == test.previous[row]) & (before == of_test)
    gender = train.table["gender"].to_numpy() == test.table["gender"][row]
    for finer, same in zip(model.finer, (context, context & gender), strict=True):
        if first and finer.what == "before":
            continue
        counts = np.bincount(train.occupation[same], minlength=len(answer))
        w = finer.first_weight if first else finer.weight
        answer = (counts + w * answer) / (counts.sum() + w)
    return answer


def test_second_order_by_cell_equals_the_formula_counted_by_hand(split: Careers) -> None:
    train, test = split.part("train"), split.part("test")
    model = TransitionFrequencies(TransitionSettings(order=2, by=("gender",)))
    model.fit(train, split.part("validation"))
    answer = np.exp(model.predict(test).log_probabilities)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    for row in range(len(test)):
        np.testing.assert_allclose(answer[row], backed_off(train, test, row, model), rtol=1e-5)


def test_finer_weights_are_the_best_of_the_grid(split: Careers) -> None:
    train, validation = split.part("train"), split.part("validation")
    model = TransitionFrequencies(TransitionSettings(order=2))
    model.fit(train, validation)
    best = model.predict(validation).realised.sum()
    chosen = model.finer[0]
    for weight in model.settings.weights:
        model.finer = (replace(chosen, weight=weight),)
        assert model.predict(validation).realised.sum() <= best + 1e-5


def test_a_finer_context_never_seen_leaves_the_coarser_answer(five_occupations: Occupations) -> None:
    train = careers_of([(1, 1990, "313"), (1, 1991, "313"), (2, 1990, "433"), (2, 1991, "313")], five_occupations)
    coarse, fine = TransitionFrequencies(), TransitionFrequencies(TransitionSettings(order=2, by=("gender", "region")))
    for model in (coarse, fine):
        model.fit(train, train)
    after = careers_of([(1, 1990, "436"), (1, 1991, "313"), (1, 1992, "313")], five_occupations)
    women = replace(after, table=after.table.with_columns(gender=pl.lit("female")))
    np.testing.assert_array_equal(fine.predict(women).log_probabilities, coarse.predict(after).log_probabilities)
    assert fine.facts["predicted rows in a cell never seen in training"] == 3
    assert fine.facts["predicted rows in an occupation never seen in training"] == 1


def test_second_order_finds_a_second_order_truth(five_occupations: Occupations, rng: np.random.Generator) -> None:
    """The next of two occupations is the one before the last: first order is as good as a coin, second order knows."""
    rows = []
    for person in range(300):
        path = list(rng.integers(2, size=2))
        for _ in range(6):
            path.append(path[-2])
        rows += [(person, 1980 + t, five_occupations.codes[each]) for t, each in enumerate(path)]
    careers = split_by_person(careers_of(rows, five_occupations), [0.6, 0.2, 0.2], rng)
    nats = {}
    for order in (1, 2):
        model = TransitionFrequencies(TransitionSettings(order=order))
        model.fit(careers.part("train"), careers.part("validation"))
        test = careers.part("test")
        nats[order] = -model.predict(test).realised[Histories(test).index >= 2].mean()
    assert nats[1] > 0.5
    assert nats[2] < 0.01


def test_second_order_saved_and_loaded(split: Careers, tmp_path: Path) -> None:
    model = TransitionFrequencies(TransitionSettings(order=2, by=("gender", "region", "birth_year")))
    model.fit(split.part("train"), split.part("validation"))
    model.save(tmp_path)
    again = TransitionFrequencies.load(tmp_path)
    assert again.facts == model.facts
    assert again.description == model.description
    np.testing.assert_array_equal(again.predict(split).log_probabilities, model.predict(split).log_probabilities)


@pytest.mark.real_data
def test_reference_population(real_data: Path) -> None:
    """Published figures over 10,272 jobs: first order 5.52, second order 5.21."""
    folder = real_data / "data" / "career_reference" / "survey"
    careers = read_career_text(CareerTextSettings(folder=folder, spaces=True))
    found = {}
    for order in (1, 2):
        model = TransitionFrequencies(TransitionSettings(order=order))
        model.fit(careers.part("train"), careers.part("validation"))
        found[order] = np.exp(-model.predict(careers.part("test")).realised.mean())
    assert abs(found[1] - 5.52) <= 0.02
    assert found[2] <= 5.22


@pytest.mark.parametrize("content", ["", "{}", '{"settings": 3}'])
def test_loading_what_is_no_model_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "transition.json").write_text(content)
    with pytest.raises(LaborLLMError, match=r"transition.json: cannot be read as a transition model; run the study"):
        TransitionFrequencies.load(tmp_path)


def test_errors_name_what_is_wrong(few_careers: Careers, fitted: TransitionFrequencies, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="not fitted yet; call fit first"):
        TransitionFrequencies().predict(few_careers)
    with pytest.raises(LaborLLMError, match="not fitted yet; call fit first"):
        TransitionFrequencies().save(tmp_path)
    with pytest.raises(LaborLLMError, match=r"weights is \[0.0\]; give at least one number above 0"):
        TransitionFrequencies(TransitionSettings(weights=(0.0,)))
    other = careers_of([(1, 1990, "313")], few_careers.occupations.restrict({"313"}))
    with pytest.raises(LaborLLMError, match="1 occupations, the model was fitted on another list of 5"):
        fitted.predict(other)
    assert TransitionFrequencies().facts == {}
