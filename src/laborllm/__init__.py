"""laborllm: probabilities of the next occupation, given a career.

A survey becomes a careers table, careers become text, a model turns a history into one probability per occupation,
and everything after that only reads those probabilities.
"""

from typing import Any

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.oracle import Oracle, OracleSettings
from laborllm.models.probabilities import Probabilities
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations, map_codes, occ1990dd
from laborllm.survey.simulated import SimulatedSettings, simulate
from laborllm.text.resume import ResumeSettings, write_resumes

__all__ = [
    "Careers",
    "Evaluation",
    "EvaluationSettings",
    "LaborLLMError",
    "Occupations",
    "Oracle",
    "OracleSettings",
    "Probabilities",
    "ResumeSettings",
    "SimulatedSettings",
    "TransitionFrequencies",
    "TransitionSettings",
    "careers_from_frame",
    "evaluate",
    "map_codes",
    "occ1990dd",
    "score_choices",
    "simulate",
    "split_by_person",
    "write_resumes",
]


def __getattr__(name: str) -> Any:
    """``score_choices`` needs torch, which ``import laborllm`` does not."""
    if name == "score_choices":
        from laborllm.models.choices import score_choices

        return score_choices
    raise AttributeError(f"module 'laborllm' has no attribute {name!r}")
