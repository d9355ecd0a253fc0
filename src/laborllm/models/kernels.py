"""Linear layers and the log-sum-exp of the head, by the fastest exact kernel at hand.

torch's float32 product goes to MKL, which runs at half rate on some processors; oneDNN's, a private operator of
torch, does not, and takes the gated activation and the residual with it. It is chosen at load, and left where it is
missing, where weights are not float32, or where a short trial shows it to be clearly slower.
"""

from collections.abc import Callable
from itertools import repeat
from time import thread_time

import torch
from torch import nn
from torch.nn import functional

TRIAL_ROWS = 512
TRIALS = 7
CLEARLY_SLOWER = 1.5
"""oneDNN is left only beyond this ratio, so that a noisy trial does not change the kernel and with it last bits."""
ROWS_PER_TILE = {"cpu": 512, "cuda": 4096}
COLUMNS_PER_TILE = {"cpu": 2048, "cuda": 2**30}
"""On a processor a tile of logits stays in its cache; a GPU wants large products."""
PAIRS_PER_TILE = 2048
CERTAIN_SUM = (1e-25, 1e-7)
"""Sums of shifted exponentials between these bounds are exact to rounding (see ``Head``)."""


def onednn_serves(weight: torch.Tensor) -> bool:
    """Whether oneDNN's linear layer is at hand for such a weight and not clearly slower than torch's own."""
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    x = torch.ones(TRIAL_ROWS, weight.shape[1])
    try:
        _onednn(x, weight, None)
    except (AttributeError, RuntimeError):
        return False
    trials = [(_seconds(_onednn, x, weight, None), _seconds(functional.linear, x, weight)) for _ in range(TRIALS)]
    onednn, torchs = (min(seconds) for seconds in zip(*trials, strict=True))
    return onednn <= CLEARLY_SLOWER * torchs


def _seconds(work: Callable[..., torch.Tensor], *given: torch.Tensor | None) -> float:
    """Processor time of this thread, which other programs do not lengthen."""
    start = thread_time()
    work(*given)
    return thread_time() - start


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, attribute: str = "none") -> torch.Tensor:
    """x W^T + b and what ``attribute`` names, shape (rows, out)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, attribute, [], "")


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
            return functional.silu(self.module(x))
        return _onednn(x, self._weight, self._bias, "swish")

    def times(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The layer's output times another tensor, shape (rows, out)."""
        if not self.onednn:
            return self.module(x) * other
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "mul")

    def plus(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The layer's output plus another tensor, shape (rows, out)."""
        if not self.onednn:
            return self.module(x) + other
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")

    @property
    def _weight(self) -> torch.Tensor:
        return self.module.weight  # type: ignore[return-value]

    @property
    def _bias(self) -> torch.Tensor | None:
        return self.module.bias  # type: ignore[return-value]


class Head:
    """The output layer: log-probabilities of chosen tokens without ever holding all logits.

    Tiles of rows and columns stay in the processor's cache. With oneDNN the exponential is taken inside the product:
    sigmoid(z) equals exp(z) up to a relative exp(z), so logits are shifted down by a constant and the logistic
    function is applied where the tile is made. The sum S of a row certifies itself: every term is below S, so
    S <= 1e-7 bounds the relative error by 1e-7, and S >= 1e-25 means that what underflowed is nothing. Rows outside
    these bounds are summed the ordinary way.

    Args:
        weight: shape (vocabulary, width), float32 or float64.
        bias: shape (vocabulary,), or None.
        onednn: whether tiles go to oneDNN.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, onednn: bool) -> None:
        self.weight, self.bias = weight, bias
        self.onednn = onednn and weight.dtype == torch.float32
        self.rows, self.columns = (tile[weight.device.type] for tile in (ROWS_PER_TILE, COLUMNS_PER_TILE))
        self.shift: torch.Tensor | None = None

    def set_shift(self, hidden: torch.Tensor) -> None:
        """Place the window of certain sums around the log-sum-exps of a few typical rows, shape (rows, width)."""
        typical = float(self._log_sum_exp_plainly(hidden).max())
        offset = torch.full((len(self.weight),), -(typical + 28.0))
        self.shift = offset if self.bias is None else offset + self.bias  # (vocabulary,)
        self.down = typical + 28.0

    def log_sum_exp(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log of the sum of exponentiated logits, shape (rows, width) -> (rows,)."""
        return torch.cat([self._log_sum_exp_of_tile(tile) for tile in hidden.split(self.rows)])

    def logits(self, hidden: torch.Tensor, row: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Logits of (row, token) pairs, shapes (pairs,) -> (pairs,)."""
        chosen = [
            (hidden[rows] * self.weight[tokens]).sum(1)
            for rows, tokens in zip(row.split(PAIRS_PER_TILE), token.split(PAIRS_PER_TILE), strict=True)
        ]
        result = torch.cat(chosen) if chosen else hidden.new_zeros(0)
        return result if self.bias is None else result + self.bias[token]

    def _log_sum_exp_of_tile(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.onednn or self.shift is None:
            return self._log_sum_exp_plainly(hidden)
        total = hidden.new_zeros(len(hidden))
        for weight, shift in zip(self.weight.split(self.columns), self.shift.split(self.columns), strict=True):
            total += _onednn(hidden, weight, shift, "sigmoid").sum(1)
        result = total.log() + self.down
        uncertain = ~((total >= CERTAIN_SUM[0]) & (total <= CERTAIN_SUM[1]))
        if uncertain.any():
            result[uncertain] = self._log_sum_exp_plainly(hidden[uncertain])
        return result

    def _log_sum_exp_plainly(self, hidden: torch.Tensor) -> torch.Tensor:
        biases = repeat(None) if self.bias is None else self.bias.split(self.columns)
        tiles = [
            functional.linear(hidden, weight, bias).logsumexp(1)
            for weight, bias in zip(self.weight.split(self.columns), biases, strict=False)
        ]
        return torch.stack(tiles).logsumexp(0)
