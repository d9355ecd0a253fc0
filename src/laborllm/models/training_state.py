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

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from laborllm.files import whole_folder
from laborllm.models.ranks import ALONE, Ranks

HELD_OUT = 20
"""One in so many people of the résumés chooses the weights that pre-training leaves."""
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
        folder: where the state is kept while training lasts; the first rank alone writes and reads it, and files
            hold whole tensors, so that a run goes on with any number of ranks.
        ranks: the processes that train together, each with the whole model or a part of it.
    """

    def __init__(self, model: Any, optimizer: torch.optim.Optimizer, folder: Path, *, ranks: Ranks = ALONE) -> None:
        self.model, self.optimizer, self.folder, self.ranks = model, optimizer, folder, ranks
        self.step = 0
        self.history = History()

    def keep(self, improved: bool) -> None:
        """Save the state of the run, and the weights as the best if they are."""
        weights, moments = (_gathered(each, self.ranks) for each in (_trained(self.model), self._moments()))
        if not self.ranks.first:
            return
        with whole_folder(self.folder) as temporary, full_disk_as_oserror():
            save_file(weights, temporary / CURRENT)
            copyfile(temporary / CURRENT if improved else self.folder / BEST, temporary / BEST)
            save_file(moments, temporary / MOMENTS)
            state = {"step": self.step, "history": asdict(self.history)}
            (temporary / "state.json").write_text(json.dumps(state, indent=1))

    def resume(self) -> None:
        """Go on from the saved state, if there is one."""
        file = self.folder / "state.json"
        state = self.ranks.shared(json.loads(file.read_text()) if self.ranks.first and file.is_file() else None)
        if state is None:
            return
        self.step, self.history = state["step"], History(**state["history"])
        trained = _trained(self.model)
        _restore(trained, self.folder / CURRENT, self.ranks)
        by_name: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in self._saved_moments(trained).items():
            name, _, moment = key.rpartition("/")
            by_name.setdefault(name, {})[moment] = value
        saved = self.optimizer.state_dict()
        places = {place: name for place, name in enumerate(self._names()) if name in by_name}
        saved["state"] = {place: by_name[name] for place, name in places.items()}
        self.optimizer.load_state_dict(saved)

    def load_best(self) -> None:
        """Put the best weights into the model."""
        _restore(_trained(self.model), self.folder / BEST, self.ranks)
        self.model.eval()

    def _names(self) -> list[str]:
        """Names of what the optimiser trains, in its order."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return [names[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]

    def _saved_moments(self, trained: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the optimiser remembered when it was saved, in parts where the weights are."""
        saved = load_file(self.folder / MOMENTS) if self.ranks.first else {}
        if self.ranks.size == 1:
            return saved
        keys = self.ranks.shared([key for key, value in saved.items() if value.ndim])
        steps = self.ranks.shared({key: value.item() for key, value in saved.items() if not value.ndim})
        moments = {key: torch.empty_like(trained[key.rpartition("/")[0]]) for key in keys}
        _restore(moments, saved, self.ranks)
        return moments | {key: torch.tensor(step) for key, step in steps.items()}

    def _moments(self) -> dict[str, torch.Tensor]:
        """What the optimiser remembers of each parameter."""
        states = self.optimizer.state_dict()["state"]
        return {
            f"{self._names()[place]}/{key}": value for place, state in states.items() for key, value in state.items()
        }


def chooses_weights(person: np.ndarray) -> np.ndarray:
    """Whether a person of the résumés is not learned from but chooses the weights; one in ``HELD_OUT`` does.

    Args:
        person: number of each row's person, from 0, shape (person_years,).

    Returns:
        Shape (person_years,).
    """
    return np.asarray(person % HELD_OUT == HELD_OUT - 1)


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


def _gathered(tensors: dict[str, torch.Tensor], ranks: Ranks) -> dict[str, torch.Tensor]:
    """Whole tensors in the memory of the processor, where no copy takes a GPU's; on the first rank alone."""
    found = {}
    for name, tensor in tensors.items():
        whole = tensor if ranks.size == 1 else _whole(tensor)
        if ranks.first:
            found[name] = whole.cpu().contiguous()
    return found


@torch.no_grad()
def _restore(tensors: dict[str, torch.Tensor], saved: Path | dict[str, torch.Tensor], ranks: Ranks) -> None:
    """Fill tensors from a file, or from tensors of the same names, that the first rank reads."""
    if isinstance(saved, Path):
        saved = load_file(saved) if ranks.first else {}
    for name, tensor in tensors.items():
        if ranks.size == 1:
            tensor.copy_(saved[name])
        else:
            _spread(tensor, saved.get(name), ranks)


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose parts lie on several ranks, put together on each."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _spread(tensor: torch.Tensor, whole: torch.Tensor | None, ranks: Ranks) -> None:
    """Fill every rank's tensor, or its part of it, from the first rank's whole one."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if whole is None:
        whole = torch.empty(tensor.shape, dtype=tensor.dtype)
    whole = whole.to(tensor.device)
    if isinstance(tensor, DTensor):
        tensor.copy_(distribute_tensor(whole, tensor.device_mesh, tensor.placements))
    else:
        ranks.spread(whole)
        tensor.copy_(whole)
