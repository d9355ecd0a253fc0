"""Which résumés go through a model together, and how a Hugging Face forward takes them: padded on the right."""

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


def groups(resumes: Sequence[TokenizedResume], most: int, *, packed: bool) -> Iterator[list[TokenizedResume]]:
    """Résumés of similar length together, at most ``most`` tokens with their padding (one résumé at least).

    Args:
        resumes: in any order.
        most: tokens that go through the model together.
        packed: résumés stand one after the other and there is no padding.
    """
    group: list[TokenizedResume] = []
    tokens = 0
    for resume in sorted(resumes, key=lambda resume: len(resume.tokens)):
        tokens = tokens + len(resume.tokens) if packed else (len(group) + 1) * len(resume.tokens)
        if group and tokens > most:
            yield group
            group, tokens = [], len(resume.tokens)
        group.append(resume)
    if group:
        yield group


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
