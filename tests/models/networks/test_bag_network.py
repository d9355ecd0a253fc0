"""Bag of jobs: its outputs by hand, and nothing that depends on packing or on later rows."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.networks.bag_network import YEARLY, BagNetwork
from tests.models.networks.test_career_network import CPU, LEVELS, OCCUPATIONS, careers


@pytest.fixture
def network() -> BagNetwork:
    torch.manual_seed(3)
    made = BagNetwork(6, OCCUPATIONS, LEVELS).eval()
    for embedding in (*made.now, *made.past):
        torch.nn.init.normal_(embedding.weight)
        torch.nn.init.zeros_(embedding.weight[0])
    return made


@torch.inference_mode()
def test_outputs_are_the_definition(network: BagNetwork, rng: np.random.Generator) -> None:
    given = careers(rng)
    packed, rows = given.pack(np.arange(len(given)), CPU)
    answer = network(packed)
    for place, row in enumerate(rows):
        first = given.starts[np.searchsorted(given.starts, row, side="right") - 1]
        so_far = torch.from_numpy(given.previous[first : row + 1] % (OCCUPATIONS + 1))
        outputs = network.from_job.weight @ network.job.weight[so_far[-1]]
        outputs = outputs + network.from_earlier.weight @ network.earlier.weight[so_far].mean(0)
        for number in range(len(LEVELS)):
            outputs = outputs + network.now[number].weight[given.levels[row, number]]
        for number in range(YEARLY):
            outputs = outputs + network.past[number].weight[given.levels[first : row + 1, number]].mean(0)
        torch.testing.assert_close(answer[place], outputs, atol=1e-5, rtol=1e-5)
