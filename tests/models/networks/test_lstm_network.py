"""The LSTM reads a career forwards, and does not depend on who is in the batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.networks.lstm_network import LSTMNetwork
from laborllm.models.networks.sequence_training import every_occupation
from laborllm.models.networks.sequences import Sequences
from tests.models.networks.test_career_network import CPU, LEVELS, OCCUPATIONS, careers


@pytest.fixture
def network() -> LSTMNetwork:
    torch.manual_seed(3)
    return LSTMNetwork(16, 1, OCCUPATIONS, LEVELS, dropout=0.5).eval()


@torch.inference_mode()
def scores(network: LSTMNetwork, given: Sequences, people: np.ndarray) -> np.ndarray:
    packed, row = given.pack(people, CPU)
    answer = np.full((len(given.occupation), OCCUPATIONS), np.nan, dtype=np.float32)
    answer[row] = every_occupation(network, packed).numpy()
    return answer


def test_a_person_alone_is_scored_as_among_others(network: LSTMNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    together = scores(network, given, np.arange(len(given)))
    np.testing.assert_allclose(np.exp(together).sum(axis=1), 1, atol=1e-5)
    for person in range(len(given)):
        rows = slice(given.starts[person], given.starts[person + 1])
        np.testing.assert_allclose(scores(network, given, np.array([person]))[rows], together[rows], atol=1e-5)


def test_no_row_sees_a_later_one(network: LSTMNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    everybody = np.arange(len(given))
    before = scores(network, given, everybody)
    last = given.starts[1:] - 1
    given.levels[last] = 0
    after = scores(network, given, everybody)
    earlier = np.setdiff1d(np.arange(len(before)), last)
    np.testing.assert_array_equal(after[earlier], before[earlier])
    assert np.abs(after[last] - before[last]).max() > 1e-3
