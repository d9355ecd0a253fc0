"""What a killed training goes on from: it is small, whole, and gives back the very same run."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file

from laborllm.models.training_state import History, TrainingState


def made(folder: Path, *, frozen: bool = False, fused: bool = False) -> TrainingState:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    model[0].requires_grad_(not frozen)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": [each for each in trained if each.ndim == rank]} for rank in (2, 1)]
    return TrainingState(model, torch.optim.AdamW(groups, lr=0.1, fused=fused), folder)


def steps(state: TrainingState, count: int) -> None:
    x = torch.arange(12.0).reshape(4, 3)
    for _ in range(count):
        state.optimizer.zero_grad()
        state.model(x).square().mean().backward()
        state.optimizer.step()
        state.step += 1


def weights(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_a_resumed_run_ends_like_an_undisturbed_one(tmp_path: Path, frozen: bool, fused: bool) -> None:
    undisturbed = made(tmp_path / "a", frozen=frozen, fused=fused)
    steps(undisturbed, 7)
    killed = made(tmp_path / "b", frozen=frozen, fused=fused)
    steps(killed, 4)
    killed.keep(killed.history.add(4, 1.0, 0.5, 2.0))
    again = made(tmp_path / "b", frozen=frozen, fused=fused)
    again.resume()
    assert (again.step, again.history) == (4, killed.history)
    steps(again, 3)
    assert torch.equal(weights(again.model), weights(undisturbed.model))


def test_the_best_weights_are_kept_beside_the_current_ones(tmp_path: Path) -> None:
    state = made(tmp_path)
    steps(state, 1)
    state.keep(state.history.add(1, 1.0, 0.5, 2.0))
    best = weights(state.model)
    steps(state, 1)
    state.keep(state.history.add(2, 2.0, 0.4, 3.0))
    current = weights(state.model)
    assert not torch.equal(current, best)
    again = made(tmp_path)
    again.resume()
    assert torch.equal(weights(again.model), current)
    again.load_best()
    assert torch.equal(weights(again.model), best)
    assert not again.model.training


def test_what_is_not_trained_is_not_saved(tmp_path: Path) -> None:
    state = made(tmp_path, frozen=True)
    steps(state, 1)
    state.keep(state.history.add(1, 1.0, 0.5, 2.0))
    for name in ("current", "best"):
        assert set(load_file(tmp_path / f"{name}.safetensors")) == {"1.weight", "1.bias"}
    moments = load_file(tmp_path / "optimizer.safetensors")
    assert {name.rpartition("/")[0] for name in moments} == {"1.weight", "1.bias"}
    assert {name.rpartition("/")[2] for name in moments} == {"step", "exp_avg", "exp_avg_sq"}


def test_a_failed_saving_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = made(tmp_path / "run")
    steps(state, 1)
    state.keep(state.history.add(1, 1.0, 0.5, 2.0))
    steps(state, 1)
    monkeypatch.setattr("laborllm.models.training_state.asdict", lambda history: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        state.keep(state.history.add(2, 2.0, 0.4, 1.0))
    again = made(tmp_path / "run")
    again.resume()
    assert again.step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nothing_saved_is_a_new_run(tmp_path: Path) -> None:
    state = made(tmp_path / "new")
    before = weights(state.model)
    state.resume()
    assert (state.step, state.history) == (0, History())
    assert torch.equal(weights(state.model), before)


def test_history_counts_evaluations_without_a_new_best() -> None:
    history = History()
    assert [history.add(step, step, 1.0, perplexity) for step, perplexity in enumerate([5.0, 4.0, 4.0, 6.0], 1)] == [
        True,
        True,
        False,
        False,
    ]
    assert (history.best, history.best_step, history.since_best()) == (4.0, 2, 2)
