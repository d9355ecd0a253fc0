"""A checkpoint from a local folder: configuration, safetensors weights and tokenizer; nothing is downloaded."""

import json
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from laborllm.errors import LaborLLMError
from laborllm.models.scoring.routes import choose_forward

disable_progress_bar()  # the library prints nothing
set_verbosity_error()  # what matters in a loading report is raised
logger = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "consolidated*.pth")
FAMILIES = "Llama, Qwen, Mistral, Gemma (text), GPT-2, GPT-NeoX, Phi, OLMo or SmolLM"
LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_checkpoint(folder: Path) -> tuple[Any, Any]:
    """A causal language model and its tokenizer from a local folder, in float32; nothing is downloaded.

    Raises:
        LaborLLMError: the configuration, the safetensors weights or the tokenizer is missing, broken, of another kind
            or of another checkpoint, or the model cannot be scored exactly.
    """
    config = read_config(folder)
    tokenizer = load_tokenizer(folder, config)
    model = _load_weights(folder, config)
    model.eval()
    try:
        choose_forward(model)
    except LaborLLMError as error:
        raise LaborLLMError(f"{folder}: {error}") from error
    return model, tokenizer


def read_config(folder: Path) -> Any:
    """The configuration of a causal language model that transformers knows without anybody else's code.

    Raises:
        LaborLLMError: there is none, it is broken, or it describes something else: an adapter, quantised weights, code
            of the checkpoint's own, an encoder, a model that reads images; the message names the architecture.
    """
    raw = _raw_config(folder)
    name = str((raw.get("architectures") or [raw.get("model_type")])[0])
    known = raw.get("model_type") in CONFIG_MAPPING
    if raw.get("auto_map") and not known:
        raise _needs_code(folder, name)
    if not known:
        raise LaborLLMError(
            f"{folder}: config.json has model_type {raw.get('model_type')!r}, which the installed transformers does "
            f"not know; update transformers, or choose a checkpoint such as {FAMILIES}"
        )
    if raw.get("quantization_config"):
        how = raw["quantization_config"].get("quant_method", "unknown")
        raise LaborLLMError(
            f"{folder}: the weights are quantised ({how}), which changes every probability; give the checkpoint as it "
            'was before (method = "qlora" quantises while it trains)'
        )
    try:
        config = AutoConfig.from_pretrained(folder, **LOCAL)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LaborLLMError(f"{folder}: config.json cannot be used ({_first_line(error)}); copy it again") from error
    _require_causal(folder, config, name)
    served = _causal_class(config)
    if raw.get("auto_map") and name != served:
        raise _needs_code(folder, name)
    if name not in (served, raw["model_type"]):
        raise _not_causal(folder, name, f"only {served} of this kind is one")
    if raw.get("auto_map"):
        logger.warning("%s names code of its own, which is not run: transformers' own %s is used", folder, served)
    return config


def load_tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        LaborLLMError: there is no tokenizer.json, it is broken, or it has tokens that the model has no embedding for.
    """
    if not (folder / "tokenizer.json").is_file():
        raise LaborLLMError(
            f"{folder}: the checkpoint has no tokenizer.json; copy the tokenizer's files beside the weights"
        )
    with _TokenizerErrors(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    rows = int(config.get_text_config().vocab_size)
    beyond = [token for token, place in tokenizer.get_vocab().items() if place >= rows]
    unwritten = set(tokenizer.get_added_vocab()) - {tokenizer.bos_token}  # Gemma 3's mark for an image, say
    if wrong := sorted(set(beyond) - unwritten):
        raise LaborLLMError(
            f"{folder}: the tokenizer has {len(wrong)} tokens, such as {wrong[0]!r}, beyond the {rows:,} of the "
            "model's embedding; copy the tokenizer that belongs to the weights"
        )
    return tokenizer


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, each of them whole.

    Raises:
        LaborLLMError: there are none, the index names one that is missing, or one is cut short.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if index.is_file() and not (folder / "model.safetensors").is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise LaborLLMError(f"{index}: is no index of weights; copy the whole checkpoint again") from error
        if missing := sorted(named - {file.name for file in files}):
            raise LaborLLMError(
                f"{folder}: lacks {missing[0]}, one of {len(named)} files that {INDEX} names ({len(missing)} missing); "
                "copy the whole checkpoint"
            )
        files = [folder / name for name in sorted(named)]
    if not files:
        raise _without_weights(folder)
    for file in files:
        try:
            safe_open(file, framework="pt").keys()
        except (OSError, SafetensorError) as error:
            raise LaborLLMError(
                f"{file}: is cut short or damaged and cannot be loaded as a causal language model "
                f"({_first_line(error)}); copy it again"
            ) from error
    return files


class _TokenizerErrors:
    """What is wrong with a tokenizer.json, on one line.

    The tokenizers library raises the bare class Exception where a file is JSON and no tokenizer; no subclass of it
    beside those named is turned into a line.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        """Nothing is set up."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is Exception or isinstance(error, OSError | ValueError | KeyError | TypeError | AttributeError):
            raise LaborLLMError(
                f"{self.folder}: tokenizer.json cannot be used ({_first_line(error)}); copy the tokenizer's files again"
            ) from error


def _raw_config(folder: Path) -> dict[str, Any]:
    """The content of config.json."""
    file = folder / "config.json"
    if not file.is_file():
        if (folder / "adapter_config.json").is_file():
            raise LaborLLMError(_adapter_alone(folder))
        raise LaborLLMError(f"{folder}: holds no config.json; checkpoint must name the folder of a Hugging Face model")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LaborLLMError(f"{file}: is no valid JSON ({_first_line(error)}); copy the checkpoint again") from error
    if not isinstance(content, dict):
        raise LaborLLMError(f"{file}: holds no settings of a model; copy the checkpoint again")
    return content


def _adapter_alone(folder: Path) -> str:
    """Why an adapter is refused: a run could not tell when the base beside it has changed."""
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = "its base"
    return (
        f"{folder}: holds an adapter alone, of {base}; give the base checkpoint, or merge once with peft: "
        f"PeftModel.from_pretrained(base, {folder.name!r}).merge_and_unload().save_pretrained('merged'), and copy the "
        "base's tokenizer files there"
    )


def _require_causal(folder: Path, config: Any, name: str) -> None:
    """Refuse what does not predict a text's next token from the text before it."""
    if getattr(config, "is_encoder_decoder", False):
        raise _not_causal(folder, name, "it has an encoder and a decoder")
    if config.get_text_config() is not config:
        raise _not_causal(folder, name, "it reads more than text; the family's text-only checkpoints work")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise _not_causal(folder, name, "transformers has none of this kind")
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and getattr(config, "is_decoder", True) is False:
        raise _not_causal(folder, name, "it is an encoder, which sees the tokens that it should predict")


def _causal_class(config: Any) -> str:
    """Name of the class that transformers takes for a configuration."""
    served: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return str((served[0] if isinstance(served, tuple | list) else served).__name__)


def _not_causal(folder: Path, name: str, why: str) -> LaborLLMError:
    return LaborLLMError(
        f"{folder}: {name} is no language model that predicts the next token ({why}); choose a checkpoint such as "
        f"{FAMILIES}"
    )


def _needs_code(folder: Path, name: str) -> LaborLLMError:
    return LaborLLMError(
        f"{folder}: {name} needs code of the checkpoint's own (auto_map in config.json), which is never run; choose a "
        f"checkpoint that transformers knows, such as {FAMILIES}"
    )


def _without_weights(folder: Path) -> LaborLLMError:
    pickles = [file for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if not pickles:
        return LaborLLMError(
            f"{folder}: holds no .safetensors weights; copy the whole checkpoint (pickled weights are refused)"
        )
    return LaborLLMError(
        f"{folder}: holds no .safetensors weights; pickled weights are refused ({pickles[0].name} can run code): where "
        "you trust them convert them once with AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new), and "
        "copy the tokenizer's files there"
    )


def _load_weights(folder: Path, config: Any) -> Any:
    """The model in float32, with all of its weights and no others."""
    weight_files(folder)
    model: Any
    loading: dict[str, Any]
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are told, and refused
            **LOCAL,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise LaborLLMError(f"{folder}: cannot be loaded as a causal language model ({_first_line(error)})") from error
    _require_whole(folder, loading)
    return model


def _require_whole(folder: Path, loading: dict[str, Any]) -> None:
    """The weights must be those that the configuration describes, all of them and no others."""
    for name, found, expected in sorted(loading["mismatched_keys"]):
        raise LaborLLMError(
            f"{folder}: {name} has the shape {tuple(found)} and config.json says {tuple(expected)}; copy it whole"
        )
    unused = sorted(loading["unexpected_keys"])
    if unused:
        raise LaborLLMError(
            f"{folder}: config.json has no place for {unused[0]} ({len(unused)} such tensors); copy it whole"
        )
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise LaborLLMError(
            f"{folder}: the weights lack {missing[0]} ({len(missing)} such tensors); copy the whole checkpoint"
        )


def _first_line(error: BaseException | None) -> str:
    """What an error says, on one line."""
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
