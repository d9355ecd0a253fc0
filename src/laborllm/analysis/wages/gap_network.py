"""Representations of histories for a gap decomposition, learned for the outcome alone or so that nothing is left out.

A history H, given as a vector x, is boiled down to a few numbers lambda = W x, on which small heads stand. What is
wanted is tau = E[E[Y | G=1, H] - E[Y | G=0, H] | G=1]. With lambda in place of H it is right if lambda keeps what
E[Y | G=0, H] or what P(G=1 | H) needs. Learned for wages alone, lambda drops what matters little for wages, however
much it tells of the group: omitted-variable bias (Vafa, Athey & Blei, PNAS 2025). The objectives below differ in what
lambda is learned for; the heads are the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from laborllm.analysis.wages.gap_settings import GapNetworkSettings, Objective


@dataclass(frozen=True)
class Batch:
    """Rows as tensors.

    Attributes:
        inputs: histories, shape (rows, features).
        outcome: standardised, shape (rows,).
        first: 1 for the first group, else 0, shape (rows,).
        weights: of mean 1, shape (rows,).
        reference: P(G=1 | H) of a model that reads the whole history, shape (rows,).
    """

    inputs: torch.Tensor
    outcome: torch.Tensor
    first: torch.Tensor
    weights: torch.Tensor
    reference: torch.Tensor

    def rows(self, some: torch.Tensor) -> "Batch":
        """The same of some rows."""
        return Batch(*(getattr(self, name)[some] for name in ("inputs", "outcome", "first", "weights", "reference")))


class GapNetwork(nn.Module):
    """lambda = W x and, on it, two heads of one hidden layer.

    ``outcome`` has two outputs, of which the second is E[Y | G=1, lambda] - E[Y | G=0, lambda]; the first is
    E[Y | G=0, lambda], or E[Y | lambda] where the network learns by ``residual``. ``group`` is the logit of
    P(G=1 | lambda).

    Args:
        features: numbers of a history.
        settings: width of lambda, hidden units.
    """

    def __init__(self, features: int, settings: GapNetworkSettings) -> None:
        super().__init__()
        self.represent = nn.Linear(features, settings.width)
        self.outcome = _head(settings, 2)
        self.group = _head(settings, 1)


def _head(settings: GapNetworkSettings, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(settings.width, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, outputs))


def naive(network: GapNetwork, batch: Batch, settings: GapNetworkSettings) -> torch.Tensor:
    """Squared error of Y given (G, lambda); the head of the group reads lambda and does not shape it."""
    state = network.represent(batch.inputs)  # (rows, width)
    return _outcome_error(network, state, batch) + settings.group_weight * _entropy(
        _logit(network, state.detach()), batch
    )


def joint(network: GapNetwork, batch: Batch, settings: GapNetworkSettings) -> torch.Tensor:
    """Squared error of Y given (G, lambda) plus cross-entropy of G given lambda: lambda keeps what either needs."""
    state = network.represent(batch.inputs)  # (rows, width)
    return _outcome_error(network, state, batch) + settings.group_weight * _entropy(_logit(network, state), batch)


def projection(network: GapNetwork, batch: Batch, settings: GapNetworkSettings) -> torch.Tensor:
    """Squared error of Y plus the squared covariance of what is left of Y with what the whole history tells of G.

    Left of Y is Y - E[Y | G, lambda]; what the history tells is e(H), of a reference model that reads all of it. The
    bias of tau is the covariance of two omissions, of lambda for Y and of lambda for G (Chernozhukov, Cinelli, Newey,
    Sharma & Syrgkanis, "Long story short", 2022); so what is left of Y is made orthogonal to e(H) within groups.
    Divided by the standard deviation of e(H), its square is the squared error that a regression on e(H) would remove.
    """
    state = network.represent(batch.inputs)  # (rows, width)
    second, difference = network.outcome(state).unbind(1)  # (rows,)
    logit = _logit(network, state.detach())  # (rows,)
    left = batch.outcome - second - batch.first * difference
    told = batch.reference - _group_means(batch.reference, batch)  # else moving a group's mean outcome would do
    penalty = _mean(left * told, batch) ** 2 / _mean(told**2, batch).clamp(min=1e-6)
    own = _mean(left**2, batch) + settings.group_weight * _entropy(logit, batch)
    return own + settings.projection_weight * penalty


def residual(network: GapNetwork, batch: Batch, settings: GapNetworkSettings) -> torch.Tensor:
    """(Y - m - tau (G - e))², with m = E[Y | lambda] and e = P(G=1 | lambda) learned beside it (the R-learner)."""
    state = network.represent(batch.inputs)  # (rows, width)
    mean, difference = network.outcome(state).unbind(1)  # (rows,)
    logit = _logit(network, state)  # (rows,)
    left = batch.outcome - mean.detach() - difference * (batch.first - logit.detach().sigmoid())
    nuisances = _mean((batch.outcome - mean) ** 2, batch) + settings.group_weight * _entropy(logit, batch)
    return nuisances + _mean(left**2, batch)


LOSSES: Mapping[Objective, Callable[[GapNetwork, Batch, GapNetworkSettings], torch.Tensor]] = {
    "naive": naive,
    "joint": joint,
    "projection": projection,
    "residual": residual,
}


def _outcome_error(network: GapNetwork, state: torch.Tensor, batch: Batch) -> torch.Tensor:
    second, difference = network.outcome(state).unbind(1)  # (rows,)
    return _mean((batch.outcome - second - batch.first * difference) ** 2, batch)


def _logit(network: GapNetwork, state: torch.Tensor) -> torch.Tensor:
    return network.group(state)[:, 0]


def _entropy(logit: torch.Tensor, batch: Batch) -> torch.Tensor:
    return _mean(functional.binary_cross_entropy_with_logits(logit, batch.first, reduction="none"), batch)


def _group_means(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean of each row's group, shape (rows,)."""
    second = 1 - batch.first
    means = [_mean(values * side, batch) / _mean(side, batch).clamp(min=1e-6) for side in (batch.first, second)]
    return means[0] * batch.first + means[1] * second


def _mean(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    return (batch.weights * values).mean()
