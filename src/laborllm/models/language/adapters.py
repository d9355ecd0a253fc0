"""Low-rank adapters in place of training every weight (LoRA), also on weights kept in 4 bits (QLoRA)."""

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from laborllm.errors import LaborLLMError
from laborllm.models.language.language_model_settings import LoraSettings
from laborllm.models.scoring.scorer import Scorer
from laborllm.text.titles import TokenizedResume

WEIGHTS, CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Merged:
    """A model whose adapters have become part of its weights.

    Attributes:
        model: a plain Hugging Face model in float32.
        difference: largest change of a realised title's log-probability by merging, nats.
    """

    model: Any
    difference: float


def add_adapters(model: Any, lora: LoraSettings, *, seed: int) -> Any:
    """The model within peft's wrapper: its own weights are frozen, float32 adapters alone are trained.

    New adapters change nothing until they have learned: one of the two factors is zero.

    Args:
        model: a Hugging Face causal language model; its linear layers are wrapped in place.
        lora: rank, scale, dropout, which layers; all linear ones but the output layer by default.
        seed: of the factor that is not zero.

    Raises:
        LaborLLMError: a target is no linear layer of the model.
    """
    _require_targets(model, lora.targets)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in model.modules()),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        with _without_future():
            return peft.get_peft_model(model, config)


def save_adapters(model: Any, folder: Path, checkpoint: Path) -> None:
    """Write the adapters, and which checkpoint they belong to; a few megabytes.

    Args:
        model: what ``add_adapters`` returned.
        folder: an empty folder; see ``laborllm.files.whole_folder``.
        checkpoint: folder of the base model.
    """
    model.peft_config["default"].base_model_name_or_path = str(checkpoint)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's form for a hub


def load_adapters(model: Any, folder: Path) -> Any:
    """The base model within its saved adapters, ready to be scored.

    Raises:
        LaborLLMError: the folder holds no adapters in safetensors, or they belong to another model.
    """
    missing = [name for name in (CONFIGURATION, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise LaborLLMError(f"{folder}: holds no {missing[0]}; give the folder that save_adapters wrote")
    try:
        with _without_future():
            return peft.PeftModel.from_pretrained(model, str(folder), local_files_only=True).eval()
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise LaborLLMError(
            f"{folder}: its adapters do not fit {type(model).__name__} ({first}); load the checkpoint they belong to"
        ) from error


def merged(model: Any, resumes: Sequence[TokenizedResume]) -> Merged:
    """The adapters added to the weights they adapt, in float32, and what that changes.

    Args:
        model: what ``add_adapters`` or ``load_adapters`` returned; it is used up.
        resumes: a few, on which log-probabilities before and after are compared.

    Raises:
        LaborLLMError: the weights are kept in 4 bits, to which nothing can be added exactly.
    """
    if getattr(model.get_base_model(), "is_quantized", False):
        raise LaborLLMError(
            "adapters cannot be merged into weights of 4 bits; load the checkpoint in float32, then its adapters"
        )
    model.float().eval()
    before = _realised(model, resumes)
    whole = model.merge_and_unload(safe_merge=True)
    return Merged(whole.eval(), float(np.abs(_realised(whole, resumes) - before).max(initial=0.0)))


def require_four_bits() -> None:
    """Refuse QLoRA where it cannot run.

    Raises:
        LaborLLMError: there is no CUDA GPU, or bitsandbytes is not installed.
    """
    if not torch.cuda.is_available():
        raise LaborLLMError('method = "qlora" needs a CUDA GPU, and there is none here; set method = "lora"')
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LaborLLMError(
            'method = "qlora" needs bitsandbytes, which is not installed: pip install bitsandbytes, or set '
            'method = "lora"'
        )


def load_in_four_bits(folder: Path) -> Any:
    """A checkpoint whose linear layers are kept in 4 bits, to be adapted (QLoRA, sections 2 and 3); CUDA alone.

    Raises:
        LaborLLMError: there is no CUDA GPU, or bitsandbytes is not installed.
    """
    require_four_bits()
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=four_bits,
        dtype=torch.float32,
        device_map={"": torch.cuda.current_device()},
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    )


@contextmanager
def _without_future() -> Iterator[None]:
    """Peft asks transformers for names that it will give up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _require_targets(model: Any, targets: Sequence[str]) -> None:
    """Every target must be the last word of a linear layer's name."""
    linear = {
        name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | Conv1D)
    }
    for target in targets:
        if target not in linear:
            raise LaborLLMError(
                f"lora.targets: {type(model).__name__} has no linear layer named {target!r}; choose among "
                f"{', '.join(sorted(linear))}"
            )


def _realised(model: Any, resumes: Sequence[TokenizedResume]) -> np.ndarray:
    """Log-probabilities of the realised titles of some résumés, nats."""
    rows = max((resume.rows.stop for resume in resumes), default=0)
    scored = Scorer(model).realised(resumes, rows=rows)
    return np.asarray(scored)[[row for resume in resumes for row in resume.rows]]
