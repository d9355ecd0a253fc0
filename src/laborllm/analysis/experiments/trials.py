"""Trials: one model, learned from careers altered in one way, tested on careers altered in one way."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from laborllm.analysis.experiments.alterations import Alteration
from laborllm.evaluation.tables import spread_of
from laborllm.evaluation.uncertainty import ratio, weighted_sums

PLAIN = Alteration()
Factor = str | int | float


@dataclass(frozen=True)
class Trial:
    """One cell of an experiment.

    Attributes:
        model: its name in the study.
        factors: what the cell is in the experiment's own words: column -> value, the model's name apart.
        changes: keys of the model's settings that differ from the study's.
        learned: what is done to the training people; to the validation people too, their number and pooling apart.
        tested: what is done to the test people.
        last_rows: how many earlier rows the fitted model sees of a test person; all of them if None.
    """

    model: str
    factors: Mapping[str, Factor]
    changes: Mapping[str, Any] = field(default_factory=dict)
    learned: Alteration = PLAIN
    tested: Alteration = PLAIN
    last_rows: int | None = None

    @property
    def name(self) -> str:
        """A file name that no other cell of the experiment has."""
        return _plain("-".join([self.model, *(f"{what}={value}" for what, value in self.factors.items())]))

    @property
    def fitted(self) -> str:
        """What cells share that need one fit; for a file name and a fingerprint."""
        changes = {key: str(value) for key, value in sorted(self.changes.items())}
        return f"{self.model} {changes} {self.learned.model_dump_json(exclude_defaults=True)}"


def _plain(words: str) -> str:
    return re.sub(r"[^\w=.+-]+", "_", words)


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cells' mean nats a person-year, e.g. what a model loses without a covariate.

    Attributes:
        model: whose.
        what: in words.
        weights: cell -> weight; they sum to 0.
        subset: the person-years it is taken over, a name in the plan's subsets.
    """

    model: str
    what: str
    weights: Mapping[str, float]
    subset: str = "all"


@dataclass(frozen=True)
class Plan:
    """What an experiment does.

    Attributes:
        name: the experiment's.
        question: that it answers, in one sentence.
        trials: its cells; the first of each model is the one it is compared with.
        contrasts: the differences that answer the question.
        subsets: name -> whether each test person-year belongs, shape (person_years,); "all" need not stand here.
    """

    name: str
    question: str
    trials: tuple[Trial, ...]
    contrasts: tuple[Contrast, ...]
    subsets: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What an experiment found; standard errors and intervals are clustered by person, models are held fixed.

    Attributes:
        cells: model, the experiment's factors, subset, perplexity, std_error, ci_low, ci_high, person_years, people.
        contrasts: model, what, subset, nats, std_error, ci_low, ci_high, times (exp of nats: by what the perplexity
            is multiplied), person_years, people.
    """

    cells: pl.DataFrame
    contrasts: pl.DataFrame


def find(
    plan: Plan, nats: Mapping[str, np.ndarray], person: np.ndarray, weights: np.ndarray, *, confidence: float
) -> Findings:
    """Perplexity of every cell and every contrast of a plan, on the same draws of people.

    Args:
        plan: the experiment.
        nats: cell -> minus the log-probability of what happened, shape (person_years,).
        person: each row's person, 0 … people - 1, shape (person_years,).
        weights: how often each person counts; column 0 is the sample itself, shape (people, replicates + 1).
        confidence: of the intervals.
    """
    subsets = {"all": np.ones(len(person), dtype=bool)} | dict(plan.subsets)
    draws = {
        (trial.name, subset): mean_draws(nats[trial.name][rows], person[rows], weights)
        for trial in plan.trials
        for subset, rows in subsets.items()
    }
    sizes = {subset: (int(rows.sum()), len(np.unique(person[rows]))) for subset, rows in subsets.items()}
    cells = [
        ({"model": trial.model, **trial.factors, "subset": subset}, np.exp(draws[trial.name, subset]), sizes[subset])
        for trial in plan.trials
        for subset in subsets
    ]
    contrasts = [
        (
            {"model": one.model, "what": one.what, "subset": one.subset},
            sum(weight * draws[cell, one.subset] for cell, weight in one.weights.items()),
            sizes[one.subset],
        )
        for one in plan.contrasts
    ]
    found = _frame(contrasts, "nats", confidence)
    return Findings(
        cells=_frame(cells, "perplexity", confidence),
        contrasts=found.with_columns(times=pl.col("nats").exp()) if found.height else found,
    )


def mean_draws(values: np.ndarray, person: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over rows in every draw.

    Args:
        values: shape (rows,).
        person: each row's person, shape (rows,).
        weights: how often each person counts, shape (people, replicates + 1).

    Returns:
        Shape (replicates + 1,).
    """
    sums = np.stack(
        [np.bincount(person, weights=each, minlength=len(weights)) for each in (values, np.ones(len(values)))]
    )
    total, count = weighted_sums(sums, weights)
    return ratio(total, count)


def _frame(rows: Sequence[tuple[dict, Any, tuple[int, int]]], value: str, confidence: float) -> pl.DataFrame:
    """Names, an estimate, its spread and sizes, one row a statistic."""
    if not rows:
        return pl.DataFrame()
    names, draws, sizes = zip(*rows, strict=True)
    stacked = np.stack(draws)
    people = np.array([size[1] for size in sizes])
    error, low, high = spread_of(
        stacked, people=people, reflected=np.zeros(len(rows), dtype=bool), confidence=confidence, least=-np.inf
    )
    numbers = {value: stacked[:, 0], "std_error": error, "ci_low": low, "ci_high": high}
    numbers |= {"person_years": np.array([size[0] for size in sizes]), "people": people}
    named = pl.DataFrame(list(names), infer_schema_length=None, strict=False)
    return named.hstack(pl.DataFrame(numbers)).with_columns(pl.selectors.float().fill_nan(None))
