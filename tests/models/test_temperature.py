"""A temperature: recovered where it is known, never worse on validation, and the model's other numbers left alone."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from laborllm.errors import LaborLLMError
from laborllm.models import temperature
from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Probabilities
from laborllm.models.temperature import Tempered, best_temperature, log_likelihood, tempered
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate


@dataclass
class Fixed:
    """A model that answers what it is told to."""

    log_probabilities: np.ndarray | None
    log_mass: np.ndarray | None = None
    facts: dict[str, str | int | float] = field(default_factory=lambda: {"told": 1})
    description: str = "What it is told."

    def fit(self, train: Careers, validation: Careers) -> None:
        """Nothing."""

    def predict(self, careers: Careers) -> Probabilities:
        """The same for all."""
        rows = careers.table.select(KEYS)
        if self.log_probabilities is None:
            return Probabilities(rows, careers.occupations, realised_raw=np.zeros(len(careers)))
        return Probabilities(rows, careers.occupations, self.log_probabilities, log_mass=self.log_mass)


def drawn(rng: np.random.Generator, rows: int = 5000, occupations: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities and an outcome of each row drawn from them."""
    truth = log_softmax(rng.normal(scale=2, size=(rows, occupations)), axis=1)
    return truth, (rng.random((rows, 1)) > np.exp(truth).cumsum(axis=1)).sum(axis=1).clip(max=occupations - 1)


@pytest.mark.parametrize("often", [0.25, 0.8, 1.0, 3.0, 20.0])
def test_log_odds_that_were_multiplied_are_divided_again(often: float, rng: np.random.Generator) -> None:
    scores, realised = drawn(rng)
    at_best = scores / best_temperature(scores, realised)  # the sample's own noise taken out: here T is 1
    assert best_temperature(at_best, realised) == pytest.approx(1, abs=1e-6)
    multiplied = log_softmax(often * at_best, axis=1)
    assert best_temperature(multiplied, realised) == pytest.approx(often, rel=1e-3)
    np.testing.assert_allclose(tempered(multiplied, often), log_softmax(at_best, axis=1), atol=1e-4 * max(1, often))


def test_it_is_the_maximum_that_another_search_finds(rng: np.random.Generator) -> None:
    scores, realised = drawn(rng, rows=300)
    scores = (2.7 * scores).astype(np.float32)

    def nats(inverse: float) -> float:
        return -log_softmax(inverse * scores.astype(np.float64), axis=1)[np.arange(300), realised].sum()

    best = minimize_scalar(nats, bounds=(0.02, 50), method="bounded", options={"xatol": 1e-10})
    found = best_temperature(scores, realised)
    assert 1 / found == pytest.approx(best.x, rel=1e-5)
    assert log_likelihood(scores, realised, found) == pytest.approx(-best.fun, rel=1e-9)


def test_validation_is_never_less_likely(rng: np.random.Generator) -> None:
    """Of models of every quality, those of no use and those that are always wrong among them."""
    for _ in range(40):
        rows, occupations = int(rng.integers(1, 50)), int(rng.integers(2, 9))
        scores = log_softmax(rng.normal(scale=rng.choice([0.01, 1, 30]), size=(rows, occupations)), axis=1)
        realised = rng.integers(occupations, size=rows)
        found = best_temperature(scores, realised)
        before, after = (log_likelihood(scores, realised, at) for at in (1.0, found))
        assert temperature.COLDEST <= found <= temperature.HOTTEST
        assert after >= before - 1e-9 * abs(before)


def test_models_that_have_no_best_temperature() -> None:
    right = np.log([[0.6, 0.4]] * 3)
    assert best_temperature(right, np.zeros(3, dtype=int)) == pytest.approx(temperature.COLDEST, rel=1e-3)
    assert best_temperature(right, np.ones(3, dtype=int)) == pytest.approx(temperature.HOTTEST, rel=1e-3)
    assert best_temperature(np.log(np.full((3, 4), 0.25)), np.array([0, 1, 2])) == pytest.approx(1, abs=1e-6)


def test_what_is_impossible_stays_so_and_says_nothing(rng: np.random.Generator) -> None:
    scores, realised = drawn(rng, rows=200)
    never = np.append(scores, np.full((200, 1), -np.inf), axis=1)
    without = best_temperature(scores, realised)
    assert best_temperature(never, realised) == pytest.approx(without, rel=1e-9)
    with np.errstate(divide="raise"):
        more = best_temperature(np.append(never, never[:5], axis=0), np.append(realised, np.full(5, 7)))
    assert more == pytest.approx(without, rel=1e-9)
    assert np.isneginf(tempered(never, 2.0)[:, 7]).all()
    never[3, 2] = np.nan
    with pytest.raises(LaborLLMError, match="temperature: validation row 4 has a probability that is no number"):
        best_temperature(never, realised)


def test_blocks_change_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, realised = drawn(rng, rows=100)
    whole = best_temperature(scores, realised), tempered(scores, 1.7)
    monkeypatch.setattr(temperature, "BLOCK", 7)
    assert best_temperature(scores, realised) == pytest.approx(whole[0], rel=1e-9)
    np.testing.assert_array_equal(tempered(scores, 1.7), whole[1])


def test_the_truth_needs_none() -> None:
    """Twice the gain in log-likelihood is chi-square with one degree of freedom: above 10.8 once in a thousand."""
    survey = SimulatedSettings(people=1500, occupations=20, seed=4)
    careers = simulate(survey)
    model = Tempered(Oracle(survey))
    model.fit(careers, careers)
    assert model.temperature == pytest.approx(1, abs=0.03)
    scores = Oracle(survey).predict(careers).log_probabilities
    assert scores is not None
    gain = [log_likelihood(scores, careers.occupation, at) for at in (model.temperature, 1.0)]
    assert 0 <= gain[0] - gain[1] < 10.8 / 2


def test_around_a_model(few_careers: Careers, rng: np.random.Generator) -> None:
    scores = log_softmax(rng.normal(size=(len(few_careers), 5)), axis=1).astype(np.float32)
    inner = Fixed(scores, log_mass=np.linspace(-1, 0, len(few_careers)))
    model = Tempered(inner)
    assert model.facts == {"told": 1}
    model.fit(few_careers, few_careers)
    answer = model.predict(few_careers)
    np.testing.assert_allclose(answer.log_probabilities, tempered(scores, model.temperature))
    np.testing.assert_array_equal(answer.log_mass, inner.log_mass)
    np.testing.assert_allclose(np.exp(answer.log_probabilities.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    assert model.description.startswith("What it is told; temperature ")
    facts = model.facts
    assert facts["temperature"] == pytest.approx(best_temperature(scores, few_careers.occupation), rel=1e-5)
    before, after = (
        facts[f"validation log-likelihood per row {when} temperature"] for when in ("before the", "with the")
    )
    assert before == pytest.approx(inner.predict(few_careers).realised.mean(), rel=1e-5)
    assert after == pytest.approx(answer.realised.mean(), rel=1e-5)
    assert after > before


def test_saved_and_loaded_it_says_the_same(few_careers: Careers, tmp_path: Path) -> None:
    model = Tempered(TransitionFrequencies())
    model.fit(few_careers, few_careers)
    model.save(tmp_path)
    again = Tempered.load(tmp_path, model.model)
    np.testing.assert_array_equal(
        again.predict(few_careers).log_probabilities, model.predict(few_careers).log_probabilities
    )
    assert (again.description, again.facts) == (model.description, model.facts)


def test_messages(few_careers: Careers, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="the temperature is not fitted yet; call fit first"):
        Tempered(Fixed(None)).predict(few_careers)
    with pytest.raises(LaborLLMError, match='needs the whole list; set probabilities = "full", or temperature = false'):
        Tempered(Fixed(None)).fit(few_careers, few_careers)
    with pytest.raises(LaborLLMError, match=r"temperature\.json: cannot be read as a temperature; run the study again"):
        Tempered.load(tmp_path, Fixed(None))
    (tmp_path / "temperature.json").write_text('{"temperature": 2}')
    with pytest.raises(LaborLLMError, match="cannot be read as a temperature"):
        Tempered.load(tmp_path, Fixed(None))
