"""Models of the few careers whose numbers are known."""

import numpy as np
import polars as pl
import pytest

from laborllm.models.probabilities import Probabilities, normalise
from laborllm.survey.careers import Careers


def prediction_of(careers: Careers, log_probabilities: np.ndarray, log_mass: np.ndarray | None = None) -> Probabilities:
    rows = careers.table.select("person", "year", "occupation")
    return Probabilities(rows, careers.occupations, log_probabilities=log_probabilities, log_mass=log_mass)


def noisy(careers: Careers, seed: int, *, stay: float = 1.5) -> Probabilities:
    """Random scores, the previous occupation raised by ``stay``."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(len(careers), len(careers.occupations)))
    later = np.flatnonzero(careers.previous >= 0)
    scores[later, careers.previous[later]] += stay
    return prediction_of(careers, normalise(scores)[0])


def restricted(careers: Careers, people: np.ndarray) -> Careers:
    """The careers of these people (positions), each as often as it stands there, under fresh person numbers."""
    parts = [
        careers.table[int(careers.starts[i]) : int(careers.starts[i + 1])].with_columns(person=pl.lit(number))
        for number, i in enumerate(people)
    ]
    return Careers(table=pl.concat(parts), occupations=careers.occupations)


def restricted_prediction(prediction: Probabilities, careers: Careers, people: np.ndarray) -> Probabilities:
    """The prediction for ``restricted(careers, people)``."""
    assert prediction.log_probabilities is not None
    chosen = np.concatenate([np.arange(careers.starts[i], careers.starts[i + 1]) for i in people])
    mass = None if prediction.log_mass is None else prediction.log_mass[chosen]
    return prediction_of(restricted(careers, people), prediction.log_probabilities[chosen], mass)


@pytest.fixture(scope="session")
def models(few_careers: Careers) -> dict[str, Probabilities]:
    """A language model (with mass), a close relative of it without, and a realised-only one."""
    first = noisy(few_careers, 1)
    assert first.log_probabilities is not None
    mass = -np.random.default_rng(3).random(len(few_careers))
    jitter = np.random.default_rng(4).normal(scale=0.1, size=first.log_probabilities.shape)
    rows = few_careers.table.select("person", "year", "occupation")
    return {
        "language": prediction_of(few_careers, first.log_probabilities, mass),
        "relative": prediction_of(few_careers, normalise(first.log_probabilities + jitter)[0]),
        "realised": Probabilities(rows, few_careers.occupations, realised_raw=mass - 1.0),
    }
