"""The head: probabilities that sum to one, and the same realised ones at less cost."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.networks.two_stage import as_published, nats_from_states, two_stage, two_stage_nats


@pytest.fixture
def outputs() -> torch.Tensor:
    return torch.randn(200, 9, generator=torch.Generator().manual_seed(1)) * 5


@pytest.fixture
def previous(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.integers(-1, 8, 200))


def test_rows_sum_to_one(outputs: torch.Tensor, previous: torch.Tensor) -> None:
    for given in ((outputs, previous), as_published(outputs, previous % 4)):
        torch.testing.assert_close(two_stage(*given).exp().sum(1), torch.ones(200))


def test_the_realised_ones_are_the_same(
    outputs: torch.Tensor, previous: torch.Tensor, rng: np.random.Generator
) -> None:
    occupation = torch.from_numpy(rng.integers(0, 8, 200))
    occupation[:50] = previous[:50].clamp(min=0)
    expected = -two_stage(outputs, previous).gather(1, occupation[:, None])[:, 0]
    torch.testing.assert_close(two_stage_nats(outputs, previous, occupation), expected, atol=1e-5, rtol=1e-5)


def test_their_gradients_are_the_same(outputs: torch.Tensor, previous: torch.Tensor, rng: np.random.Generator) -> None:
    occupation = torch.from_numpy(rng.integers(0, 8, 200))
    slopes = []
    for way in ("all", "realised"):
        given = outputs.clone().requires_grad_()
        if way == "all":
            loss = -two_stage(given, previous).gather(1, occupation[:, None]).sum()
        else:
            loss = two_stage_nats(given, previous, occupation).sum()
        loss.backward()
        slopes.append(given.grad)
    assert torch.isfinite(slopes[1]).all()
    torch.testing.assert_close(slopes[1], slopes[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stays", [0, 60, 200])
def test_where_people_stay_nothing_else_is_needed(
    previous: torch.Tensor, rng: np.random.Generator, bias: bool, stays: int
) -> None:
    torch.manual_seed(2)
    output = torch.nn.Linear(6, 9, bias=bias)
    occupation = torch.from_numpy(rng.integers(0, 8, 200))
    previous = previous.clone()
    previous[:stays] = occupation[:stays]
    answers = []
    for way in ("all", "states"):
        states = torch.randn(200, 6, generator=torch.Generator().manual_seed(3)).mul_(3).requires_grad_()
        if way == "all":
            nats = -two_stage(output(states), previous).gather(1, occupation[:, None])[:, 0]
        else:
            nats = nats_from_states(states, output, previous, occupation)
        answers.append((nats, *torch.autograd.grad(nats.sum(), [states, *output.parameters()])))
    for expected, found in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_extreme_outputs_stay_finite() -> None:
    outputs = torch.tensor([[0.0, 80.0, -80.0, 200.0], [0.0, 80.0, -80.0, -200.0]])
    previous, occupation = torch.tensor([0, 0]), torch.tensor([2, 0])
    assert two_stage_nats(outputs, previous, occupation).tolist() == [360.0, 200.0]
