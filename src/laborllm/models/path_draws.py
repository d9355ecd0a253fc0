"""Occupations of rows to come, drawn path by path, where their probabilities are not asked for.

The draws are those of ``paths.draw_paths``, but for models that draw at less cost than they give probabilities
(``next_row.DrawsLast``), and keep what they have read where they can (``next_row.DrawsOn``).
"""

import hashlib
from collections.abc import Callable

import numpy as np

from laborllm.models.next_row import Drawer, DrawsLast, DrawsOn
from laborllm.models.paths import (
    CELLS_AT_A_TIME,
    PATHS_AT_A_TIME,
    _Future,
    _people_to_draw,
    _runs,
    _with_occupation,
    draw_paths,
)
from laborllm.models.probabilities import Model
from laborllm.survey.careers import Careers

PEOPLE_AT_A_TIME = 1000
"""People whose paths are drawn at once: each row of theirs takes the whole list's probabilities meanwhile."""
Progress = Callable[[int, int], None]


def draw_occupations(
    model: Model,
    careers: Careers,
    drawn: np.ndarray,
    *,
    paths: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> np.ndarray:
    """Draw the occupations of some rows, path by path; a person's do not depend on who else is drawn.

    Args:
        model: fitted.
        careers: observed rows and rows to draw, as of ``draw_paths``.
        drawn: whether a row is drawn, bool, shape (person_years,).
        paths: for each person.
        seed: of the draws: the same person, year, path and seed meet the same luck under every model and
            counterfactual.
        progress: called with (people done, all people).

    Returns:
        Positions in the closed list, int16, shape (drawn_rows, paths).

    Raises:
        LaborLLMError: as ``draw_paths``.
    """
    _people_to_draw(careers, drawn, paths)  # refuses what cannot be drawn
    found = []
    for first in range(0, careers.people, PEOPLE_AT_A_TIME):
        last = min(first + PEOPLE_AT_A_TIME, careers.people)
        rows = slice(int(careers.starts[first]), int(careers.starts[last]))
        some = Careers(careers.table[rows], careers.occupations)
        if not drawn[rows].any():
            continue
        if isinstance(model, DrawsLast):
            found.append(_Drawn(model, some, drawn[rows], paths, seed).all_of_them(progress, first, careers.people))
        else:
            found.append(draw_paths(model, some, drawn[rows], paths=paths, seed=seed).occupation)
        progress(last, careers.people)
    return np.concatenate(found)


class _Drawn(_Future):
    """The rows to come under a model that draws."""

    def __init__(self, model: Model, careers: Careers, drawn: np.ndarray, paths: int, seed: int) -> None:
        super().__init__(model, careers, drawn, paths, seed)
        self.who, self.row = _people_to_draw(careers, drawn, paths), np.flatnonzero(drawn)

    def all_of_them(self, progress: Progress, before: int, total: int) -> np.ndarray:
        """All draws, shape (drawn_rows, paths)."""
        occupation = np.empty((len(self.row), self.paths), dtype=np.int16)
        together = max(1, PATHS_AT_A_TIME // self.paths)
        drawer = self._drawer()
        if drawer is not None:
            together = min(together, drawer.together)
        for begin in range(0, len(self.who), together):
            self._draw(self.who[begin : begin + together], drawer, occupation)
            progress(before + min(begin + together, len(self.who)), total)
        return occupation

    def _drawer(self) -> Drawer | None:
        """What draws these people's careers and reads them on, if the model offers it."""
        if not isinstance(self.model, DrawsOn):
            return None
        rows = np.concatenate([np.arange(self.begin[person], self.after[person]) for person in self.who])
        occupation = np.where(np.isin(rows, self.row), 0, self.occupation[rows])
        careers = Careers(_with_occupation(self.table[rows], self.occupations.codes, occupation), self.occupations)
        drawer = self.model.drawer(careers, (self.first - self.begin)[self.who], paths=self.paths)
        return drawer if drawer is not None and drawer.together else None

    def _draw(self, people: np.ndarray, drawer: Drawer | None, occupation: np.ndarray) -> None:
        """Draw the first row of every one of some people, then the second, …"""
        lengths = (self.after - self.first)[people]
        people = people[np.argsort(-lengths, kind="stable")]  # whoever ends first stands last
        lengths = -np.sort(-lengths)
        draws = np.zeros((len(people), self.paths, int(lengths[0])), dtype=np.int16)
        node = np.repeat(np.arange(len(people)), self.paths)  # (people × paths,): the history that a path has
        for step in range(draws.shape[2]):
            left = int((lengths > step).sum())
            before, (node, example) = node, self._histories(node[: left * self.paths], draws[:left], step)
            so_far = draws.reshape(-1, draws.shape[2])[example, :step]
            rows = self.first[people[:left]] + step
            if drawer is None:
                chosen = self._chosen(people[example // self.paths], so_far, node, rows)
            else:
                if step:
                    drawer.follow(before[example], so_far[:, -1].astype(np.int64))
                else:
                    drawer.begin(np.searchsorted(self.who, people))
                order, generators = np.argsort(node, kind="stable"), self._generators_of(rows)
                chosen = np.empty(len(node), dtype=np.int64)
                chosen[order] = drawer.draw(node[order], [generators[path] for path in order.tolist()])
            draws[:left, :, step] = chosen.reshape(left, self.paths)
            occupation[np.searchsorted(self.row, rows)] = draws[:left, :, step]

    def _chosen(self, person: np.ndarray, so_far: np.ndarray, node: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The next row of every path, shape (paths,).

        Args:
            person: whose history each is, shape (histories,).
            so_far: the occupations drawn so far, shape (histories, rows).
            node: the history of each path, shape (paths,).
            rows: the row to draw of each person, shape (people,).
        """
        assert isinstance(self.model, DrawsLast)  # as the caller saw
        order = np.argsort(node, kind="stable")
        ends = np.cumsum(np.bincount(node))  # (histories,)
        generators = self._generators_of(rows)
        begin = self.begin[person]
        lengths = self.first[person] + so_far.shape[1] + 1 - begin
        chosen = np.empty(len(node), dtype=np.int64)
        for some in _runs(lengths, max(1, CELLS_AT_A_TIME // len(self.occupations))):
            careers = self._careers(begin[some], lengths[some], self.first[person[some]], so_far[some])
            mine = order[(ends[some.start - 1] if some.start else 0) : ends[some.stop - 1]]
            own = [generators[path] for path in mine.tolist()]
            chosen[mine] = self.model.draw_last(careers, node[mine] - some.start, own)
        return chosen

    def _generators_of(self, rows: np.ndarray) -> list[np.random.Generator]:
        """The randomness of each path of some people's rows, shape (paths,)."""
        return [generator for row in rows.tolist() for generator in self._generators(row)]

    def _generators(self, row: int) -> list[np.random.Generator]:
        """The randomness of each path of a person's row; it depends on the seed, the person, the year and the path."""
        person, year = self.table.row(row)[:2]
        key = int.from_bytes(hashlib.sha256(str(person).encode()).digest()[:8], "big")
        return [np.random.default_rng([self.seed, key, year, path]) for path in range(self.paths)]
