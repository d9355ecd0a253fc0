"""Where a likelihood is computed: what is there decides, and a GPU that is asked for is not replaced in silence."""

import importlib.machinery

import pytest
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.models.regression import placement
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.models.regression.placement import placed
from laborllm.models.regression.softmax import Choices
from laborllm.survey.careers import Careers


def without(*names: str) -> object:
    """What finds every package but these."""
    return lambda name: None if name in names else importlib.machinery.ModuleSpec(name, None)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_torch_numpy_computes(device: str, choices: Choices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", without("torch"))
    assert placed(choices, device) is choices


def test_a_gpu_without_torch(choices: Choices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", without("torch", "psutil"))
    with pytest.raises(LaborLLMError, match=r'device = "gpu" needs torch and psutil, .* pip install "laborllm\[llm\]"'):
        placed(choices, "gpu")


def test_where_there_is_no_gpu(choices: Choices, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert placed(choices, "auto") is choices
    with pytest.raises(LaborLLMError, match='device = "gpu" needs a CUDA GPU, and there is none here; set device'):
        placed(choices, "gpu")


def test_a_fit_asks_for_it(few_careers: Careers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", without("torch"))
    with pytest.raises(LaborLLMError, match="needs torch, not installed here"):
        MultinomialLogit(LogitSettings(device="gpu")).fit(few_careers, few_careers)


def test_where_there_is_one(choices: Choices, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("auto", "gpu"):
        assert placed(choices, device).device.type == "cuda"  # nothing is moved before it is used
    assert placed(choices, "cpu") is choices


def test_settings_that_contradict_one_another() -> None:
    with pytest.raises(ValidationError, match=r"l2 = \[0\] is fitted on the processor"):
        LogitSettings(l2=(0,), device="gpu")
    with pytest.raises(ValidationError, match="device"):
        LogitSettings(device="tpu")
