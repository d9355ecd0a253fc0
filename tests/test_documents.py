"""What the README and the examples show runs as it stands."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from laborllm.analysis.experiments.experiments import (
    CovariatesExperiment,
    Experiments,
    HistoryExperiment,
    PoolingExperiment,
    PretrainingExperiment,
    PromptExperiment,
    SizeExperiment,
    TitlesExperiment,
)
from laborllm.analysis.simulation.simulation_settings import Counterfactual, SimulateSettings
from laborllm.analysis.wages.gap_settings import GapNetworkSettings, GapSettings
from laborllm.analysis.wages.wage_terms import WageSettings
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.forecasts import ForecastSettings
from laborllm.evaluation.published.aggregates import PublishedSettings
from laborllm.models.baselines import TransitionSettings
from laborllm.models.ensemble import EnsembleSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings, TrainingSettings
from laborllm.models.networks.sequence_settings import BagOfJobsSettings, CareerSettings, LSTMSettings, SequenceTraining
from laborllm.models.no_change import NoChangeSettings
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.report.settings import ReportSettings
from laborllm.settings import Settings
from laborllm.study import SplitSettings, Study, read_study
from laborllm.survey.nls.nlsy79 import NLSY79Settings
from laborllm.survey.nls.nlsy97 import NLSY97Settings
from laborllm.survey.psid.psid import PSIDSettings
from laborllm.survey.simulated.world import Mechanisms, SimulatedSettings
from laborllm.survey.sources import SurveySettings
from laborllm.survey.tables.career_text import CareerTextSettings
from laborllm.survey.tables.job_histories import JobHistoriesSettings
from laborllm.survey.tables.tabular import TableSettings
from laborllm.text.resume import ResumeSettings

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})
    assert "perplexity" in capsys.readouterr().out


def test_the_study_of_the_readme_is_read(tmp_path: Path) -> None:
    (tmp_path / "careers.csv").write_text("person,year,occupation\n1,1990,436\n")
    (tmp_path / "models" / "Llama-3.2-1B").mkdir(parents=True)
    for content in blocks("toml"):
        (tmp_path / "study.toml").write_text(content)
        assert read_study(tmp_path / "study.toml").models


@pytest.mark.parametrize("page", ["nlsy79", "nlsy97", "psid", "own_data", "from_stata_and_r"])
def test_the_studies_of_the_pages_are_settings(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL):
        TypeAdapter(SurveySettings).validate_python(tomllib.loads(block)["survey"])


SECTIONS = {
    "evaluation": EvaluationSettings,
    "forecast": ForecastSettings,
    "report": ReportSettings,
    "experiments": Experiments,
    "simulate": SimulateSettings,
    "wages": WageSettings,
    "gap": GapSettings,
}


@pytest.mark.parametrize("page", ["evaluation", "analysis"])
def test_the_sections_of_the_pages_are_settings(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL):
        for name, section in tomllib.loads(block).items():
            SECTIONS[name].model_validate(section)


@pytest.mark.parametrize("study", ["own_table.toml", "simulated.toml"])
def test_examples_are_read(study: str) -> None:
    assert read_study(ROOT / "examples" / study).models


@pytest.mark.real_data
@pytest.mark.parametrize(
    "study",
    [
        "nlsy79.toml",
        "nlsy79_states.toml",
        "nlsy79_checkpoint.toml",
        "nlsy79_rivals.toml",
        "nlsy79_language_models.toml",
        "nlsy79_experiments.toml",
        "nlsy79_wages.toml",
    ],
)
def test_examples_on_real_files_are_read(real_data: Path, tmp_path: Path, study: str) -> None:
    content = (ROOT / "examples" / study).read_text().replace("../../shared", str(real_data))
    (tmp_path / study).write_text(content)
    assert read_study(tmp_path / study).models


@pytest.mark.parametrize(
    "settings",
    [
        Study,
        SplitSettings,
        NLSY79Settings,
        NLSY97Settings,
        PSIDSettings,
        TableSettings,
        CareerTextSettings,
        JobHistoriesSettings,
        SimulatedSettings,
        Mechanisms,
        TransitionSettings,
        NoChangeSettings,
        EnsembleSettings,
        LogitSettings,
        CareerSettings,
        BagOfJobsSettings,
        LSTMSettings,
        SequenceTraining,
        LanguageModelSettings,
        ResumeSettings,
        TrainingSettings,
        EvaluationSettings,
        PublishedSettings,
        ForecastSettings,
        ReportSettings,
        Experiments,
        TitlesExperiment,
        PoolingExperiment,
        SizeExperiment,
        HistoryExperiment,
        CovariatesExperiment,
        PretrainingExperiment,
        PromptExperiment,
        SimulateSettings,
        Counterfactual,
        WageSettings,
        GapSettings,
        GapNetworkSettings,
    ],
    ids=lambda settings: settings.__name__,
)
def test_every_setting_is_documented(settings: type[Settings]) -> None:
    documented = set(re.findall(r"`\[?([a-z_0-9]+)", (ROOT / "docs" / "study.md").read_text().replace(", ", "`, `")))
    assert set(settings.model_fields) - {"source", "kind"} <= documented
