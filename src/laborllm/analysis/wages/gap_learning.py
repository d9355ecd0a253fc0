"""Cross-fitting of a gap decomposition: learned from some people, asked about the others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import optimize, sparse, special
from sklearn.linear_model import LogisticRegression

from laborllm.analysis.wages.gap import AdjustedGap, Nuisances, adjusted_gap, folds_of_people
from laborllm.analysis.wages.gap_network import LOSSES, Batch, GapNetwork
from laborllm.analysis.wages.gap_settings import GapNetworkSettings, GapSettings, Objective
from laborllm.errors import LaborLLMError

HELD_OUT = 5
"""One of so many people of those that are learned from chooses the weights and calibrates the propensities."""
Inputs: TypeAlias = Any
"""A dense or a sparse (``scipy.sparse.csr_array``) matrix."""
LARGEST_SLOPE = 1.0
"""A network that is not sure enough is left so: a slope above 1 would be learned from the few people at the ends."""
FEWEST = 20
"""People of each group, at least, in what is learned from."""


@dataclass(frozen=True)
class GapSample:
    """Rows with a known outcome.

    Attributes:
        outcome: e.g. log wages, shape (rows,).
        first: whether a row is of the first group, bool, shape (rows,).
        inputs: histories as vectors, without the group, shape (rows, features).
        person: each row's person, whole numbers, shape (rows,).
        weights: of the rows, positive; all equal if None.
    """

    outcome: np.ndarray
    first: np.ndarray
    inputs: Inputs
    person: np.ndarray
    weights: np.ndarray | None = None

    def rows(self, some: np.ndarray) -> "GapSample":
        """The same of some rows."""
        weights = None if self.weights is None else self.weights[some]
        return GapSample(self.outcome[some], self.first[some], self.inputs[some], self.person[some], weights)


def decompose(
    sample: GapSample, settings: GapSettings, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[Objective, AdjustedGap]:
    """The history-adjusted gap by every objective, on the same folds.

    Args:
        sample: rows of both groups.
        settings: objectives, folds, network.
        progress: called with (networks learned, all networks).

    Raises:
        LaborLLMError: a group has too few people.
    """
    return {
        objective: adjusted_gap(
            sample.outcome, sample.first, found, person=sample.person, weights=sample.weights, trim=settings.trim
        )
        for objective, found in cross_fitted(sample, settings, progress).items()
    }


def cross_fitted(
    sample: GapSample, settings: GapSettings, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[Objective, Nuisances]:
    """E[Y | G=0, H] and P(G=1 | H) of every row by networks that never saw its person; arguments as of ``decompose``.

    Same seed, same numbers: every network has its own generator.
    """
    rng = np.random.default_rng(settings.seed)
    fold = folds_of_people(sample.person, settings.folds, rng)
    rows = len(sample.outcome)
    found = {objective: Nuisances(np.empty(rows), np.empty(rows)) for objective in settings.objectives}
    done, total = 0, settings.folds * len(settings.objectives)
    for part in range(settings.folds):
        inside = np.flatnonzero(fold == part)
        learned = _Learning(sample.rows(np.flatnonzero(fold != part)), settings.network, rng)
        for objective in settings.objectives:
            asked = learned.learn(objective, settings.seed).ask(sample.inputs[inside])
            found[objective].second[inside], found[objective].propensity[inside] = asked
            done += 1
            progress(done, total)
    return found


@dataclass(frozen=True)
class _Learned:
    """A network that has learned, the calibration of its logit of the group, and the scale of the outcome."""

    network: GapNetwork
    objective: Objective
    centre: float
    slope: float
    mean: float
    deviation: float

    @torch.inference_mode()
    def ask(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """E[Y | G=0, H] and P(G=1 | H) of rows, each of shape (rows,)."""
        pieces = [self._ask(_dense(inputs[some])) for some in _stretches(inputs.shape[0], 8192)]
        second, propensity = (np.concatenate(each) for each in zip(*pieces, strict=True))
        return self.mean + self.deviation * second, propensity

    def _ask(self, inputs: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        state = self.network.represent(inputs)  # (rows, width)
        second, difference = self.network.outcome(state).unbind(1)  # (rows,)
        logit = self.network.group(state)[:, 0]
        propensity = (self.centre + self.slope * (logit - self.centre)).sigmoid()
        if self.objective == "residual":
            second = second - propensity * difference  # E[Y | H] less what the first group's share adds
        return second.double().numpy(), propensity.double().numpy()


class _Learning:
    """What the networks of one fold learn from: rows to learn from, and held-out people that choose the weights."""

    def __init__(self, sample: GapSample, settings: GapNetworkSettings, rng: np.random.Generator) -> None:
        _require_people(sample)
        self.sample, self.settings = sample, settings
        held_out = folds_of_people(sample.person, HELD_OUT, rng) == 0
        self.train, self.validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        weights = np.ones(len(held_out)) if sample.weights is None else sample.weights / sample.weights.mean()
        self.mean = float(np.average(sample.outcome, weights=weights))
        self.deviation = float(np.sqrt(np.average((sample.outcome - self.mean) ** 2, weights=weights))) or 1.0
        self.centre = float(special.logit(np.average(sample.first, weights=weights)))
        standard = (sample.outcome - self.mean) / self.deviation
        columns = standard, sample.first, weights, self._reference()
        self.columns = [torch.tensor(each, dtype=torch.float32) for each in columns]
        self.whole = _dense(sample.inputs) if sample.inputs.shape[0] <= settings.rows_per_batch else None

    def learn(self, objective: Objective, seed: int) -> _Learned:
        """A network that minimises the objective, at the weights of its lowest held-out loss."""
        settings, draws = self.settings, torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = GapNetwork(self.sample.inputs.shape[1], settings)
        adam = torch.optim.Adam(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, settings.updates)
        best, kept = float("inf"), network.state_dict()
        every = max(1, settings.updates // settings.evaluations)
        batches = self._batches(draws)
        for update in range(1, settings.updates + 1):
            adam.zero_grad()
            LOSSES[objective](network, next(batches), settings).backward()
            adam.step()
            schedule.step()
            if update % every == 0 and (loss := self._held_out(network, objective)) < best:
                best, kept = loss, {name: weight.clone() for name, weight in network.state_dict().items()}
        if not np.isfinite(best):
            raise LaborLLMError(
                f"gap: the loss of the objective {objective!r} is not finite; lower network.learning_rate"
            )
        network.load_state_dict(kept)
        return _Learned(network, objective, self.centre, self._slope(network), self.mean, self.deviation)

    @torch.inference_mode()
    def _held_out(self, network: GapNetwork, objective: Objective) -> float:
        """Loss on the held-out people; without the squared covariance, which is noise in so few rows."""
        loss = LOSSES["naive" if objective == "projection" else objective]
        rows = self.validation
        parts = [(len(some), loss(network, self._batch(some), self.settings)) for some in _pieces(rows, 8192)]
        return sum(count * float(value) for count, value in parts) / len(rows)

    @torch.inference_mode()
    def _slope(self, network: GapNetwork) -> float:
        """How far the logit of the group is to be trusted, by the held-out people."""
        batches = [self._batch(some) for some in _pieces(self.validation, 8192)]
        logit = torch.cat([network.group(network.represent(each.inputs))[:, 0] for each in batches])
        _, first, weights, _ = (column[self.validation].double().numpy() for column in self.columns)
        return calibrated_slope(logit.double().numpy(), first, weights, centre=self.centre)

    def _batches(self, draws: torch.Generator) -> Iterator[Batch]:
        """All rows where they are few, else random batches."""
        size = self.settings.rows_per_batch
        if len(self.train) <= size:
            everything = self._batch(self.train)
            while True:
                yield everything
        while True:
            order = torch.randperm(len(self.train), generator=draws).numpy()
            for first in range(0, len(order) - size + 1, size):
                yield self._batch(self.train[order[first : first + size]])

    def _batch(self, rows: np.ndarray) -> Batch:
        inputs = _dense(self.sample.inputs[rows]) if self.whole is None else self.whole[rows]
        return Batch(inputs, *(column[rows] for column in self.columns))

    def _reference(self) -> np.ndarray:
        """P(G=1 | H) by a logit on the whole history, shape (rows,)."""
        logit = LogisticRegression(max_iter=200)
        logit.fit(self.sample.inputs, self.sample.first, sample_weight=self.sample.weights)
        return np.asarray(logit.predict_proba(self.sample.inputs)[:, 1])


def calibrated_slope(logit: np.ndarray, first: np.ndarray, weights: np.ndarray, *, centre: float) -> float:
    """Slope b, from 0 to LARGEST_SLOPE, of logit P(G=1) = centre + b (logit - centre), by people not learned from.

    Platt (1999) with the constant fixed, so that b = 0 gives everybody the share of the first group: a constant of its
    own, learned from the few held-out people, does more harm than good. A network that knows the people it learned from
    by heart is too sure of others; b < 1 corrects that.

    Args:
        logit: of rows of held-out people, shape (rows,).
        first: 1 for the first group, else 0, shape (rows,).
        weights: of the rows, positive, shape (rows,).
        centre: logit of the share of the first group.

    Examples:
        >>> logit = np.array([4.0, 4.0, 4.0, -4.0])
        >>> round(calibrated_slope(logit, np.array([1.0, 1.0, 0.0, 0.0]), np.ones(4), centre=0.0), 2)
        0.27
    """

    def loss(slope: float) -> float:
        own = centre + slope * (logit - centre)  # (rows,)
        return float(weights @ (np.logaddexp(0, own) - first * own))

    return float(optimize.minimize_scalar(loss, bounds=(0, LARGEST_SLOPE), method="bounded").x)


def _require_people(sample: GapSample) -> None:
    for side, name in ((sample.first, "first"), (~sample.first, "second")):
        people = len(np.unique(sample.person[side]))
        if people < FEWEST:
            raise LaborLLMError(
                f"gap: {people} people of the {name} group are left to learn from, at least {FEWEST} are needed; "
                "use more people or fewer folds"
            )


def _dense(inputs: Inputs) -> torch.Tensor:
    array = inputs.toarray() if sparse.issparse(inputs) else inputs
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _stretches(rows: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))


def _pieces(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[some] for some in _stretches(len(rows), size)]
