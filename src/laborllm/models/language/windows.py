"""Résumés as tokens that fit a model's context: the oldest rows leave, the header stays."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.text.resume import Resume, shorten
from laborllm.text.titles import TokenizedResume

Tokenized = TypeVar("Tokenized", bound=TokenizedResume)


class Encoder(Protocol):
    """Makes tokens of résumés, as they stand alone or behind something else."""

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of each title."""

    def encode(self, resumes: Sequence[Resume]) -> list[TokenizedResume]:
        """Tokens of each résumé."""


def fit_context(encoder: Encoder, written: Sequence[Resume], context: int, *, ahead: int = 0) -> list[TokenizedResume]:
    """Tokens of résumés, in windows where a career is longer than the model's context.

    The oldest rows leave and the header stays; room is kept for the longest title behind every prefix.

    Args:
        encoder: makes the tokens.
        written: the résumés.
        context: number of tokens that the model sees at once.
        ahead: how many of them stand before every résumé: a prompt's.

    Raises:
        LaborLLMError: not even one line fits.
    """
    room = context - ahead - longest_title(encoder)
    fitting: list[TokenizedResume] = []
    waiting = list(written)
    while waiting:
        longer: list[Resume] = []
        for resume, tokenized in zip(waiting, encoder.encode(waiting), strict=True):
            if len(tokenized.tokens) <= room:
                fitting.append(tokenized)
            elif len(resume.rows) == 1:
                raise LaborLLMError(_too_long(len(tokenized.tokens), context, ahead, longest_title(encoder)))
            else:
                longer += shorten(resume, _lines_that_fit(tokenized, room))
        waiting = longer
    return fitting


def longest_title(encoder: Encoder) -> int:
    """Tokens of the longest title, line end included."""
    return max(len(sequence) for sequence in encoder.sequences)


def tokens_of_lines(tokenized: TokenizedResume, lines: int) -> int:
    """Tokens of a résumé's header and any so many lines that follow one another, at most."""
    lines = min(lines, len(tokenized.rows))
    closing = len(tokenized.tokens) - int(tokenized.ends[-1])
    before = np.append(tokenized.cuts[0], tokenized.ends[:-1])  # (lines,): up to each start, or a few more
    longest = (tokenized.ends[lines - 1 :] - before[: len(before) - lines + 1]).max()
    return int(tokenized.cuts[0]) + int(longest) + closing


def _too_long(tokens: int, context: int, ahead: int, title: int) -> str:
    if not ahead:
        return (
            f"a résumé's header and one line take {tokens} tokens, but the model's context is "
            f"{context}; choose a checkpoint with a longer context or drop covariates from the text"
        )
    return (
        f"a prompt of {ahead} tokens, a résumé's header and one line of {tokens} and a title of {title} do not fit "
        f"the model's context of {context}; choose a checkpoint with a longer context, or leave out title_list, "
        "examples or covariates of the text"
    )


def _lines_that_fit(tokenized: TokenizedResume, room: int) -> int:
    """The largest number of lines of which every window fits with the header; at least one, fewer than there are."""
    for lines in range(len(tokenized.rows) - 1, 1, -1):
        if tokens_of_lines(tokenized, lines) <= room:
            return lines
    return 1


def lines_without_oldest(tokenized: Sequence[TokenizedResume], careers: Careers) -> int:
    """How many scored lines stand in a window that does not begin with the person's first row."""
    first_rows = set(careers.starts[:-1].tolist())
    return sum(len(t.rows) - t.first_scored for t in tokenized if t.rows[0] not in first_rows)


def last_lines(tokenized: Sequence[Tokenized], careers: Careers) -> list[Tokenized]:
    """Those that score each person's last row, that line alone."""
    last = set((careers.starts[1:] - 1).tolist())
    return [replace(each, first_scored=len(each.rows) - 1) for each in tokenized if each.rows[-1] in last]
