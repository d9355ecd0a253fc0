"""laborllm: probabilities of the next occupation, given a career.

A survey becomes a careers table, careers become text, a model turns a history into one probability per occupation,
and everything after that only reads those probabilities.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laborllm.errors import LaborLLMError
    from laborllm.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
    from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
    from laborllm.models.no_change import NoChange
    from laborllm.models.oracle import Oracle, OracleSettings
    from laborllm.models.probabilities import Probabilities
    from laborllm.models.regression.logit import MultinomialLogit
    from laborllm.models.regression.logit_inference import average_marginal_effects, tidy
    from laborllm.models.regression.logit_settings import LogitSettings
    from laborllm.models.scoring.choices import score_choices
    from laborllm.survey.careers import Careers, split_by_person
    from laborllm.survey.door import careers_from_frame
    from laborllm.survey.exports import export_careers
    from laborllm.survey.nls.codebook import read_codebook
    from laborllm.survey.nls.extracts import read_extract, read_extracts
    from laborllm.survey.nls.nlsy79 import NLSY79Settings, read_nlsy79
    from laborllm.survey.nls.nlsy97 import NLSY97Settings, read_nlsy97
    from laborllm.survey.nls.verify import verify
    from laborllm.survey.occupations import Occupations, map_codes, occ1990dd
    from laborllm.survey.psid.psid import PSIDSettings, read_psid
    from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
    from laborllm.survey.simulated.surveys import write_survey
    from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text, write_career_text
    from laborllm.survey.tables.job_histories import JobHistoriesSettings, read_job_histories
    from laborllm.survey.tables.tabular import TableSettings, read_table
    from laborllm.survey.tables.wide import careers_from_wide
    from laborllm.text.resume import ResumeSettings, write_resumes

_PLACES = {
    "laborllm.errors": ("LaborLLMError",),
    "laborllm.evaluation.evaluate": (
        "Evaluation",
        "EvaluationSettings",
        "evaluate",
    ),
    "laborllm.models.baselines": (
        "TransitionFrequencies",
        "TransitionSettings",
    ),
    "laborllm.models.scoring.choices": ("score_choices",),
    "laborllm.models.regression.logit": ("MultinomialLogit",),
    "laborllm.models.regression.logit_inference": ("average_marginal_effects", "tidy"),
    "laborllm.models.regression.logit_settings": ("LogitSettings",),
    "laborllm.models.no_change": ("NoChange",),
    "laborllm.models.oracle": (
        "Oracle",
        "OracleSettings",
    ),
    "laborllm.models.probabilities": ("Probabilities",),
    "laborllm.survey.careers": (
        "Careers",
        "split_by_person",
    ),
    "laborllm.survey.door": ("careers_from_frame",),
    "laborllm.survey.exports": ("export_careers",),
    "laborllm.survey.nls.codebook": ("read_codebook",),
    "laborllm.survey.nls.extracts": (
        "read_extract",
        "read_extracts",
    ),
    "laborllm.survey.nls.nlsy79": (
        "NLSY79Settings",
        "read_nlsy79",
    ),
    "laborllm.survey.nls.nlsy97": (
        "NLSY97Settings",
        "read_nlsy97",
    ),
    "laborllm.survey.nls.verify": ("verify",),
    "laborllm.survey.occupations": (
        "Occupations",
        "map_codes",
        "occ1990dd",
    ),
    "laborllm.survey.psid.psid": (
        "PSIDSettings",
        "read_psid",
    ),
    "laborllm.survey.simulated.simulate": (
        "SimulatedSettings",
        "simulate",
    ),
    "laborllm.survey.simulated.surveys": ("write_survey",),
    "laborllm.survey.tables.career_text": (
        "CareerTextSettings",
        "read_career_text",
        "write_career_text",
    ),
    "laborllm.survey.tables.job_histories": (
        "JobHistoriesSettings",
        "read_job_histories",
    ),
    "laborllm.survey.tables.tabular": (
        "TableSettings",
        "read_table",
    ),
    "laborllm.survey.tables.wide": ("careers_from_wide",),
    "laborllm.text.resume": (
        "ResumeSettings",
        "write_resumes",
    ),
}
"""Module -> its public names; a module is loaded when one of its names is asked for."""

__all__ = [
    "CareerTextSettings",
    "Careers",
    "Evaluation",
    "EvaluationSettings",
    "JobHistoriesSettings",
    "LaborLLMError",
    "LogitSettings",
    "MultinomialLogit",
    "NLSY79Settings",
    "NLSY97Settings",
    "NoChange",
    "Occupations",
    "Oracle",
    "OracleSettings",
    "PSIDSettings",
    "Probabilities",
    "ResumeSettings",
    "SimulatedSettings",
    "TableSettings",
    "TransitionFrequencies",
    "TransitionSettings",
    "average_marginal_effects",
    "careers_from_frame",
    "careers_from_wide",
    "evaluate",
    "export_careers",
    "map_codes",
    "occ1990dd",
    "read_career_text",
    "read_codebook",
    "read_extract",
    "read_extracts",
    "read_job_histories",
    "read_nlsy79",
    "read_nlsy97",
    "read_psid",
    "read_table",
    "score_choices",
    "simulate",
    "split_by_person",
    "tidy",
    "verify",
    "write_career_text",
    "write_resumes",
    "write_survey",
]


def __getattr__(name: str) -> Any:
    """A public name, out of the module that has it."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'laborllm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
