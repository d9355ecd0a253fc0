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
from laborllm.evaluation.checks import check_prediction, check_totals, require_something
from laborllm.evaluation.draws import ModelDraws, Sample, model_draws
from laborllm.evaluation.published.aggregates import PublishedSettings
from laborllm.evaluation.row_scores import RowScores, row_scores
from laborllm.evaluation.row_sums import row_sums
from laborllm.evaluation.tasks import Tasks, find_tasks
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.evaluation.weighting import survey_weights
from laborllm.models.probabilities import Probabilities
from laborllm.settings import Settings
from laborllm.survey.careers import Careers

logger = logging.getLogger(__name__)


class EvaluationSettings(Settings):
    """The section [evaluation] of a study file.

    Attributes:
        by: covariates, "survey" or "cohort" (five years of birth), whose values make the groups.
        bootstrap: number of test-set bootstrap replicates; 0 leaves every standard error and interval empty.
        confidence: of every interval, e.g. 0.95.
        seed: of the bootstrap draws.
        published: rates that others have published, set beside those that the models imply.
    """

    by: tuple[str, ...] = ("gender", "ethnicity", "education", "region", "cohort")
    bootstrap: int = Field(default=1000, ge=0)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=1, ge=0)
    published: PublishedSettings | None = None


@dataclass(frozen=True)
class Evaluation:
    """Numbers of every model, with uncertainty clustered by person.

    Standard errors are standard deviations over bootstrap draws of test people; the fitted models are held fixed, so
    the uncertainty of their training is not in them. Intervals are percentile intervals; those of calibration_error,
    brier_reliability and brier_resolution are reflected about the estimate, [2 estimate - upper, 2 estimate - lower]
    and no lower than 0 in levels, because noise pushes a gap up and in the draws once more. A cell with fewer than two
    people, and an infinite estimate, has null std_error, ci_low and ci_high. Draws in which a metric is undefined
    (nobody of the group drawn, no event for an AUC) do not count.

    Tasks and their metrics (``tasks``, ``row_scores``); "log_score" is the mean log-probability of what happened:

    - occupation, broad_group: perplexity, perplexity_raw, log_mass (of an occupation alone), log_score, brier,
      accuracy, top5, top10, and calibration_error, that of the probability of the most probable one.
    - destination, the occupation of those who move given that they move: perplexity, log_score.
    - move, leave_labor_force, enter_labor_force: perplexity, log_score, auc, brier and its parts, brier =
      brier_reliability - brier_resolution + brier_uncertainty + brier_within (``calibration``), calibration_error.

    Units: perplexity in occupations, groups or outcomes (exp of mean nats per person-year; of a yes-or-no task 2 at a
    coin toss); log_score and log_mass in nats; brier of several classes 0 … 2, of a yes-or-no task 0 … 1, its parts in
    the same unit; the other metrics are shares 0 … 1.

    Attributes:
        evaluation: model, task, metric, subset, group, estimate, std_error, ci_low, ci_high, person_years, people,
            std_error_delta, band_low, band_high. std_error_delta is the clustered delta-method standard error beside
            the bootstrap's, null where there is none (calibration errors, parts of the Brier score). The band,
            estimate -+ c std_error, holds for all models of one (task, metric, subset, group) together
            (``simultaneous``).
        comparisons: model_a, model_b, task, metric, subset, group, difference, std_error, ci_low, ci_high,
            person_years, people, band_low, band_high: a - b in the metric's unit on the same draws (paired), for all
            pairs in the order of the models; the band holds for all pairs of one key together.
        reliability: model, task, bin, edge_low, edge_high, predicted, observed, ci_low, ci_high, person_years:
            mean predicted probability and observed share of the event by quantile bins of the prediction, the
            interval that of the observed share. The first bin contains both its edges, the others their upper one.
            Of occupation and broad_group: the probability of the most probable one, and the share in which it is what
            happened.
        roc: model, task, false_positive_rate, true_positive_rate, ci_low, ci_high: the ROC curve of every yes-or-no
            task at 101 false-positive rates, the interval that of the true-positive rate.
        attainable: model, baseline, floor, share, std_error, ci_low, ci_high: share of the attainable gain,
            (log ppl baseline - log ppl model) / (log ppl baseline - log ppl floor); no rows without a floor.
        evaluation_weighted: as evaluation, every mean over rows weighted by the careers' survey weight; rows without a
            positive weight are left out, calibration keeps the bins of the unweighted rows. No rows without weights.
        comparisons_weighted: as comparisons, of evaluation_weighted.
        notes: what was left out and why, and what a reader must know of the numbers, one sentence each.
    """

    evaluation: pl.DataFrame
    comparisons: pl.DataFrame
    reliability: pl.DataFrame
    roc: pl.DataFrame
    attainable: pl.DataFrame
    evaluation_weighted: pl.DataFrame
    comparisons_weighted: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """Every table by the name of its file, in the order of the attributes."""
        return {name: value for name, value in vars(self).items() if isinstance(value, pl.DataFrame)}


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
        predictions: model name -> its probabilities for exactly these careers; read one at a time and once, e.g. a
            ``StoredProbabilities``.
        careers: the test part; where ``weight`` is positive somewhere, weighted tables stand beside the others.
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
    require_something(predictions, careers)
    _require_names(predictions, baseline, floor)
    samples, notes = _samples(careers, settings)
    found: dict[str, list[ModelDraws]] = {}
    for model in predictions:
        scores, model_notes = _scores(model, predictions[model], careers, samples[0].tasks)
        if model in (baseline, floor):
            _require_list(model, scores, what="baseline" if model == baseline else "floor")
        found[model] = [model_draws(scores, sample) for sample in samples]
        notes += model_notes
        if progress is not None:
            progress(model)
    plain, weighted = ({m: draws[way] for m, draws in found.items() if way < len(draws)} for way in (0, 1))
    evaluation, comparisons = _levels_and_differences(plain, samples[0], settings)
    evaluation_weighted, comparisons_weighted = _levels_and_differences(weighted, samples[-1], settings)
    reliability, roc = _curves(plain, samples[0], settings)
    levels = {model: each.draws for model, each in plain.items()}
    attainable, more_notes = tables.attainable_table(levels, baseline, floor, confidence=settings.confidence)
    return Evaluation(
        evaluation=evaluation,
        comparisons=comparisons,
        reliability=reliability,
        roc=roc,
        attainable=attainable,
        evaluation_weighted=evaluation_weighted,
        comparisons_weighted=comparisons_weighted,
        notes=notes + more_notes,
    )


def _scores(model: str, prediction: Probabilities, careers: Careers, tasks: Tasks) -> tuple[RowScores, tuple[str, ...]]:
    """Everything that is taken from a model's array, and notes on it; the array is not needed afterwards."""
    check_prediction(model, prediction, careers)
    sums = None
    if prediction.log_probabilities is not None:
        sums = row_sums(prediction.log_probabilities, tasks)
        check_totals(model, sums.total)
    notes = _infinite_notes(model, prediction) + _arithmetic_notes(model, prediction)
    return row_scores(prediction, sums, tasks), notes


def _levels_and_differences(
    found: Mapping[str, ModelDraws], sample: Sample, settings: EvaluationSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """evaluation and comparisons of one way of counting rows."""
    draws = {model: each.draws for model, each in found.items()}
    deltas = {model: each.deltas for model, each in found.items()}
    sizes, pairs = sample.sizes(), list(combinations(draws, 2))
    return (
        tables.evaluation_table(draws, sizes, deltas, confidence=settings.confidence),
        tables.comparisons_table(draws, sizes, pairs=pairs, confidence=settings.confidence),
    )


def _curves(
    found: Mapping[str, ModelDraws], sample: Sample, settings: EvaluationSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """reliability and roc."""
    reliability = {model: each.reliability for model, each in found.items()}
    rates = {model: each.roc for model, each in found.items()}
    return (
        tables.reliability_table(reliability, confidence=settings.confidence),
        tables.roc_table(rates, sample.sizes(), confidence=settings.confidence),
    )


def _require_names(predictions: Mapping[str, Probabilities], baseline: str | None, floor: str | None) -> None:
    if (baseline is None) != (floor is None):
        raise LaborLLMError("the attainable gain needs both a baseline and a floor; give both model names or neither")
    for what, name in (("baseline", baseline), ("floor", floor)):
        if name is None:
            continue
        if name not in predictions:
            raise LaborLLMError(f"{what} is {name!r}, which is no model here; use one of {', '.join(predictions)}")


def _require_list(model: str, scores: RowScores, *, what: str) -> None:
    if not scores.forecasts:
        raise LaborLLMError(f"{what} {model!r} has raw probabilities of the realised titles only; score the list")


def _samples(careers: Careers, settings: EvaluationSettings) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """The sample as it is and, where there are survey weights, as they count it; on the same draws."""
    cells, cell_notes = find_cells(careers, settings.by)
    tasks, task_notes = find_tasks(careers)
    survey, survey_notes = survey_weights(careers)
    draws = draw_weights(careers.people, settings.bootstrap, np.random.default_rng(settings.seed))
    ways = [np.ones(len(careers))] if survey is None else [np.ones(len(careers)), survey]
    samples = (Sample(careers.person_of_row, draws, cells, tasks, row_weight) for row_weight in ways)
    return tuple(samples), cell_notes + task_notes + survey_notes


def _arithmetic_notes(model: str, prediction: Probabilities) -> tuple[str, ...]:
    """A model that was computed in less than single precision."""
    if prediction.arithmetic is None:
        return ()
    return (
        f"{model} was computed in lower precision than float32: {prediction.arithmetic}. Do not publish its numbers.",
    )


def _infinite_notes(model: str, prediction: Probabilities) -> tuple[str, ...]:
    """A counted warning for a model that gives no probability at all to what happened."""
    log_probability = prediction.realised if prediction.realised is not None else prediction.raw
    count = 0 if log_probability is None else int(np.isneginf(log_probability).sum())
    if not count:
        return ()
    note = f"{model}: {count} realised occupations have probability 0, so its perplexity is infinite"
    logger.warning(note)
    return (note,)
