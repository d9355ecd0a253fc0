"""What a language model takes in memory, counted without its weights: from the configuration alone.

Weights, gradients and moments are sums over parameters. Activations are what autograd keeps for the way back, counted
in a forward pass over tensors that have shapes and no numbers, so that any family is served and a model of 70 billion
parameters takes seconds on a laptop.
"""

from dataclasses import dataclass
from typing import Any, Literal

import peft
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode  # how torch.compile looks ahead; torch has no public name
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from laborllm.models.language.language_model_settings import LoraSettings
from laborllm.models.language.token_loss import LOGIT_BYTES
from laborllm.models.room import row_bytes

Method = Literal["full", "lora", "qlora"]
METHODS: tuple[Method, ...] = ("full", "lora", "qlora")
FLOAT32 = 4
MOMENTS = 2
"""Of AdamW: of every trained number its mean gradient and mean squared gradient."""
BLOCK, BLOCKS_TOGETHER = 64, 256
"""4-bit weights share a scale in blocks of 64, and 256 scales of 8 bits share one in float32 (QLoRA, section 3)."""
LOGITS_HELD, STATES_HELD = 1, 3
"""Copies of a tile of logits, and of the states below them, that the loss holds (``token_loss.py``)."""
LAYER_AGAIN = 1.3
"""A layer that is computed again, with the gradients inside it, in what it keeps."""
LOGIT_ROWS = 512
"""Rows whose logits a Hugging Face forward pass holds at once."""
DOCUMENT_SHARE = 4
"""Scoring encodes a quarter of its rows as documents and keeps their keys and values while titles are laid behind."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that fine-tuning holds whatever the batch.

    Attributes:
        method: "full", "lora" or "qlora".
        trained: numbers that are learned.
        weights: of the model, float32; under "qlora" linear layers have 4 bits and their scales.
        gradients: of what is trained, float32.
        moments: of AdamW, float32.
        kept: copies of what is trained that are held while the state is saved: the best so far and the current one.
    """

    method: Method
    trained: int
    weights: int
    gradients: int
    moments: int
    kept: int

    @property
    def total(self) -> int:
        """All of them, without activations."""
        return self.weights + self.gradients + self.moments + self.kept


@dataclass(frozen=True)
class ScoringMemory:
    """Bytes that scoring holds.

    Attributes:
        rows: rows that go through a layer together.
        weights: of the model, float32.
        activations: of those rows, and keys and values of the documents among them.
    """

    rows: int
    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Both."""
        return self.weights + self.activations


def empty_model(config: Any) -> Any:
    """The model of a configuration, its weights shapes without numbers: on torch's device "meta"."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)


def training_memory(model: Any, method: Method = "full", lora: LoraSettings | None = None) -> TrainingMemory:
    """Bytes of weights, gradients and moments of a model, which may be empty; it is left as it is.

    Args:
        model: a Hugging Face causal language model.
        method: how it is trained.
        lora: of the adapters; the defaults if not given.
    """
    sizes = {id(parameter): parameter.numel() for parameter in model.parameters()}  # tied weights count once
    parameters = sum(sizes.values())
    if method == "full":
        trained, weights = parameters, FLOAT32 * parameters
    else:
        trained = _adapter_size(model, lora or LoraSettings())
        quantised = sum(layer.weight.numel() for layer in linear_layers(model).values()) if method == "qlora" else 0
        weights = FLOAT32 * (parameters + trained - quantised) + _four_bit_bytes(quantised)
    return TrainingMemory(
        method=method,
        trained=trained,
        weights=weights,
        gradients=FLOAT32 * trained,
        moments=FLOAT32 * MOMENTS * trained,
        kept=FLOAT32 * 2 * trained,
    )


def linear_layers(model: Any) -> dict[str, Any]:
    """The linear layers that get adapters and 4 bits: all but the output layer, by name."""
    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    }


def saved_bytes(model: Any, resumes: int, tokens: int, *, checkpointing: bool = False, autocast: bool = False) -> int:
    """Bytes that autograd keeps below the output layer for one batch, beside the weights.

    Args:
        model: a Hugging Face causal language model, with numbers or empty, with adapters or without; it is put in
            training mode.
        resumes: résumés side by side.
        tokens: tokens of each.
        checkpointing: only the inputs of layers are kept.
        autocast: layers multiply in bfloat16.
    """
    causal: Any = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    _set_checkpointing(causal.train(), checkpointing)
    body: Any = causal.base_model
    held = {**dict(body.named_parameters()), **dict(body.named_buffers())}
    if all(tensor.device.type != "meta" for tensor in held.values()):
        return _saved(body, held, torch.zeros((resumes, tokens), dtype=torch.long), autocast)
    with FakeTensorMode():  # as on a processor, whose kernels for attention keep less than those of "meta"
        made = {name: _like(tensor) for name, tensor in held.items()}
        return _saved(body, made, torch.zeros((resumes, tokens), dtype=torch.long), autocast)


def _saved(body: Any, held: dict[str, torch.Tensor], ids: torch.Tensor, autocast: bool) -> int:
    """Bytes of what a forward pass keeps, each storage counted once and the model's own not at all."""
    own = {tensor.untyped_storage()._cdata for tensor in held.values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast(ids.device.type, torch.bfloat16, enabled=autocast),
    ):
        states = torch.func.functional_call(body, held, kwargs={"input_ids": ids, "use_cache": False})
    total = sum(storage.nbytes() for storage in kept.values())
    del states  # until here it keeps alive what was counted
    return total


def _like(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape and type, made where it is called."""
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return nn.Parameter(made, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def activation_memory(
    model: Any, resumes: int, tokens: int, *, checkpointing: bool = False, autocast: bool = False
) -> int:
    """Bytes that one batch holds at its peak beside weights, gradients and moments.

    What autograd keeps below the output layer; there, a tile of logits and gradients of states and weights; with
    checkpointing the inside of one layer, which is computed again. Within a fifth of what torch allocates.

    Args:
        model: a Hugging Face causal language model, empty or with numbers.
        resumes: résumés side by side.
        tokens: tokens of each.
        checkpointing: only the inputs of layers are kept.
        autocast: layers multiply in bfloat16.
    """
    kept = saved_bytes(model, resumes, tokens, checkpointing=checkpointing, autocast=autocast)
    config, weight = model.config.get_text_config(), model.get_output_embeddings().weight
    tile = min(FLOAT32 * resumes * tokens * len(weight), LOGIT_BYTES["cpu"])
    states = STATES_HELD * FLOAT32 * resumes * tokens * int(config.hidden_size)
    at_head = LOGITS_HELD * tile + states + FLOAT32 * weight.numel() * weight.requires_grad
    if not checkpointing:
        return kept + at_head
    everything = saved_bytes(model, resumes, tokens, autocast=autocast)
    one_layer = LAYER_AGAIN * (everything - kept) / int(config.num_hidden_layers)
    return kept + max(at_head, int(one_layer))  # layers are computed again when the logits are gone


def scoring_memory(model: Any, rows: int, *, fewest: int = 1) -> ScoringMemory:
    """Bytes that scoring takes with so many rows together, about.

    Args:
        model: a Hugging Face causal language model, with numbers or without.
        rows: nodes of the titles' trees that go through a layer together.
        fewest: nodes of one tree, which are never taken apart.
    """
    rows = max(rows, fewest)
    config = model.config.get_text_config()
    weights = FLOAT32 * sum(parameter.numel() for parameter in model.parameters())
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    head = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    keys_and_values = FLOAT32 * 2 * int(config.num_hidden_layers) * heads * head
    documents = rows // DOCUMENT_SHARE * keys_and_values
    logits = FLOAT32 * min(rows, LOGIT_ROWS) * int(config.vocab_size)
    return ScoringMemory(rows=rows, weights=weights, activations=rows * row_bytes(config, FLOAT32) + documents + logits)


def _adapter_size(model: Any, lora: LoraSettings) -> int:
    """Numbers in the adapters of a model: rank times the sum of both sides of every layer that gets one."""
    layers = linear_layers(model)
    if lora.targets:
        layers = {name: layer for name, layer in layers.items() if name.rpartition(".")[2] in lora.targets}
    return lora.rank * sum(sum(layer.weight.shape) for layer in layers.values())


def _four_bit_bytes(numbers: int) -> int:
    """Bytes of so many weights in 4 bits with their scales."""
    return numbers // 2 + -(-numbers // BLOCK) + FLOAT32 * -(-numbers // (BLOCK * BLOCKS_TOGETHER))


def _set_checkpointing(model: Any, wanted: bool) -> None:
    """Turn gradient checkpointing on or off under the name that this transformers has for it."""
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    getattr(model, f"{kind}_checkpointing_{'enable' if wanted else 'disable'}")()
