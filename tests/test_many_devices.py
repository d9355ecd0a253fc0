"""A study under torchrun: the same files as from one process, and after a kill it goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("torch")

from laborllm.models.probabilities import Probabilities
from laborllm.models.ranks import VARIABLES

ROOT = Path(__file__).parents[1]
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STUDY = """
[survey]
source = "simulated"
people = 900
occupations = 12
[models.transition]
kind = "transition"
[models.llm]
kind = "language_model"
scratch = "tiny"
vocabulary = 512
training = {{ epochs = 0.2, evaluations = 20, dropout = 0, sharded = {sharded} }}
[models.both]
kind = "ensemble"
of = ["transition", "llm"]
[evaluation]
bootstrap = 20
"""
LEGS = 4


def start(study: Path, out: Path, *, ranks: int) -> subprocess.Popen[str]:
    """`laborllm run`, by itself or under torchrun."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.Popen(
        [sys.executable, *(LAUNCH if ranks == 2 else []), "-m", "laborllm", "run", str(study), "--out", str(out)],
        env=environment | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(study: Path, out: Path, *, ranks: int = 1) -> str:
    """Run a study to its end; what it says."""
    process = start(study, out, ranks=ranks)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    return said


def write(folder: Path, *, sharded: bool = False) -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY.format(sharded=str(sharded).lower()))
    return path


def legs(out: Path) -> list[dict[str, float]]:
    return list(json.loads((out / "models" / "llm" / "training.json").read_text())["history"]["legs"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process."""
    folder = tmp_path_factory.mktemp("alone")
    run(write(folder), folder / "out")
    assert len(legs(folder / "out")) == LEGS
    return folder / "out"


def require_same(out: Path, alone: Path, *, allowed: float) -> None:
    """The same losses and perplexities at the same steps, as shares, and the same probabilities, in nats."""
    for one, other in zip(legs(alone), legs(out), strict=True):
        assert one["step"] == other["step"]
        assert other["training_loss"] == pytest.approx(one["training_loss"], rel=allowed)
        assert other["validation_perplexity"] == pytest.approx(one["validation_perplexity"], rel=allowed)
    for name in ("transition", "llm", "both"):
        found, expected = (Probabilities.read(each / "probabilities" / f"{name}.parquet") for each in (out, alone))
        assert found.rows.equals(expected.rows)
        assert np.abs(found.log_probabilities - expected.log_probabilities).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_a_study_of_two_processes_is_that_of_one(alone: Path, tmp_path: Path, sharded: bool) -> None:
    said = run(write(tmp_path, sharded=sharded), tmp_path / "out", ranks=2)
    assert said.count("The report: ") == 1
    require_same(tmp_path / "out", alone, allowed=1e-5)
    assert not list((tmp_path / "out").rglob("shards"))
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "probabilities").iterdir()}
    run(write(tmp_path, sharded=sharded), tmp_path / "out")  # one process finds everything done
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "probabilities").iterdir()} == before


@pytest.mark.slow
def test_a_trained_model_is_scored_to_the_same_bits(alone: Path, tmp_path: Path) -> None:
    content = (
        STUDY.format(sharded="false")
        .replace('scratch = "tiny"', f'checkpoint = "{alone}/models/llm/checkpoint"\nuse = "off_the_shelf"')
        .replace("vocabulary = 512", "")
    )
    content = re.sub(r"training = .*", "", content)
    (tmp_path / "study.toml").write_text(content)
    for ranks in (1, 2):
        run(tmp_path / "study.toml", tmp_path / str(ranks), ranks=ranks)
    for name in ("llm", "both"):
        one, two = ((tmp_path / ranks / "probabilities" / f"{name}.parquet").read_bytes() for ranks in "12")
        assert one == two


@pytest.mark.slow
def test_after_a_killed_process_one_ends_as_if_nothing_had_happened(alone: Path, tmp_path: Path) -> None:
    study, out = write(tmp_path), tmp_path / "out"
    process = start(study, out, ranks=2)
    state = out / "models" / "llm" / "training" / "state.json"
    while not state.is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    workers = [each for each in psutil.Process(process.pid).children() if "laborllm" in each.cmdline()]
    assert len(workers) == 2
    (last,) = (each for each in workers if each.environ()["RANK"] == "1")
    last.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers)
    assert not (out / "models" / "llm" / "training.json").exists()
    run(study, out)
    require_same(out, alone, allowed=1e-6)


@pytest.mark.slow
def test_a_bad_study_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(sharded="false").replace("[survey]", "[surveys]"))
    process = start(tmp_path / "study.toml", tmp_path / "out", ranks=2)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert said.count("error: ") == 1


@pytest.mark.parametrize("script", sorted((ROOT / "examples" / "slurm").iterdir()), ids=lambda path: path.stem)
def test_job_scripts_are_sound_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert "EDIT" in script.read_text()
