"""The closed list as token sequences under one boundary rule, and the tree they form.

The rule: a line's prefix ends before the space; a title's tokens are those that follow the prefix in context, up to
and including the line end. The line end makes the list prefix-free, so that "Cooks" does not collect the mass of
"Cooks, short order". A token may not span the join of prefix and title, nor that of line end and next line. Mass on
other tokenisations of the same title is not counted.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.text.resume import END_OF_DATA, Resume

CONTEXTS = (
    ("1984 (some college):", "1985 (some college):"),
    ("2001 (graduate degree):", END_OF_DATA),
    ("1979:", "1981:"),
    ("Cooks\n1996 (less than high school):", "1998 (high school):"),
)
"""What stands before and after a title when its tokens are checked."""


@dataclass(frozen=True)
class TokenizedResume:
    """A résumé as tokens.

    Attributes:
        tokens: token ids, the start token first where the tokenizer has one, shape (tokens,).
        rows: positions in the Careers table of the lines, shape (lines,).
        cuts: number of tokens in each line's prefix; the title's first token stands there, shape (lines,).
        ends: number of tokens up to and including each line's line end, shape (lines,).
        first_scored: the first line whose title is predicted.
    """

    tokens: np.ndarray
    rows: range
    cuts: np.ndarray
    ends: np.ndarray
    first_scored: int = 0

    @property
    def learned_from(self) -> int:
        """The first token that is learned: a later window of a career repeats header and history as context alone."""
        return 0 if self.first_scored == 0 else int(self.ends[self.first_scored - 1])


class ResumeTokenizer:
    """Turns résumés into tokens and holds the closed list's token sequences.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        titles: the words of each occupation, unique.

    Attributes:
        sequences: the tokens of " title\\n" in context for each occupation.

    Raises:
        LaborLLMError: a title has no stable tokens of its own under this tokenizer; the message names the title.
    """

    def __init__(self, tokenizer: Any, titles: Sequence[str]) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise LaborLLMError(
                f"{type(tokenizer).__name__} is no fast tokenizer; convert it to a tokenizer.json first"
            )
        self.tokenizer = tokenizer
        self.titles = tuple(titles)
        self.start = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        self.sequences = self._title_sequences()

    def encode(self, resumes: Sequence[Resume]) -> list[TokenizedResume]:
        """Tokens of each résumé.

        Raises:
            LaborLLMError: a token spans the edge of a title, or a title has other tokens than on the list.
        """
        encodings = self._encode([resume.text for resume in resumes])
        tokenized = []
        for resume, (tokens, starts, stops) in zip(resumes, encodings, strict=True):
            cuts = _boundaries(resume.cuts, starts, stops, resume.text)
            ends = _boundaries(resume.ends, starts, stops, resume.text)
            shift = len(self.start)
            self._require_listed(resume, tokens, cuts, ends)
            ids = np.concatenate([np.array(self.start, dtype=np.int64), tokens])
            tokenized.append(TokenizedResume(ids, resume.rows, cuts + shift, ends + shift, resume.first_scored))
        return tokenized

    def _require_listed(self, resume: Resume, tokens: np.ndarray, cuts: np.ndarray, ends: np.ndarray) -> None:
        for place, cut, end in zip(resume.occupation.tolist(), cuts.tolist(), ends.tolist(), strict=True):
            if tuple(tokens[cut:end].tolist()) != self.sequences[place]:
                start = resume.text.rfind("\n", 0, int(resume.cuts[cuts.tolist().index(cut)])) + 1
                raise LaborLLMError(
                    f"title {self.titles[place]!r} has other tokens than elsewhere in the line that begins "
                    f"{resume.text[start : start + 60]!r}; rename it or choose another tokenizer"
                )

    def _encode(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        coded = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        result = []
        for ids, offsets in zip(coded["input_ids"], coded["offset_mapping"], strict=True):
            spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
            result.append((np.array(ids, dtype=np.int64), spans[:, 0], spans[:, 1]))
        return result

    def _title_sequences(self) -> tuple[tuple[int, ...], ...]:
        per_context = [self._sequences_in(before, after) for before, after in CONTEXTS]
        for place, title in enumerate(self.titles):
            found = {sequences[place] for sequences in per_context}
            if len(found) > 1:
                raise LaborLLMError(
                    f"title {title!r} has different tokens in different lines; rename it or take another tokenizer"
                )
        sequences = per_context[0]
        require_prefix_free(sequences, self.titles)
        return sequences

    def _sequences_in(self, before: str, after: str) -> tuple[tuple[int, ...], ...]:
        texts = [f"{before} {title}\n{after}" for title in self.titles]
        sequences = []
        for title, text, (tokens, starts, stops) in zip(self.titles, texts, self._encode(texts), strict=True):
            edges = np.array([len(before), len(before) + len(title) + 2])
            try:
                first, after_last = _boundaries(edges, starts, stops, text)
            except LaborLLMError as error:
                raise LaborLLMError(f"title {title!r}: {error}; rename it or choose another tokenizer") from error
            sequence = tuple(tokens[first:after_last].tolist())
            self._require_known(title, sequence)
            sequences.append(sequence)
        return tuple(sequences)

    def _require_known(self, title: str, sequence: tuple[int, ...]) -> None:
        unknown = self.tokenizer.unk_token_id
        if not sequence or (unknown is not None and unknown in sequence):
            lacking = [each for each in title if unknown in self.tokenizer(each, add_special_tokens=False)["input_ids"]]
            named = f" ({lacking[0]!r})" if lacking else ""
            raise LaborLLMError(
                f"title {title!r} has a character the tokenizer does not know{named}; rename it or change the tokenizer"
            )
        require_unchanged(self.tokenizer, sequence, title)


def _boundaries(edges: np.ndarray, starts: np.ndarray, stops: np.ndarray, text: str) -> np.ndarray:
    """Index of the first token after each edge (a character position), shape (edges,).

    Tokenizers that trim white space from offsets move a token's start to the right of the edge, never to its left.
    """
    first = np.searchsorted(np.maximum.accumulate(stops), edges, side="right")
    inside = first < len(starts)
    spanning = np.zeros(len(edges), dtype=bool)
    spanning[inside] = starts[first[inside]] < edges[inside]
    if spanning.any():
        edge = int(edges[spanning.argmax()])
        raise LaborLLMError(f"one token spans the edge of a title at {text[max(0, edge - 12) : edge + 12]!r}")
    return first


def require_unchanged(tokenizer: Any, sequence: Sequence[int], text: str) -> None:
    """Refuse a text that its tokens do not spell: the tokenizer's normalisation changes it."""
    spelled = tokenizer.decode(list(sequence), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if "".join(spelled.split()) != "".join(text.split()):  # tokenizers without a decoder put spaces between tokens
        raise LaborLLMError(
            f"{text.strip()!r} becomes {spelled.strip()!r} under the tokenizer; rename it or choose another tokenizer"
        )


def require_prefix_free(sequences: Sequence[tuple[int, ...]], titles: Sequence[str]) -> None:
    """Refuse a list on which one title's tokens begin with another's."""
    order = sorted(range(len(sequences)), key=lambda place: sequences[place])
    for earlier, later in itertools.pairwise(order):
        if sequences[later][: len(sequences[earlier])] == sequences[earlier]:
            raise LaborLLMError(
                f"titles {titles[earlier]!r} and {titles[later]!r} begin with the same tokens up to the line end; "
                "rename one"
            )


@dataclass(frozen=True)
class TitleTree:
    """Token sequences that share their beginnings.

    The root is the end of a line's prefix. Edge e leads from its parent node with token ``token[e]``; edges stand in
    depth-first order. A leaf's probability is read off its parent, so only inner nodes are ever fed to a model.

    Attributes:
        token: token of each edge, shape (edges,).
        parent: the edge that leads to this edge's parent, -1 at the root, shape (edges,).
        depth: number of edges before this one on its path, shape (edges,).
        leaf: the last edge of each title's path, shape (occupations,).
    """

    token: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    leaf: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[tuple[int, ...]]) -> "TitleTree":
        """The tree of prefix-free sequences."""
        edges: list[tuple[int, int, int]] = []
        leaf = np.zeros(len(sequences), dtype=np.int64)
        path: list[int] = []
        path_tokens: tuple[int, ...] = ()
        for place in sorted(range(len(sequences)), key=lambda place: sequences[place]):
            sequence = sequences[place]
            shared = next((i for i, (a, b) in enumerate(zip(path_tokens, sequence, strict=False)) if a != b), len(path))
            path = path[:shared]
            for depth in range(shared, len(sequence)):
                edges.append((sequence[depth], path[-1] if path else -1, depth))
                path.append(len(edges) - 1)
            path_tokens = sequence
            leaf[place] = path[-1]
        token, parent, depth_of = (np.array(column, dtype=np.int64) for column in zip(*edges, strict=True))
        return cls(token=token, parent=parent, depth=depth_of, leaf=leaf)

    @cached_property
    def inner(self) -> np.ndarray:
        """The edges that lead to inner nodes, in depth-first order, shape (inner,)."""
        return np.unique(self.parent[self.parent >= 0])

    @cached_property
    def source(self) -> np.ndarray:
        """Where each edge's probability is read: 0 at the root, 1 + place in ``inner`` elsewhere, shape (edges,)."""
        return np.where(self.parent < 0, 0, np.searchsorted(self.inner, self.parent) + 1)

    @cached_property
    def only(self) -> np.ndarray:
        """The edge below each edge that alone leaves its node and leads to an inner one, -1 where none, (edges,)."""
        below = np.full(len(self.token), -1, dtype=np.int64)
        children = np.bincount(self.parent[self.parent >= 0], minlength=len(self.token))
        alone = self.inner[(self.parent[self.inner] >= 0) & (children[self.parent[self.inner]] == 1)]
        below[self.parent[alone]] = alone
        return below

    @cached_property
    def _by_source(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges ordered by ``source``, and where each source's edges begin, shapes (edges,) and (inner + 2,)."""
        order = np.argsort(self.source, kind="stable")
        return order, np.searchsorted(self.source[order], np.arange(len(self.inner) + 2))

    def leaving(self, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The edges that leave each of the given sources.

        Args:
            source: 0 for the root, 1 + place in ``inner`` elsewhere, shape (nodes,).

        Returns:
            Position in ``source`` and edge, one pair per leaving edge, shapes (pairs,).
        """
        order, begin = self._by_source
        count = begin[source + 1] - begin[source]  # (nodes,)
        node = np.repeat(np.arange(len(source)), count)  # (pairs,)
        nth = np.arange(len(node)) - np.repeat(np.cumsum(count) - count, count)
        return node, order[begin[source][node] + nth]

    @cached_property
    def ancestors(self) -> np.ndarray:
        """Whether inner node j is inner node i or on its path from the root, shape (inner i, inner j)."""
        place = {edge: index for index, edge in enumerate(self.inner.tolist())}
        visible = np.eye(len(self.inner), dtype=bool)
        for index, edge in enumerate(self.inner.tolist()):
            if self.parent[edge] >= 0:
                visible[index] |= visible[place[int(self.parent[edge])]]
        return visible  # (inner, inner)

    @cached_property
    def lineage(self) -> np.ndarray:
        """Places in ``inner`` from the root to each inner node, itself last, then -1, shape (inner, depth)."""
        path = np.full((len(self.inner), int(self.depth.max(initial=0))), -1, dtype=np.int64)
        place = {edge: index for index, edge in enumerate(self.inner.tolist())}
        for index, edge in enumerate(self.inner.tolist()):
            depth = int(self.depth[edge])
            if depth:
                path[index, :depth] = path[place[int(self.parent[edge])], :depth]
            path[index, depth] = index
        return path  # (inner, depth)

    def path(self, title: int) -> tuple[int, ...]:
        """The tokens of a title."""
        tokens, edge = [], int(self.leaf[title])
        while edge >= 0:
            tokens.append(int(self.token[edge]))
            edge = int(self.parent[edge])
        return tuple(reversed(tokens))

    def title_log_probabilities(self, edges: np.ndarray) -> np.ndarray:
        """Sum of log-probabilities along each title's path.

        Args:
            edges: log-probability of each edge, float64, shape (rows, edges).

        Returns:
            Shape (rows, occupations).
        """
        total = np.array(edges, dtype=np.float64)
        for depth in range(1, int(self.depth.max()) + 1):
            here = np.flatnonzero(self.depth == depth)
            total[:, here] += total[:, self.parent[here]]
        return total[:, self.leaf]  # (rows, occupations)
