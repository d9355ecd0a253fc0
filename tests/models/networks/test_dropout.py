"""Dropout from random bits: the share that is asked for, the mean kept, repeatable, off outside training."""

import pytest

torch = pytest.importorskip("torch")

from laborllm.models.networks.dropout import dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(1)
    dropped = dropout(torch.ones(1001, 999), share, training=True)
    count = dropped.numel()
    assert abs((dropped == 0).float().mean() - share) < 5 * (share * (1 - share) / count) ** 0.5 + 1 / 65536
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=2e-4)


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    gone = (dropout(torch.ones(400, 1000), 0.3, training=True) == 0).float() - 0.3
    for shift in (1, 2, 3, 4, 5, 1000):
        flat = gone.flatten()
        assert abs((flat[shift:] * flat[:-shift]).mean()) < 5 * 0.21 / len(flat) ** 0.5


def test_the_gradient_has_the_same_mask_and_a_seed_gives_the_same_bits() -> None:
    x = torch.full((7, 5), 2.0, requires_grad=True)
    torch.manual_seed(4)
    answer = dropout(x, 0.4, training=True)
    answer.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(answer, 2 * x.grad)
    torch.manual_seed(4)
    assert torch.equal(dropout(x, 0.4, training=True), answer)


def test_nothing_is_dropped_outside_training() -> None:
    x = torch.ones(5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x
