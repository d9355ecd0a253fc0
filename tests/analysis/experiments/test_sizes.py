"""How many people one curve needs to reach another, against a law that is known."""

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.experiments.sizes import people_needed
from laborllm.analysis.experiments.trials import Plan, Trial
from laborllm.evaluation.uncertainty import draw_weights


def test_a_curve_that_needs_twice_the_people_is_found() -> None:
    """Loss falls by one nat a doubling; the second model is one doubling behind the first."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(300), 4)
    noise = rng.normal(size=300)[person] + rng.normal(size=1200)
    trials = tuple(
        Trial(model, {"training_people": size}) for model in ("good", "late") for size in (100, 200, 400, 800)
    )
    loss = {"good": 10.0, "late": 11.0}
    nats = {t.name: loss[t.model] - np.log2(t.factors["training_people"]) + noise for t in trials}
    weights = draw_weights(300, 200, rng)
    found = people_needed(Plan("size", "?", trials, ()), nats, person, weights, confidence=0.95)
    late, good = (found.row(by_predicate=pl.col("curve") == name, named=True) for name in ("late", "good"))
    assert late["needed"] == np.inf
    assert good["needed"] == pytest.approx(400)
    assert good["ci_low"] == pytest.approx(400)  # paired: the same noise stands in both
    assert good["perplexity"] == pytest.approx(np.exp(nats["late-training_people=800"].mean()))


def test_a_curve_that_starts_better_needs_fewer_than_were_tried() -> None:
    person = np.arange(50)
    trials = (
        Trial("a", {"training_people": 10}),
        Trial("a", {"training_people": 20}),
        Trial("b", {"training_people": 20}),
    )
    nats = {
        "a-training_people=10": np.ones(50),
        "a-training_people=20": np.full(50, 0.5),
        "b-training_people=20": np.full(50, 2.0),
    }
    weights = draw_weights(50, 20, np.random.default_rng(0))
    found = people_needed(Plan("size", "?", trials, ()), nats, person, weights, confidence=0.9)
    assert found.row(0)[:2] == ("a", "b")
    assert found["needed"].to_list() == [0.0, np.inf]
