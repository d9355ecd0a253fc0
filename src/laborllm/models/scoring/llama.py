"""The forward pass of the Llama family, written for scoring: packed rows, no padding, a tree behind every prefix.

Rows of several careers, or of several careers' trees, go through each linear layer together. A tree's node sees its
prefix (no mask) and its ancestors (short lists of keys); the two parts join by their log-sum-exps, so no mask of
nodes times tokens is ever built.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from laborllm.models.scoring.attention import Part, attend, joined, side_by_side
from laborllm.models.scoring.kernels import FEWEST_ROWS, Head, Linear, at_least, evenly, onednn_serves

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "SmolLM3ForCausalLM")
ROTARY = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose angles do not depend on how long the text is."""
SHORTEST_WINDOW = 64
TRIAL_COLUMNS = 2048
ROWS_PER_TILE = 1024
"""Rows that go through a feed-forward block together on a processor, so that what lies between stays in cache."""
NAMES_OF_MLP = ("gate_proj", "up_proj", "down_proj")
See = Callable[["_Layer", torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention of a layer: (layer, query, key, value) -> mixed values, each of shape (rows, heads, head width)."""


def why_not(model: Any, tokens: int = 0) -> str | None:
    """What in a model this forward pass does not reproduce on texts of so many tokens; None where it does."""
    config = model.config
    name = type(_unwrapped(model)).__name__
    if name not in FAMILY:
        return f"{name} is not of the Llama family"
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") not in ROTARY:
        return f"its rotary embedding is {config.rope_parameters['rope_type']}"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if type(model.get_output_embeddings()) is not nn.Linear:
        return "its output layer is adapted"
    window = getattr(config, "sliding_window", None)
    if window is not None and window < max(SHORTEST_WINDOW, tokens):
        return f"its sliding window of {window} tokens is shorter than the text"
    if len(set((getattr(model, "hf_device_map", None) or {"": 0}).values())) > 1:
        return "it is spread over several devices"
    return None


def _unwrapped(model: Any) -> Any:
    """The Hugging Face model inside a peft wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@dataclass(frozen=True)
class Encoded:
    """Careers that have gone through the model.

    Attributes:
        states: what ``read`` turns into log-probabilities, of the positions asked for, shape (positions, width).
        starts: first row of each document among the keys, shape (documents + 1,).
        keys: per layer, shape (rows, key heads, head width); empty if not kept.
        values: like ``keys``.
        past: the shared prompt that stands before every document.
    """

    states: torch.Tensor
    starts: np.ndarray
    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    past: "Encoded | None" = None

    @property
    def past_length(self) -> int:
        """Number of tokens of the shared prompt."""
        return 0 if self.past is None else int(self.past.starts[-1])


class LlamaForward:
    """Reads the weights of a Hugging Face model of the Llama family where they lie.

    Args:
        model: a model for which ``why_not`` is None, in evaluation mode.
    """

    name = "own forward pass"

    def __init__(self, model: Any) -> None:
        body = _unwrapped(model).model
        head = model.get_output_embeddings()
        self.embed, self.rotary, self.norm = body.embed_tokens, body.rotary_emb, _Norm(body.norm)
        first = body.layers[0].mlp.gate_proj
        onednn = type(first) is nn.Linear and onednn_serves(first.weight)
        self.layers = [
            _Layer(layer, number, onednn) for number, layer in enumerate(body.layers[: model.config.num_hidden_layers])
        ]
        weight = _precise(head.weight.detach())
        bias = None if head.bias is None else _precise(head.bias.detach())
        self.head = Head(weight, bias, onednn_serves(weight[:TRIAL_COLUMNS]))
        self.device, self.dtype = model.device, self.embed.weight.dtype
        self.onednn = onednn

    def encode(
        self,
        documents: Sequence[np.ndarray],
        positions: Sequence[np.ndarray],
        *,
        past: Encoded | None = None,
        keep: bool = True,
        layer: int = -1,
    ) -> Encoded:
        """Run documents through the model, each seeing itself and the shared prompt.

        Args:
            documents: token ids of each, shape (tokens,).
            positions: the tokens of each document whose states are wanted.
            past: a shared prompt, itself encoded as one document.
            keep: whether keys and values are kept for trees to come.
            layer: the hidden state that is wanted, as Hugging Face counts: 0 the embedding, -1 the last, normed.
        """
        starts = np.cumsum([0, *(len(document) for document in documents)])
        place = np.concatenate([np.arange(len(document)) for document in documents])
        before = 0 if past is None else int(past.starts[-1])
        seen = _Documents(starts, past, keep)
        depth = len(self.layers) if layer == -1 else layer % (len(self.layers) + 1)
        x = self.run(np.concatenate(documents), place + before, seen, depth)
        wanted = np.concatenate([start + np.asarray(at) for start, at in zip(starts, positions, strict=False)])
        states = x[self.index(wanted)]
        if depth == len(self.layers):
            states = self.norm(states)
        return Encoded(states, starts, seen.keys, seen.values, past)

    def hidden(
        self, documents: Sequence[np.ndarray], positions: Sequence[np.ndarray], layer: int, past: Encoded | None = None
    ) -> torch.Tensor:
        """Hidden states after a layer (0: the embedding, -1: the last, normed), shape (positions, width)."""
        return self.encode(documents, positions, past=past, keep=False, layer=layer).states

    def read(self, states: torch.Tensor, row: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Log-probability of a token after a state, float64, shapes (pairs,) -> (pairs,)."""
        states = states.to(self.head.weight.dtype)
        log_sum = self.head.log_sum_exp(states)  # (states,)
        rows = self.index(row)
        return (self.head.logits(states, rows, self.index(token)) - log_sum[rows]).double().cpu().numpy()

    def run(self, tokens: np.ndarray, positions: np.ndarray, see: See, depth: int) -> torch.Tensor:
        """The residual stream after ``depth`` layers, shape (rows, width)."""
        rows = len(tokens)
        x = at_least(self.embed(self.index(tokens)), FEWEST_ROWS)  # (rows, width)
        cosine, sine = (at_least(angle, len(x)) for angle in self._angles(positions))
        for layer in self.layers[:depth]:
            x = layer(x, rows, cosine, sine, see)
        return x[:rows]

    def _angles(self, positions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of each row's rotary angles, shape (rows, 1, head width / 2)."""
        every = torch.arange(int(positions.max()) + 1, device=self.device)[None]
        tables = self.rotary(self.embed.weight[:1], every)
        rows = self.index(positions)
        cosine, sine = (table[0, :, : table.shape[2] // 2][rows][:, None] for table in tables)
        return cosine, sine

    def index(self, values: np.ndarray) -> torch.Tensor:
        """Whole numbers on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(self.device)


class _Documents:
    """Each document sees itself, causally, and the shared prompt."""

    def __init__(self, starts: np.ndarray, past: Encoded | None, keep: bool) -> None:
        self.starts, self.past, self.keep = starts, past, keep
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def __call__(self, layer: "_Layer", query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if self.keep:
            self.keys.append(key)
            self.values.append(value)
        own = [
            attend(query[None, a:b], key[None, a:b], value[None, a:b], scale=layer.scale, causal=True)
            for a, b in pairwise(self.starts.tolist())
        ]
        part = side_by_side(own)
        return joined([part, *shared(self.past, layer, query)])


def shared(past: Encoded | None, layer: "_Layer", query: torch.Tensor) -> list[Part]:
    """What every row sees of the shared prompt; nothing without one."""
    if past is None:
        return []
    part = attend(query[None], past.keys[layer.number][None], past.values[layer.number][None], scale=layer.scale)
    return [Part(part.output[0], part.log_sum[0])]


class _Layer:
    """One decoder layer of a Hugging Face model of the family."""

    def __init__(self, module: Any, number: int, onednn: bool) -> None:
        attention, mlp = module.self_attn, module.mlp
        self.number, self.scale, self.width = number, attention.scaling, attention.head_dim
        self.rotates = getattr(attention, "use_rope", True)
        self.before_attention, self.before_mlp = _Norm(module.input_layernorm), _Norm(module.post_attention_layernorm)
        self.query, self.key, self.value, self.output = (
            Linear(getattr(attention, name), onednn) for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        )
        self.query_norm, self.key_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        self.gate, self.up, self.down = (Linear(getattr(mlp, name), onednn) for name in NAMES_OF_MLP)

    def __call__(self, x: torch.Tensor, rows: int, cosine: torch.Tensor, sine: torch.Tensor, see: See) -> torch.Tensor:
        """The residual stream after this layer, shape (rows, width); only the first ``rows`` rows are real."""
        inside = self.before_attention(x)
        query, key, value = (
            layer(inside).view(len(x), -1, self.width) for layer in (self.query, self.key, self.value)
        )  # (rows, heads, head width)
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        if self.rotates:
            query, key = _rotated(query, cosine, sine), _rotated(key, cosine, sine)
        mixed = see(self, query[:rows], key[:rows], value[:rows])
        x = self.output.plus(at_least(mixed.reshape(rows, -1), len(x)), x)
        if x.device.type == "cuda":
            return self._mlp(x)
        return torch.cat([self._mlp(tile) for tile in evenly(x, ROWS_PER_TILE)])

    def _mlp(self, x: torch.Tensor) -> torch.Tensor:
        """The residual stream after the gated feed-forward block, shape (rows, width)."""
        inside = self.before_mlp(x)
        return self.down.plus(self.up.times(inside, self.gate.silu(inside)), x)


def _precise(weight: torch.Tensor) -> torch.Tensor:
    """The same numbers in float32 at least: a head in half precision rounds logits by 0.06."""
    return weight.float() if weight.dtype in (torch.bfloat16, torch.float16) else weight


class _Norm:
    """Root-mean-square norm: one kernel in float32, the model's own module in any other precision."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32:
            return self.module(x)
        return functional.rms_norm(x, x.shape[-1:], self.module.weight, self.module.variance_epsilon)


def _rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding: halves of each head turn against each other, shape (rows, heads, head width)."""
    turned = torch.empty_like(x)
    first, second = x.chunk(2, dim=2)
    left, right = turned.chunk(2, dim=2)
    torch.mul(first, cosine, out=left).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=right).addcmul_(first, sine)
    return turned
