"""How CAREER, bag of jobs and the LSTM learn: whole careers in packed batches, shards read one at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from laborllm.errors import LaborLLMError
from laborllm.models.networks.sequence_settings import SequenceTraining
from laborllm.models.networks.sequences import LinearHead, Network, Packed, Sequences, thinned
from laborllm.models.networks.two_stage import (
    PUBLISHED_SYMBOLS,
    as_published,
    nats_from_states,
    two_stage,
    two_stage_nats,
)
from laborllm.models.training_state import History, TrainingState

Shard = Callable[[], Sequences]
"""Careers of some people, read when it is called."""
BFLOAT16_ON = ("cuda",)
"""Kinds of device on which a network learns in bfloat16."""
ROWS_PER_PASS = 8_000
"""Person-years whose probabilities are computed together, about."""


def learn(
    network: Network,
    shards: Sequence[Shard],
    validation: Sequences,
    *,
    settings: SequenceTraining,
    folder: Path,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> History:
    """Train a network in place and leave it at the weights of lowest validation perplexity.

    The state is saved at every evaluation; called again with the same folder after a kill, training goes on there
    and ends with the same weights.

    Args:
        network: the network, on the device where it is to learn.
        shards: people to learn from; every epoch takes the shards, and the people of each, in a new random order.
        validation: people by whom the best weights are chosen.
        settings: updates, learning rate, …
        folder: where the state is kept while training lasts.
        seed: seed of the order of people and of dropout.
        progress: called with (updates done, all updates).

    Raises:
        LaborLLMError: the loss is not finite; the best weights so far stay in the folder.
    """
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=settings.weight_decay,
        fused=True if network.device.type == "cpu" else None,
    )
    state = TrainingState(network, optimizer, folder)
    state.resume()
    order = islice(_batches(shards, settings.rows_per_batch, seed), state.step, None)
    per_leg = math.ceil(settings.updates / settings.evaluations)
    while state.step < settings.updates and state.history.since_best() < settings.patience:
        loss = _leg(state, order, min(per_leg, settings.updates - state.step), settings, seed, progress)
        value = perplexity(network, validation)
        if not math.isfinite(value):
            raise LaborLLMError(f"{folder}: the validation perplexity is {value}; lower training.learning_rate")
        state.keep(state.history.add(state.step, state.step / settings.updates, loss, value))
    state.load_best()
    return state.history


def perplexity(network: Network, careers: Sequences) -> float:
    """exp(total nats / person-years) of the realised occupations."""
    answer = log_probabilities(network, careers)
    realised = answer[np.arange(len(answer)), careers.occupation]
    return float(np.exp(-realised.mean(dtype=np.float64)))


@torch.inference_mode()
def log_probabilities(network: Network, careers: Sequences) -> np.ndarray:
    """Log-probability of every occupation in every row, float32, shape (person_years, occupations)."""
    network.eval()
    device = network.device
    answer = np.empty((len(careers.occupation), network.occupations), dtype=np.float32)
    by_length = np.argsort(careers.lengths, kind="stable")
    for people in _groups(by_length, careers, ROWS_PER_PASS):
        packed, row = careers.pack(people, device)
        answer[row] = every_occupation(network, packed).cpu().numpy()
    return answer


def every_occupation(network: Network, packed: Packed) -> torch.Tensor:
    """Log-probabilities of a packed batch, float32, shape (rows, occupations).

    The published head has symbols in its softmaxes, so its rows sum to a little less than 1.
    """
    return from_outputs(network, network(packed), packed.previous)


@torch.inference_mode()
def last_log_probabilities(network: Network, careers: Sequences) -> np.ndarray:
    """Log-probability of every occupation in each person's last row, float32, shape (people, occupations)."""
    network.eval()
    answer = np.empty((len(careers), network.occupations), dtype=np.float32)
    by_length = np.argsort(careers.lengths, kind="stable")
    for people in _groups(by_length, careers, ROWS_PER_PASS):
        packed, _ = careers.pack(people, network.device)
        last = torch.from_numpy(np.cumsum(careers.lengths[people]) - 1).to(network.device)
        if isinstance(network, LinearHead):
            outputs = network.output(network.states(packed)[last])
        else:
            outputs = network(packed)[last]
        answer[people] = from_outputs(network, outputs, packed.previous[last]).cpu().numpy()
    return answer


@torch.inference_mode()
def hidden_states(network: LinearHead, careers: Sequences) -> np.ndarray:
    """What the head reads in every row, float32, shape (person_years, width)."""
    network.eval()
    answer = np.empty((len(careers.occupation), network.output.in_features), dtype=np.float32)
    by_length = np.argsort(careers.lengths, kind="stable")
    for people in _groups(by_length, careers, ROWS_PER_PASS):
        packed, row = careers.pack(people, network.device)
        answer[row] = network.states(packed).float().cpu().numpy()
    return answer


def from_outputs(network: Network, outputs: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of some rows, float32, shape (rows, occupations)."""
    if not network.published:
        return two_stage(outputs, previous)
    return two_stage(*as_published(outputs, previous))[:, PUBLISHED_SYMBOLS:]


def nats(network: Network, packed: Packed) -> torch.Tensor:
    """Negative log-probability of the realised occupations of a packed batch, float32, shape (rows,).

    On a GPU the layers run in bfloat16; the head, its logits and all after them are float32.
    """
    if not isinstance(network, LinearHead):
        return two_stage_nats(network(packed), packed.previous, packed.occupation)
    device = network.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device in BFLOAT16_ON):
        states = network.states(packed)
    if not network.published:
        return nats_from_states(states.float(), network.output, packed.previous, packed.occupation)
    outputs, place = as_published(network.output(states.float()), packed.previous)
    return two_stage_nats(outputs, place, packed.occupation + PUBLISHED_SYMBOLS)


def _leg(
    state: TrainingState,
    order: Iterator[tuple[Sequences, np.ndarray]],
    updates: int,
    settings: SequenceTraining,
    seed: int,
    progress: Callable[[int, int], None],
) -> float:
    """Train up to the next evaluation; mean loss in nats a person-year."""
    network, device = state.model, state.model.device
    network.train()
    total, rows = 0.0, 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed * 1_000_003 + state.step)
        for _ in range(updates):
            loss, count = _update(state, *next(order), settings, seed)
            total, rows = total + loss * count, rows + count
            progress(state.step, settings.updates)
    return total / rows


def _update(
    state: TrainingState, careers: Sequences, people: np.ndarray, settings: SequenceTraining, seed: int
) -> tuple[float, int]:
    """One step of the optimiser: mean nats a person-year, and person-years."""
    device = state.model.device
    if settings.row_dropout:
        careers = thinned(careers, people, settings.row_dropout, np.random.default_rng((seed, state.step)))
        people = np.arange(len(careers))
    packed, row = careers.pack(people, device)
    loss = nats(state.model, packed).mean()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise LaborLLMError(f"{state.folder}: the loss is {value} at update {state.step + 1}; lower the learning_rate")
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip:
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate * share_of_peak(state.step + 1, settings)
    state.optimizer.step()
    state.step += 1
    return value, len(row)


def share_of_peak(update: int, settings: SequenceTraining) -> float:
    """Learning rate at an update, counted from 1, as a share of the highest.

    Examples:
        >>> settings = SequenceTraining(updates=100, warmup=10)
        >>> share_of_peak(5, settings), share_of_peak(10, settings), share_of_peak(40, settings)
        (0.5, 1.0, 0.5)
    """
    if update < settings.warmup:
        return update / settings.warmup
    if settings.schedule == "inverse_sqrt":
        return math.sqrt(settings.warmup / update)
    after = (update - settings.warmup) / max(1, settings.updates - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, after)))


def _batches(shards: Sequence[Shard], rows: int, seed: int) -> Iterator[tuple[Sequences, np.ndarray]]:
    """Without end: people of a shard whose careers have about so many rows together."""
    epoch = met = 0
    while True:
        for place in np.random.default_rng((seed, epoch)).permutation(len(shards)):
            careers = shards[place]()
            met += len(careers)
            people = np.random.default_rng((seed, epoch, int(place))).permutation(len(careers))
            yield from ((careers, group) for group in _groups(people, careers, rows))
        if not met:
            raise LaborLLMError("there is nobody to learn from; give résumés of more people")
        epoch += 1


def _groups(people: np.ndarray, careers: Sequences, rows: int) -> list[np.ndarray]:
    """The people in their order, cut into groups whose careers have about so many rows together."""
    ends = np.cumsum(careers.lengths[people])
    total = int(ends[-1]) if len(ends) else 0
    number = max(1, round(total / rows))
    cuts = np.searchsorted(ends, np.arange(1, number) * (total / number))
    return [group for group in np.split(people, cuts) if len(group)]
