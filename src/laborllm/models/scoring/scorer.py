"""Exact log-probabilities of titles under a causal language model: realised, some, all, or the most probable.

P(title | prefix) is the product of the model's next-token probabilities along the title's tokens, up to and
including the line end (LABOR-LLM, from a language model to a probability over occupations). A career is encoded once
for all its years; the titles' tree is then laid behind each year's prefix, inner nodes only.
"""

import logging
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from laborllm.errors import LaborLLMError
from laborllm.models.room import free_memory, lacks_memory, row_bytes
from laborllm.models.scoring.histories import Histories
from laborllm.models.scoring.hugging_face import device_of
from laborllm.models.scoring.llama import LlamaForward
from laborllm.models.scoring.precision import arithmetic
from laborllm.models.scoring.routes import Forward, Probe, choose_forward, context_length, plant, read_edges
from laborllm.text.titles import TitleTree, TokenizedResume

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (person-years done, all person-years)."""
MOST_ROWS = {"cpu": 4096, "cuda": 32768}
"""Rows that go through a layer together when memory is plenty."""
FEWEST_ROWS = 64
SHARE_OF_FREE_MEMORY = 0.5


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Pack:
    """Some résumés that are encoded together, and their scored lines.

    Attributes:
        resumes: the résumés.
        document: which résumé each line belongs to, shape (lines,).
        cut: number of tokens of each line's prefix, shape (lines,).
        row: position of each line in the result, shape (lines,).
    """

    resumes: Sequence[TokenizedResume]
    document: np.ndarray
    cut: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, resumes: Sequence[TokenizedResume]) -> "Pack":
        """All scored lines of some résumés."""
        lines = [len(resume.rows) - resume.first_scored for resume in resumes]
        return cls(
            resumes=resumes,
            document=np.repeat(np.arange(len(resumes)), lines),
            cut=np.concatenate([resume.cuts[resume.first_scored :] for resume in resumes]),
            row=np.concatenate([np.asarray(resume.rows[resume.first_scored :]) for resume in resumes]),
        )

    @property
    def documents(self) -> list[np.ndarray]:
        """Tokens up to each résumé's last prefix: what follows it is never read."""
        return [resume.tokens[: int(resume.cuts[-1])] for resume in self.resumes]

    @property
    def roots(self) -> list[np.ndarray]:
        """Where each line's first token is predicted, a résumé at a time."""
        return [resume.cuts[resume.first_scored :] - 1 for resume in self.resumes]


class Scorer:
    """Scores résumés with one causal language model.

    Args:
        model: a Hugging Face causal language model in evaluation mode; its weights are read where they lie.
        memory: bytes that activations may take; half of what is free by default.
        prompt: tokens that stand before every résumé (examples, a list of titles), encoded once, shape (tokens,). It
            bears the start token where the tokenizer has one, and the résumés then bear none.

    Attributes:
        forward: the forward pass that scores; a longer text may change it, unless ``check`` has seen the longest.
        route: what it is, and why it is not the faster one.
        arithmetic: what the model computes in.

    Raises:
        LaborLLMError: the weights give no finite numbers, or no forward pass agrees with the model.
    """

    def __init__(self, model: Any, *, memory: float | None = None, prompt: np.ndarray | None = None) -> None:
        self.model = model
        self.forward, self.route = choose_forward(model)
        self.checked = 0
        self.arithmetic = arithmetic(model)
        if model.dtype not in (torch.float32, torch.float64):
            logger.warning(
                "%s computes in %s: load it in float32 for numbers to publish", type(model).__name__, model.dtype
            )
        self.prompt = prompt if prompt is not None and len(prompt) else None
        self.rows = _rows_within(memory or SHARE_OF_FREE_MEMORY * free_memory(device_of(model)), model)
        self._prompts: dict[str, Any] = {}
        self._said = False

    def behind(self, prompt: np.ndarray) -> "Scorer":
        """The same model and forward pass, with another prompt before every résumé; texts are checked anew."""
        other = copy(self)
        other.prompt, other._prompts, other.checked = prompt if len(prompt) else None, {}, 0
        return other

    @torch.inference_mode()
    def realised(
        self, resumes: Sequence[TokenizedResume], *, rows: int, progress: Progress = no_progress
    ) -> np.ndarray:
        """Raw log-probability of each realised title; one forward pass a résumé.

        Args:
            resumes: tokenized résumés that together score every row once.
            rows: number of person-years.
            progress: called with (person-years done, all person-years).

        Returns:
            Nats, float64, shape (rows,).
        """
        raw = np.full(rows, np.nan)
        self.over_packs(resumes, lambda pack: self._realised(pack, raw), rows=rows, progress=progress, share=1)
        return raw

    @torch.inference_mode()
    def titles(
        self,
        resumes: Sequence[TokenizedResume],
        tree: TitleTree,
        *,
        rows: int,
        among: np.ndarray | None = None,
        progress: Progress = no_progress,
    ) -> np.ndarray:
        """Raw log-probability of titles in every person-year.

        Args:
            resumes: tokenized résumés that together score every row once.
            tree: the closed list's tokens.
            rows: number of person-years.
            among: positions in the list of the titles that are wanted, a few for each row, shape (rows, wanted);
                all titles if not given.
            progress: called with (person-years done, all person-years).

        Returns:
            Nats, float32 (float64 where the model is), shape (rows, occupations) or (rows, wanted); exp of a full row
            sums to at most 1.
        """
        wanted = len(tree.leaf) if among is None else among.shape[1]
        raw = np.full((rows, wanted), np.nan, dtype=np.float64 if self.model.dtype == torch.float64 else np.float32)
        self.over_packs(resumes, lambda pack: self._titles(pack, tree, among, raw), rows=rows, progress=progress)
        return raw

    @torch.inference_mode()
    def hidden(
        self, resumes: Sequence[TokenizedResume], *, rows: int, layer: int = -1, progress: Progress = no_progress
    ) -> np.ndarray:
        """Hidden state at the last token of every person-year's prefix.

        Args:
            resumes: tokenized résumés that together cover every row once.
            rows: number of person-years.
            layer: 0 the embedding, 1 after the first layer, -1 after the last one and its norm.
            progress: called with (person-years done, all person-years).

        Returns:
            float32, shape (rows, width).

        Raises:
            LaborLLMError: there is no such layer, or a state is not finite.
        """
        layers = int(self.model.config.get_text_config().num_hidden_layers)
        if not -layers - 1 <= layer <= layers:
            raise LaborLLMError(f"layer {layer}: the model has {layers}; choose from {-layers - 1} to {layers}")
        states: list[np.ndarray] = []

        def collect(pack: Pack) -> None:
            found = self._hidden(pack, layer)
            if not states:
                states.append(np.full((rows, found.shape[1]), np.nan, dtype=np.float32))
            states[0][pack.row] = found

        self.over_packs(resumes, collect, rows=rows, progress=progress, share=1)
        return states[0]

    def check(self, resumes: Sequence[TokenizedResume]) -> None:
        """Settle which forward pass scores these résumés, on the longest of them, before anything is scored.

        Raises:
            LaborLLMError: no forward pass agrees with the model, or the text does not fit its context.
        """
        if resumes:
            self._check(Pack.of([max(resumes, key=lambda resume: int(resume.cuts[-1]))]))

    def lines(self, pack: Pack, tree: TitleTree) -> "Lines":
        """The scored lines of a pack, encoded, each with a tree to be laid behind it."""
        self._check(pack, [tree.path(place) for place in {0, len(tree.leaf) - 1}])
        forward = self.forward
        encoded = forward.encode(pack.documents, pack.roots, past=self._past(forward), keep=len(tree.inner) > 0)
        return Lines(forward, encoded.states, plant(forward, encoded, pack.document, pack.cut, tree), self.rows)

    def histories(self, documents: Sequence[np.ndarray], tree: TitleTree) -> Histories:
        """Texts encoded, to be gone on from token by token; the own forward pass alone can."""
        forward = self.forward
        assert isinstance(forward, LlamaForward)  # as the caller saw
        ends = [np.array([len(document) - 1]) for document in documents]
        return Histories(forward, forward.encode(documents, ends, past=self._past(forward)), tree, self.rows)

    def over_packs(
        self,
        resumes: Sequence[TokenizedResume],
        work: Callable[[Pack], object],
        *,
        rows: int,
        progress: Progress = no_progress,
        share: int = 4,
    ) -> None:
        """Do some work on consecutive résumés together, as many as fill a share of the rows; one at least.

        Where memory does not suffice, the rows that go together are halved and the work is done again.
        """
        done, waiting = 0, list(resumes)
        while waiting:
            filled = np.cumsum([len(resume.tokens) for resume in waiting[: self.rows]])
            count = max(1, int(np.searchsorted(filled, self.rows // share, side="right")))
            pack = Pack.of(waiting[:count])
            try:
                work(pack)
            except (RuntimeError, MemoryError) as error:
                self._take_less_memory(error)
                continue
            waiting = waiting[count:]
            progress(done := done + len(pack.row), rows)

    def _check(self, pack: Pack, titles: Sequence[tuple[int, ...]] = ()) -> None:
        """Compare the forward pass with the model's plain output on the longest text so far, at two of its prefixes.

        A window, or angles that depend on the length, show on no made-up text of a few tokens.
        """
        longest = pack.resumes[int(pack.document[pack.cut.argmax()])]
        cuts = longest.cuts[longest.first_scored :]
        if int(cuts[-1]) <= self.checked:
            return
        title = tuple(longest.tokens[cuts[-1] : longest.ends[-1]].tolist()) or (int(longest.tokens[cuts[-1] - 1]),)
        before = np.array([], dtype=np.int64) if self.prompt is None else self.prompt
        text = np.concatenate([before, longest.tokens[: cuts[-1]]])
        needed, context = len(text) + max(len(each) for each in titles or [title]), context_length(self.model)
        if needed > context:
            raise LaborLLMError(
                f"a text with its prompt and a title takes {needed} tokens, but the model's context is {context}; "
                "shorten the prompt or the texts"
            )
        probe = Probe(text, np.unique(len(before) + cuts[[0, -1]]), titles or [title])
        self.forward, self.route = choose_forward(self.model, probe)
        self.checked = int(cuts[-1])

    def _realised(self, pack: Pack, raw: np.ndarray) -> None:
        self._check(pack)
        forward = self.forward
        spans = [(resume.cuts[resume.first_scored :], resume.ends[resume.first_scored :]) for resume in pack.resumes]
        positions = [_ranges(cuts - 1, ends - 1) for cuts, ends in spans]
        documents = [resume.tokens[: int(resume.ends[-1]) - 1] for resume in pack.resumes]
        encoded = forward.encode(documents, positions, past=self._past(forward), keep=False)
        token = np.concatenate([resume.tokens[at + 1] for resume, at in zip(pack.resumes, positions, strict=True)])
        steps = forward.read(encoded.states, np.arange(len(token)), token)
        lengths = np.concatenate([ends - cuts for cuts, ends in spans])
        raw[pack.row] = finite(np.add.reduceat(steps, np.cumsum(lengths) - lengths))

    def _titles(self, pack: Pack, tree: TitleTree, among: np.ndarray | None, raw: np.ndarray) -> None:
        lines = self.lines(pack, tree)
        edges = lines.roots()
        if among is None:
            lines.feed_all(edges)
            raw[pack.row] = finite(tree.title_log_probabilities(edges))
        else:
            wanted = among[pack.row]
            lines.feed(*_on_the_way(tree, wanted), edges)
            raw[pack.row] = finite(np.take_along_axis(tree.title_log_probabilities(edges), wanted, axis=1))

    def _hidden(self, pack: Pack, layer: int) -> np.ndarray:
        self._check(pack)
        forward = self.forward
        found = forward.hidden(pack.documents, pack.roots, layer, self._past(forward))
        return finite(found.float().cpu().numpy())

    def _past(self, forward: Forward) -> Any:
        """The shared prompt as this forward pass has encoded it; None without one."""
        if self.prompt is None:
            return None
        if forward.name not in self._prompts:
            self._prompts[forward.name] = forward.encode([self.prompt], [np.array([len(self.prompt) - 1])])
        return self._prompts[forward.name]

    def _take_less_memory(self, error: Exception) -> None:
        """Halve the rows that go together; any other error than want of memory is raised again."""
        if not lacks_memory(error):
            raise error
        if self.rows <= FEWEST_ROWS:
            raise LaborLLMError(
                f"memory does not suffice to score with {type(self.model).__name__}, not even {FEWEST_ROWS} rows at a "
                "time; close other programs, choose a smaller model or a larger machine"
            ) from error
        if not self._said:
            logger.warning("memory does not suffice for %d rows at a time; fewer go together, numbers stay", self.rows)
        self.rows, self._said = max(FEWEST_ROWS, self.rows // 2), True


class Lines:
    """Prefixes that have been encoded, each with a tree of titles behind it.

    Args:
        forward: the forward pass that encoded them.
        states: at the ends of the prefixes, what ``forward.read`` takes, shape (lines, ...).
        grove: the trees.
        rows: nodes that are fed together.
    """

    def __init__(self, forward: Forward, states: Any, grove: Any, rows: int) -> None:
        self.forward, self.states, self.grove, self.rows = forward, states, grove, rows
        self.tree, self.count = grove.tree, len(grove.document)

    def roots(self) -> np.ndarray:
        """Log-probabilities of the edges, those that leave the roots filled in, shape (lines, edges)."""
        edges = np.zeros((self.count, len(self.tree.token)))
        lines = np.arange(self.count)
        read_edges(self.forward, self.states, lines, np.zeros_like(lines), self.tree, edges)
        return edges

    def feed_all(self, edges: np.ndarray) -> None:
        """Fill in all edges, whole lines at a time."""
        inner = len(self.tree.inner)
        together = max(1, self.rows // max(1, inner))
        for first in range(0, self.count if inner else 0, together):
            for fed in self.grove.feed_all(range(first, min(first + together, self.count))):
                read_edges(self.forward, fed.states, fed.line, fed.node + 1, self.tree, edges)

    def feed(self, line: np.ndarray, node: np.ndarray, edges: np.ndarray) -> None:
        """Fill in the edges that leave some nodes, ordered by line, whose ancestors come with them or came before."""
        for first in range(0, len(line), self.rows):
            some = slice(first, first + self.rows)
            for fed in self.grove.feed(line[some], node[some]):
                read_edges(self.forward, fed.states, fed.line, fed.node + 1, self.tree, edges)


def _on_the_way(tree: TitleTree, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Line and place in ``inner`` of every inner node on the way to each line's wanted titles, ordered by line."""
    if not len(tree.inner):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    last = tree.source[tree.leaf[wanted]] - 1  # (lines, wanted): the node that a title is read off; -1 at the root
    lineage = np.where((last >= 0)[:, :, None], tree.lineage[last], -1)  # (lines, wanted, depth)
    code = (np.arange(len(wanted))[:, None, None] * len(tree.inner) + lineage)[lineage >= 0]
    return np.divmod(np.unique(code), max(1, len(tree.inner)))


def _ranges(first: np.ndarray, after: np.ndarray) -> np.ndarray:
    """All whole numbers of several ranges, one range behind the other."""
    return np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), after.tolist(), strict=True)])


def finite(values: np.ndarray) -> np.ndarray:
    """The same log-probabilities.

    Raises:
        LaborLLMError: one of them is not finite.
    """
    if not np.isfinite(values).all():
        raise LaborLLMError(
            "the language model gives probabilities that are no numbers (its weights hold NaN or infinities); "
            "train it again or copy the checkpoint again"
        )
    return values


def _rows_within(memory: float, model: Any) -> int:
    """How many rows may go through a layer together within some bytes of memory."""
    bytes_of_row = row_bytes(model.config.get_text_config(), model.dtype.itemsize)
    return int(np.clip(memory // bytes_of_row, FEWEST_ROWS, MOST_ROWS.get(device_of(model).type, MOST_ROWS["cpu"])))
