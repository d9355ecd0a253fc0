"""What a fitted logit says: a table of coefficients, and average marginal effects.

Standard errors belong to unpenalised fits alone (``l2 = [0]``): a penalty trades bias for variance, and an interval
around a shrunk estimate does not cover the truth as often as it says. Penalised fits have estimates here and no errors.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import norm

from laborllm.errors import LaborLLMError
from laborllm.models.regression.features import Histories
from laborllm.models.regression.fitted_stage import Stage
from laborllm.models.regression.likelihood import similarity_values
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit import joined as join_stages
from laborllm.models.regression.softmax import BLOCK, Choices
from laborllm.models.regression.stage import OUTCOMES
from laborllm.models.regression.terms import HELD, OCCUPATIONS, Override, Variable, base_name
from laborllm.survey.careers import Careers

INTERVAL = float(norm.ppf(0.975))
NUDGE = 1e-4
"""Half the change of a number, in standard deviations, over which its derivative is taken."""
SCHEMA = {
    "stage": pl.String,
    "term": pl.String,
    "level": pl.String,
    "outcome": pl.String,
    "estimate": pl.Float64,
    "std_error": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
}


def tidy(model: MultinomialLogit) -> pl.DataFrame:
    """The coefficients of a fitted logit, one a row.

    Returns:
        stage ("all"; "stay" or "move" in two stages), term, level, outcome (the occupation's code, null for a
        similarity variable, which has one coefficient for all), estimate (log odds per unit of the term), std_error
        (clustered by person), and the 95 % interval ci_low, ci_high. Without a penalty the log odds are against the
        most frequent outcome and the first level of each term. With a penalty they are deviations from the mean shrunk
        towards zero, and std_error and the interval are null.

    Raises:
        LaborLLMError: the model is not fitted.
    """
    if not model.stages or model.occupations is None:
        raise LaborLLMError("the logit is not fitted yet; call fit first")
    rows = [row for stage in model.stages for row in _stage_rows(stage, model.occupations.codes)]
    return _with_interval(pl.DataFrame(rows, schema=list(SCHEMA.items())[:6], orient="row"))


def average_marginal_effects(model: MultinomialLogit, careers: Careers, term: str) -> pl.DataFrame:
    """What a covariate does to the probability of each occupation, averaged over the rows of careers.

    For a covariate in levels, the mean over rows of P(k | level) - P(k | first level), everything else as it is; for a
    number, the mean derivative with respect to it. Interactions and similarity variables that hold the covariate change
    with it. Standard errors are by the delta method, the careers held fixed, in one unpenalised stage; null otherwise.

    Args:
        model: fitted.
        careers: whom to average over.
        term: a covariate of the model, e.g. "gender" or "tenure"; not one of previous, before and held, which say what
            the alternatives are compared with.

    Returns:
        term, level (null for a number), outcome, estimate (probability), std_error, ci_low, ci_high.

    Raises:
        LaborLLMError: the model is not fitted, or has no such covariate.
    """
    variable = _covariate(model, term)
    if variable.is_number:
        nudge = NUDGE * variable.scale
        changes: list[tuple[str | None, Override, Override, float]] = [(None, {term: -nudge}, {term: nudge}, 2 * nudge)]
    else:
        first = variable.levels[0]
        changes = [(level, {term: first}, {term: level}, 1.0) for level in variable.levels[1:]]
    rows: list[tuple[Any, ...]] = []
    for level, before, after, width in changes:
        low, low_slope = _average(model, careers, before)
        high, high_slope = _average(model, careers, after)
        error: Sequence[float | None] = [None] * len(low)
        estimates = model.stages[0].estimates
        if low_slope is not None and high_slope is not None and estimates is not None:
            slope = (high_slope - low_slope) / width  # (outcomes, parameters)
            error = np.sqrt(np.einsum("kp,pq,kq->k", slope, estimates.covariance, slope)).tolist()
        codes = careers.occupations.codes
        rows += [(term, level, *each) for each in zip(codes, ((high - low) / width).tolist(), error, strict=True)]
    schema = [(name, kind) for name, kind in SCHEMA.items() if name not in ("stage", "ci_low", "ci_high")]
    return _with_interval(pl.DataFrame(rows, schema=schema, orient="row"))


def _with_interval(table: pl.DataFrame) -> pl.DataFrame:
    half = INTERVAL * pl.col("std_error")
    return table.with_columns(ci_low=pl.col("estimate") - half, ci_high=pl.col("estimate") + half)


def _stage_rows(stage: Stage, codes: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of the table, errors null without an unpenalised fit."""
    what, estimates = stage.form.what, stage.estimates
    outcomes = OUTCOMES if what == "stay" else codes
    shown = np.arange(len(outcomes)) if estimates is None else estimates.estimated
    errors = None if estimates is None else np.sqrt(np.diag(estimates.covariance))
    place = 0
    for row, ((term, level), scale) in enumerate(zip(stage.form.design.names, stage.form.design.scales, strict=True)):
        for k in shown:
            error = None if errors is None else float(errors[place] / scale)
            yield what, term, level, outcomes[int(k)], float(stage.coefficients.by_outcome[row, k] / scale), error
            place += 1
    column = 0
    for each in stage.form.similarities:
        for (term, level), scale in zip(each.names, each.scales, strict=True):
            error = None if errors is None else float(errors[place] / scale)
            yield what, term, level, None, float(stage.coefficients.similarity[column] / scale), error
            place, column = place + 1, column + 1


def _covariate(model: MultinomialLogit, name: str) -> Variable:
    """The variable of that name, or the one that is taken of it.

    Raises:
        LaborLLMError: the model is not fitted or has no such covariate.
    """
    if not model.stages:
        raise LaborLLMError("the logit is not fitted yet; call fit first")
    forms = [stage.form for stage in model.stages]
    terms = [term for form in forms for term in (*form.design.terms, *(each.term for each in form.similarities))]
    found: dict[str, list[Variable]] = {}
    for each in (each for term in terms if term for each in term.variables):
        found.setdefault(base_name(each.name), []).append(each)
    known = [each for each in found if each not in (*OCCUPATIONS, HELD)]
    if name not in known:
        raise LaborLLMError(f"term {name!r}: no covariate of this logit; choose out of {', '.join(known)}")
    if len({each.is_number for each in found[name]}) > 1:
        raise LaborLLMError(f"term {name!r}: stands as a number and as a factor; keep one of them for marginal effects")
    return found[name][0]


def _average(model: MultinomialLogit, careers: Careers, override: Override) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean probability of each outcome, (outcomes,), and, of one exact stage, its slopes, (outcomes, parameters)."""
    histories, everything = Histories(careers), np.arange(len(careers))
    feed = [(s, s.form.choices(histories, rows=everything, exact=True, override=override)[0]) for s in model.stages]
    total = np.zeros(len(careers.occupations))
    exact = len(feed) == 1 and model.stages[0].estimates is not None
    slopes = None
    for first in range(0, len(careers), BLOCK):
        rows = slice(first, min(first + BLOCK, len(careers)))
        given = [stage.form.log_probabilities(choices, rows, stage.coefficients) for stage, choices in feed]
        chances = np.exp(given[0] if len(given) == 1 else join_stages(given[0], given[1], careers.previous[rows]))
        total += chances.sum(axis=0)
        if exact:
            block = _slopes(*feed[0], rows, chances)
            slopes = block if slopes is None else slopes + block
    return total / len(careers), None if slopes is None else slopes / len(careers)


def _slopes(stage: Stage, choices: Choices, rows: slice, chances: np.ndarray) -> np.ndarray:
    """Derivatives of the summed probabilities with respect to the parameters, shape (outcomes, parameters)."""
    estimates = stage.estimates
    if estimates is None:
        raise ValueError("only unpenalised stages have parameters with a covariance")
    never = stage.form.never
    chances = np.where(never > 0, 0, chances) / (1 - never.sum())  # of the softmax alone
    x, similar = choices.features[rows].toarray(), similarity_values(choices, rows)
    p = chances[:, estimates.estimated]
    own = np.zeros((chances.shape[1], x.shape[1], p.shape[1]))  # (outcomes, features, estimated)
    own[estimates.estimated, :, np.arange(p.shape[1])] = (x.T @ p).T
    own -= np.einsum("ik,if,il->kfl", chances, x, p, optimize=True)
    mean = np.einsum("ik,ikc->ic", chances, similar)
    along = np.einsum("ik,ikc->kc", chances, similar) - chances.T @ mean
    return np.hstack([own.reshape(len(own), -1), along]) * (1 - never.sum())
