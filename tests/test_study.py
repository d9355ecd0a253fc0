"""A study: read, checked, run, repeated, skipped where unchanged, gone on with after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Probabilities
from laborllm.running.run import run_study
from laborllm.study import KINDS, ModelSettings, read_careers, read_study, write_study
from laborllm.survey.careers import PARTS, Careers

CLASSICAL = """
[survey]
source = "simulated"
people = 300
occupations = 12

[models.transition]
kind = "transition"

[models.oracle]
kind = "oracle"

[report]
workers = 0
model_pages = false

[evaluation]
by = ["gender"]
bootstrap = 50
"""

WITH_LANGUAGE_MODEL = (
    CLASSICAL
    + """
[models.llm]
kind = "language_model"
scratch = "tiny"
training = { epochs = 4, batch = 8 }
"""
)


CELL = ["task", "metric", "subset", "group"]
SPREAD = ["std_error", "ci_low", "ci_high", "person_years", "people"]
BAND = ["band_low", "band_high"]


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    (tmp_path / "study.toml").write_text(CLASSICAL)
    return tmp_path / "study.toml"


def run(study_file: Path, out: Path) -> Path:
    return run_study(read_study(study_file), out, command="test")


def stages(out: Path) -> dict[str, bool]:
    return {stage["stage"]: stage["skipped"] for stage in json.loads((out / "record.json").read_text())["stages"]}


def test_the_run_folder_is_as_promised(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(study_file, out)
    assert report == out / "report.html"
    careers = Careers.read(out / "careers.parquet")
    assert set(careers.table["split"].unique()) == set(PARTS)
    test = careers.part("test")
    for name in ("transition", "oracle"):
        columns = pl.read_parquet(out / "probabilities" / f"{name}.parquet").columns
        assert columns == ["person", "year", "occupation", *careers.occupations.codes]
        read = Probabilities.read(out / "probabilities" / f"{name}.parquet")
        assert read.rows.equals(test.table.select("person", "year", "occupation"))
    found = pl.read_csv(out / "evaluation.csv").columns
    assert found == ["model", *CELL, "estimate", *SPREAD, "std_error_delta", *BAND]
    assert pl.read_csv(out / "comparisons.csv").columns == ["model_a", "model_b", *CELL, "difference", *SPREAD, *BAND]
    record = json.loads((out / "record.json").read_text())
    assert {"laborllm", "packages", "hardware", "inputs", "rows", "split", "stages", "models"} <= set(record)
    assert not list(out.rglob("*.tmp"))


def test_the_written_study_repeats_the_run(study_file: Path, tmp_path: Path) -> None:
    run(study_file, tmp_path / "a")
    assert tomllib.loads((tmp_path / "a" / "study.toml").read_text())["split"]["shares"] == [0.7, 0.1, 0.2]
    run(tmp_path / "a" / "study.toml", tmp_path / "b")
    for name in ("study.toml", "evaluation.csv", "comparisons.csv", "careers.parquet", "probabilities/oracle.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_unchanged_stages_are_skipped(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(study_file, out)
    assert not any(stages(out).values())
    run(study_file, out)
    assert all(stages(out).values())

    study_file.write_text(CLASSICAL.replace("bootstrap = 50", "bootstrap = 60"))
    run(study_file, out)
    assert stages(out) == {
        "careers": True,
        "models/transition": True,
        "models/oracle": True,
        "evaluation": False,
        "report": False,
    }
    (out / "probabilities" / "oracle.parquet").unlink()
    run(study_file, out)
    assert not stages(out)["models/oracle"]
    assert stages(out)["models/transition"]

    study_file.write_text(CLASSICAL.replace("people = 300", "people = 310"))
    run(study_file, out)
    assert not any(stages(out).values())


def table_study(folder: Path, genders: tuple[str, str] = ("female", "male")) -> Path:
    """A study of a table of 60 people; returns the study file."""
    rows = [
        (person, year, ("436", "313", "433")[(person + year // 3) % 3], genders[person % 2])
        for person in range(60)
        for year in range(1990, 1996)
    ]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation", "gender"], orient="row")
    frame.write_csv(folder / "careers.csv")
    study_file = folder / "table.toml"
    study_file.write_text(
        '[survey]\nsource = "table"\nfiles = ["careers.csv"]\n[models.transition]\nkind = "transition"\n'
        '[evaluation]\nby = ["gender"]\nbootstrap = 20\n'
    )
    return study_file


def test_a_changed_covariate_changes_the_evaluation(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(table_study(tmp_path), out)
    before = (out / "probabilities" / "transition.parquet").read_bytes()
    run(table_study(tmp_path, genders=("women", "men")), out)
    assert (out / "probabilities" / "transition.parquet").read_bytes() == before
    groups = set(pl.read_csv(out / "evaluation.csv")["group"])
    assert groups == {"all", "gender=women", "gender=men"}


def test_nothing_stays_of_a_model_that_left_the_study(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(study_file, out)
    study_file.write_text(CLASSICAL.replace("models.transition", "models.frequencies"))
    run(study_file, out)
    assert sorted(path.stem for path in (out / "probabilities").iterdir()) == ["frequencies", "oracle"]
    assert sorted(path.name for path in (out / "models").iterdir()) == ["frequencies", "oracle"]
    assert "transition" not in set(pl.read_csv(out / "evaluation.csv")["model"])


def test_a_table_that_was_deleted_comes_back(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(study_file, out)
    victim = sorted((out / "tables").iterdir())[0]
    content = victim.read_bytes()
    victim.unlink()
    run(study_file, out)
    assert victim.read_bytes() == content
    assert stages(out)["evaluation"]


def test_files_of_the_user_stay(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.doc").write_text("mine")
    with pytest.raises(LaborLLMError, match="out: holds thesis.doc but no run of laborllm; choose a new folder"):
        run(study_file, out)
    with pytest.raises(LaborLLMError, match="which the study reads; choose another folder"):
        run(table_study(tmp_path), tmp_path)
    (out / "thesis.doc").unlink()
    run(study_file, out)
    (out / "tables" / "mine.tex").write_text("mine")
    study_file.write_text(CLASSICAL.replace("bootstrap = 50", "bootstrap = 60"))
    run(study_file, out)
    assert (out / "tables" / "mine.tex").read_text() == "mine"


def test_a_kill_between_file_and_record_leaves_nothing_stale(study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(study_file, out)
    record = json.loads((out / "record.json").read_text())
    record["stages"] = [stage for stage in record["stages"] if stage["stage"] not in ("careers", "evaluation")]
    (out / "record.json").write_text(json.dumps(record))
    run(study_file, out)
    again = {stage["stage"]: stage["outputs"] for stage in json.loads((out / "record.json").read_text())["stages"]}
    assert list(again["careers"]) == ["careers.parquet"]
    assert "evaluation.csv" in again["evaluation"]


def test_a_broken_stage_leaves_the_finished_ones_and_nothing_stale(tmp_path: Path) -> None:
    out = tmp_path / "out"
    study_file = table_study(tmp_path)
    run(study_file, out)
    study_file.write_text(study_file.read_text() + '[models.llm]\nkind = "language_model"\ncheckpoint = "empty"\n')
    (tmp_path / "empty").mkdir()
    with pytest.raises(LaborLLMError, match=r"empty: holds no config.json"):
        run(study_file, out)
    assert (out / "probabilities" / "transition.parquet").is_file()
    assert not (out / "evaluation.csv").exists()
    assert not (out / "report.html").exists()
    assert not list(out.rglob("*.tmp"))


def test_a_split_without_validation_people_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"person": [1, 2], "year": 1990, "occupation": "436", "split": ["train", "test"]})
    study_file = table_study(tmp_path)
    frame.write_csv(tmp_path / "careers.csv")
    with pytest.raises(LaborLLMError, match="own split: nobody is in validation"):
        read_careers(read_study(study_file))


def test_people_with_one_row_run_through(study_file: Path, tmp_path: Path) -> None:
    rows = [(person, 1990, "436" if person % 2 else "313") for person in range(30)]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation"], orient="row")
    frame.write_parquet(tmp_path / "careers.parquet")
    study_file.write_text(
        '[survey]\nsource = "table"\nfiles = ["careers.parquet"]\n[models.transition]\nkind = "transition"\n'
    )
    assert run(study_file, tmp_path / "out").is_file()


def test_the_split_of_a_table_is_kept(study_file: Path, tmp_path: Path) -> None:
    rows = [(person, year, "436", PARTS[person % 3]) for person in range(9) for year in (1990, 1991)]
    frame = pl.DataFrame(rows, schema=["person", "year", "occupation", "split"], orient="row")
    frame.write_csv(tmp_path / "careers.csv")
    study_file.write_text(
        '[survey]\nsource = "table"\nfiles = ["careers.csv"]\n[models.transition]\nkind = "transition"\n'
    )
    careers = read_careers(read_study(study_file))
    assert sorted(careers.part("test").table["person"].unique()) == [2, 5, 8]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[survey", "is no valid TOML"),
        (CLASSICAL.replace("people", "peple"), "survey.peple is no key of this section"),
        (
            CLASSICAL.replace('"simulated"', '"nlsy78"'),
            "survey: Input tag 'nlsy78' .* 'nlsy97', 'psid', 'table'",
        ),
        (CLASSICAL.replace("people = 300", "people = 0"), "survey.people: .*greater than or equal to 1, not 0"),
        (CLASSICAL.replace('kind = "oracle"', 'kind = "delphi"'), "models.oracle: Input tag 'delphi'"),
        (CLASSICAL.replace("[models.oracle]", '[models."a/b"]'), "models.'a/b': use letters, digits"),
        (
            '[survey]\nsource = "table"\nfiles = ["no.csv"]\n[models.t]\nkind = "transition"\n',
            "no.csv, which is no file",
        ),
        ('survey = "nlsy79"\nmodels = 3\n', "survey: .*"),
        (CLASSICAL + "[models.x]\nkind = 3\n", "models.x: "),
        (CLASSICAL + "[models.x]\nweights = [1]\n", "models.x.kind is missing; give one of no_change, transition"),
        ('[survey]\nsource = "table"\nfiles = [3]\n[models.t]\nkind = "transition"\n', "survey.files.0: "),
        (CLASSICAL.replace('by = ["gender"]', 'by = ["gendr"]'), "evaluation.by names 'gendr'; the covariates are"),
        (CLASSICAL + 'checkpoint = "nowhere"\n', "evaluation.checkpoint is no key of this section"),
        (
            '[survey]\nsource = "simulated"\n[models.l]\nkind = "language_model"\ncheckpoint = "no"\n',
            "models.l.checkpoint names .*no, which is no folder",
        ),
        (
            CLASSICAL.replace("people = 300", 'people = 300\npopulation = "resume"'),
            'models.oracle: only survey.source = "simulated" with population = "survey" has an oracle',
        ),
        ('[survey]\nsource = "simulated"\n', "models: Field required"),
        (CLASSICAL + "[split]\nshares = [0.7, 0.3]\n", "split.shares"),
        (CLASSICAL + "[split]\nshares = [0.7, 0.1, 0.1]\n", "split.shares: give three positive shares that sum to 1"),
    ],
)
def test_a_wrong_study_is_one_line_that_names_the_key(study_file: Path, content: str, message: str) -> None:
    study_file.write_text(content)
    with pytest.raises(LaborLLMError, match=message) as raised:
        read_study(study_file)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(study_file))


def test_a_missing_study_names_itself(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"none.toml: cannot read \(No such file"):
        read_study(tmp_path / "none.toml")


def test_settings_survive_writing(study_file: Path, tmp_path: Path) -> None:
    study_file.write_text(WITH_LANGUAGE_MODEL)
    study = read_study(study_file)
    write_study(study, tmp_path / "again.toml")
    assert read_study(tmp_path / "again.toml") == study


def test_a_killed_run_ends_like_an_undisturbed_one(study_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    study_file.write_text(WITH_LANGUAGE_MODEL)
    run(study_file, tmp_path / "undisturbed")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "laborllm", "run", str(study_file), "--out", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    half_trained = out / "models" / "llm" / "training" / "state.json"
    while not half_trained.is_file() and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert half_trained.is_file()
    assert not (out / "probabilities" / "llm.parquet").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert stages(out)["models/transition"]
    for name in ("evaluation.csv", "probabilities/llm.parquet"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not list(out.rglob("*.tmp"))


FULL_DISK = """
import resource, sys
from pathlib import Path
from typing import get_args
from laborllm.errors import LaborLLMError
from laborllm.running.run import run_study
from laborllm.study import read_study
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    run_study(read_study(Path(sys.argv[1])), Path(sys.argv[2]), command="test")
except LaborLLMError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize(("room", "file", "model"), [(4_000, "careers.parquet", False), (400_000, "training", True)])
def test_a_disk_without_room(study_file: Path, tmp_path: Path, room: int, file: str, model: bool) -> None:
    """The kernel refuses files above a size, as a full disk does."""
    if model:
        pytest.importorskip("torch")
        study_file.write_text(WITH_LANGUAGE_MODEL)
    out = tmp_path / "out"
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + FULL_DISK]
    done = subprocess.run([*command, str(study_file), str(out), str(room)], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{file}: cannot write (" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(out.rglob("*.tmp"))
    assert not (out / "evaluation.csv").exists()


def test_every_kind_of_model_is_listed() -> None:
    union, _ = get_args(ModelSettings)
    assert tuple(get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(union)) == KINDS


def test_every_classical_rival_runs(study_file: Path) -> None:
    content = CLASSICAL + '[models.again]\nkind = "no_change"\n[models.second]\nkind = "transition"\norder = 2\n'
    content += '[models.logit]\nkind = "logit"\nterms = ["previous"]\nl2 = [5.0]\nrefine = false\n'
    study_file.write_text(content + '[models.mixed]\nkind = "ensemble"\nof = ["again", "logit"]\n')
    out = study_file.parent / "out"
    run_study(read_study(study_file), out, command="")
    names = set(pl.read_csv(out / "evaluation.csv")["model"])
    assert {"again", "second", "logit", "mixed"} <= names
    rows = pl.read_csv(out / "evaluation.csv").filter(metric="perplexity", task="occupation", subset="all", group="all")
    perplexity = dict(rows.select("model", "estimate").iter_rows())
    assert perplexity["mixed"] < min(perplexity["again"], perplexity["logit"]) + 0.05
    assert (out / "models" / "logit" / "logit.npz").is_file()


def test_a_temperature_is_an_option_of_every_model(tmp_path: Path) -> None:
    union, _ = get_args(ModelSettings)
    assert all("temperature" in kind.model_fields for kind in get_args(union))
    bag = '[models.bag]\nkind = "bag_of_jobs"\nwidth = 8\ntraining = { updates = 10, evaluations = 1 }\n'
    study_file, out = tmp_path / "study.toml", tmp_path / "out"
    study_file.write_text(CLASSICAL + bag)
    run(study_file, out)
    plain = Probabilities.read(out / "probabilities" / "bag.parquet").log_probabilities
    weights = (out / "models" / "bag" / "model.json").stat().st_mtime_ns
    study_file.write_text(CLASSICAL + bag + "temperature = true\n")
    run(study_file, out)
    assert not stages(out)["models/bag"]
    assert (out / "models" / "bag" / "model.json").stat().st_mtime_ns == weights  # not trained again
    facts = json.loads((out / "record.json").read_text())["models"]["bag"]["facts"]
    tempered = Probabilities.read(out / "probabilities" / "bag.parquet").log_probabilities
    assert facts["temperature"] != 1
    scaled = plain / facts["temperature"]
    assert np.abs(np.diff(scaled - tempered, axis=1)).max() < 1e-3
    with pytest.raises(LaborLLMError, match="temperature = true needs the whole list"):
        study_file.write_text(WITH_LANGUAGE_MODEL + 'temperature = true\nprobabilities = "realised"\n')
        read_study(study_file)


def test_a_language_model_that_scores_realised_titles_alone_cannot_forecast(study_file: Path) -> None:
    forecast = "\n[forecast]\nuntil = 1990\n"
    alone = WITH_LANGUAGE_MODEL.replace('scratch = "tiny"', 'scratch = "tiny"\nprobabilities = "realised"')
    study_file.write_text(alone + forecast)
    with pytest.raises(LaborLLMError, match=r'models.llm gives the realised .* probabilities = "full" or leave it out'):
        read_study(study_file)
    study_file.write_text(alone + forecast + 'models = ["transition"]\n')
    assert read_study(study_file).forecast is not None
