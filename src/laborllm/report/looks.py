"""How the models of a run are drawn and named in every figure."""

from collections.abc import Sequence

from laborllm.report.drawing import Look, looks_of, shortened
from laborllm.report.folder import RunFolder


def looks(run: RunFolder) -> dict[str, Look]:
    """How each model of the run is drawn."""
    return looks_of(run.models, (run.floor, run.baseline))


def labels(run: RunFolder, models: Sequence[str]) -> list[str]:
    """Names of models, the floor and the baseline marked."""
    marks = {run.floor: " (floor)", run.baseline: " (baseline)"}
    return [shortened(model, 24) + marks.get(model, "") for model in models]
