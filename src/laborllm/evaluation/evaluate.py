"""Evaluation of any number of models on the same careers (LABOR-LLM, arXiv 2406.17972, evaluation)."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.evaluation import tables
from laborllm.evaluation.cells import find_cells
from laborllm.evaluation.checks import check_predictions
from laborllm.evaluation.draws import Key, Reliability, Sample, model_draws
from laborllm.evaluation.tasks import find_events
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.models.probabilities import Probabilities
from laborllm.settings import Settings
from laborllm.survey.careers import Careers

logger = logging.getLogger(__name__)


class EvaluationSettings(Settings):
    """The section [evaluation] of a study file.

    Attributes:
        by: covariates whose values make the groups.
        bootstrap: number of test-set bootstrap replicates; 0 leaves every standard error and interval empty.
        confidence: of every interval, e.g. 0.95.
        seed: of the bootstrap draws.
    """

    by: tuple[str, ...] = ("gender", "ethnicity", "education")
    bootstrap: int = Field(default=1000, ge=0)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=1, ge=0)


@dataclass(frozen=True)
class Evaluation:
    """Numbers of every model, with uncertainty clustered by person.

    Standard errors are standard deviations over bootstrap draws of test people; the fitted models are held fixed, so
    the uncertainty of their training is not in them. Intervals are percentile intervals; those of calibration_error
    are reflected about the estimate, [2 estimate - upper, 2 estimate - lower] and no lower than 0 in levels, because
    noise pushes an absolute gap up and in the draws once more. A cell with fewer than two people, and an infinite
    estimate, has null std_error, ci_low and ci_high. Draws in which a metric is undefined (nobody of the group drawn,
    no event for an AUC) do not count.

    Attributes:
        evaluation: model, task, metric, subset, group, estimate, std_error, ci_low, ci_high, person_years, people.
            Units: perplexity in occupations (exp of mean nats per person-year; of a binary task in outcomes, 1 … 2
            at a coin toss), log_mass in nats, the other metrics in shares 0 … 1.
        comparisons: model_a, model_b, task, metric, subset, group, difference, std_error, ci_low, ci_high,
            person_years, people: a - b in the metric's unit on the same draws (paired), for all pairs in the order
            of the models.
        reliability: model, task, bin, edge_low, edge_high, predicted, observed, ci_low, ci_high, person_years:
            mean predicted probability and observed share of the event by quantile bins of the prediction, the
            interval that of the observed share. The first bin contains both its edges, the others their upper one.
        attainable: model, baseline, floor, share, std_error, ci_low, ci_high: share of the attainable gain,
            (log ppl baseline - log ppl model) / (log ppl baseline - log ppl floor); no rows without a floor.
        notes: what was left out and why, and what a reader must know of the numbers, one sentence each.
    """

    evaluation: pl.DataFrame
    comparisons: pl.DataFrame
    reliability: pl.DataFrame
    attainable: pl.DataFrame
    notes: tuple[str, ...]


def evaluate(
    predictions: Mapping[str, Probabilities],
    careers: Careers,
    settings: EvaluationSettings | None = None,
    *,
    baseline: str | None = None,
    floor: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Evaluate models on the careers that they predicted, with person-clustered uncertainty and paired differences.

    Args:
        predictions: model name -> its probabilities for exactly these careers.
        careers: the test part; no survey weights are used.
        settings: the section [evaluation]; its defaults if None.
        baseline: name of the model that the attainable gain starts from.
        floor: name of the model that nothing can beat, e.g. the simulator's Oracle.
        progress: called with a model's name when it is done.

    Raises:
        LaborLLMError: predictions are not of these careers or no probabilities, a covariate or model name is unknown.

    Examples:
        A model that knows nothing is as good as one draw among all occupations:

        >>> import numpy as np, polars as pl
        >>> from laborllm.survey.door import careers_from_frame
        >>> from laborllm.survey.occupations import Occupations
        >>> jobs = Occupations(codes=("436", "313"), titles=("Cooks", "Secretaries"), groups=("food", "office"))
        >>> frame = pl.DataFrame({"person": [1, 1, 2], "year": [1984, 1985, 1984], "occupation": [436, 313, 436]})
        >>> careers = careers_from_frame(frame, jobs)
        >>> rows = careers.table.select("person", "year", "occupation")
        >>> even = Probabilities(rows, jobs, log_probabilities=np.log(np.full((3, 2), 0.5, dtype=np.float32)))
        >>> result = evaluate({"even": even}, careers, EvaluationSettings(by=(), bootstrap=100))
        >>> result.evaluation.select("metric", "subset", pl.col("estimate").round(3)).row(0)
        ('perplexity', 'all', 2.0)
    """
    settings = settings or EvaluationSettings()
    check_predictions(predictions, careers)
    _require_names(predictions, baseline, floor)
    sample, notes = _sample(careers, settings)
    draws: dict[str, dict[Key, np.ndarray]] = {}
    reliability: dict[str, list[Reliability]] = {}
    for model, prediction in predictions.items():
        draws[model], reliability[model] = model_draws(prediction, sample)
        if progress is not None:
            progress(model)
    notes += _infinite_notes(predictions) + _arithmetic_notes(predictions)
    confidence, sizes = settings.confidence, sample.sizes()
    attainable, attainable_notes = tables.attainable_table(draws, baseline, floor, confidence=confidence)
    return Evaluation(
        evaluation=tables.evaluation_table(draws, sizes, confidence=confidence),
        comparisons=tables.comparisons_table(draws, sizes, pairs=list(combinations(draws, 2)), confidence=confidence),
        reliability=tables.reliability_table(reliability, confidence=confidence),
        attainable=attainable,
        notes=notes + attainable_notes,
    )


def _require_names(predictions: Mapping[str, Probabilities], baseline: str | None, floor: str | None) -> None:
    if (baseline is None) != (floor is None):
        raise LaborLLMError("the attainable gain needs both a baseline and a floor; give both model names or neither")
    for what, name in (("baseline", baseline), ("floor", floor)):
        if name is None:
            continue
        if name not in predictions:
            raise LaborLLMError(f"{what} is {name!r}, which is no model here; use one of {', '.join(predictions)}")
        if predictions[name].log_probabilities is None:
            raise LaborLLMError(f"{what} {name!r} has raw probabilities of the realised titles only; score the list")


def _sample(careers: Careers, settings: EvaluationSettings) -> tuple[Sample, tuple[str, ...]]:
    cells, cell_notes = find_cells(careers, settings.by)
    events, event_notes = find_events(careers)
    weights = draw_weights(careers.people, settings.bootstrap, np.random.default_rng(settings.seed))
    return Sample(careers.person_of_row, weights, cells, events), cell_notes + event_notes


def _arithmetic_notes(predictions: Mapping[str, Probabilities]) -> tuple[str, ...]:
    """Models that were computed in less than single precision."""
    return tuple(
        f"{name} was computed in lower precision than float32: {model.arithmetic}. Do not publish its numbers."
        for name, model in predictions.items()
        if model.arithmetic is not None
    )


def _infinite_notes(predictions: Mapping[str, Probabilities]) -> tuple[str, ...]:
    """A counted warning for each model that gives no probability at all to what happened."""
    notes = []
    for model, prediction in predictions.items():
        log_probability = prediction.realised if prediction.realised is not None else prediction.raw
        count = 0 if log_probability is None else int(np.isneginf(log_probability).sum())
        if count:
            note = f"{model}: {count} realised occupations have probability 0, so its perplexity is infinite"
            logger.warning(note)
            notes.append(note)
    return tuple(notes)
