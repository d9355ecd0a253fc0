"""What is kept of a training run, so that a killed one goes on and the best weights are there in the end."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from errno import ENOSPC
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from laborllm.files import whole_folder


@dataclass
class History:
    """What happened in training.

    Attributes:
        legs: one entry per evaluation: step, epoch, training loss (nats a token or a person-year, since the last
            evaluation) and validation perplexity of the occupations.
        best: lowest validation perplexity.
        best_step: the step at which it was reached.
    """

    legs: list[dict[str, float]] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0

    def add(self, step: int, epoch: float, loss: float, perplexity: float) -> bool:
        """Note an evaluation; whether it is a new best."""
        self.legs.append({"step": step, "epoch": epoch, "training_loss": loss, "validation_perplexity": perplexity})
        improved = perplexity < self.best
        if improved:
            self.best, self.best_step = perplexity, step
        return improved

    def since_best(self) -> int:
        """Number of evaluations since the best one."""
        return sum(leg["step"] > self.best_step for leg in self.legs)


class TrainingState:
    """Model, optimiser, step and history of one run, and the best weights so far.

    Args:
        model: any torch module.
        optimizer: its optimiser.
        folder: where the state is kept while training lasts.
    """

    def __init__(self, model: Any, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        self.model, self.optimizer, self.folder = model, optimizer, folder
        self.step = 0
        self.history = History()
        self.best: dict[str, torch.Tensor] = {}  # the first evaluation is a best one

    def keep(self, improved: bool) -> None:
        """Save the state of the run, and the weights as the best if they are."""
        current = _copy(self.model)
        if improved:
            self.best = current
        names = _names(self.model)
        with whole_folder(self.folder) as temporary, full_disk_as_oserror():
            save_file(self.best, temporary / "best.safetensors")
            save_file(current, temporary / "current.safetensors")
            moments = {
                f"{names[parameter]}/{key}": value
                for parameter, state in self.optimizer.state.items()
                for key, value in state.items()
            }
            save_file(moments, temporary / "optimizer.safetensors")
            state = {"step": self.step, "history": asdict(self.history)}
            (temporary / "state.json").write_text(json.dumps(state, indent=1))

    def resume(self) -> None:
        """Go on from the saved state, if there is one."""
        if not (self.folder / "state.json").is_file():
            return
        state = json.loads((self.folder / "state.json").read_text())
        self.step, self.history = state["step"], History(**state["history"])
        self.best = load_file(self.folder / "best.safetensors")
        _restore(self.model, load_file(self.folder / "current.safetensors"))
        moments = load_file(self.folder / "optimizer.safetensors")
        for parameter, name in _names(self.model).items():
            keys = [key for key in moments if key.rpartition("/")[0] == name]
            state = {key.rpartition("/")[2]: moments[key] for key in keys}
            self.optimizer.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
            }

    def load_best(self) -> None:
        """Put the best weights into the model."""
        _restore(self.model, self.best)
        self.model.eval()


@contextmanager
def full_disk_as_oserror() -> Iterator[None]:
    """Safetensors has an error of its own for a full disk; here it is an OSError, as for any other file."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(ENOSPC, str(error)) from error


def _names(model: Any) -> dict[torch.Tensor, str]:
    return {parameter: name for name, parameter in model.named_parameters()}


def _copy(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone().cpu() for name, parameter in model.named_parameters()}


@torch.no_grad()
def _restore(model: Any, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
