"""Résumés as tokens that fit a model's context: the oldest rows leave, the header stays."""

from collections.abc import Sequence

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.text.resume import Resume, shorten
from laborllm.text.titles import ResumeTokenizer, TokenizedResume


def fit_context(resumes: ResumeTokenizer, written: Sequence[Resume], context: int) -> list[TokenizedResume]:
    """Tokens of résumés, in windows where a career is longer than the model's context.

    The oldest rows leave and the header stays; room is kept for the longest title behind every prefix.

    Raises:
        LaborLLMError: not even one line fits.
    """
    room = context - max(len(sequence) for sequence in resumes.sequences)
    fitting: list[TokenizedResume] = []
    waiting = list(written)
    while waiting:
        longer: list[Resume] = []
        for resume, tokenized in zip(waiting, resumes.encode(waiting), strict=True):
            if len(tokenized.tokens) <= room:
                fitting.append(tokenized)
            elif len(resume.rows) == 1:
                raise LaborLLMError(
                    f"a résumé's header and one line take {len(tokenized.tokens)} tokens, but the model's context is "
                    f"{context}; choose a checkpoint with a longer context or drop covariates from the text"
                )
            else:
                longer += shorten(resume, _lines_that_fit(tokenized, room))
        waiting = longer
    return fitting


def _lines_that_fit(tokenized: TokenizedResume, room: int) -> int:
    """The largest number of lines of which every window fits with the header; at least one, fewer than there are."""
    closing = len(tokenized.tokens) - int(tokenized.ends[-1])
    before = np.append(tokenized.cuts[0], tokenized.ends[:-1])  # (lines,): up to each start, or a few more
    for lines in range(len(tokenized.rows) - 1, 1, -1):
        longest = (tokenized.ends[lines - 1 :] - before[: len(before) - lines + 1]).max()
        if int(tokenized.cuts[0]) + int(longest) + closing <= room:
            return lines
    return 1


def lines_without_oldest(tokenized: Sequence[TokenizedResume], careers: Careers) -> int:
    """How many scored lines stand in a window that does not begin with the person's first row."""
    first_rows = set(careers.starts[:-1].tolist())
    return sum(len(t.rows) - t.first_scored for t in tokenized if t.rows[0] not in first_rows)
