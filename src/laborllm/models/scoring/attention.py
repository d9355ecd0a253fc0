"""Attention that also returns its log-sum-exp, so that parts over different keys join exactly."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch.nn import functional

QUERIES_TOGETHER = 8
"""Queries are filled up to a multiple of this on a processor: fewer than four in a block of its kernel go through other
products, whose last bits differ with AVX-512."""


@dataclass(frozen=True)
class Part:
    """Attention of some queries over some of their keys.

    Attributes:
        output: weighted values, shape (..., queries, heads, head width).
        log_sum: log of the sum of exponentiated scores, shape (..., queries, heads).
    """

    output: torch.Tensor
    log_sum: torch.Tensor


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    causal: bool = False,
    mask: torch.Tensor | None = None,
) -> Part:
    """Softmax attention over the given keys alone.

    Args:
        query: shape (batch, queries, heads, head width).
        key: shape (batch, keys, key heads, head width); each key head serves heads / key heads queries.
        value: like ``key``.
        scale: factor of the scores.
        causal: query i sees keys 0..i.
        mask: 0 where a key is seen and minus infinity elsewhere, shape (batch, 1, queries, keys).
    """
    rows = query.shape[1]
    if query.device.type == "cpu" and not causal and mask is None:
        query = functional.pad(query, (0, 0, 0, 0, 0, -rows % QUERIES_TOGETHER))
    repeats = query.shape[2] // key.shape[2]
    if repeats > 1:
        key, value = (each.repeat_interleave(repeats, dim=2) for each in (key, value))
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))  # (batch, heads, rows, head width)
    if query.device.type == "cpu":
        output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=scale
        )
    elif query.device.type == "cuda" and query.dtype != torch.float64:
        output, log_sum = _on_gpu(query, key, value, scale, causal, mask)
    else:
        output, log_sum = _plainly(query, key, value, scale, causal, mask)
    return Part(output.transpose(1, 2)[:, :rows], log_sum.transpose(1, 2)[:, :rows])


def _on_gpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    causal: bool,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """torch's memory-efficient kernel, which takes a mask and returns the log-sum-exp in float32 and in bfloat16."""
    bias = None if mask is None else _aligned(mask.to(query.dtype)).expand(len(query), query.shape[1], -1, -1)
    output, log_sum, _, _ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, 0.0, causal, scale=scale
    )
    return output, log_sum[:, :, : query.shape[2]]


def _aligned(mask: torch.Tensor) -> torch.Tensor:
    """The same mask in memory whose rows begin at multiples of 16 bytes, as the kernel demands."""
    keys = mask.shape[-1]
    room = mask.new_zeros(*mask.shape[:-1], -(-keys // 8) * 8)
    room[..., :keys] = mask
    return room[..., :keys]


def _plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    causal: bool,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula itself, where no kernel is at hand."""
    scores = query @ key.transpose(2, 3) * scale  # (batch, heads, queries, keys)
    if mask is not None:
        scores = scores + mask
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    log_sum = scores.logsumexp(3)
    return (scores - log_sum[..., None]).exp() @ value, log_sum


def side_by_side(parts: Iterable[Part]) -> Part:
    """Parts of one batch each, laid behind one another, shape (queries, heads, head width)."""
    outputs, log_sums = zip(*((part.output[0], part.log_sum[0]) for part in parts), strict=True)
    return Part(torch.cat(outputs), torch.cat(log_sums))


def joined(parts: list[Part]) -> torch.Tensor:
    """Attention over all parts' keys together, shape (..., queries, heads, head width)."""
    return reduce(_join, parts).output


def _join(first: Part, second: Part) -> Part:
    """Each part's share is the logistic function of the difference of their log-sums, in float64: last bits would
    depend on where a row stands."""
    ours, theirs = first.log_sum.double(), second.log_sum.double()
    share = torch.sigmoid(theirs - ours)[..., None].to(first.output.dtype)
    return Part(torch.lerp(first.output, second.output, share), torch.logaddexp(ours, theirs).to(first.log_sum.dtype))
