"""Do 95 % intervals hold the truth in 95 % of surveys? Five hundred surveys of a population that is known whole."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest

from laborllm.evaluation.draws import Mean, mean_draws
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.evaluation.uncertainty import draw_weights, percentile_interval
from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from tests.evaluation.conftest import prediction_of

SURVEYS, PEOPLE, REPLICATES = 500, 250, 400
PERPLEXITY = {"task": "occupation", "metric": "perplexity", "subset": "all", "group": "all"}
AUC = {"task": "move", "metric": "auc", "subset": "all", "group": "all"}


@dataclass(frozen=True)
class Population:
    """Simulated people, and two models whose mistakes are a person's own: the rows of a person are alike."""

    careers: Careers
    arrays: dict[str, np.ndarray]

    def survey(self, people: np.ndarray) -> tuple[Careers, dict[str, Probabilities], np.ndarray]:
        """The careers of these people, drawn with replacement, what the models say of them, and their rows."""
        starts, ends = self.careers.starts[people], self.careers.starts[people + 1]
        rows = np.concatenate([np.arange(first, last) for first, last in zip(starts, ends, strict=True)])
        person = pl.Series("person", np.repeat(np.arange(len(people)), ends - starts))
        careers = replace(self.careers, table=self.careers.table[rows].with_columns(person))
        return careers, {name: prediction_of(careers, array[rows]) for name, array in self.arrays.items()}, rows


@pytest.fixture(scope="module")
def population() -> Population:
    careers = simulate(SimulatedSettings(people=6000, occupations=5, seed=3))
    rng = np.random.default_rng(4)
    frequencies = np.full((len(careers.occupations) + 1, len(careers.occupations)), 1.0)
    np.add.at(frequencies, (careers.previous, careers.occupation), 1.0)
    scores = np.log(frequencies / frequencies.sum(axis=1, keepdims=True))[careers.previous]
    arrays = {}
    for name, spread in (("a", 0.5), ("b", 0.7)):
        sharper = np.exp(spread * rng.normal(size=careers.people))[careers.person_of_row]
        scores_of_person = scores * sharper[:, None]
        later = np.flatnonzero(careers.previous >= 0)
        restless = rng.normal(size=careers.people)[careers.person_of_row][later]
        scores_of_person[later, careers.previous[later]] += restless
        arrays[name] = normalise(scores_of_person)[0]
    return Population(careers, arrays)


@pytest.mark.slow
def test_intervals_cover_the_truth_and_those_that_ignore_persons_do_not(population: Population) -> None:
    """Perplexity, a paired difference of two, and an AUC, as they stand in the tables of an evaluation."""
    settings = EvaluationSettings(by=(), bootstrap=REPLICATES)
    everybody, predictions, _ = population.survey(np.arange(population.careers.people))
    truth = _numbers(evaluate(predictions, everybody, settings.model_copy(update={"bootstrap": 0})))
    nats = -np.asarray(predictions["a"].realised)
    rng, held = np.random.default_rng(5), dict.fromkeys((*truth, "rows"), 0)
    for seed in range(SURVEYS):
        careers, models, rows = population.survey(rng.integers(population.careers.people, size=PEOPLE))
        found = _numbers(evaluate(models, careers, settings.model_copy(update={"seed": seed})))
        for name, (value, _, _) in truth.items():
            held[name] += int(found[name][1] <= value <= found[name][2])
        low, high = _ignoring_persons(nats[rows], rng)
        held["rows"] += int(low <= truth["perplexity"][0] <= high)
    shares = {name: count / SURVEYS for name, count in held.items()}
    for name in truth:
        assert 0.92 <= shares[name] <= 0.97, shares
    assert shares["rows"] < 0.85, shares


def _numbers(result: object) -> dict[str, tuple[float, float, float]]:
    """Estimate and interval of model a's perplexity, of a's less b's, and of a's AUC."""
    level, difference = (getattr(result, name) for name in ("evaluation", "comparisons"))
    rows = {
        "perplexity": level.filter(model="a", **PERPLEXITY),
        "difference": difference.filter(**PERPLEXITY).rename({"difference": "estimate"}),
        "auc": level.filter(model="a", **AUC),
    }
    return {name: row.select("estimate", "ci_low", "ci_high").row(0) for name, row in rows.items()}


def _ignoring_persons(nats: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The interval of a perplexity as if every row were a person of its own."""
    draws = mean_draws([Mean(nats, np.arange(len(nats)))], draw_weights(len(nats), REPLICATES, rng))
    low, high = percentile_interval(np.exp(draws[:, 1:]), confidence=0.95)
    return float(low[0]), float(high[0])
