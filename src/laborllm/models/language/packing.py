"""Several résumés in one sequence, none of which sees another: no token is spent on padding.

Attention runs over each résumé by itself, and positions restart with it, so a pack gives the numbers that its résumés
give alone. It is put in through transformers' interface of attention functions; a model that does not go through it,
or computes something else with it, is noticed by ``packs_exactly``.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from laborllm.text.titles import TokenizedResume

NAME = "laborllm_packed"
HALVES = (torch.bfloat16, torch.float16)
UNKNOWN = ("s_aux", "position_bias")
"""What some layers hand their attention that is not computed here: sinks, biases of positions."""


@dataclass(frozen=True)
class Layout:
    """Where résumés stand in a pack.

    Attributes:
        lengths: tokens of each résumé, in the order of the pack.
        device: where the pack is.
    """

    lengths: tuple[int, ...]
    device: torch.device

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(résumés, tokens of each) of neighbours of equal length."""
        return [(len(list(group)), length) for length, group in groupby(self.lengths)]

    @cached_property
    def edges(self) -> torch.Tensor:
        """Where each résumé begins and the last one ends, int32, shape (resumes + 1,)."""
        return torch.tensor(np.cumsum([0, *self.lengths]), dtype=torch.int32, device=self.device)


@dataclass(frozen=True)
class Pack:
    """Résumés one after the other, the shortest first.

    Attributes:
        tokens: token ids, shape (1, tokens).
        positions: each token's place in its own résumé, shape (1, tokens).
        layout: where each résumé stands.
        source: the places whose states predict a token that is learned, shape (learned,).
        target: those tokens, shape (learned,).
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    source: torch.Tensor
    target: torch.Tensor


@dataclass(frozen=True)
class Rule:
    """How a layer makes attention weights.

    Attributes:
        scaling: of the scores; one by the root of the width if not given.
        window: how many tokens back a token sees, itself included.
        softcap: scores are bounded by it through tanh.
        dropout: share of weights dropped.
    """

    scaling: float | None
    window: int | None
    softcap: float | None
    dropout: float

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Rule":
        """From what transformers' layers hand on."""
        return cls(given.get("scaling"), given.get("sliding_window"), given.get("softcap"), given.get("dropout", 0.0))


def learned_tokens(resume: TokenizedResume, loss: str) -> np.ndarray:
    """Places of the tokens of a résumé that are learned, ascending, shape (learned,).

    Args:
        resume: a résumé, or a window of one that repeats tokens as context.
        loss: "all_tokens", or "occupations", the titles with their line ends.
    """
    if loss == "all_tokens":
        return np.arange(max(1, resume.learned_from), len(resume.tokens))
    titles = zip(resume.cuts[resume.first_scored :], resume.ends[resume.first_scored :], strict=True)
    return np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(max(1, cut), end) for cut, end in titles)])


def pack(resumes: Sequence[TokenizedResume], loss: str, device: torch.device) -> Pack:
    """One pack of the given résumés."""
    ordered = sorted(resumes, key=lambda resume: len(resume.tokens))
    lengths = [len(resume.tokens) for resume in ordered]
    starts = np.cumsum([0, *lengths[:-1]])
    learned = np.concatenate([start + learned_tokens(each, loss) for start, each in zip(starts, ordered, strict=True)])
    tokens = np.concatenate([resume.tokens for resume in ordered])
    positions = np.concatenate([np.arange(length) for length in lengths])

    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    return Pack(
        tokens=there(tokens)[None],  # (1, tokens)
        positions=there(positions)[None],  # (1, tokens)
        layout=Layout(tuple(lengths), device),
        source=there(learned - 1),
        target=there(tokens[learned]),
    )


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Within, a model takes packs and nothing else; its attention is as before afterwards.

    Args:
        model: a Hugging Face causal language model, without an adapter's wrapper.

    Raises:
        ValueError: the model's attention does not go through transformers' interface.
    """
    ALL_ATTENTION_FUNCTIONS.register(NAME, attention_within_resumes)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        if model.config._attn_implementation != NAME:
            raise ValueError("its attention cannot be exchanged")
        yield
    finally:
        model.set_attn_implementation(before)


def attention_within_resumes(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each résumé of a pack to itself, as transformers' interface of attention functions wants it.

    Args:
        module: the model's attention.
        query: shape (1, heads, tokens, width).
        key: shape (1, key heads, tokens, width).
        value: shape (1, key heads, tokens, width).
        attention_mask: there is none.
        given: ``layout`` and what else the model's layers hand on, of which ``Rule`` takes what it knows.

    Returns:
        Shape (1, tokens, heads, width).

    Raises:
        ValueError: there is no layout, or the scores are made in a way that is not known here.
    """
    layout, rule = given.get("layout"), Rule.of(given)
    unknown = [name for name in UNKNOWN if given.get(name) is not None]
    if layout is None or attention_mask is not None or unknown:
        raise ValueError(f"its attention gets {', '.join(unknown) or 'no layout, or a mask'}")
    plain = rule.softcap is None and rule.dropout == 0
    if query.is_cuda and query.dtype in HALVES and plain and (kernel := _varlen_kernel()) is not None:
        return _in_one_kernel(kernel, [query[0], key[0], value[0]], rule, layout)[None], None
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)  # (1, heads, tokens, width)
    sizes = [resumes * length for resumes, length in layout.runs]
    pieces = zip(*(each[0].split(sizes, 1) for each in (query, key, value)), strict=True)
    answers = [
        _of_run([piece.unflatten(1, run).transpose(0, 1) for piece in three], rule)
        for run, three in zip(layout.runs, pieces, strict=True)
    ]
    return torch.cat(answers)[None], None  # (1, tokens, heads, width)


def _of_run(three: list[torch.Tensor], rule: "Rule") -> torch.Tensor:
    """Attention of résumés of equal length.

    Args:
        three: queries, keys and values, each of shape (resumes, heads, tokens, width).
        rule: how weights are made.

    Returns:
        Shape (resumes * tokens, heads, width).
    """
    query, key, value = three
    length = query.shape[2]
    window = length if rule.window is None else min(rule.window, length)
    if rule.softcap is None:
        band = _band(length, window, query.device) if window < length else None
        answer = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=band, dropout_p=rule.dropout, is_causal=band is None, scale=rule.scaling
        )
    else:
        scale = query.shape[-1] ** -0.5 if rule.scaling is None else rule.scaling
        scores = torch.tanh(query @ key.transpose(2, 3) * (scale / rule.softcap)) * rule.softcap
        scores = scores.masked_fill(~_band(length, window, query.device), -torch.inf)
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        answer = functional.dropout(weights, rule.dropout) @ value  # (resumes, heads, tokens, width)
    return answer.transpose(1, 2).flatten(0, 1)  # (resumes * tokens, heads, width)


def _band(tokens: int, window: int, device: torch.device) -> torch.Tensor:
    """What each token sees: itself and those before it within the window, shape (tokens, tokens)."""
    place = torch.arange(tokens, device=device)
    distance = place[:, None] - place[None, :]  # (tokens, tokens)
    return (distance >= 0) & (distance < window)


@cache
def _varlen_kernel() -> Callable[..., torch.Tensor] | None:
    """Flash attention over sequences of many lengths, which newer versions of torch have."""
    try:
        varlen: Callable[..., torch.Tensor] = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    except ImportError:
        return None
    return varlen if {"scale", "window_size", "enable_gqa"} <= set(inspect.signature(varlen).parameters) else None


def _in_one_kernel(
    kernel: Callable[..., torch.Tensor], three: list[torch.Tensor], rule: "Rule", layout: Layout
) -> torch.Tensor:
    """Attention of all résumés at once, shapes (heads, tokens, width) -> (tokens, heads, width)."""
    query, key, value = (each.transpose(0, 1) for each in three)  # (tokens, heads, width)
    edges, longest = layout.edges, max(layout.lengths)
    back = -1 if rule.window is None else rule.window - 1
    return kernel(
        *(query, key, value, edges, edges, longest, longest),
        scale=rule.scaling,
        window_size=(back, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
