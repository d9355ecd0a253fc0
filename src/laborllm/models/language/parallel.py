"""A loss spread over the ranks of a run: a whole model on each (DDP), or a part of one (FSDP2).

A step of the optimiser takes the same résumés whatever the number of ranks: they are dealt out by length, and every
rank divides its nats by the number of tokens of all. Gradients, and so weights, are those of a single process but for
rounding and for the draws of dropout.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from laborllm.errors import LaborLLMError
from laborllm.models.language.batches import groups
from laborllm.models.language.resume_loss import ResumeLoss
from laborllm.models.ranks import Ranks
from laborllm.text.titles import TokenizedResume


class SpreadLoss:
    """The loss of résumés, each rank taking some of them.

    Args:
        loss: the loss on this rank; the weights of its model are those of the first rank afterwards.
        ranks: the processes that train together.
        sharded: each rank keeps a part of weights, gradients and moments, and asks for the others' parts layer by
            layer. The model itself then goes to the processor's memory and stays as it is, until ``end``.

    Attributes:
        loss: the loss on this rank, of a copy of the model if sharded.

    Raises:
        LaborLLMError: weights of 4 bits are to be sharded.
    """

    def __init__(self, loss: ResumeLoss, ranks: Ranks, *, sharded: bool = False) -> None:
        self.ranks, self.sharded = ranks, sharded and ranks.size > 1
        if self.sharded and getattr(loss.causal, "is_quantized", False):
            raise LaborLLMError('training.sharded: weights of 4 bits are not divided; leave it out, or method = "lora"')
        loss.packed, loss.how = ranks.shared([loss.packed, loss.how])
        with torch.no_grad():
            for tensor in loss.state_dict().values():
                ranks.spread(tensor)
        self._given = loss
        self.loss = _in_parts(loss, ranks) if self.sharded else loss
        self._call: nn.Module = self.loss
        if ranks.size > 1 and not self.sharded:
            self._call = _whole_on_each(self.loss)

    @property
    def model(self) -> Any:
        """What this rank trains."""
        return self.loss.model

    def end(self) -> Any:
        """The model as it was given, on this rank's device; a sharded copy's weights are not in it."""
        if self.sharded:
            self.loss = self._call = self._given.to(self.ranks.device)
            self.sharded = False
        return self._given.model

    def own(self, resumes: Sequence[TokenizedResume], most: int) -> list[list[TokenizedResume]]:
        """This rank's résumés, as they go through the model together, ``most`` tokens at most."""
        return self._dealt(resumes, most)[self.ranks.rank]

    def backward(self, resumes: Sequence[TokenizedResume], count: int, most: int) -> float:
        """Add the gradients of the mean loss over ``count`` tokens; this rank's share of that loss, nats.

        Args:
            resumes: those of all ranks.
            count: tokens that all ranks learn.
            most: tokens that go through the model together.
        """
        dealt = self._dealt(resumes, most)
        total = torch.zeros((), device=self.loss.device)
        for group in dealt[self.ranks.rank]:
            with self._silent():
                share = self._call(group) * self.ranks.size / count  # gradients are averaged over ranks
                share.backward()
            total += share.detach()
        shortest = min(resumes, key=lambda resume: len(resume.tokens))
        for _ in range(self._idle(dealt)):
            (self._call([shortest]) * 0.0).backward()
        return total.item() / self.ranks.size

    @torch.no_grad()
    def title_nats(self, resumes: Sequence[TokenizedResume]) -> float:
        """Negative log-probability of the realised titles of all ranks' résumés, nats, by the training's own pass."""
        self.loss.eval()
        learned, self.loss.loss = self.loss.loss, "occupations"
        dealt = self._dealt(resumes, self.loss.tokens_at_once)
        try:
            with self.loss.ready():
                nats = sum(float(self._call(group)) for group in dealt[self.ranks.rank])
                for _ in range(self._idle(dealt)):
                    self._call(resumes[:1])
        finally:
            self.loss.loss = learned
        return self.ranks.sum(nats)

    def _dealt(self, resumes: Sequence[TokenizedResume], most: int) -> list[list[list[TokenizedResume]]]:
        """The groups of every rank: the résumés are dealt out in the order of their lengths."""
        ordered = sorted(resumes, key=lambda resume: len(resume.tokens))
        size = self.ranks.size
        return [list(groups(ordered[rank::size], most, packed=self.loss.packed)) for rank in range(size)]

    def _silent(self) -> AbstractContextManager[None]:
        """Within, DDP adds to this rank's own gradients: a rank that lacks memory may begin again by itself."""
        if isinstance(self._call, DistributedDataParallel):
            return self._call.no_sync()
        return nullcontext()

    def _idle(self, dealt: Sequence[Sequence[Any]]) -> int:
        """Passes of no weight that follow: one in which DDP sums; with FSDP all ranks make the same number."""
        if self.sharded:
            return max(map(len, dealt)) - len(dealt[self.ranks.rank])
        return int(self.ranks.size > 1)


def _whole_on_each(loss: ResumeLoss) -> DistributedDataParallel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 renames broadcast_buffers, 2.8 knows no other name
        return DistributedDataParallel(loss, broadcast_buffers=False, init_sync=False)


def _in_parts(loss: ResumeLoss, ranks: Ranks) -> ResumeLoss:
    """A copy of a loss of whose weights this rank keeps a part; the given one goes to the processor's memory."""
    device = ranks.device
    loss.to("cpu")
    memo = {id(weight): nn.Parameter(weight.detach(), weight.requires_grad) for weight in loss.parameters()}
    copy: ResumeLoss = deepcopy(loss, memo)  # weights are shared until they are divided
    mesh = init_device_mesh(device.type, (ranks.size,))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if loss.dtype == torch.bfloat16 else None, reduce_dtype=torch.float32
    )
    kinds = set(getattr(copy.causal, "_no_split_modules", None) or ())
    for layer in [module for module in copy.modules() if type(module).__name__ in kinds]:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(copy, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    return copy
