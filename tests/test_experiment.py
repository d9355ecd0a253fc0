"""Experiments from a study file: cells are kept, gone on with, done again where something changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.record import Record
from laborllm.running import experiment as module
from laborllm.running.experiment import ExperimentRecord, run_experiment
from laborllm.running.run import require_run_folder
from laborllm.study import read_careers, read_study
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings

STUDY = """
[survey]
source = "simulated"
people = 200
occupations = 8
last_year = 1988
[models.transition]
kind = "transition"
[models.second]
kind = "transition"
order = 2
by = ["gender"]
[evaluation]
bootstrap = 30
[experiments.history]
last_rows = [0, 1]
[experiments.pooling]
files = ["other.parquet"]
shares = [0.0, 0.5]
[experiments.size]
people = [40, 100]
[experiments.covariates]
covariates = ["gender", "education"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(STUDY)
    simulate(SimulatedSettings(people=100, occupations=8, last_year=1988, seed=5)).write(tmp_path / "other.parquet")
    return tmp_path


def run(folder: Path, name: str, text: str = STUDY) -> Path:
    (folder / "study.toml").write_text(text)
    return run_experiment(name, read_study(folder / "study.toml"), folder / name, command="test")


def times(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}


@pytest.mark.parametrize("name", ["history", "pooling", "size", "covariates"])
def test_an_experiment_ends_in_tables_a_figure_and_findings(folder: Path, name: str) -> None:
    page = run(folder, name).read_text()
    out = folder / name
    cells, contrasts = pl.read_csv(out / "cells.csv"), pl.read_csv(out / "contrasts.csv")
    assert set(cells["model"]) == {"transition", "second"}
    assert contrasts.height > 0
    assert contrasts["std_error"].null_count() == 0
    assert f'id="figure-experiment_{name}"' in page
    assert 'id="findings"' in page
    assert (out / "tables" / f"experiment_{name}.tex").is_file()
    assert (out / "figures" / f"experiment_{name}.pdf").is_file()
    assert not (out / "models").exists()  # weights go once their cells are done


def test_cells_are_kept_and_only_what_changed_is_done_again(folder: Path) -> None:
    run(folder, "history")
    before, found = times(folder / "history"), (folder / "history" / "contrasts.csv").read_bytes()
    run(folder, "history")
    assert times(folder / "history") == before
    assert (folder / "history" / "contrasts.csv").read_bytes() == found
    run(folder, "history", STUDY.replace("order = 2", "order = 2\nweights = [3.0]"))
    after = times(folder / "history")
    assert {name for name in before if after[name] != before[name]} == {n for n in before if n.startswith("second")}


def test_a_killed_experiment_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = run(folder, "size").with_name("contrasts.csv").read_bytes()
    whole, done = module.realised_after, []

    def killed(*given: object) -> np.ndarray:
        done.append(given)
        if len(done) == 3:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(module, "realised_after", killed)
    with pytest.raises(KeyboardInterrupt):
        run_experiment("size", read_study(folder / "study.toml"), folder / "again", command="test")
    assert len(times(folder / "again")) == 2
    run_experiment("size", read_study(folder / "study.toml"), folder / "again", command="test")
    assert len(done) == 3 + 2  # of four cells two were there
    assert (folder / "again" / "contrasts.csv").read_bytes() == undisturbed


def test_what_stands_in_the_way_is_one_line(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("dear")
    study = read_study(folder / "study.toml")
    with pytest.raises(LaborLLMError, match=r"mine: holds letter.txt, not the experiment 'history'; choose a new"):
        run_experiment("history", study, folder / "mine", command="test")
    (folder / "other.parquet").unlink()
    with pytest.raises(LaborLLMError, match=r"experiments.pooling names .*other.parquet, which is no file"):
        read_study(folder / "study.toml")


def test_a_run_s_folder_and_another_experiment_s_are_left_alone(folder: Path) -> None:
    study, out = read_study(folder / "study.toml"), folder / "out"
    (out / "models" / "transition").mkdir(parents=True)
    Record(command="test", seed=1).write(out)
    with pytest.raises(LaborLLMError, match=r"out: holds models, not the experiment 'history'"):
        run_experiment("history", study, out, command="test")
    assert (out / "models" / "transition").is_dir()
    ExperimentRecord(command="test", seed=1, experiment="size").write(out)
    with pytest.raises(LaborLLMError, match="out: holds the experiment 'size', not the experiment 'history'"):
        run_experiment("history", study, out, command="test")
    with pytest.raises(LaborLLMError, match="out: holds an experiment, no run of a study"):
        require_run_folder(study, out)


def test_a_file_to_pool_that_does_not_fit_is_said_before_anything_is_fitted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Occupations(codes=("cook",), titles=("Cooks",), groups=("food",))
    frame = pl.DataFrame({"person": [1, 1], "year": [1980, 1981], "occupation": "cook"})
    careers_from_frame(frame, elsewhere).write(folder / "other.parquet")
    monkeypatch.setattr(module, "build_model", lambda *given, **more: pytest.fail("a model was made"))
    with pytest.raises(LaborLLMError, match="pooled: survey 1 shares no occupation with the study's list"):
        run(folder, "pooling")


def test_the_study_s_own_test_people_are_no_other_survey(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = read_careers(read_study(folder / "study.toml"))
    replace(own, table=own.table.drop("split")).write(folder / "other.parquet")
    monkeypatch.setattr(module, "build_model", lambda *given, **more: pytest.fail("a model was made"))
    with pytest.raises(LaborLLMError, match="other.parquet: holds the study's own test people"):
        run(folder, "pooling")


@pytest.mark.slow
def test_where_likeness_has_no_part_in_moves_the_words_of_titles_gain_nothing(tmp_path: Path) -> None:
    """Real titles against permuted ones, read in pieces that titles share; beyond the interval lies training's luck."""
    study = """
[survey]
source = "simulated"
people = 500
occupations = 20
last_year = 1990
mechanisms = { similarity = false }
[models.llm]
kind = "language_model"
scratch = "tiny"
vocabulary = 400
training = { epochs = 4 }
[evaluation]
bootstrap = 200
[experiments.titles]
ways = ["text", "permuted"]
"""
    run(tmp_path, "titles", study)
    found = pl.read_csv(tmp_path / "titles" / "contrasts.csv").row(0, named=True)
    assert found["what"] == "permuted instead of text titles"
    assert abs(found["nats"]) < 3.5 * found["std_error"] + 0.03


@pytest.mark.slow
def test_what_is_learned_before_the_survey(tmp_path: Path) -> None:
    resumes = SimulatedSettings(people=300, occupations=8, last_year=1986, population="resume")
    simulate(resumes).write(tmp_path / "resumes.parquet")
    study = """
[survey]
source = "simulated"
people = 150
occupations = 8
last_year = 1986
[models.bag]
kind = "bag_of_jobs"
width = 16
pretrain = ["resumes.parquet"]
training = { updates = 60, evaluations = 2 }
pretraining = { updates = 60, evaluations = 2 }
[evaluation]
bootstrap = 50
[experiments.size]
people = [20, 80]
"""
    run(tmp_path, "pretraining", study)
    cells = pl.read_csv(tmp_path / "pretraining" / "cells.csv")
    assert cells["pretraining"].to_list() == ["résumés", "none"]
    assert cells["perplexity"][0] != cells["perplexity"][1]
    run(tmp_path, "size", study)
    needed = pl.read_csv(tmp_path / "size" / "needed.csv")
    assert set(needed["curve"]) == {"bag, pre-training: résumés", "bag, pre-training: none"}
