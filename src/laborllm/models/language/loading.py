"""A checkpoint from a local folder: configuration, safetensors weights and tokenizer; nothing is downloaded."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from laborllm.errors import LaborLLMError

disable_progress_bar()  # the library prints nothing
set_verbosity_error()  # what matters in a loading report is raised


def load_checkpoint(folder: Path) -> tuple[Any, Any]:
    """A causal language model and its tokenizer from a local folder, in float32; nothing is downloaded.

    Raises:
        LaborLLMError: the folder, the configuration, the safetensors weights or the tokenizer is missing or broken.
    """
    if not (folder / "config.json").is_file():
        raise LaborLLMError(f"{folder}: holds no config.json; checkpoint must name the folder of a Hugging Face model")
    if not (folder / "tokenizer.json").is_file():
        raise LaborLLMError(
            f"{folder}: the checkpoint has no tokenizer.json; copy the tokenizer's files beside the weights"
        )
    if not list(folder.glob("*.safetensors")):
        raise LaborLLMError(
            f"{folder}: holds no .safetensors weights; convert the checkpoint with save_pretrained "
            "(pickled weights are refused)"
        )
    model: Any
    loading: dict[str, Any]
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, loading = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LaborLLMError(f"{folder}: cannot be loaded as a causal language model ({reason})") from error
    _require_whole(folder, loading)
    return model, tokenizer


def _require_whole(folder: Path, loading: dict[str, Any]) -> None:
    """The weights must be those that the configuration describes, all of them and no others."""
    unused = sorted(loading["unexpected_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
    if unused:
        raise LaborLLMError(
            f"{folder}: config.json has no place for {unused[0]} ({len(unused)} such tensors); copy it whole"
        )
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise LaborLLMError(
            f"{folder}: the weights lack {missing[0]} ({len(missing)} such tensors); copy the whole checkpoint"
        )
