"""Titles found by walking the tree only where they may be: the most probable ones, or one drawn at random.

Every edge has a bound, the probability that a title below it is next: of the prefix that it ends if its node has not
been fed, else the sum of its children's bounds. Bounds only fall, so a subtree whose bound is below what has been
found is left out without any error.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from laborllm.models.scoring.scorer import Lines, Pack, Progress, Scorer, finite, no_progress
from laborllm.text.titles import TitleTree, TokenizedResume


@dataclass(frozen=True)
class TopTitles:
    """The most probable titles of every person-year, without the rest of the list.

    Attributes:
        title: positions in the closed list, most probable first, shape (rows, most). Exact: no title that was left
            out is more probable.
        raw: raw log-probabilities, nats, float64, shape (rows, most). Exact.
        log_mass: log of the raw mass of all titles that were scored on the way, nats, shape (rows,).
        log_unseen: log of the largest raw mass that all other titles together can have, minus infinity where there are
            none, nats, shape (rows,).
        nodes: nodes of the tree that were fed, of all that there are, shape (rows,).
    """

    title: np.ndarray
    raw: np.ndarray
    log_mass: np.ndarray
    log_unseen: np.ndarray
    nodes: np.ndarray

    @property
    def log_probabilities(self) -> np.ndarray:
        """Normalised over the titles scored, shape (rows, most): too high by at most ``error``, never too low."""
        return self.raw - self.log_mass[:, None]

    @property
    def error(self) -> np.ndarray:
        """Certified bound: how far ``log_probabilities`` may lie above the exact ones, nats, shape (rows,)."""
        return np.logaddexp(0.0, self.log_unseen - self.log_mass)


@torch.inference_mode()
def top_titles(
    scorer: Scorer,
    resumes: Sequence[TokenizedResume],
    tree: TitleTree,
    *,
    rows: int,
    most: int,
    tolerance: float = np.inf,
    progress: Progress = no_progress,
) -> TopTitles:
    """The most probable titles of every person-year, exactly; subtrees that cannot hold one of them are not fed.

    Args:
        scorer: the language model.
        resumes: tokenized résumés that together score every row once.
        tree: the closed list's tokens.
        rows: number of person-years.
        most: how many titles.
        tolerance: the tree is walked on until ``error`` is at most this, nats.
        progress: called with (person-years done, all person-years).
    """
    most = min(most, len(tree.leaf))
    top = TopTitles(
        title=np.zeros((rows, most), dtype=np.int64),
        raw=np.zeros((rows, most)),
        log_mass=np.zeros(rows),
        log_unseen=np.zeros(rows),
        nodes=np.zeros(rows, dtype=np.int64),
    )
    scorer.over_packs(
        resumes, lambda pack: _top_of(scorer.lines(pack, tree), pack, tolerance, top), rows=rows, progress=progress
    )
    return top


@torch.inference_mode()
def sample_titles(
    scorer: Scorer,
    resumes: Sequence[TokenizedResume],
    tree: TitleTree,
    generators: Sequence[np.random.Generator],
    *,
    progress: Progress = no_progress,
) -> np.ndarray:
    """One title for every person-year, drawn from the normalised distribution over the closed list.

    Exact, though only a few nodes are fed: a walk goes down by the bounds; where a bound falls as its node is fed, the
    walk goes on with the ratio of the new to the old bound as probability and else begins again at the root, so that
    a title is reached in proportion to its probability (adaptive rejection sampling).

    Args:
        scorer: the language model.
        resumes: tokenized résumés that together score every row once.
        tree: the closed list's tokens.
        generators: the randomness of each row, so that a draw depends on nothing else, shape (rows,).
        progress: called with (person-years done, all person-years).

    Returns:
        Positions in the closed list, shape (rows,).
    """
    rows = len(generators)
    title = np.full(rows, -1, dtype=np.int64)

    def draw(pack: Pack) -> None:
        own = [generators[row] for row in pack.row.tolist()]
        used = [deepcopy(generator) for generator in own]  # work that memory cuts off draws the same again
        title[pack.row] = walk(scorer.lines(pack, tree), np.arange(len(own)), used)
        for generator, after in zip(own, used, strict=True):
            generator.bit_generator.state = after.bit_generator.state

    scorer.over_packs(resumes, draw, rows=rows, progress=progress)
    return title


def walk(lines: Lines, line: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """Titles drawn behind lines, independent of one another, though walks behind one line share the nodes fed.

    A walk's chance to end at a title is the title's probability over the bound at its root, whatever is fed meanwhile.

    Args:
        lines: the prefixes.
        line: behind which of them each title is drawn, shape (walks,).
        generators: the randomness of each walk, shape (walks,).

    Returns:
        Positions in the closed list, shape (walks,).
    """
    return _Walkers(_Bounds(lines), line, generators).titles()


def _top_of(lines: Lines, pack: Pack, tolerance: float, top: TopTitles) -> None:
    bounds = _Bounds(lines)
    most = top.title.shape[1]
    while True:
        candidates = np.where(bounds.open | bounds.titles, bounds.bound, -np.inf)  # (lines, edges)
        least = np.partition(candidates, -most, axis=1)[:, -most]
        wanted = bounds.open & (bounds.bound >= least[:, None])
        wanted |= bounds.too_loose(tolerance) & ~wanted.any(axis=1, keepdims=True)
        if not wanted.any():
            break
        bounds.expand(*np.nonzero(wanted))
    known = np.where(bounds.titles, bounds.path, -np.inf)[:, lines.tree.leaf]  # (lines, occupations)
    best = np.argsort(-known, axis=1, kind="stable")[:, :most]
    top.title[pack.row] = best
    top.raw[pack.row] = finite(np.take_along_axis(known, best, axis=1))
    top.log_mass[pack.row] = np.logaddexp.reduce(known, axis=1)
    top.log_unseen[pack.row] = bounds.log_unseen
    top.nodes[pack.row] = bounds.fed.sum(axis=1)


class _Bounds:
    """What lies below every edge of some lines' trees, at most.

    Attributes:
        path: log-probability of the prefix that an edge ends, minus infinity where it is not known, (lines, edges).
        bound: log-probability of all titles below an edge together, at most, shape (lines, edges).
        fed: whether the node at the end of an edge has been fed, shape (lines, edges).
    """

    def __init__(self, lines: Lines) -> None:
        self.lines, self.tree = lines, lines.tree
        self.edges = lines.roots()
        self.path, self.bound = np.full_like(self.edges, -np.inf), np.full_like(self.edges, -np.inf)
        self.fed = np.zeros(self.edges.shape, dtype=bool)
        self.is_title = np.zeros(len(self.tree.token), dtype=bool)
        self.is_title[self.tree.leaf] = True
        first = np.flatnonzero(self.tree.parent < 0)
        self.path[:, first] = finite(self.edges[:, first])
        self.bound[:, first] = self.path[:, first]

    @property
    def titles(self) -> np.ndarray:
        """Whether an edge ends a title whose probability is known, shape (lines, edges)."""
        return self.is_title & np.isfinite(self.path)

    @property
    def open(self) -> np.ndarray:
        """Whether an edge ends at a node that could be fed next, shape (lines, edges)."""
        return ~self.is_title & np.isfinite(self.path) & ~self.fed

    @property
    def log_unseen(self) -> np.ndarray:
        """Log of the mass of the titles whose probability is not known, at most, shape (lines,)."""
        return np.logaddexp.reduce(np.where(self.open, self.bound, -np.inf), axis=1)

    def too_loose(self, tolerance: float) -> np.ndarray:
        """The larger open nodes of lines whose unseen mass is still too large, shape (lines, edges)."""
        if np.isinf(tolerance):
            return np.zeros_like(self.fed)
        log_known = np.logaddexp.reduce(np.where(self.titles, self.bound, -np.inf), axis=1)
        loose = np.logaddexp(0.0, self.log_unseen - log_known) > tolerance  # (lines,)
        largest = np.where(self.open, self.bound, -np.inf).max(axis=1)
        return self.open & loose[:, None] & (self.bound >= largest[:, None] - np.log(4))

    def chains(self, line: np.ndarray, edge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some open edges with those below them up to where titles part, ordered by line: a walk needs them all."""
        lines, edges = [line], [edge]
        while len(edges[-1]):
            below = self.tree.only[edges[-1]]
            kept = below >= 0
            lines.append(lines[-1][kept])
            edges.append(below[kept])
        return np.divmod(
            np.sort(np.concatenate(lines) * len(self.tree.token) + np.concatenate(edges)), len(self.tree.token)
        )

    def expand(self, line: np.ndarray, edge: np.ndarray) -> None:
        """Feed the nodes at the ends of some open edges, ordered by line, and lower the bounds above them."""
        self.lines.feed(line, np.searchsorted(self.tree.inner, edge), self.edges)
        self.fed[line, edge] = True
        depths = self.tree.depth[edge]
        for depth in np.unique(depths).tolist():
            above, node = line[depths == depth], edge[depths == depth]
            place, child = self.tree.leaving(np.searchsorted(self.tree.inner, node) + 1)
            self.path[above[place], child] = self.path[above[place], node[place]] + finite(
                self.edges[above[place], child]
            )
            self.bound[above[place], child] = self.path[above[place], child]
        self._lower(line, edge)

    def _lower(self, line: np.ndarray, edge: np.ndarray) -> None:
        """Make the bounds of some edges, and of all above them, the sums of their children's."""
        edges = self.bound.shape[1]
        code = line * edges + edge
        for depth in range(int(self.tree.depth[edge].max()), -1, -1):
            line, edge = np.divmod(np.unique(code), edges)
            here = self.tree.depth[edge] == depth
            line, edge = line[here], edge[here]
            place, child = self.tree.leaving(np.searchsorted(self.tree.inner, edge) + 1)
            if len(edge):
                begins = np.flatnonzero(np.diff(place, prepend=-1))
                self.bound[line, edge] = np.logaddexp.reduceat(self.bound[line[place], child], begins)
            above = self.tree.parent[edge]
            code = np.concatenate([code, (line * edges + above)[above >= 0]])


class _Walkers:
    """Walks down the lines' trees.

    Args:
        bounds: of the lines.
        line: each walk's, shape (walks,).
        generators: shape (walks,).
    """

    def __init__(self, bounds: _Bounds, line: np.ndarray, generators: Sequence[np.random.Generator]) -> None:
        self.bounds, self.line, self.generators = bounds, line, generators
        self.children = {-1: np.flatnonzero(bounds.tree.parent < 0)}  # of the nodes that walks have come to
        self.title = {int(edge): place for place, edge in enumerate(bounds.tree.leaf)}

    def titles(self) -> np.ndarray:
        """The title that each walk ends at, shape (walks,)."""
        at = np.full(len(self.generators), -1, dtype=np.int64)
        walking = np.arange(len(at))
        while len(walking):
            for walk in walking.tolist():
                at[walk] = self._down(walk, int(at[walk]))
            walking = walking[~self.bounds.is_title[at[walking]]]
            if len(walking):
                self._feed(walking, at)
        return np.array([self.title[edge] for edge in at.tolist()])

    def _down(self, walk: int, edge: int) -> int:
        """From a node that has been fed (-1: the root) to a title, or to a node that has not been fed."""
        line, generator = self.line[walk], self.generators[walk]
        while edge == -1 or self.bounds.fed[line, edge]:
            children = self.children.get(edge)
            if children is None:
                source = np.searchsorted(self.bounds.tree.inner, [edge]) + 1
                children = self.children[edge] = self.bounds.tree.leaving(source)[1]
            if len(children) == 1:
                edge = int(children[0])
                continue
            bound = self.bounds.bound[line, children]
            upto = np.exp(bound - bound.max()).cumsum()
            nth = int(np.searchsorted(upto, generator.random() * upto[-1], side="right"))
            edge = int(children[min(nth, len(children) - 1)])
        return edge

    def _feed(self, walking: np.ndarray, at: np.ndarray) -> None:
        """Feed the nodes where walks stand; some go on from there, the others begin again at the root."""
        line, edges = self.line[walking], self.bounds.bound.shape[1]
        before = self.bounds.bound[line, at[walking]]
        here = np.divmod(np.unique(line * edges + at[walking]), edges)
        self.bounds.expand(*self.bounds.chains(*here))
        after = self.bounds.bound[line, at[walking]]
        for walk, old, new in zip(walking.tolist(), before.tolist(), after.tolist(), strict=True):
            if np.log1p(-self.generators[walk].random()) >= new - old:
                at[walk] = -1
