"""All that is said of a run's probabilities: evaluation, representativeness, who gains, published rates."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from laborllm.evaluation.draws import ALL
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.evaluation.groups.gains import who_gains
from laborllm.evaluation.groups.representativeness import representativeness
from laborllm.evaluation.published.aggregate_rates import compare_with_aggregates
from laborllm.evaluation.published.aggregates import read_aggregates
from laborllm.files import write_tables
from laborllm.models.probabilities import StoredProbabilities
from laborllm.survey.careers import Careers

Frames = dict[str, pl.DataFrame]
Notes = tuple[str, ...]

PASSES = 2
"""How often each model's probabilities are read: for the evaluation, for representativeness."""


def write_results(
    out: Path,
    models: Sequence[str],
    settings: EvaluationSettings,
    *,
    baseline: str | None,
    floor: str | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Notes:
    """Read the probabilities of a run folder one model at a time, write its tables as CSV files.

    Args:
        out: the run folder, with careers.parquet and probabilities/.
        models: the models, in the order of the study.
        settings: the section [evaluation].
        baseline: the model that gains are counted from.
        floor: the model that nothing can beat.
        progress: called with (models read, models to read).

    Returns:
        What a reader must know of the numbers, one sentence each.
    """
    careers = Careers.read(out / "careers.parquet")
    test, predictions = careers.part("test"), StoredProbabilities(out / "probabilities", tuple(models))
    done = iter(range(1, PASSES * len(models) + 1))

    def step(_: str) -> None:
        progress(next(done), PASSES * len(models))

    both = baseline is not None and floor is not None
    result = evaluate(
        predictions, test, settings, baseline=baseline if both else None, floor=floor if both else None, progress=step
    )
    frames, notes = dict(result.frames), result.notes
    groups = representativeness(predictions, test, settings, progress=step)
    frames |= {"representativeness": groups.gaps, "representativeness_distance": groups.shares_distance}
    pairs = _pairs(result.evaluation, baseline, floor)
    gains, gain_notes = _gains(predictions, careers, settings, pairs)
    published, published_notes = _published(predictions, test, settings)
    write_tables(out, frames | gains | published)
    return tuple(dict.fromkeys(notes + groups.notes + gain_notes + published_notes))


def _pairs(evaluation: pl.DataFrame, baseline: str | None, floor: str | None) -> list[tuple[str, str]]:
    """The best model beside the baseline and beside the runner-up, where perplexities are finite."""
    whole = pl.all_horizontal(pl.col(name) == value for name, value in ALL._asdict().items())
    ranked = evaluation.filter(whole & pl.col("estimate").is_finite() & (pl.col("model") != (floor or "")))
    names = ranked.sort("estimate", maintain_order=True)["model"].to_list()
    others = [name for name in dict.fromkeys((baseline, *names[1:2])) if name in names[1:]]
    return [(names[0], other) for other in others if other is not None]


def _gains(
    predictions: StoredProbabilities, careers: Careers, settings: EvaluationSettings, pairs: list[tuple[str, str]]
) -> tuple[Frames, Notes]:
    """Who gains from the best model; no tables where no two models can be compared."""
    test, train = careers.part("test"), careers.part("train")
    found = [who_gains(predictions[a], predictions[b], test, train, names=(a, b), settings=settings) for a, b in pairs]
    if not found:
        return {}, ()
    tables = {
        "gains": pl.concat([each.leaves for each in found]),
        "gains_by_feature": pl.concat([each.features for each in found]),
    }
    return tables, tuple(note for each in found for note in each.notes)


def _published(predictions: StoredProbabilities, test: Careers, settings: EvaluationSettings) -> tuple[Frames, Notes]:
    """Published rates beside the models'; no table where the study names none."""
    if settings.published is None:
        return {}, ()
    published = read_aggregates(settings.published.file, test.occupations, settings.published.groups)
    return {"aggregates": compare_with_aggregates(predictions, test, published, settings)}, published.notes
