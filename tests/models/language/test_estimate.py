"""Memory told beforehand is what torch allocates; a checkpoint's needs are told without its weights too."""

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import transformers as hf

from laborllm.errors import LaborLLMError
from laborllm.models.language.adapters import add_adapters
from laborllm.models.language.estimate import check_checkpoint, weight_bytes
from laborllm.models.language.language_model_settings import LoraSettings
from laborllm.models.language.memory import (
    activation_memory,
    empty_model,
    saved_bytes,
    scoring_memory,
    training_memory,
)
from laborllm.survey.careers import Careers
from tests.models.language.checkpoints import write_checkpoint
from tests.models.scoring.brute_force import random_model

FAMILIES = ("llama", "llama-tied", "qwen3", "gemma2", "gpt2", "gpt-neox", "phi3")
PREDICTED = (0.999, 1.35)
"""Bounds of what is told over what is kept: above, for a mask that torch can do without on small models."""


def bytes_of(tensors: list[Any]) -> int:
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def after_one_step(model: Any) -> tuple[int, int, int]:
    """Bytes of weights, gradients and moments that torch holds once it has learned."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    ids = torch.arange(12).reshape(1, 12)
    model.train()(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    optimizer.step()
    moments = [each for state in optimizer.state.values() for name, each in state.items() if name != "step"]
    return bytes_of(list(model.parameters())), bytes_of([weight.grad for weight in trained]), bytes_of(moments)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_gradients_and_moments_are_those_of_torch(family: str) -> None:
    model = random_model(family)
    told = training_memory(empty_model(model.config))
    assert (told.weights, told.gradients, told.moments) == after_one_step(model)
    assert told.trained == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("rank", [2, 8])
def test_those_of_adapters_too(family: str, rank: int) -> None:
    model, lora = random_model(family), LoraSettings(rank=rank, dropout=0)
    told = training_memory(model, "lora", lora)
    adapted = add_adapters(model, lora, seed=0)
    assert (told.weights, told.gradients, told.moments) == after_one_step(adapted)


def test_four_bits_take_about_an_eighth() -> None:
    model = hf.LlamaForCausalLM(
        hf.LlamaConfig(vocab_size=8, hidden_size=256, num_hidden_layers=2, num_attention_heads=4)
    )
    full, small = (training_memory(model, method).weights for method in ("full", "qlora"))
    assert 0.125 < (small - 4 * training_memory(model, "qlora").trained) / full < 0.14


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_autograd_keeps_is_told_from_the_configuration(family: str, checkpointing: bool) -> None:
    model = random_model(family)
    kept = saved_bytes(model, 3, 70, checkpointing=checkpointing)
    told = saved_bytes(empty_model(model.config), 3, 70, checkpointing=checkpointing)
    assert PREDICTED[0] * kept <= told <= PREDICTED[1] * kept


def test_activations_grow_with_the_batch_and_shrink_with_checkpointing() -> None:
    shapes = empty_model(hf.LlamaConfig(hidden_size=64, num_hidden_layers=6, num_attention_heads=4, vocab_size=500))
    one, four = (activation_memory(shapes, resumes, 100) for resumes in (1, 4))
    assert 2.5 * one < four < 4.2 * one
    assert activation_memory(shapes, 4, 100, checkpointing=True) < four / 2
    assert saved_bytes(shapes, 4, 100, autocast=True) < saved_bytes(shapes, 4, 100)


def test_seventy_billion_parameters_are_counted_on_a_laptop(tmp_path: Path) -> None:
    config = hf.LlamaConfig(
        vocab_size=128256,
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(tmp_path)
    assert weight_bytes(tmp_path) == 4 * 70_553_706_496  # as published for Llama 3 70B
    assert training_memory(empty_model(config), "qlora").weights < 50e9


@pytest.fixture
def checkpoint(few_careers: Careers, tmp_path: Path) -> Path:
    return write_checkpoint(few_careers, tmp_path / "checkpoint")


def test_a_checkpoint_with_and_without_its_weights(checkpoint: Path, few_careers: Careers) -> None:
    with_weights = check_checkpoint(checkpoint, few_careers, people=7)
    assert with_weights.times is not None
    assert with_weights.times.epoch_seconds is not None
    assert with_weights.times.epoch_seconds > 0 < with_weights.times.scoring_seconds
    assert with_weights.times.adapter_seconds is not None
    assert with_weights.times.adapter_seconds > 0
    assert with_weights.tokens is not None
    assert with_weights.tokens.titles == len(few_careers.occupations)
    (checkpoint / "model.safetensors").unlink()
    without = check_checkpoint(checkpoint, few_careers, people=7, weights=False)
    assert without.times is None
    for name in ("architecture", "parameters", "context", "tokens", "training", "activations", "scoring"):
        assert getattr(without, name) == getattr(with_weights, name)
    for file in checkpoint.glob("tok*"):
        file.unlink()
    bare = check_checkpoint(checkpoint, few_careers, people=7, weights=False)
    assert (bare.tokens, bare.training) == (None, without.training)
    shutil.rmtree(checkpoint)


def test_a_title_that_cannot_be_tokenized_is_named(checkpoint: Path, few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match="titles .* begin with the same tokens"):
        check_checkpoint(checkpoint, few_careers, people=1, titles=("Cooks", "Cooks"), weights=False)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_scoring_tells_more_rows_more_memory(family: str) -> None:
    few, many = (scoring_memory(random_model(family), rows) for rows in (64, 640))
    assert 5 * few.activations < many.activations <= 10 * few.activations
    assert scoring_memory(random_model(family), 64, fewest=640) == many
    assert few.weights == many.weights == 4 * sum(weight.numel() for weight in random_model(family).parameters())


def test_adapters_are_timed_where_full_fine_tuning_has_no_room(
    checkpoint: Path, few_careers: Careers, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = empty_model(hf.AutoConfig.from_pretrained(checkpoint))
    full, lora = (training_memory(shapes, method, LoraSettings()).total for method in ("full", "lora"))
    assert lora < full
    monkeypatch.setattr("laborllm.models.language.estimate.free_memory", lambda: (lora + full) // 2)
    times = check_checkpoint(checkpoint, few_careers, people=7).times
    assert times is not None
    assert times.epoch_seconds is None
    assert times.adapter_seconds is not None
