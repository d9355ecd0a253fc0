"""Titles drawn at random behind histories that are encoded anew, each in the cheaper of two exact ways."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laborllm.models.language.prompted_scorer import PromptedScorer
from laborllm.models.language.prompts import PromptedResume
from laborllm.models.paths import drawn_places
from laborllm.models.probabilities import normalise
from laborllm.text.titles import TitleTree

WALK = 100
"""Nodes of the tree whose feeding costs as much as one walk, about (benchmarks/simulation.py)."""


def draw_titles(
    scorer: PromptedScorer,
    resumes: Sequence[PromptedResume],
    tree: TitleTree,
    history: np.ndarray,
    generators: Sequence[np.random.Generator],
) -> np.ndarray:
    """Titles of the last lines of résumés, drawn from their distribution over the closed list.

    A history that few draws are of is walked, once a draw; one that many are of, or whose titles are single tokens, is
    scored over the whole list.

    Args:
        scorer: the language model.
        resumes: a history each; its last line is drawn.
        tree: the closed list's tokens.
        history: index of the résumé that each draw is of, ascending, shape (draws,).
        generators: the randomness of each draw, shape (draws,).

    Returns:
        Positions in the closed list, shape (draws,).
    """
    count = np.bincount(history, minlength=len(resumes))  # (histories,)
    scored = count * WALK >= len(tree.inner)
    chosen = np.empty(len(history), dtype=np.int64)
    walked = np.flatnonzero(~scored[history])
    if len(walked):
        lines = _last_lines(resumes, np.where(scored, 0, count))
        chosen[walked] = scorer.draw(lines, tree, [generators[draw] for draw in walked.tolist()])
    listed = np.flatnonzero(scored[history])
    if len(listed):
        raw = scorer.titles(_last_lines(resumes, scored.astype(np.int64)), tree, rows=int(scored.sum()))
        shares = np.exp(normalise(raw)[0], dtype=np.float64)
        luck = np.array([generators[draw].random() for draw in listed.tolist()])
        place = (np.cumsum(scored) - 1)[history[listed]]
        chosen[listed] = drawn_places(np.cumsum(shares, axis=1), place, luck)
    return chosen


def _last_lines(resumes: Sequence[PromptedResume], times: np.ndarray) -> list[PromptedResume]:
    """The last line of each résumé so many times, as rows 0, 1, …; those that are wanted no time are left out."""
    lines, first = [], 0
    for resume, lot in zip(resumes, times.tolist(), strict=True):
        if lot:
            cuts = np.full(lot, resume.cuts[-1])
            rows = range(first, first + lot)
            tokens = resume.tokens[: int(resume.cuts[-1])]
            lines.append(replace(resume, tokens=tokens, rows=rows, cuts=cuts, ends=cuts, first_scored=0))
            first += lot
    return lines
