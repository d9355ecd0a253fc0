"""What is kept of a training run, so that a killed one goes on and the best weights are there in the end."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from errno import ENOSPC
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from laborllm.files import whole_folder

CURRENT, BEST, MOMENTS = "current.safetensors", "best.safetensors", "optimizer.safetensors"


@dataclass
class History:
    """What happened in training.

    Attributes:
        legs: one entry per evaluation: step, epoch, training loss (nats a token or a person-year, since the last
            evaluation) and validation perplexity of the occupations.
        best: lowest validation perplexity.
        best_step: the step at which it was reached.
        how: how it was trained, in words, where there is something to say.
    """

    legs: list[dict[str, float]] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0
    how: str = ""

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
    """Model, optimiser, step and history of one run, and the best weights so far, which lie on disk alone.

    What is not trained is neither saved nor restored, so that the state of adapters is as small as they are.

    Args:
        model: any torch module.
        optimizer: its optimiser.
        folder: where the state is kept while training lasts.
    """

    def __init__(self, model: Any, optimizer: torch.optim.Optimizer, folder: Path) -> None:
        self.model, self.optimizer, self.folder = model, optimizer, folder
        self.step = 0
        self.history = History()

    def keep(self, improved: bool) -> None:
        """Save the state of the run, and the weights as the best if they are."""
        with whole_folder(self.folder) as temporary, full_disk_as_oserror():
            save_file(_on_processor(_trained(self.model)), temporary / CURRENT)
            copyfile(temporary / CURRENT if improved else self.folder / BEST, temporary / BEST)
            save_file(_on_processor(self._moments()), temporary / MOMENTS)
            state = {"step": self.step, "history": asdict(self.history)}
            (temporary / "state.json").write_text(json.dumps(state, indent=1))

    def resume(self) -> None:
        """Go on from the saved state, if there is one."""
        if not (self.folder / "state.json").is_file():
            return
        state = json.loads((self.folder / "state.json").read_text())
        self.step, self.history = state["step"], History(**state["history"])
        _restore(self.model, load_file(self.folder / CURRENT))
        moments = load_file(self.folder / MOMENTS)
        by_name: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in moments.items():
            name, _, moment = key.rpartition("/")
            by_name.setdefault(name, {})[moment] = value
        saved = self.optimizer.state_dict()
        places = {place: name for place, name in enumerate(self._names()) if name in by_name}
        saved["state"] = {place: by_name[name] for place, name in places.items()}
        self.optimizer.load_state_dict(saved)

    def load_best(self) -> None:
        """Put the best weights into the model."""
        _restore(self.model, load_file(self.folder / BEST))
        self.model.eval()

    def _names(self) -> list[str]:
        """Names of what the optimiser trains, in its order."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return [names[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]

    def _moments(self) -> dict[str, torch.Tensor]:
        """What the optimiser remembers of each parameter."""
        states = self.optimizer.state_dict()["state"]
        return {
            f"{self._names()[place]}/{key}": value for place, state in states.items() for key, value in state.items()
        }


@contextmanager
def full_disk_as_oserror() -> Iterator[None]:
    """Safetensors has an error of its own for a full disk; here it is an OSError, as for any other file."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(ENOSPC, str(error)) from error


def _trained(model: Any) -> dict[str, torch.Tensor]:
    """The weights that are trained, by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _on_processor(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same in the memory of the processor, where no copy takes a GPU's."""
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def _restore(model: Any, weights: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(weights[name])
