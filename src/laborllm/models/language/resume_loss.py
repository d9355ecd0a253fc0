"""The loss of résumés under a model: in packs where those give the model's own numbers, else in padded batches."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from torch.nn import functional

from laborllm.models.language.batches import padded, tokens_per_batch
from laborllm.models.language.language_model_settings import TrainingSettings
from laborllm.models.language.packing import Pack, learned_tokens, pack, packed_attention
from laborllm.models.language.token_loss import summed_nats
from laborllm.text.titles import TokenizedResume

logger = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 1e-2}
"""Largest difference of a résumé's loss in a pack from its loss alone, as a share of it, by the precision."""
UNMOVED = 1e-6
"""Largest difference, as a share, that other résumés of the pack may make: none but rounding."""
CHECKED = 4
"""Résumés on which packs are compared with the model's own numbers: the longest, and some short ones before it."""
PACKED = "packed résumés"
TOKENS_PER_PACK = {"cpu": 4096, "cuda": 16384}


class ResumeLoss(nn.Module):
    """Summed negative log-probability of the tokens that are learned, nats.

    It is a module so that what spreads a model over processes can wrap it.

    Args:
        model: a Hugging Face causal language model, with adapters or without.
        settings: which tokens are learned, in which precision.

    Attributes:
        dtype: in which linear layers multiply.
        how: in words: packs or padded batches, and why.
    """

    def __init__(self, model: Any, settings: TrainingSettings) -> None:
        super().__init__()
        self.model, self.loss, self.checkpointing = model, settings.loss, settings.checkpointing
        self.dtype = precision_of(settings, self.device)
        self.packed, self.how = True, PACKED

    @property
    def device(self) -> torch.device:
        """Where tokens go."""
        return torch.device(self.model.device)

    @property
    def causal(self) -> Any:
        """The causal language model itself, within its adapters' wrapper."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def tokens_at_once(self) -> int:
        """How many tokens go through the model together, as long as memory does not say otherwise."""
        return TOKENS_PER_PACK[self.device.type] if self.packed else tokens_per_batch(self.causal)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within, ``forward`` and the way back may be called."""
        if self.checkpointing:
            _set_checkpointing(self.causal, wanted=True)
        try:
            with packed_attention(self.causal) if self.packed else nullcontext():
                yield
        finally:
            if self.checkpointing:
                _set_checkpointing(self.causal, wanted=False)

    def forward(self, resumes: Sequence[TokenizedResume]) -> torch.Tensor:
        """Nats of the learned tokens of some résumés, which go through the model together."""
        if not self.packed:
            return self._padded(resumes)
        given = pack(resumes, self.loss, self.device)
        return self._read(self._states(given), given)

    def choose(self, train: Sequence[TokenizedResume]) -> None:
        """Compare packs with the model's own numbers, once, and leave them where they differ."""
        by_length = sorted(train, key=lambda resume: len(resume.tokens))
        sample = [*by_length[: CHECKED - 1], by_length[-1]]
        training, wanted = self.model.training, self.dtype
        self.model.eval()
        quantised = getattr(self.causal, "is_quantized", False)  # float32 is then no more exact
        reason = None
        for self.dtype in dict.fromkeys((wanted,) if quantised else (torch.float32, wanted)):
            reason = reason or self._why_not(sample)
        self.model.train(training)
        self.packed = reason is None
        if reason is not None:
            self.how = f"padded batches ({reason})"
            name = type(self.causal).__name__
            logger.warning("%s learns from padded batches, which is slower than packs: %s", name, reason)

    @torch.no_grad()
    def _why_not(self, sample: list[TokenizedResume]) -> str | None:
        """Why the model takes no packs, if it does not."""
        head = self.causal.get_output_embeddings()
        if type(head) is not nn.Linear:
            return f"its output layer is a {type(head).__name__} of {type(head).__module__.partition('.')[0]}"
        alone = torch.stack([self._padded([resume]) for resume in sample])  # (resumes,)
        if not bool(torch.isfinite(alone).all()):
            return None  # weights that give no numbers are told by the step
        try:
            with packed_attention(self.causal):
                given = pack(sample, self.loss, self.device)
                together = self._by_resume(given)
                given.tokens[0, : given.layout.lengths[0]] = given.tokens[0, -1]
                beside_another = self._by_resume(given)
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            return f"it takes no packs: {str(error).splitlines()[0]}"
        moved = _largest_share(together[1:], beside_another[1:])
        if not moved <= UNMOVED:  # NaN too
            return f"a résumé moves another's loss by a share of {moved:.1g}"
        differs = _largest_share(alone, together)
        if not differs <= TOLERANCE[self.dtype]:
            return f"a pack's loss differs from that of its résumés by a share of {differs:.1g}"
        return None

    def _by_resume(self, given: Pack) -> torch.Tensor:
        """Nats of each résumé of a pack, shape (resumes,)."""
        states, edges = self._states(given), given.layout.edges.tolist()
        nats = []
        for first, after in pairwise(edges):
            here = (given.source >= first) & (given.source < after)
            part = Pack(given.tokens, given.positions, given.layout, given.source[here], given.target[here])
            nats.append(self._read(states, part))
        return torch.stack(nats)

    def _states(self, given: Pack) -> torch.Tensor:
        """Hidden states of a pack, shape (tokens, width)."""
        with self._autocast():
            output = self.causal.base_model(
                input_ids=given.tokens, position_ids=given.positions, use_cache=False, layout=given.layout
            )
        states: torch.Tensor = output.last_hidden_state[0]
        return states

    def _read(self, states: torch.Tensor, given: Pack) -> torch.Tensor:
        softcap = getattr(self.causal.config.get_text_config(), "final_logit_softcapping", None)
        head = self.causal.get_output_embeddings()
        return summed_nats(states[given.source], head, given.target, softcap=softcap, dtype=self.dtype)

    def _padded(self, resumes: Sequence[TokenizedResume]) -> torch.Tensor:
        batch = padded(resumes, self.device)
        with self._autocast():
            logits = self.model(input_ids=batch.tokens, attention_mask=batch.attended, use_cache=False).logits
        row, place = zip(*((row, learned_tokens(resume, self.loss)) for row, resume in enumerate(resumes)), strict=True)
        rows = torch.tensor([row for row, places in zip(row, place, strict=True) for _ in places], device=self.device)
        places = torch.cat([torch.from_numpy(each) for each in place]).to(self.device)  # (learned,)
        return functional.cross_entropy(logits[rows, places - 1].float(), batch.tokens[rows, places], reduction="sum")

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def precision_of(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """In which linear layers multiply: as the settings say, else bfloat16 on a GPU and float32 elsewhere."""
    if settings.precision is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32


def _set_checkpointing(model: Any, *, wanted: bool) -> None:
    """Turn the computing again of activations on or off, under the name that this transformers has for it."""
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    getattr(model, f"{kind}_checkpointing_{'enable' if wanted else 'disable'}")()


def _largest_share(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference of losses as a share of them, shapes (resumes,)."""
    return float(((one - other).abs() / one.abs().clamp_min(1e-9)).max()) if len(one) else 0.0
