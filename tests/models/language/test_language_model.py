"""A language model as a model of careers: from scratch, from a checkpoint, and from broken checkpoints."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.models.language.estimate import estimate
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.language.loading import load_checkpoint
from laborllm.models.language.scratch import train_tokenizer
from laborllm.models.language.windows import fit_context
from laborllm.models.probabilities import Probabilities
from laborllm.models.scoring.routes import context_length
from laborllm.survey.careers import Careers, split_by_person
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer
from tests.models.language.checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def careers(few_careers: Careers) -> Careers:
    return split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))


@pytest.fixture
def checkpoint(few_careers: Careers, tmp_path: Path) -> Path:
    return write_checkpoint(few_careers, tmp_path / "checkpoint")


def settings(**given: Any) -> LanguageModelSettings:
    return LanguageModelSettings(kind="language_model", **given)


def fitted(given: LanguageModelSettings, careers: Careers, folder: Path) -> LanguageModel:
    model = LanguageModel(given, folder)
    model.fit(careers.part("train"), careers.part("validation"))
    return model


def test_from_scratch_and_loaded_again(careers: Careers, tmp_path: Path) -> None:
    given = settings(scratch="tiny", training={"epochs": 2, "batch": 8})
    assert given.training.weight_decay > 0  # the other defaults stay those of random weights
    first = fitted(given, careers, tmp_path)
    test = careers.part("test")
    predicted = first.predict(test)
    assert np.exp(predicted.log_probabilities.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (predicted.log_mass <= 1e-6).all()
    again = fitted(given, careers, tmp_path).predict(test)
    assert np.array_equal(predicted.log_probabilities, again.log_probabilities)
    kept = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {".safetensors", ".json", ".md"}
    assert not (tmp_path / "training").exists()


def test_realised_form_is_the_raw_part_of_the_full_form(careers: Careers, checkpoint: Path, tmp_path: Path) -> None:
    test = careers.part("test")
    full = fitted(settings(checkpoint=checkpoint, use="off_the_shelf"), careers, tmp_path).predict(test)
    given = settings(checkpoint=checkpoint, use="off_the_shelf", probabilities="realised")
    realised = fitted(given, careers, tmp_path).predict(test)
    assert realised.log_probabilities is None
    assert realised.raw == pytest.approx(full.raw, abs=1e-4)


def test_bfloat16_is_said_in_every_output(careers: Careers, checkpoint: Path, tmp_path: Path) -> None:
    test = careers.part("test")
    plain = fitted(settings(checkpoint=checkpoint, use="off_the_shelf"), careers, tmp_path / "plain")
    exact = plain.predict(test)
    assert exact.arithmetic is None
    assert plain.facts["arithmetic"] == "float32"
    given = settings(checkpoint=checkpoint, use="off_the_shelf", arithmetic="bfloat16", memory_gib=0.1)
    model = fitted(given, careers, tmp_path / "coarse")
    coarse = model.predict(test)
    assert np.abs(coarse.log_probabilities - exact.log_probabilities).max() < 0.5
    assert not np.array_equal(coarse.log_probabilities, exact.log_probabilities)
    coarse.write(tmp_path / "coarse.parquet")
    for said in (Probabilities.read(tmp_path / "coarse.parquet").arithmetic, model.description):
        assert "bfloat16 layers, float32 head" in str(said)
    notes = evaluate({"coarse": coarse, "exact": exact}, test, EvaluationSettings(bootstrap=0)).notes
    assert [note for note in notes if "lower precision" in note and note.startswith("coarse ")]


def test_numeric_titles_and_dropped_covariates_run(careers: Careers, tmp_path: Path) -> None:
    given = settings(
        scratch="tiny", text={"titles": "numeric", "drop": ["birth_year"], "last_rows": 2}, training={"epochs": 1}
    )
    predicted = fitted(given, careers, tmp_path).predict(careers.part("test"))
    assert np.isfinite(predicted.log_probabilities).all()


def test_a_career_longer_than_the_context(careers: Careers) -> None:
    written = write_resumes(careers, ResumeSettings())
    tokenizer = train_tokenizer([resume.text for resume in written], careers.occupations.titles, 8192)
    resumes = ResumeTokenizer(tokenizer, careers.occupations.titles)
    for context in (34, 40):
        windows = fit_context(resumes, written, context)
        assert max(len(window.tokens) for window in windows) < context
        scored = sorted(row for window in windows for row in window.rows[window.first_scored :])
        assert scored == list(range(len(careers)))
    with pytest.raises(LaborLLMError, match="header and one line take .* tokens, but the model's context is 12"):
        fit_context(resumes, written, 12)


def test_lines_without_their_oldest_history_are_counted(careers: Careers, checkpoint: Path, tmp_path: Path) -> None:
    model = fitted(settings(checkpoint=checkpoint, use="off_the_shelf"), careers, tmp_path)
    model.model.config.max_position_embeddings = 36
    assert context_length(model.model) == 36
    predicted = model.predict(careers.part("test"))
    assert model.facts["lines predicted without their oldest history"] > 0
    assert np.isfinite(predicted.log_probabilities).all()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "holds no config.json"),
        ("tokenizer.json", "the checkpoint has no tokenizer.json"),
        ("model.safetensors", "holds no .safetensors weights; .*pickled weights are refused"),
    ],
)
def test_a_checkpoint_without_a_file(checkpoint: Path, file: str, message: str) -> None:
    (checkpoint / file).unlink()
    with pytest.raises(LaborLLMError, match=message):
        load_checkpoint(checkpoint)


def test_a_cut_checkpoint(checkpoint: Path) -> None:
    whole = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LaborLLMError, match=r"model\.safetensors: is cut short or damaged"):
        load_checkpoint(checkpoint)


def test_a_checkpoint_that_lacks_tensors(checkpoint: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LaborLLMError, match="the weights lack model.layers.0.mlp.up_proj.weight"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"scratch": "tiny", "checkpoint": "x"},
        {"scratch": "tiny", "use": "off_the_shelf"},
        {"scratch": "tiny", "training": {"epoch": 3}},
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**given)


def test_estimate(careers: Careers) -> None:
    found = estimate(settings(scratch="tiny"), careers)
    assert found.titles == len(careers.occupations)
    assert found.training_seconds > 0
    assert found.memory > 4 * found.parameters


@pytest.mark.real_data
def test_a_real_checkpoint_learns(real_data: Path, careers: Careers, tmp_path: Path) -> None:
    source = real_data / "models" / "stories260K"
    test = careers.part("test")
    shelf = fitted(settings(checkpoint=source, use="off_the_shelf"), careers, tmp_path / "shelf").predict(test)
    given = settings(checkpoint=source, training={"epochs": 6, "learning_rate": 2e-3, "batch": 8, "patience": 9})
    tuned = fitted(given, careers, tmp_path / "tuned").predict(test)
    assert -tuned.raw.mean() < -shelf.raw.mean() - np.log(10)
    shutil.rmtree(tmp_path)


def test_adapters_are_learned_kept_and_scored_unmerged(careers: Careers, checkpoint: Path, tmp_path: Path) -> None:
    test = careers.part("test")
    training = {"epochs": 2, "batch": 8, "learning_rate": 1e-2}
    given = settings(checkpoint=checkpoint, method="lora", lora={"rank": 4}, training=training)
    model = fitted(given, careers, tmp_path / "model")
    assert "adapters (LoRA)" in model.description
    assert 0 < model.facts["parameters trained"] < model.facts["parameters"] / 5
    kept = {path.name for path in (tmp_path / "model" / "adapters").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= kept
    assert not (tmp_path / "model" / "checkpoint").exists()
    predicted = model.predict(test)
    untouched = fitted(settings(checkpoint=checkpoint, use="off_the_shelf"), careers, tmp_path / "other").predict(test)
    assert predicted.raw.mean() > untouched.raw.mean()
    again = fitted(given, careers, tmp_path / "model").predict(test)
    assert np.array_equal(predicted.log_probabilities, again.log_probabilities)


def test_the_card_says_who_was_learned_from(careers: Careers, checkpoint: Path, tmp_path: Path) -> None:
    fitted(settings(checkpoint=checkpoint, training={"epochs": 1}), careers, tmp_path / "model")
    card = (tmp_path / "model" / "checkpoint" / "README.md").read_text()
    assert f"{careers.part('train').people} people" in card
    assert "a test survey" in card
    assert "may reveal microdata" in card
