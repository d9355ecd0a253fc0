"""Linear layers and the log-sum-exp of the head, by the fastest exact kernel at hand.

torch's float32 product goes to MKL, which runs at half rate on some processors; oneDNN's, a private operator of
torch, does not, and takes the gated activation and the residual with it. It is chosen at load where a short trial
shows it to be clearly faster.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from time import thread_time

import torch
from torch import nn
from torch.nn import functional

TRIAL_ROWS, TRIAL_WIDTH = 512, 768
TRIALS = 7
CLEARLY_FASTER = 1.4
"""oneDNN is taken only beyond this ratio, so that a noisy trial does not change the kernel and with it last bits."""
ROWS_PER_TILE = {"cpu": 512, "gpu": 4096}
COLUMNS_PER_TILE = {"cpu": 2048, "gpu": 2**30}
"""On a processor a tile of logits stays in its cache; a GPU wants large products."""
PAIRS_PER_TILE = 2048
LOG2_E = 1 / math.log(2)
FAR_DOWN = 28.0
"""How far below zero logits are shifted for the logistic function, beyond a typical log-sum-exp."""
NEAR_ZERO = 40.0
"""Log-sum-exps that need no shift: their exponentials are far from overflow and underflow."""
ROWS_TOGETHER = 32
"""Rows come in multiples of this: what is left of a tile after whole vectors goes through scalar functions, whose last
bits differ."""
FEWEST_ROWS = 64
"""Products of fewer rows go through other kernels, whose last bits differ."""
CERTAIN, CERTAIN_OF_SIGMOID = (1e-25, 1e25), (1e-25, 1e-7)
"""Sums of shifted exponentials within these bounds are exact to rounding (see ``Head``)."""


def onednn_serves(weight: torch.Tensor) -> bool:
    """Whether oneDNN's linear layer is at hand for such a weight and clearly faster than torch's own."""
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    try:
        _onednn(weight[:1], weight[:1], None)
    except (AttributeError, RuntimeError):
        return False
    return _onednn_is_faster()


@cache
def _onednn_is_faster() -> bool:
    """One trial a process, on one thread and a shape of its own, so that it tells of the machine alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x, weight = torch.ones(TRIAL_ROWS, TRIAL_WIDTH), torch.ones(TRIAL_ROWS, TRIAL_WIDTH)
    trials = [(_seconds(_onednn, x, weight, None), _seconds(functional.linear, x, weight)) for _ in range(TRIALS)]
    torch.set_num_threads(threads)
    onednn, torchs = (min(seconds) for seconds in zip(*trials, strict=True))
    return onednn * CLEARLY_FASTER <= torchs


def _seconds(work: Callable[..., torch.Tensor], *given: torch.Tensor | None) -> float:
    """Processor time of this thread, which other programs do not lengthen."""
    start = thread_time()
    work(*given)
    return thread_time() - start


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, attribute: str = "none") -> torch.Tensor:
    """x W^T + b and what ``attribute`` names, shape (rows, out)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, attribute, [], "")


def evenly(x: torch.Tensor, rows: int) -> tuple[torch.Tensor, ...]:
    """Tiles of at most so many rows, all of about the same size: a short last one would take another kernel."""
    tiles = -(-len(x) // rows)
    return x.split(-(-len(x) // (tiles * ROWS_TOGETHER)) * ROWS_TOGETHER)


def at_least(x: torch.Tensor, rows: int) -> torch.Tensor:
    """The same rows, and zeros behind them until there are so many and whole vectors of them."""
    wanted = -(-max(len(x), rows) // ROWS_TOGETHER) * ROWS_TOGETHER
    return x if len(x) == wanted else torch.cat([x, x.new_zeros(wanted - len(x), *x.shape[1:])])


class Linear:
    """A linear layer of a model, plain or with whatever an adapter or a quantiser made of it.

    Args:
        module: the model's own layer; its weights are read, never copied.
        onednn: whether plain layers go to oneDNN.
    """

    def __init__(self, module: nn.Module, onednn: bool) -> None:
        self.module = module
        self.onednn = onednn and type(module) is nn.Linear

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (rows, in) -> (rows, out)."""
        if not self.onednn:
            return self.module(x)
        return _onednn(x, self._weight, self._bias)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's sigmoid-weighted output, shape (rows, out)."""
        if not self.onednn:
            return functional.silu(self.module(x), inplace=True)
        return _onednn(x, self._weight, self._bias, "swish")

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The layer's output times another tensor, shape (rows, out)."""
        if not self.onednn:
            return self.module(x).mul_(other)
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "mul")

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The layer's output plus another tensor, shape (rows, out)."""
        if not self.onednn:
            return self.module(x).add_(other)
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")

    @property
    def _weight(self) -> torch.Tensor:
        return self.module.weight  # type: ignore[return-value]

    @property
    def _bias(self) -> torch.Tensor | None:
        return self.module.bias  # type: ignore[return-value]


class Head:
    """The output layer: log-probabilities of chosen tokens without ever holding all logits.

    Tiles of rows and columns stay in the processor's cache. Logits are shifted by a constant, exponentiated and summed
    without looking for their maximum first; the sum of a row certifies itself, and rows outside the certain range are
    summed the ordinary way. With oneDNN the exponential is taken inside the product: sigmoid(z) equals exp(z) up to a
    relative exp(z), so logits are shifted far down and the logistic function is applied where the tile is made. Every
    term is below the sum S, so S <= 1e-7 bounds the relative error by 1e-7; S >= 1e-25 means that what underflowed is
    nothing.

    Args:
        weight: shape (vocabulary, width), float32 or float64.
        bias: shape (vocabulary,), or None.
        onednn: whether tiles go to oneDNN.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, onednn: bool) -> None:
        self.weight, self.bias = weight, bias
        kind = "cpu" if weight.device.type == "cpu" else "gpu"
        self.rows, self.columns = ROWS_PER_TILE[kind], COLUMNS_PER_TILE[kind]
        self.onednn = onednn
        self.certain = CERTAIN_OF_SIGMOID if onednn else CERTAIN
        self.down: float | None = None
        self.shift: torch.Tensor | None = None

    @torch.inference_mode()
    def set_shift(self, hidden: torch.Tensor) -> None:
        """Place the certain range around the log-sum-exps of a few typical rows, shape (rows, width)."""
        typical = float(self._log_sum_exp_plainly(hidden).max())
        if self.onednn:
            self.down = typical + FAR_DOWN
        else:
            self.down = typical if abs(typical) > NEAR_ZERO else 0.0
        if self.bias is not None or self.down:
            offset = self.weight.new_full((len(self.weight),), -self.down)
            self.shift = offset if self.bias is None else offset + self.bias  # (vocabulary,)

    def log_sum_exp(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log of the sum of exponentiated logits, shape (rows, width) -> (rows,)."""
        tiles = evenly(at_least(hidden, FEWEST_ROWS), self.rows)
        return torch.cat([self._log_sum_exp_of_tile(tile) for tile in tiles])[: len(hidden)]

    def logits(self, hidden: torch.Tensor, row: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Logits of (row, token) pairs, shapes (pairs,) -> (pairs,)."""
        chosen = [
            (hidden.index_select(0, rows) * self.weight.index_select(0, tokens)).sum(1)
            for rows, tokens in zip(row.split(PAIRS_PER_TILE), token.split(PAIRS_PER_TILE), strict=True)
        ]
        result = torch.cat(chosen) if chosen else hidden.new_zeros(0)
        return result if self.bias is None else result + self.bias[token]

    def _log_sum_exp_of_tile(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.down is None:
            return self._log_sum_exp_plainly(hidden)
        total = self._shifted_sum(hidden)
        result = (total.double().log() + self.down).to(total.dtype)  # so that vectors and scalars round alike
        uncertain = ~((total >= self.certain[0]) & (total <= self.certain[1]))
        if uncertain.any():
            result[uncertain] = self._log_sum_exp_plainly(hidden[uncertain])
        return result

    def _shifted_sum(self, hidden: torch.Tensor) -> torch.Tensor:
        """Sum of exponentiated, shifted logits, shape (rows,)."""
        if self.onednn:
            sums = [_onednn(hidden, weight, shift, "sigmoid").sum(1) for weight, shift in self._tiles(self.shift)]
            return torch.stack(sums).sum(0)
        total = hidden.new_zeros(len(hidden))
        room = hidden.new_empty(len(hidden) * min(self.columns, len(self.weight)))
        scaled = hidden * LOG2_E  # a power of two is cheaper than one of e
        for weight, shift in self._tiles(self.shift):
            tile = room[: len(hidden) * len(weight)].view(len(hidden), len(weight))
            if shift is None:
                torch.mm(scaled, weight.t(), out=tile)
            else:
                torch.addmm(shift * LOG2_E, scaled, weight.t(), out=tile)
            total += tile.exp2_().sum(1)
        return total

    def _log_sum_exp_plainly(self, hidden: torch.Tensor) -> torch.Tensor:
        tiles = [functional.linear(hidden, weight, bias).logsumexp(1) for weight, bias in self._tiles(self.bias)]
        return torch.stack(tiles).logsumexp(0)

    def _tiles(self, bias: torch.Tensor | None) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        """Weights and what is added to them, some columns of the vocabulary at a time."""
        for first in range(0, len(self.weight), self.columns):
            tile = slice(first, first + self.columns)
            yield self.weight[tile], None if bias is None else bias[tile]
