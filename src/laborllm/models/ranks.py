"""The processes of one run: `torchrun`, `accelerate launch` or `srun` start several, which do a study together.

Every process, a rank, runs the same program. Numbers on the processor travel by gloo, tensors on a GPU by NCCL. In a
single process nothing of torch.distributed happens and every method gives back what it is given.
"""

import atexit
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from laborllm.errors import LaborLLMError

if TYPE_CHECKING:
    import torch

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What the launcher tells every process."""
TO_START = timedelta(minutes=15)
"""How long the ranks wait for each other at the start."""
TO_WAIT = timedelta(days=30)
"""And afterwards: the others wait while the first reads a survey, fits rivals or evaluates."""
LOST = (
    "another process of this run ended without a word (killed, or out of memory); its own output may say more, and "
    "the same command goes on where it stopped"
)


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; by default it is the only one.

    Used as a context, it ends all ranks when one fails: the one that fails first tells why, the others end with the
    same exit code and say nothing.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local: its number on this machine, from 0.
        store: where ranks leave small notes for each other; None in a single process.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    store: Any = field(default=None, repr=False, compare=False)
    _turns: Iterator[int] = field(default_factory=lambda: iter(range(2**62)), repr=False, compare=False)

    @classmethod
    def of_environment(cls) -> "Ranks":
        """What the launcher says; the ranks have found each other when this returns.

        Raises:
            LaborLLMError: a variable is missing or wrong, there are fewer GPUs than processes, or a rank is missing.
        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return cls()
        missing = [name for name in VARIABLES if not os.environ.get(name)]
        if missing:
            raise LaborLLMError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and {missing[0]} is not set; start with torchrun, or set "
                f"{', '.join(VARIABLES)} for every process"
            )
        for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
            if os.environ.get(name, "").lower() in ("true", "1"):
                raise LaborLLMError(
                    f"accelerate is set up to change how the model is loaded ({name}); launch with --multi_gpu, and "
                    "set training.sharded = true in the study to divide a model among GPUs"
                )
        return _joined(*(_number(name) for name in VARIABLES[:3]))

    @property
    def first(self) -> bool:
        """Whether this is the rank that reads, writes and reports."""
        return self.rank == 0

    @property
    def device(self) -> "torch.device":
        """This rank's own GPU, or the processor."""
        import torch

        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local) if self.size > 1 else torch.device("cuda")

    def sum(self, number: float) -> float:
        """Sum over the ranks, in float64, the same on every rank."""
        return float(self.sum_arrays(np.array([number]))[0])

    def sum_arrays(self, numbers: np.ndarray) -> np.ndarray:
        """Sum over the ranks of arrays of one shape, float64; exact where all ranks but one have zeros."""
        if self.size == 1:
            return numbers.astype(np.float64)
        import torch.distributed as dist

        total = torch_array(numbers.astype(np.float64))
        dist.all_reduce(total)
        return np.asarray(total.numpy())

    def shared(self, value: Any = None) -> Any:
        """The first rank's value, on every rank.

        Args:
            value: what JSON can hold; that of the other ranks is not looked at.
        """
        if self.size == 1:
            return value
        import torch.distributed as dist

        content = np.frombuffer(json.dumps(value).encode() if self.first else b"", dtype=np.uint8)
        length = torch_array(np.array([len(content)]))
        dist.broadcast(length, 0)
        sent = torch_array(content if self.first else np.empty(int(length), dtype=np.uint8))
        dist.broadcast(sent, 0)
        return json.loads(sent.numpy().tobytes())

    def spread(self, tensor: "torch.Tensor") -> None:
        """Write the first rank's tensor into those of the others, which have its shape."""
        if self.size > 1:
            import torch.distributed as dist

            dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0.0)

    def turns(self, count: int) -> Iterator[int]:
        """Numbers from 0, each to the rank that asks next: whoever is faster does more. All ranks must call it."""
        if self.size == 1:
            yield from range(count)
            return
        queue = f"turns/{next(self._turns)}"
        while (turn := self.store.add(queue, 1) - 1) < count:
            yield turn

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self.size == 1:
            return
        if self.device.type == "cuda":
            atexit.unregister(_leave)  # NCCL might wait for a rank that waits for this one
        if not self._fails_first():
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
        if _is_of_connection(error):
            raise LaborLLMError(LOST) from error

    def _fails_first(self) -> bool:
        """Whether no other rank has failed; not, if the rank that keeps the notes is gone."""
        try:
            return bool(self.store.compare_set("failed", "", str(self.rank)) == str(self.rank).encode())
        except RuntimeError:
            return False


ALONE = Ranks()
"""A single process."""


def torch_array(numbers: np.ndarray) -> "torch.Tensor":
    """A tensor on the processor with an array's numbers."""
    import torch

    return torch.from_numpy(numbers.copy())


@cache
def _joined(rank: int, size: int, local: int) -> Ranks:
    """Find the other ranks, once a process."""
    try:
        import torch
        import torch.distributed as dist
    except ModuleNotFoundError as error:
        raise LaborLLMError(
            f"{size} processes were started and torch is not installed; run `pip install laborllm[llm]`"
        ) from error
    if dist.is_initialized():
        raise LaborLLMError("torch.distributed was initialised before laborllm, which does it itself; leave that out")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and local >= gpus:
        raise LaborLLMError(f"LOCAL_RANK is {local} and this machine has {gpus} GPUs; start a process for each GPU")
    if gpus:
        torch.cuda.set_device(local)
    try:
        store, _, _ = next(dist.rendezvous("env://", rank, size, timeout=TO_START))
        notes = dist.PrefixStore(f"laborllm/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        notes.set(f"started/{rank}", "")
        notes.wait([f"started/{other}" for other in range(size)], TO_START)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TO_WAIT)
    except (RuntimeError, ValueError) as error:
        raise LaborLLMError(
            f"rank {rank} of {size} cannot reach the others at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({str(error).splitlines()[0]}); check the launcher and the network"
        ) from error
    atexit.register(_leave)
    return Ranks(rank, size, local, notes)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _is_of_connection(error: BaseException) -> bool:
    """Whether an error says that another rank is gone; gloo has no error class of its own."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise LaborLLMError(f"{name} is {os.environ[name]!r}; it must be a whole number") from None
