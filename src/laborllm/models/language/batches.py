"""Résumés side by side, padded on the right: how a Hugging Face forward takes several at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from laborllm.text.titles import TokenizedResume

LOGIT_BYTES = 256 * 2**20
"""Room for one batch's logits in float32."""
TOKENS_PER_BATCH = 8192


@dataclass(frozen=True)
class Batch:
    """Some résumés side by side, padded on the right.

    Attributes:
        resumes: the résumés, in the order of the rows below.
        tokens: token ids, shape (resumes, tokens).
        attended: whether a token is real, shape (resumes, tokens).
    """

    resumes: list[TokenizedResume]
    tokens: torch.Tensor
    attended: torch.Tensor


def batches(resumes: Sequence[TokenizedResume], tokens_per_batch: int, device: torch.device) -> Iterator[Batch]:
    """Résumés of similar length together, at most ``tokens_per_batch`` tokens with padding (one résumé at least)."""
    order = sorted(range(len(resumes)), key=lambda place: len(resumes[place].tokens))
    group: list[TokenizedResume] = []
    for place in order:
        resume = resumes[place]
        if group and (len(group) + 1) * len(resume.tokens) > tokens_per_batch:
            yield padded(group, device)
            group = []
        group.append(resume)
    if group:
        yield padded(group, device)


def padded(resumes: Sequence[TokenizedResume], device: torch.device) -> Batch:
    """One batch of the given résumés."""
    longest = max(len(resume.tokens) for resume in resumes)
    tokens = np.zeros((len(resumes), longest), dtype=np.int64)
    attended = np.zeros((len(resumes), longest), dtype=np.int64)
    for place, resume in enumerate(resumes):
        tokens[place, : len(resume.tokens)] = resume.tokens
        attended[place, : len(resume.tokens)] = 1
    return Batch(list(resumes), torch.from_numpy(tokens).to(device), torch.from_numpy(attended).to(device))


def tokens_per_batch(model: Any) -> int:
    """How many tokens a batch may hold so that its float32 logits stay within ``LOGIT_BYTES``."""
    return max(1, min(TOKENS_PER_BATCH, LOGIT_BYTES // (4 * model.config.get_text_config().vocab_size)))
