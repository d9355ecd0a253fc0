"""The stages that forecast: refused before anything is fitted, gone when the study no longer asks for them."""

from pathlib import Path

import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.ranks import ALONE
from laborllm.running.forecasting import ForecastStages
from laborllm.running.run import StudyRun
from laborllm.study import read_study

STUDY = """
[survey]
source = "simulated"
people = 120
occupations = 6
last_year = 1986
[models.transition]
kind = "transition"
[models.no_change]
kind = "no_change"
[evaluation]
bootstrap = 5
"""


def run_of(folder: Path, more: str) -> StudyRun:
    (folder / "study.toml").write_text(STUDY + more)
    (folder / "out").mkdir(exist_ok=True)
    study = read_study(folder / "study.toml")
    return StudyRun(study, folder / "out", "test", lambda stage, done, total: None, ALONE)


@pytest.mark.parametrize("year", [1978, 1986, 2001])
def test_a_year_with_nothing_before_or_after_it_is_refused_before_a_model_is_fitted(tmp_path: Path, year: int) -> None:
    run = run_of(tmp_path, f"[forecast]\nuntil = {year}\n")
    with pytest.raises(LaborLLMError, match=f"forecast.until is {year}.* 1979 to 1986.*choose a year in between"):
        run.models()
    assert not (tmp_path / "out" / "models").exists()


def test_models_that_no_longer_forecast_leave_nothing_behind(tmp_path: Path) -> None:
    for more, left in (
        ("[forecast]\nuntil = 1983\npaths = 20\n", {"transition", "no_change"}),
        ('[forecast]\nuntil = 1983\npaths = 20\nmodels = ["transition"]\n', {"transition"}),
        ("", set()),
    ):
        run = run_of(tmp_path, more)
        run.models()
        run.numbers()
        out = tmp_path / "out"
        assert {file.parent.name for file in out.glob("forecast/*/path.parquet")} == left
        assert (out / "forecast.csv").exists() == bool(left)
        stages = {stage.stage for stage in run.record.stages if stage.stage.startswith("forecast")}
        assert stages == {f"forecast/{name}" for name in left} | ({"forecast"} if left else set())


def test_models_forecast_in_the_order_of_the_study(tmp_path: Path) -> None:
    run = run_of(tmp_path, '[forecast]\nuntil = 1983\nmodels = ["no_change", "transition"]\n')
    assert run.study.forecast is not None
    stages = ForecastStages(run.study, run.study.forecast, run.out, run.progress)
    assert stages.models == ["transition", "no_change"]
