"""CAREER learns, is repeatable, goes on after a kill, and takes its shards one at a time."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.networks.career_network import CareerNetwork, Shape
from laborllm.models.networks.sequence_settings import SequenceTraining
from laborllm.models.networks.sequence_training import _batches, learn, log_probabilities, perplexity, share_of_peak
from laborllm.models.networks.sequences import LEVELS, Sequences

SMALL = Shape(layers=1, width=16, heads=2, feed_forward=32)
SETTINGS = SequenceTraining(updates=40, warmup=5, learning_rate=1e-2, rows_per_batch=60, evaluations=4)


class Killed(Exception):
    """Stands for a kill in the middle of a run."""


def stayers(people: int, seed: int) -> Sequences:
    """Everybody keeps the first occupation, drawn evenly out of four: 4 in first rows, 1 in later ones."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 7, people)
    starts = np.append(0, np.cumsum(lengths))
    occupation = np.repeat(rng.integers(4, size=people), lengths)
    previous = np.append(-1, occupation[:-1])
    previous[starts[:-1]] = -1
    return Sequences(starts, previous, occupation, np.ones((len(occupation), len(LEVELS)), dtype=np.int64))


def network() -> CareerNetwork:
    torch.manual_seed(0)
    return CareerNetwork(SMALL, 4, [1] * len(LEVELS), dropout=0.1)


def test_staying_is_learned(tmp_path: Path) -> None:
    train, validation = stayers(200, 1), stayers(50, 2)
    learned = network()
    history = learn(learned, [lambda: train], validation, settings=SETTINGS, folder=tmp_path / "run", seed=1)
    first = np.exp(np.log(4) / np.diff(validation.starts).mean())  # the best attainable
    assert first - 0.05 < perplexity(learned, validation) < first + 0.15
    assert history.best == pytest.approx(perplexity(learned, validation), rel=1e-6)


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    train, validation = stayers(60, 1), stayers(20, 2)
    shards = [lambda: train, lambda: stayers(30, 5)]
    whole, broken = network(), network()
    learn(whole, shards, validation, settings=SETTINGS, folder=tmp_path / "whole", seed=1)

    def kill(done: int, total: int) -> None:
        if done == 25:
            raise Killed

    with pytest.raises(Killed):
        learn(broken, shards, validation, settings=SETTINGS, folder=tmp_path / "broken", seed=1, progress=kill)
    broken = network()
    learn(broken, shards, validation, settings=SETTINGS, folder=tmp_path / "broken", seed=1)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, broken.state_dict()[name]), name


def test_an_epoch_takes_everybody_once_and_one_shard_at_a_time() -> None:
    people = [stayers(23, 1), stayers(31, 2), stayers(7, 3)]
    order = _batches([lambda shard=shard: shard for shard in people], rows=40, seed=1)
    seen: dict[int, list[int]] = {}
    last: list[int] = []
    while sum(map(len, seen.values())) < 61:
        shard, group = next(order)
        place = next(number for number, each in enumerate(people) if each is shard)
        seen.setdefault(place, []).extend(group.tolist())
        if place not in last[-1:]:
            last.append(place)
    assert {place: sorted(group) for place, group in seen.items()} == {
        place: list(range(len(shard))) for place, shard in enumerate(people)
    }
    assert len(last) == 3


def test_an_empty_shard_is_passed_over_and_nobody_at_all_is_said() -> None:
    people, nobody = stayers(9, 1), stayers(0, 2)
    order = _batches([lambda: nobody, lambda: people], rows=10_000, seed=1)
    assert all(next(order)[0] is people for _ in range(3))
    with pytest.raises(LaborLLMError, match="there is nobody to learn from"):
        next(_batches([lambda: nobody], rows=10, seed=1))


def test_predictions_come_in_the_order_of_the_rows(rng: np.random.Generator) -> None:
    given = stayers(40, 4)
    answer = log_probabilities(network(), given)
    order = rng.permutation(len(given))
    starts = np.append(0, np.cumsum(given.lengths[order]))
    rows = np.concatenate([np.arange(given.starts[person], given.starts[person + 1]) for person in order])
    shuffled = Sequences(starts, given.previous[rows], given.occupation[rows], given.levels[rows])
    np.testing.assert_allclose(log_probabilities(network(), shuffled), answer[rows], atol=1e-5)


def test_the_rate_falls_as_the_schedule_says() -> None:
    cosine = SequenceTraining(updates=100, warmup=10, schedule="cosine")
    assert share_of_peak(10, cosine) == 1
    assert share_of_peak(55, cosine) == pytest.approx(0.5)
    assert share_of_peak(100, cosine) == pytest.approx(0)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        broken.norm.weight.fill_(torch.nan)
    train = stayers(20, 1)
    with pytest.raises(LaborLLMError, match=r"the loss is nan at update 1; lower the learning_rate"):
        learn(broken, [lambda: train], train, settings=SETTINGS, folder=tmp_path / "run", seed=1)
