"""Titles drawn behind careers that are read on: keys and values of every history are kept, nothing is encoded twice."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch

from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.language.prompted_scorer import PromptedScorer
from laborllm.models.language.prompts import PromptedResume
from laborllm.models.room import free_memory
from laborllm.models.scoring.hugging_face import device_of
from laborllm.models.scoring.llama import LlamaForward
from laborllm.models.scoring.scorer import SHARE_OF_FREE_MEMORY, Lines, Scorer
from laborllm.models.scoring.walks import walk
from laborllm.survey.careers import Careers
from laborllm.text.titles import TitleTree, TokenizedResume

KEYS_AND_VALUES, COPIES = 2, 2
"""Both lie twice in memory while those of the next row are made of them."""
ENOUGH = 2**31
"""Bytes of keys and values that fill the processor: who goes together, and so the last bits, is then the same however
much memory is free."""
BYTES_OF_EDGE = 40
"""What a walk holds of each edge of a history's tree."""


class CareerReader:
    """Draws the next title of histories and reads them on (``next_row.Drawer``).

    Args:
        scorer: the language model behind the prompt of all careers, on its own forward pass.
        resumes: each person's whole career, with the longest title in every row to draw.
        observed: how many rows of each person come before those to draw, shape (people,).
        tree: the closed list's tokens.
        paths: of each person.
        memory: bytes that keys and values may take; half of what is free by default.

    Attributes:
        together: how many people may be drawn at once; 0 where memory does not suffice for one.
    """

    def __init__(
        self,
        scorer: Scorer,
        resumes: Sequence[TokenizedResume],
        observed: np.ndarray,
        tree: TitleTree,
        *,
        paths: int,
        memory: float | None = None,
    ) -> None:
        self.scorer, self.resumes, self.observed, self.tree = scorer, resumes, observed.tolist(), tree
        begins = [int(resume.cuts[rows]) for resume, rows in zip(resumes, self.observed, strict=True)]
        ahead = max(int(resume.cuts[-1]) - begin for resume, begin in zip(resumes, begins, strict=True))
        history = KEYS_AND_VALUES * COPIES * ahead * _row_bytes(scorer) + BYTES_OF_EDGE * len(tree.token)
        free = memory or SHARE_OF_FREE_MEMORY * free_memory(device_of(scorer.model))
        suffices = free >= paths * history
        several = min(int(min(free, ENOUGH) // (paths * history)), scorer.rows // max(begins))
        self.together = max(1, several) if suffices else 0

    @torch.inference_mode()
    def begin(self, people: np.ndarray) -> None:
        """Read what is observed of some people, and the beginning of the row to draw, shape (people,)."""
        self.person, self.step = people, 0
        documents = [self.resumes[person].tokens[: self._cut(person)] for person in people.tolist()]
        self.histories = self.scorer.histories(documents, self.tree)

    @torch.inference_mode()
    def draw(self, history: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
        """Occupations of the row behind the histories, positions in the closed list, shape (draws,)."""
        histories = self.histories
        lines = Lines(histories.forward, histories.states, histories.grove, self.scorer.rows)
        return walk(lines, history, generators)

    @torch.inference_mode()
    def follow(self, parent: np.ndarray, occupation: np.ndarray) -> None:
        """Read on: what each history goes on from, ascending, and the occupation drawn there, shapes (histories,)."""
        self.person, self.step = self.person[parent], self.step + 1
        self.histories.follow(parent, occupation, [self._line(person) for person in self.person.tolist()])

    def _cut(self, person: int) -> int:
        return int(self.resumes[person].cuts[self.observed[person] + self.step])

    def _line(self, person: int) -> np.ndarray:
        """Tokens of the row to draw before its title, shape (tokens,)."""
        resume = self.resumes[person]
        return resume.tokens[int(resume.ends[self.observed[person] + self.step - 1]) : self._cut(person)]


def may_be_read_on(settings: LanguageModelSettings) -> bool:
    """Whether a row's text is that of the row before and some more: no windows, no examples or shuffles anew."""
    text = settings.text
    return (
        settings.probabilities == "full"
        and settings.use != "in_context"
        and text.last_rows is None
        and not text.permute
    )


def read_on(
    scorer: PromptedScorer,
    resumes: Sequence[PromptedResume],
    observed: np.ndarray,
    tree: TitleTree,
    *,
    paths: int,
    gib: float | None,
) -> CareerReader | None:
    """What draws careers of ``careers_ahead``; None where there are none, or the model has not our forward pass.

    Args:
        scorer: the language model, checked on these résumés.
        resumes: as ``CareerReader`` has them.
        observed: as ``CareerReader`` has them.
        tree: the closed list's tokens.
        paths: of each person.
        gib: memory that keys and values may take, GiB; half of what is free if not given.
    """
    behind = scorer.behind(resumes[0].prompt) if resumes else None
    if behind is None or not isinstance(behind.forward, LlamaForward):
        return None
    memory = None if gib is None else gib * 2**30
    return CareerReader(behind, resumes, observed, tree, paths=paths, memory=memory)


def careers_ahead(
    careers: Careers,
    observed: np.ndarray,
    sequences: Sequence[tuple[int, ...]],
    tokens: Callable[[Careers], list[PromptedResume]],
) -> list[PromptedResume]:
    """Whole careers as they are before their titles are drawn; nothing where they cannot be read on.

    They cannot where a career does not fit the context with the longest title in every row to draw, where prompts
    differ, or where what stands before a title has other tokens behind other titles: each is written twice to see.

    Args:
        careers: rows observed and, behind them, rows to draw.
        observed: how many rows of each person come before those to draw, shape (people,).
        sequences: the tokens of each title.
        tokens: writes careers.
    """
    longest = np.array([np.argmax([len(sequence) for sequence in sequences])])
    found = tokens(with_titles(careers, observed, longest))
    others = tokens(with_titles(careers, observed, np.arange(len(sequences))))
    if len(found) != careers.people or len(others) != careers.people:
        return []
    alike = all(
        one.prompt is found[0].prompt and _same_lines(one, other, rows)
        for one, other, rows in zip(found, others, observed.tolist(), strict=True)
    )
    return found if alike else []


def with_titles(careers: Careers, observed: np.ndarray, places: np.ndarray) -> Careers:
    """The careers with other occupations in the rows to draw: positions in the closed list, in turn."""
    ahead = np.arange(len(careers)) >= np.repeat(careers.starts[:-1] + observed, np.diff(careers.starts))
    occupation = careers.occupation.copy()
    occupation[ahead] = np.resize(places, int(ahead.sum()))
    listed = pl.Series("occupation", careers.occupations.codes, dtype=careers.table.schema["occupation"])
    return Careers(careers.table.with_columns(listed.gather(occupation)), careers.occupations)


def _same_lines(one: PromptedResume, other: PromptedResume, observed: int) -> bool:
    """Whether all is the same but the titles of the rows to draw."""
    (ours, at), (theirs, there) = (_without_titles(resume, observed) for resume in (one, other))
    return np.array_equal(ours, theirs) and np.array_equal(at, there)


def _without_titles(resume: PromptedResume, observed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of a career without the titles of its rows to draw, and where these stood, shapes (tokens,), (rows,)."""
    cuts, ends = resume.cuts[observed:], resume.ends[observed:]
    titles = [np.arange(cut, end) for cut, end in zip(cuts.tolist(), ends.tolist(), strict=True)]
    return np.delete(resume.tokens, np.concatenate(titles)), cuts - np.cumsum(ends - cuts) + (ends - cuts)


def _row_bytes(scorer: Scorer) -> int:
    """Bytes of a token's keys in all layers."""
    assert isinstance(scorer.forward, LlamaForward)  # as the caller saw
    config = scorer.model.config
    layers = scorer.forward.layers
    return len(layers) * int(config.num_key_value_heads) * layers[0].width * scorer.model.dtype.itemsize
