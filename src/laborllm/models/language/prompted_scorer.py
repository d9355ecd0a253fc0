"""Scores of résumés behind prompts: a prompt that several share is encoded once."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from laborllm.models.language.prompts import PromptedResume
from laborllm.models.scoring.scorer import Progress, Scorer, no_progress
from laborllm.models.scoring.walks import sample_titles
from laborllm.text.titles import TitleTree


class PromptedScorer:
    """Scores résumés behind their prompts with one causal language model.

    Résumés with the same prompt go together. One prompt's keys and values are held at a time.

    Args:
        model: a Hugging Face causal language model in evaluation mode.
        memory: bytes that activations may take; half of what is free by default.
    """

    def __init__(self, model: Any, *, memory: float | None = None) -> None:
        self._prompt: np.ndarray | None = None
        self._scorer = Scorer(model, memory=memory)

    @property
    def route(self) -> str:
        """Which forward pass scores, and why it is not the faster one."""
        return self._scorer.route

    @property
    def arithmetic(self) -> str:
        """What the model computes in."""
        return self._scorer.arithmetic

    def check(self, resumes: Sequence[PromptedResume]) -> None:
        """Settle which forward pass scores these résumés, on the longest with its prompt.

        Raises:
            LaborLLMError: no forward pass agrees with the model, or the text does not fit its context.
        """
        if resumes:
            longest = max(resumes, key=lambda resume: len(resume.prompt) + int(resume.cuts[-1]))
            self.behind(longest.prompt).check([longest])

    def realised(self, resumes: Sequence[PromptedResume], *, rows: int, progress: Progress = no_progress) -> np.ndarray:
        """Raw log-probability of each realised title, nats, float64, shape (rows,); see ``Scorer.realised``."""
        return self._each_prompt(
            resumes, lambda scorer, some, said: scorer.realised(some, rows=rows, progress=said), rows, progress
        )

    def titles(
        self, resumes: Sequence[PromptedResume], tree: TitleTree, *, rows: int, progress: Progress = no_progress
    ) -> np.ndarray:
        """Raw log-probability of every title, nats, shape (rows, occupations); see ``Scorer.titles``."""
        return self._each_prompt(
            resumes, lambda scorer, some, said: scorer.titles(some, tree, rows=rows, progress=said), rows, progress
        )

    def draw(
        self, resumes: Sequence[PromptedResume], tree: TitleTree, generators: Sequence[np.random.Generator]
    ) -> np.ndarray:
        """One title for every row, by a walk, positions in the closed list, shape (rows,); see ``sample_titles``."""
        return self._each_prompt(
            resumes,
            lambda scorer, some, said: sample_titles(scorer, some, tree, generators, progress=said),
            len(generators),
            no_progress,
        )

    def _each_prompt(
        self,
        resumes: Sequence[PromptedResume],
        score: Callable[[Scorer, Sequence[PromptedResume], Progress], np.ndarray],
        rows: int,
        progress: Progress,
    ) -> np.ndarray:
        """Scores of résumés, prompt by prompt, each row from the prompt that it is behind."""
        raw: np.ndarray | None = None
        done = 0
        for some in _by_prompt(resumes):
            scored = np.concatenate([np.asarray(resume.rows[resume.first_scored :]) for resume in some])
            found = score(self.behind(some[0].prompt), some, partial(_after, progress, done))
            raw = found if raw is None else raw
            raw[scored] = found[scored]
            done += len(scored)
        return np.full(rows, np.nan) if raw is None else raw

    def behind(self, prompt: np.ndarray) -> Scorer:
        """The scorer of résumés behind one prompt."""
        if not len(prompt) and self._prompt is None:
            return self._scorer
        if self._prompt is None or not np.array_equal(prompt, self._prompt):
            self._scorer = self._scorer.behind(prompt)
            self._prompt = prompt
        return self._scorer


def prompts_fingerprint(resumes: Sequence[PromptedResume]) -> str:
    """Hash of the prompts of résumés, in their order: what scores depend on beside the résumés' own tokens."""
    digest = hashlib.sha256()
    last: np.ndarray | None = None
    for resume in resumes:
        if resume.prompt is not last:
            digest.update(np.asarray(resume.prompt, dtype=np.int64).tobytes())
            last = resume.prompt
        digest.update(repr((resume.rows, len(resume.prompt))).encode())
    return digest.hexdigest()


def _by_prompt(resumes: Sequence[PromptedResume]) -> list[list[PromptedResume]]:
    """Résumés that share a prompt together, in the order of their first appearance."""
    groups: dict[bytes, list[PromptedResume]] = {}
    keys: dict[int, bytes] = {}
    for resume in resumes:
        if id(resume.prompt) not in keys:
            keys[id(resume.prompt)] = resume.prompt.tobytes()
        groups.setdefault(keys[id(resume.prompt)], []).append(resume)
    return list(groups.values())


def _after(progress: Progress, before: int, done: int, rows: int) -> None:
    """Progress of one prompt's résumés, counted on from those before it."""
    progress(before + done, rows)
