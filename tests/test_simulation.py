"""`laborllm simulate` from a study to its page: files line up with the survey, are kept, and errors are one line."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.analysis.simulation.counterfactuals import MEANING
from laborllm.analysis.simulation.simulation_settings import SimulateSettings
from laborllm.errors import LaborLLMError
from laborllm.running.run import run_study
from laborllm.running.simulation import simulate_study
from laborllm.study import Study
from laborllm.survey.careers import Careers

STUDY = Study.model_validate(
    {
        "survey": {"source": "simulated", "people": 500, "occupations": 8, "last_year": 1990},
        "models": {"frequencies": {"kind": "transition"}, "truth": {"kind": "oracle"}},
        "evaluation": {"by": ["gender"], "bootstrap": 100},
    }
)
SETTINGS = SimulateSettings.model_validate(
    {
        "paths": 4,
        "counterfactual": {"men": {"set": {"gender": "male"}}, "cut": {"layoff": 1985}},
    }
)


def simulated(out: Path, settings: SimulateSettings = SETTINGS, study: Study = STUDY) -> tuple[Path, list[str]]:
    stages: list[str] = []
    page = simulate_study(
        study, settings, out, command="laborllm simulate", progress=lambda stage, done, total: stages.append(stage)
    )
    return page, stages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    simulated(out)
    return out


def test_paths_stand_on_the_surveys_own_rows(folder: Path) -> None:
    test = Careers.read(folder / "careers.parquet").part("test")
    later = test.table.filter(pl.col("year") > pl.col("year").min().over("person")).select("person", "year")
    for model in ("frequencies", "truth"):
        table = pl.read_parquet(folder / "simulation" / model / "simulated.parquet")
        assert table.columns == ["person", "path", "year", "occupation"]
        for path in range(1, 5):
            assert table.filter(path=path).select("person", "year").equals(later)
        assert table.height == 4 * later.height
        assert table["occupation"].dtype == test.table["occupation"].dtype
    assert not (folder / "simulation" / "truth" / "men_factual.parquet").exists()
    factual, other = (
        pl.read_parquet(folder / "simulation" / "truth" / f"{name}.parquet") for name in ("cut_factual", "cut")
    )
    assert factual.drop("occupation").equals(other.drop("occupation"))
    assert factual["year"].min() > 1985


def test_tables_and_page_say_what_they_are(folder: Path) -> None:
    own = folder / "simulation"
    summaries, differences = pl.read_csv(own / "summaries.csv"), pl.read_csv(own / "counterfactuals.csv")
    assert set(summaries["model"]) == set(differences["model"]) == {"frequencies", "truth"}
    assert {"all", "gender=female", "gender=male"} == set(summaries["group"])
    assert set(differences["counterfactual"]) == {"men", "cut"}
    blind = differences.filter(model="frequencies", counterfactual="men")
    assert (blind["difference"] == 0).all()
    page = (own / "simulation.html").read_text()
    assert "Simulated careers" in page
    for name in ("men", "cut"):
        for file in (f"tables/simulation_counterfactual_{name}.md", f"tables/simulation_counterfactual_{name}.csv"):
            assert "not a causal effect" in (own / file).read_text()
    assert set(differences["meaning"]) == {MEANING}
    metadata = pl.read_parquet_metadata(own / "truth" / "men.parquet")
    assert metadata["laborllm.meaning"] == MEANING
    notes = json.loads((own / "record.json").read_text())["notes"]
    assert sum(MEANING in note for note in notes) == 2
    assert MEANING.replace("'", "&#39;") in page or MEANING in page
    assert "no difference at all; the model does not use what was changed" in page


def test_the_same_simulation_is_kept_and_another_drawn_anew(folder: Path) -> None:
    files = sorted((folder / "simulation").glob("*/*.parquet"))
    before = {file: file.stat().st_mtime_ns for file in files}
    _, stages = simulated(folder)
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert "simulate/truth/men (unchanged)" in stages
    recorded = {stage["stage"] for stage in json.loads((folder / "simulation" / "record.json").read_text())["stages"]}
    assert "simulate/truth/men" in recorded
    one = SETTINGS.model_copy(update={"models": ("truth",), "seed": 2})
    was = pl.read_parquet(folder / "simulation" / "truth" / "simulated.parquet")
    simulated(folder, one)
    now = pl.read_parquet(folder / "simulation" / "truth" / "simulated.parquet")
    assert now.drop("occupation").equals(was.drop("occupation"))
    assert not now.equals(was)
    assert pl.read_csv(folder / "simulation" / "summaries.csv")["model"].unique().to_list() == ["truth"]
    simulated(folder)
    assert pl.read_parquet(folder / "simulation" / "truth" / "simulated.parquet").equals(was)


def test_the_run_stays_as_it_was(folder: Path) -> None:
    stages: list[str] = []
    run_study(STUDY, folder, command="run", progress=lambda stage, done, total: stages.append(stage))
    assert all(stage.endswith("(unchanged)") for stage in stages)


def test_careers_beyond_the_survey_have_nothing_beside_them(folder: Path, tmp_path: Path) -> None:
    settings = SimulateSettings(start="last", years=4, paths=2, models=("truth",))
    page, _ = simulated(folder, settings)
    table = pl.read_csv(folder / "simulation" / "summaries.csv")
    assert table["observed"].null_count() == table.height
    assert "nothing to compare" in page.read_text()
    assert "only extrapolates" in page.read_text()
    assert not (folder / "simulation" / "counterfactuals.csv").exists()
    years = pl.read_parquet(folder / "simulation" / "truth" / "simulated.parquet")["year"]
    assert years.max() == 1994


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SimulateSettings(models=("nobody",)), "simulate.models names 'nobody'; the models are frequencies, truth"),
        (SimulateSettings(start=1901), "nobody has a row to draw with start = 1901"),
        (
            SimulateSettings.model_validate({"counterfactual": {"x": {"set": {"region": "mars"}}}}),
            "simulate.counterfactual.x: nobody has region 'mars'; the test people have northcentral, northeast",
        ),
    ],
)
def test_what_cannot_be_simulated_is_one_line(folder: Path, settings: SimulateSettings, message: str) -> None:
    with pytest.raises(LaborLLMError) as problem:
        simulated(folder, settings)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_language_model_that_tells_the_realised_title_alone_is_left_out_or_refused(tmp_path: Path) -> None:
    models = {"llm": {"kind": "language_model", "scratch": "tiny", "probabilities": "realised"}}
    study = Study.model_validate({**STUDY.model_dump(), "models": models})
    with pytest.raises(LaborLLMError, match="no model gives the whole list"):
        simulated(tmp_path, SimulateSettings(), study)


def test_draws_are_those_of_the_paths_module(folder: Path) -> None:
    from laborllm.models.oracle import Oracle
    from laborllm.models.paths import draw_paths

    simulated(folder)
    test = Careers.read(folder / "careers.parquet").part("test")
    several = test.table.filter(pl.len().over("person") > 1)
    careers = Careers(several, test.occupations)
    drawn = np.ones(len(careers), dtype=bool)
    drawn[careers.starts[:-1]] = False
    assert STUDY.survey.source == "simulated"
    paths = draw_paths(Oracle(STUDY.survey), careers, drawn, paths=4, seed=1)
    table = pl.read_parquet(folder / "simulation" / "truth" / "simulated.parquet")
    assert np.array_equal(table["occupation"].to_physical().to_numpy().reshape(-1, 4), paths.occupation)


@pytest.mark.slow
def test_a_language_model_is_simulated_from_its_kept_weights_and_stays_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    models = {"llm": {"kind": "language_model", "scratch": "tiny", "vocabulary": 400, "training": {"epochs": 1}}}
    study = Study.model_validate({**STUDY.model_dump(), "models": models})
    settings = SimulateSettings.model_validate(
        {"paths": 3, "people": 30, "counterfactual": {"men": {"set": {"gender": "male"}}}}
    )
    simulated(tmp_path / "run", settings, study)
    weights = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "models").rglob("*") if file.is_file()}
    first = pl.read_parquet(tmp_path / "run" / "simulation" / "llm" / "simulated.parquet")
    (tmp_path / "run" / "simulation" / "llm" / "simulated.parquet").unlink()
    simulated(tmp_path / "run", settings, study)
    assert pl.read_parquet(tmp_path / "run" / "simulation" / "llm" / "simulated.parquet").equals(first)
    stages: list[str] = []
    run_study(study, tmp_path / "run", command="run", progress=lambda stage, done, total: stages.append(stage))
    assert "models/llm (unchanged)" in stages
    assert {file: file.stat().st_mtime_ns for file in weights} == weights
