"""Adapters learn alone, are saved alone, go on after a kill, and merge into what they said before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file

from laborllm.errors import LaborLLMError
from laborllm.models.language import adapters
from laborllm.models.language.adapters import add_adapters, load_adapters, merged, save_adapters
from laborllm.models.language.finetune import finetune
from laborllm.models.language.language_model_settings import LoraSettings, TrainingSettings
from laborllm.models.language.resume_loss import PACKED, ResumeLoss
from laborllm.models.scoring.scorer import Scorer
from laborllm.text.titles import TokenizedResume
from tests.models.scoring.brute_force import VOCABULARY, random_model

LORA = LoraSettings(rank=4, alpha=8, dropout=0.1)
SETTINGS = TrainingSettings(epochs=2, learning_rate=2e-2, batch=4, evaluations=2)


class Killed(Exception):
    """Stands for a kill in the middle of a run."""


@pytest.fixture
def resumes(rng: np.random.Generator) -> list[TokenizedResume]:
    """Sixteen, of one line each."""
    found = []
    for row in range(16):
        tokens = rng.integers(2, VOCABULARY, 6 + row)
        found.append(TokenizedResume(tokens, range(row, row + 1), np.array([3 + row]), np.array([6 + row])))
    return found


def realised(model: Any, resumes: list[TokenizedResume]) -> np.ndarray:
    return Scorer(model.eval()).realised(resumes, rows=len(resumes))


def adapted(family: str = "llama", lora: LoraSettings = LORA) -> Any:
    return add_adapters(random_model(family), lora, seed=1)


def learn(model: Any, resumes: list[TokenizedResume], folder: Path, validation: Any = None) -> Any:
    measure = validation or (lambda model: float(np.exp(-realised(model, resumes).mean())))
    return finetune(model, resumes, measure, settings=SETTINGS, folder=folder, seed=1)


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in model.named_parameters() if each.requires_grad}


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt-neox", "phi3"])
def test_adapters_alone_learn_in_packs(family: str, resumes: list[TokenizedResume], tmp_path: Path) -> None:
    model = adapted(family)
    head = model.get_base_model().get_output_embeddings()
    frozen = {name: each.clone() for name, each in model.named_parameters() if not each.requires_grad}
    assert all("lora_" in name for name in trained(model))
    assert type(head) is torch.nn.Linear
    history = learn(model, resumes, tmp_path)
    assert history.how == PACKED
    assert history.legs[-1]["validation_perplexity"] < history.legs[0]["validation_perplexity"]
    for name, each in model.named_parameters():
        if name in frozen:
            assert torch.equal(each, frozen[name])
            assert each.grad is None


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_checkpointing_serves_adapters_too(family: str, resumes: list[TokenizedResume], tmp_path: Path) -> None:
    """Inputs of the first layer come from frozen weights, and scoring between legs knows nothing of it."""
    plain, saving = adapted(family), adapted(family)
    first = learn(plain, resumes, tmp_path / "a")
    settings = SETTINGS.model_copy(update={"checkpointing": True})
    second = finetune(
        saving,
        resumes,
        lambda model: float(np.exp(-realised(model, resumes).mean())),
        settings=settings,
        folder=tmp_path / "b",
        seed=1,
    )
    assert second.best == pytest.approx(first.best, rel=1e-4)


def test_new_adapters_change_nothing_and_repeat(resumes: list[TokenizedResume]) -> None:
    plain = realised(random_model("llama"), resumes)
    state = torch.random.get_rng_state()
    one, other = adapted(), adapted()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(realised(one, resumes), plain)
    assert all(torch.equal(each, trained(other)[name]) for name, each in trained(one).items())


def test_the_state_holds_adapters_alone(resumes: list[TokenizedResume], tmp_path: Path) -> None:
    model = adapted()
    learn(model, resumes, tmp_path)
    for name in ("current", "best"):
        assert set(load_file(tmp_path / f"{name}.safetensors")) == set(trained(model))
    moments = load_file(tmp_path / "optimizer.safetensors")
    assert {name.rpartition("/")[0] for name in moments} == set(trained(model))


def test_goes_on_after_a_kill_with_the_same_result(resumes: list[TokenizedResume], tmp_path: Path) -> None:
    undisturbed = adapted()
    history = learn(undisturbed, resumes, tmp_path / "a")
    measured = []

    def killed_at_the_third(model: Any) -> float:
        if len(measured) == 2:
            raise Killed
        measured.append(float(np.exp(-realised(model, resumes).mean())))
        return measured[-1]

    with pytest.raises(Killed):
        learn(adapted(), resumes, tmp_path / "b", killed_at_the_third)
    again = adapted()
    assert learn(again, resumes, tmp_path / "b") == history
    assert all(torch.equal(each, trained(again)[name]) for name, each in trained(undisturbed).items())


def test_saved_and_loaded_adapters_say_the_same(resumes: list[TokenizedResume], tmp_path: Path) -> None:
    model = adapted()
    learn(model, resumes, tmp_path / "run")
    save_adapters(model, tmp_path / "adapters", Path("models/base"))
    assert sorted(path.name for path in (tmp_path / "adapters").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert '"models/base"' in (tmp_path / "adapters" / "adapter_config.json").read_text()
    again = load_adapters(random_model("llama"), tmp_path / "adapters")
    assert np.array_equal(realised(again, resumes), realised(model, resumes))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_merged_says_the_same_and_stands_alone(family: str, resumes: list[TokenizedResume], tmp_path: Path) -> None:
    model = adapted(family)
    learn(model, resumes, tmp_path)
    before, plain = realised(model, resumes), realised(random_model(family), resumes)
    assert np.abs(before - plain).max() > 0.1  # the adapters have learned something
    result = merged(model, resumes)
    assert type(result.model) is type(random_model(family))
    assert not [name for name, _ in result.model.named_parameters() if "lora" in name]
    assert result.model.dtype == torch.float32
    after = realised(result.model, resumes)
    assert result.difference == pytest.approx(np.abs(after - before).max())
    assert result.difference < 1e-4


def test_wanted_layers_alone_are_adapted() -> None:
    model = adapted(lora=LoraSettings(targets=("q_proj", "v_proj")))
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained(model)} == {"q_proj", "v_proj"}
    assert trained(model)["base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"].shape == (16, 32)


def test_an_adapted_output_layer_is_learned_in_padded_batches(resumes: list[TokenizedResume]) -> None:
    loss = ResumeLoss(adapted(lora=LoraSettings(targets=("lm_head",))), SETTINGS)
    loss.choose(resumes)
    assert loss.how == "padded batches (its output layer is a Linear of peft)"


def test_a_target_that_is_no_layer_is_refused() -> None:
    with pytest.raises(LaborLLMError, match=r"LlamaForCausalLM has no linear layer named 'query'; choose among down_p"):
        adapted(lora=LoraSettings(targets=("query",)))


def test_adapters_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="holds no adapter_config.json"):
        load_adapters(random_model("llama"), tmp_path)
    save_adapters(adapted(), tmp_path / "adapters", Path("base"))
    with pytest.raises(LaborLLMError, match="do not fit GPT2LMHeadModel") as raised:
        load_adapters(random_model("gpt2"), tmp_path / "adapters")
    assert "\n" not in str(raised.value)


def test_four_bits_need_a_gpu_and_bitsandbytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters.torch.cuda, "is_available", lambda: False)
    with pytest.raises(LaborLLMError, match='needs a CUDA GPU, and there is none here; set method = "lora"'):
        adapters.load_in_four_bits(tmp_path)
    monkeypatch.setattr(adapters.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LaborLLMError, match="needs bitsandbytes, which is not installed"):
        adapters.load_in_four_bits(tmp_path)


def test_four_bits_cannot_be_merged(resumes: list[TokenizedResume]) -> None:
    model = adapted()
    model.get_base_model().is_quantized = True
    with pytest.raises(LaborLLMError, match="load the checkpoint in float32, then its adapters"):
        merged(model, resumes)
