"""Variables of the alternatives: what an occupation has to do with those held before, with one coefficient each.

- ``stay``: 1 for the previous occupation;
- ``same_group``: 1 for another occupation of the previous one's broad group;
- ``shared_words``: share of title words in common with the previous occupation, of another one (Jaccard);
- ``return``: 1 for an occupation held in an earlier row, other than the previous one;
- ``years_held``: log of one plus the earlier rows in it, other than the previous one;
- ``distance``: distance from the previous occupation, out of a file of one's own; 0 for itself and in a first row.

``"stay:TERM"`` lets the coefficient vary with a term of ``terms``, e.g. ``"stay:log(tenure)"``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from laborllm.errors import LaborLLMError
from laborllm.models.regression.features import Histories
from laborllm.models.regression.softmax import Similarity
from laborllm.models.regression.terms import Override, Term, require_terms
from laborllm.survey.occupations import Occupations

BY_PREVIOUS = ("stay", "same_group", "shared_words")
BY_HISTORY = ("return", "years_held")
DISTANCE = "distance"


@dataclass(frozen=True)
class Coded:
    """A similarity variable as training saw it.

    Attributes:
        name: as it is written.
        term: what its coefficient varies with; None for one coefficient.
        distances: between occupations, for ``DISTANCE`` alone, shape (occupations, occupations).
    """

    name: str
    term: Term | None
    distances: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """The variable without the term."""
        return self.name.split(":")[0]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Name and level of each coefficient, shape (columns, 2)."""
        return [(self.name, level) for level in (self.term.levels if self.term else [""])]

    @property
    def scales(self) -> np.ndarray:
        """What each column was divided by, shape (columns,)."""
        return np.full(len(self.names), (self.term.scale if self.term else 1.0) * self._unit)

    def variable(self, histories: Histories, override: Override | None = None) -> Similarity:
        """The variable for the rows of careers."""
        rows = len(histories.careers)
        design = sparse.csr_array(np.ones((rows, 1)))
        if self.term:
            design, _ = self.term.columns(histories, override or {})
        if self.kind in BY_HISTORY:
            return Similarity(_earlier(self.kind, histories), np.arange(rows), design)
        if self.distances is None:
            table = by_origin(self.kind, histories.careers.occupations)
        else:
            table = _after_start(self.distances / self._unit)
        return Similarity(table, histories.previous + 1, design)

    @property
    def _unit(self) -> float:
        """What values are divided by: for distances, in a unit of the file, their standard deviation."""
        if self.distances is None:
            return 1.0
        return float(self.distances[~np.eye(len(self.distances), dtype=bool)].std()) or 1.0


def coded_similarities(
    names: Sequence[str], histories: Histories, *, reference: bool = False, distances: np.ndarray | None = None
) -> tuple[Coded, ...]:
    """Read the terms' levels off the training rows; a term that does not vary is left out.

    Args:
        names: as they are written.
        histories: the training rows.
        reference: leave out the first level of every variable in levels.
        distances: where one of the names is ``DISTANCE``, shape (occupations, occupations).

    Raises:
        LaborLLMError: there is no such variable or term.
    """
    require_similarities(names)
    found = []
    for name in names:
        kind, _, term = name.partition(":")
        coded = Coded(
            name,
            Term.of(term, histories, reference=reference) if term else None,
            distances if kind == DISTANCE else None,
        )
        if coded.names:
            found.append(coded)
    return tuple(found)


def require_similarities(names: Sequence[str]) -> None:
    """Refuse what is no similarity variable.

    Raises:
        LaborLLMError: there is no such variable or term, or it stands twice.
    """
    known = (*BY_PREVIOUS, *BY_HISTORY, DISTANCE)
    for place, name in enumerate(names):
        kind, _, term = name.partition(":")
        if kind not in known:
            raise LaborLLMError(
                f"similarity {name!r}: there is no variable {kind!r}; choose out of {', '.join(known)}, alone or as "
                f"stay:TERM"
            )
        if term:
            require_terms([term])
        if name in names[:place]:
            raise LaborLLMError(f"similarity {name!r} stands twice; keep one of them")


def by_origin(kind: str, occupations: Occupations) -> sparse.csr_array:
    """A variable of ``BY_PREVIOUS``, shape (1 + occupations, occupations); row 0 is a first row, row 1 + j after j."""
    if kind == "stay":
        values = np.eye(len(occupations))
    elif kind == "same_group":
        groups = np.array(occupations.groups)
        values = (groups[:, None] == groups) & (groups != "")
    else:
        values = _shared_words(occupations.titles)
    if kind != "stay":
        values = values * (1 - np.eye(len(occupations)))
    return _after_start(values)


def _after_start(values: np.ndarray) -> sparse.csr_array:
    """Values by previous occupation behind those of a first row, which are 0, shape (1 + occupations, occupations)."""
    return sparse.csr_array(np.vstack([np.zeros((1, values.shape[1])), values]))


def _shared_words(titles: Sequence[str]) -> np.ndarray:
    """Words in common divided by words in either, shape (titles, titles)."""
    words = [set(re.findall(r"[^\W\d_]{3,}", title.lower())) for title in titles]
    listed = {word: place for place, word in enumerate(sorted(set().union(*words)))}
    has = np.zeros((len(titles), max(len(listed), 1)))
    for row, own in enumerate(words):
        has[row, [listed[word] for word in own]] = 1
    both = has @ has.T
    size = has.sum(axis=1)
    return both / np.maximum(size[:, None] + size - both, 1)


def _earlier(kind: str, histories: Histories) -> sparse.csr_array:
    """A variable of ``BY_HISTORY``, shape (person_years, occupations)."""
    held = histories.held.copy()
    row = np.repeat(np.arange(held.shape[0]), np.diff(held.indptr))
    held.data[held.indices == histories.previous[row]] = 0
    held.eliminate_zeros()
    return held.sign() if kind == "return" else held.log1p()
