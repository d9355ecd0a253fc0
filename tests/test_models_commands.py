"""The commands `laborllm models …`, as a user meets them; the hub is a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
import transformers as hf

from laborllm.commands import models as models_commands
from laborllm.errors import LaborLLMError
from laborllm.models.language.hub import OFFLINE, plan_upload, push
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.survey.occupations import occ1990dd


class Hub:
    """Keeps what it is told."""

    def __init__(self, *, private: bool = True) -> None:
        self.private = private
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repository: str, **given: Any) -> str:
        self.calls.append(("create_repo", {"repository": repository, **given}))
        return f"https://hub/{repository}"

    def repo_info(self, repository: str, **given: Any) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, **given: Any) -> None:
        self.calls.append(("upload_folder", given))


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(models_commands, "_hub", lambda: pytest.fail("the hub was asked for"))


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A folder as a run leaves it, with files that nobody should see."""
    for name in ("README.md", "config.json", "model.safetensors", "tokenizer.json", "training.json", "careers.parquet"):
        (tmp_path / name).write_text(name)
    (tmp_path / "tokenizer.model").symlink_to("careers.parquet")
    return tmp_path


def invoke(*arguments: str, given: str | None = None) -> Any:
    return CliRunner().invoke(models_commands.app, list(arguments), input=given)


@pytest.mark.parametrize("command", ["check", "push"])
def test_help_has_an_example(command: str) -> None:
    done = invoke(command, "--help")
    assert done.exit_code == 0
    assert f"laborllm models {command}" in done.stdout


def test_a_configuration_alone_is_enough(tmp_path: Path) -> None:
    config = hf.LlamaConfig(hidden_size=512, num_hidden_layers=3, architectures=["LlamaForCausalLM"])
    config.save_pretrained(tmp_path)
    done = invoke("check", str(tmp_path), "--no-weights")
    assert done.exit_code == 0, done.output
    assert "LlamaForCausalLM" in done.stdout
    assert "not verified" in done.stdout
    done = invoke("check", str(tmp_path), "--no-weights", "--json")
    told = json.loads(done.stdout)
    assert [each["method"] for each in told["training"]] == ["full", "lora", "qlora"]
    assert told["training"][0]["gradients"] == 4 * told["parameters"]
    assert told["times"] is None


@pytest.mark.slow
def test_a_whole_checkpoint_is_checked_against_every_title(tmp_path: Path) -> None:
    titles = occ1990dd().titles
    tokenizer = train_tokenizer([f"1984: {title}\n" for title in titles], titles, 8192)
    tiny_llama(tokenizer, seed=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    done = invoke("check", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "350, every one verified" in done.stdout
    assert "own forward pass" in done.stdout
    assert "for 1,000 résumés" in done.stdout


def test_a_wording_needs_a_study(tmp_path: Path) -> None:
    assert "give the study with --survey" in str(invoke("check", str(tmp_path), "--model", "llm").exception)


def test_a_push_says_what_it_sends_and_asks(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = invoke("push", str(tuned), "me/careers", given="n\n")
    assert isinstance(refused.exception, LaborLLMError)
    for words in ("me/careers (private)", "model.safetensors", "may reveal", "Not sent: careers.parquet"):
        assert words in refused.stdout
    hub = Hub()
    monkeypatch.setattr(models_commands, "_hub", lambda: hub)
    done = invoke("push", str(tuned), "me/careers", given="y\n")
    assert done.exit_code == 0, done.output
    (_, made), (_, sent) = hub.calls
    assert made["private"] is True
    assert sent["allow_patterns"] == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert "https://hub/me/careers" in done.stdout


def test_public_only_when_it_is_said(tuned: Path) -> None:
    upload, hub = plan_upload(tuned), Hub(private=False)
    with pytest.raises(LaborLLMError, match="everybody can read it"):
        push(upload, "me/careers", hub)
    assert [name for name, _ in hub.calls] == ["create_repo"]
    push(upload, "me/careers", hub, public=True)
    assert hub.calls[-2][1]["private"] is False
    assert hub.calls[-1][0] == "upload_folder"


@pytest.mark.parametrize("name", OFFLINE)
def test_an_offline_environment_is_respected(tuned: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert f"{name} is set, so nothing is sent" in str(invoke("push", str(tuned), "me/careers", "--yes").exception)
    hub = Hub()
    with pytest.raises(LaborLLMError, match=name):
        push(plan_upload(tuned), "me/careers", hub)
    assert not hub.calls


@pytest.mark.parametrize(
    ("missing", "message"),
    [("README.md", "has no model card"), ("model.safetensors", "no whole checkpoint"), (".", "is no folder")],
)
def test_what_is_no_finished_checkpoint_is_not_sent(tuned: Path, missing: str, message: str) -> None:
    folder = tuned / "nowhere" if missing == "." else tuned
    if missing != ".":
        (tuned / missing).unlink()
    with pytest.raises(LaborLLMError, match=message):
        plan_upload(folder)


@pytest.mark.parametrize("name", ["careers", "a/b/c", "/b", "a/"])
def test_a_name_that_is_none(tuned: Path, name: str) -> None:
    with pytest.raises(LaborLLMError, match="give OWNER/NAME"):
        push(plan_upload(tuned), name, Hub())


def test_what_the_hub_says_is_one_line(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable(Hub):
        def create_repo(self, repository: str, **given: Any) -> str:
            raise ConnectionError("no route\nto host")

    monkeypatch.setattr(models_commands, "_hub", Unreachable)
    error = str(invoke("push", str(tuned), "me/careers", "--yes").exception)
    assert "the hub did not take it (no route)" in error


def test_the_hub_is_imported_by_push_alone(tmp_path: Path) -> None:
    code = "import sys, laborllm.commands.models, laborllm.models.language.hub; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"
