"""The loss of tokens from the states before them, without ever holding the logits of all of them.

Logits of a vocabulary of 128,000 are the largest thing in a training step. They are made for some rows at a time, and
their gradients with them, so that nothing of the size of the vocabulary is kept for the way back.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

LOGIT_BYTES = {"cpu": 128 * 2**20, "cuda": 256 * 2**20}
"""Room for the logits, in float32, of the rows that are done together."""


def summed_nats(
    states: torch.Tensor,
    head: torch.nn.Linear,
    target: torch.Tensor,
    *,
    softcap: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Negative log-probability of tokens, summed, in nats.

    Args:
        states: hidden states before the tokens, shape (tokens, width).
        head: the layer from states to the vocabulary.
        target: the tokens, shape (tokens,).
        softcap: logits are bounded by it through tanh.
        dtype: of the products; their sums and the softmax are float32.
    """
    nats: torch.Tensor = _SummedNats.apply(states, head.weight, head.bias, target, softcap, dtype)
    return nats


class _SummedNats(torch.autograd.Function):
    """Gradients are made on the way there, beside the loss, and only scaled on the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        target: torch.Tensor,
        softcap: float | None,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        wanted = ctx.needs_input_grad[:3]
        with torch.autocast(states.device.type, enabled=False):
            x, w = states.to(dtype), weight.to(dtype)
            rows = max(1, LOGIT_BYTES[states.device.type] // (4 * len(weight)))
            of_states = torch.empty_like(states) if wanted[0] else None
            of_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
            of_bias = torch.zeros_like(weight[:, 0], dtype=torch.float32) if wanted[2] else None
            total = states.new_zeros((), dtype=torch.float32)
            for start in range(0, len(x), rows):
                part, wants = x[start : start + rows], target[start : start + rows]
                nats, slope = _nats_and_slope(functional.linear(part, w).float(), bias, wants, softcap)
                total += nats
                if of_states is not None:
                    of_states[start : start + rows] = slope.to(dtype) @ w
                if of_weight is not None:
                    _add_product(of_weight, slope.to(dtype), part)
                if of_bias is not None:
                    of_bias += slope.sum(0)
        ctx.gradients = of_states, of_weight, of_bias
        ctx.dtypes = states.dtype, weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, share: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_states, of_weight, of_bias = (None if each is None else each.mul_(share) for each in ctx.gradients)
        return (
            None if of_states is None else of_states,
            None if of_weight is None else of_weight.to(ctx.dtypes[1]),
            None if of_bias is None else of_bias.to(ctx.dtypes[1]),
            None,
            None,
            None,
        )


def _nats_and_slope(
    logits: torch.Tensor, bias: torch.Tensor | None, target: torch.Tensor, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed nats of some rows and their gradient by the head's output, in place of the logits, (rows, vocabulary)."""
    if bias is not None:
        logits += bias.float()
    if softcap is not None:
        logits.div_(softcap).tanh_()
        inner = logits.square().neg_().add_(1)  # (rows, vocabulary)
        logits.mul_(softcap)
    row = torch.arange(len(target), device=target.device)
    logits.sub_(logits.amax(1, keepdim=True))
    chosen = logits[row, target]  # (rows,)
    total = logits.exp_().sum(1)  # (rows,)
    nats = (total.log() - chosen).sum()
    slope = logits.div_(total[:, None])  # (rows, vocabulary)
    slope[row, target] -= 1
    return nats, slope if softcap is None else slope.mul_(inner)


def _add_product(total: torch.Tensor, slope: torch.Tensor, states: torch.Tensor) -> None:
    """Add slope^T states, shape (vocabulary, width)."""
    if slope.dtype == torch.float32:
        total.addmm_(slope.t(), states)
    else:
        total += slope.t() @ states
