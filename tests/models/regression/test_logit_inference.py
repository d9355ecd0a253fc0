"""Coefficients, clustered standard errors and marginal effects against ones written out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.regression.features import Histories
from laborllm.models.regression.likelihood import MaximumLikelihood
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_inference import average_marginal_effects, tidy
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

TERMS, SIMILARITY = ("gender", "tenure"), ("stay", "stay:gender")
FEATURES = 3
"""Intercept, male, tenure."""


@pytest.fixture(scope="module")
def careers() -> Careers:
    split = split_by_person(simulate(SimulatedSettings(people=150, occupations=2, seed=5)), [0.7, 0.1, 0.2], rng())
    return split


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def fitted_on(careers: Careers, **settings: object) -> MultinomialLogit:
    defaults = {"terms": TERMS, "similarity": SIMILARITY, "l2": (0.0,)}
    model = MultinomialLogit(LogitSettings(**{"stages": 1, **defaults, **settings}))
    model.fit(careers.part("train"), careers.part("validation"))
    return model


@pytest.fixture(scope="module")
def fitted(careers: Careers) -> MultinomialLogit:
    return fitted_on(careers)


def estimates_of(model: MultinomialLogit) -> MaximumLikelihood:
    estimates = model.stages[0].estimates
    assert estimates is not None
    return estimates


def parameters(model: MultinomialLogit) -> np.ndarray:
    """In the units of the table: features by estimated outcome, then stay and stay:male."""
    return tidy(model)["estimate"].to_numpy()


def by_hand(flat: np.ndarray, careers: Careers, base: int, *, male: float | None = None) -> np.ndarray:
    """Log-probabilities row by row, alternative by alternative, shape (rows, occupations)."""
    outcomes = [k for k in range(len(careers.occupations)) if k != base]
    by_outcome = flat[: FEATURES * len(outcomes)].reshape(FEATURES, -1)
    is_male = (careers.table["gender"] == "male").to_numpy() if male is None else np.full(len(careers), male)
    tenure = Histories(careers).tenure
    answer = np.zeros((len(careers), len(careers.occupations)))
    for row in range(len(careers)):
        answer[row, outcomes] = np.array([1, is_male[row], tenure[row]]) @ by_outcome
        if careers.previous[row] >= 0:
            answer[row, careers.previous[row]] += flat[-2] + flat[-1] * is_male[row]
    return answer - np.log(np.exp(answer).sum(axis=1, keepdims=True))


def realised(flat: np.ndarray, careers: Careers, base: int) -> np.ndarray:
    return by_hand(flat, careers, base)[np.arange(len(careers)), careers.occupation]


def test_estimates_and_errors_are_those_of_a_sandwich_by_hand(careers: Careers, fitted: MultinomialLogit) -> None:
    """Scores and Hessian by finite differences of a likelihood written out again."""
    train, base = careers.part("train"), estimates_of(fitted).base
    flat, step = parameters(fitted), 1e-4
    ahead, behind = (
        np.array([realised(flat + sign * step * each, train, base) for each in np.eye(len(flat))]) for sign in (1, -1)
    )  # (parameters, rows)
    scores = (ahead - behind) / 2 / step
    assert np.abs(scores.sum(axis=1)).max() < 1e-3  # it is the maximum
    hessian = np.empty((len(flat), len(flat)))
    value = realised(flat, train, base).sum()
    for one, first in enumerate(np.eye(len(flat)) * step):
        for two, second in enumerate(np.eye(len(flat)) * step):
            both = realised(flat + first + second, train, base).sum()
            ones = realised(flat - first - second, train, base).sum()
            mixed = (
                realised(flat + first - second, train, base).sum() + realised(flat - first + second, train, base).sum()
            )
            hessian[one, two] = -(both + ones - mixed) / 4 / step**2
    assert np.isfinite(value)
    of_person = np.add.reduceat(scores, train.starts[:-1], axis=1)  # (parameters, people)
    inverse = np.linalg.inv(hessian)
    people = train.people
    covariance = inverse @ (of_person @ of_person.T) @ inverse * people / (people - 1)
    np.testing.assert_allclose(tidy(fitted)["std_error"], np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_the_table(careers: Careers, fitted: MultinomialLogit) -> None:
    table = tidy(fitted)
    assert table.columns == ["stage", "term", "level", "outcome", "estimate", "std_error", "ci_low", "ci_high"]
    assert table["term"].unique(maintain_order=True).to_list() == ["intercept", "gender", "tenure", *SIMILARITY]
    base = careers.occupations.codes[estimates_of(fitted).base]
    assert base not in table["outcome"].to_list()
    assert table.filter(pl.col("term") == "stay")["outcome"].to_list() == [None]
    half = table.select((pl.col("ci_high") - pl.col("estimate")) / pl.col("std_error")).to_series()
    np.testing.assert_allclose(half, 1.959964, rtol=1e-6)


def test_probabilities_are_those_of_the_table(careers: Careers, fitted: MultinomialLogit) -> None:
    test = careers.part("test")
    expected = by_hand(parameters(fitted), test, estimates_of(fitted).base)
    np.testing.assert_allclose(fitted.predict(test).log_probabilities, expected, atol=1e-4)


def test_a_marginal_effect_in_levels_and_its_error(careers: Careers, fitted: MultinomialLogit) -> None:
    """The difference of two averages, and the delta method by finite differences."""
    test, base, flat = careers.part("test"), estimates_of(fitted).base, parameters(fitted)

    def effect(at: np.ndarray) -> np.ndarray:
        return np.exp(by_hand(at, test, base, male=1)).mean(axis=0) - np.exp(by_hand(at, test, base, male=0)).mean(
            axis=0
        )

    table = average_marginal_effects(fitted, test, "gender")
    assert table["level"].unique().to_list() == ["male"]
    np.testing.assert_allclose(table["estimate"], effect(flat), atol=1e-6)
    step = 1e-5
    slope = np.array([(effect(flat + step * e) - effect(flat - step * e)) / 2 / step for e in np.eye(len(flat))])
    stage = fitted.stages[0]
    scale = np.concatenate([np.repeat(stage.form.design.scales, len(estimates_of(fitted).estimated)), np.ones(2)])
    covariance = estimates_of(fitted).covariance / np.outer(scale, scale)
    expected = np.sqrt(np.einsum("pk,pq,qk->k", slope, covariance, slope))
    np.testing.assert_allclose(table["std_error"], expected, rtol=1e-4)
    assert table["estimate"].sum() == pytest.approx(0, abs=1e-9)


def test_a_marginal_effect_of_a_number_is_a_derivative(careers: Careers, fitted: MultinomialLogit) -> None:
    test, flat = careers.part("test"), parameters(fitted)
    table = average_marginal_effects(fitted, test, "tenure")
    base = estimates_of(fitted).base
    by_outcome = np.insert(flat[:-2].reshape(FEATURES, -1)[2], base, 0)  # tenure's
    chances = np.exp(by_hand(flat, test, base))
    expected = (chances * (by_outcome - (chances @ by_outcome)[:, None])).mean(axis=0)
    np.testing.assert_allclose(table["estimate"], expected, atol=1e-7)
    assert table["level"].null_count() == table.height


def test_two_stages_and_penalties(careers: Careers) -> None:
    two = fitted_on(careers, stages=2, similarity=("stay:gender",))
    table = tidy(two)
    assert table["stage"].unique(maintain_order=True).to_list() == ["stay", "move"]
    assert table["std_error"].null_count() == 0
    effects = average_marginal_effects(two, careers.part("test"), "gender")
    assert effects["std_error"].null_count() == effects.height
    assert effects["estimate"].sum() == pytest.approx(0, abs=1e-9)
    shrunk = fitted_on(careers, l2=(1.0,), refine=False)
    assert tidy(shrunk)["std_error"].null_count() == tidy(shrunk).height
    assert tidy(shrunk)["estimate"].is_finite().all()


def test_saved_and_loaded_it_says_the_same(careers: Careers, fitted: MultinomialLogit, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = MultinomialLogit.load(tmp_path)
    assert tidy(again).equals(tidy(fitted))
    effects = [average_marginal_effects(model, careers.part("test"), "gender") for model in (again, fitted)]
    assert effects[0].equals(effects[1])


def drawn_from(truth: np.ndarray, careers: Careers, base: int) -> np.ndarray:
    """Occupations drawn row by row under known coefficients, shape (person_years,)."""
    own, outcomes = rng(), len(careers.occupations)
    by_outcome = np.insert(truth[:-2].reshape(FEATURES, -1), base, 0, axis=1)
    is_male = (careers.table["gender"] == "male").to_numpy()
    drawn, tenure = np.zeros(len(careers), dtype=np.int64), 0
    for row in range(len(careers)):
        first = careers.previous[row] < 0
        tenure = 0 if first else tenure
        scores = np.array([1, is_male[row], tenure]) @ by_outcome
        if not first:
            scores[drawn[row - 1]] += truth[-2] + truth[-1] * is_male[row]
        chances = np.exp(scores) / np.exp(scores).sum()
        drawn[row] = own.choice(outcomes, p=chances)
        tenure = tenure + 1 if not first and drawn[row] == drawn[row - 1] else 1
    return drawn


def test_recovers_a_known_logit() -> None:
    """Coefficients that made the data lie within four standard errors of the estimates."""
    train = simulate(SimulatedSettings(people=900, occupations=2, seed=5))
    base, truth = 0, np.array([0.5, -0.5, 0.2, 0, -0.4, 0.3, 0.1, 0.2, 0.15, -0.1, 0.05, 0, 1.2, 0.5])
    codes = pl.Series("occupation", np.array(train.occupations.codes)[drawn_from(truth, train, base)].tolist())
    made = replace(train, table=train.table.with_columns(codes.cast(train.occupations.dtype)))
    model = MultinomialLogit(LogitSettings(terms=TERMS, similarity=SIMILARITY, stages=1, l2=(0.0,)))
    model.fit(made, made)
    table, found = tidy(model), estimates_of(model)
    grid = np.insert(truth[:-2].reshape(FEATURES, -1), base, 0, axis=1)
    grid = np.delete(grid - grid[:, [found.base]], found.base, axis=1)
    gaps = (table["estimate"].to_numpy() - np.append(grid.ravel(), truth[-2:])) / table["std_error"].to_numpy()
    assert np.abs(gaps).max() < 4
    assert np.sqrt((gaps**2).mean()) > 0.4  # and the errors are no wider than they need be


def test_what_is_not_identified_is_an_error(careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match=r"l2 = 0: the columns depend on one another \(.*\); leave out a term"):
        fitted_on(careers, terms=("tenure", "log(tenure)", "factor(tenure)"), similarity=())
    with pytest.raises(LaborLLMError, match=r"l2 = 0: (the coefficient of .* runs to infinity|the columns depend)"):
        fitted_on(careers, terms=("previous", "education"))
    with pytest.raises(LaborLLMError, match="from 1 people and .* outcomes; standard errors need"):
        one = careers.part("train").first_people(1)
        MultinomialLogit(LogitSettings(terms=("index",), similarity=(), stages=1, l2=(0.0,))).fit(one, one)


def test_messages(careers: Careers, fitted: MultinomialLogit) -> None:
    with pytest.raises(LaborLLMError, match="not fitted yet; call fit first"):
        tidy(MultinomialLogit())
    with pytest.raises(LaborLLMError, match="not fitted yet; call fit first"):
        average_marginal_effects(MultinomialLogit(), careers, "gender")
    with pytest.raises(LaborLLMError, match="term 'region': no covariate of this logit; choose out of gender, tenure"):
        average_marginal_effects(fitted, careers, "region")
    both = fitted_on(careers, terms=("tenure", "factor(tenure)"), similarity=(), l2=(1.0,), refine=False)
    with pytest.raises(LaborLLMError, match="term 'tenure': stands as a number and as a factor"):
        average_marginal_effects(both, careers, "tenure")
