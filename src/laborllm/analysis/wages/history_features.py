"""Hand-made summaries of a person's history, as regressors of a wage equation or of a decomposition."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from laborllm.models.regression.features import Histories
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import NOT_EMPLOYED, Occupations


@dataclass(frozen=True)
class Columns:
    """Regressors of every person-year.

    Attributes:
        names: shape (regressors,).
        values: float64, shape (person_years, regressors).
    """

    names: tuple[str, ...]
    values: np.ndarray

    def rows(self, some: np.ndarray) -> "Columns":
        """The same of some rows."""
        return Columns(self.names, self.values[some])

    def beside(self, other: "Columns") -> "Columns":
        """These, then the others."""
        return Columns((*self.names, *other.names), np.hstack([self.values, other.values]))

    def varying(self, rows: np.ndarray) -> "Columns":
        """Without columns that are the same in all of these rows, the one called constant apart."""
        kept = [
            place for place, name in enumerate(self.names) if name == "constant" or np.ptp(self.values[rows, place]) > 0
        ]
        return Columns(tuple(self.names[place] for place in kept), self.values[:, kept])

    def independent(self, rows: np.ndarray) -> "Columns":
        """Without the columns that those before them add up to in these rows."""
        values = self.values[rows]
        scale = np.sqrt((values**2).sum(axis=0))
        triangle = np.abs(np.diag(np.linalg.qr(values / np.where(scale > 0, scale, 1.0), mode="r")))
        kept = np.flatnonzero(triangle > 1e-8)
        return Columns(tuple(self.names[place] for place in kept), self.values[:, kept])


def history_columns(careers: Careers) -> Columns:
    """What a person has done before each row, and where the row itself belongs.

    - years in G: earlier rows in broad group G, for every group of the closed list but the states.
    - tenure: earlier rows without a break in the occupation of the row itself.
    - moves: earlier changes of occupation.
    - share out of work: of the earlier rows, those in a state outside employment; 0 in a first row.
    - works in G: whether the row's own occupation is in broad group G; the first group is the one left out.
    """
    occupations, histories = careers.occupations, Histories(careers)
    names = [name for name in group_names(occupations) if name != NOT_EMPLOYED]
    member = np.array([[own == name for name in names] for own in occupations.groups], dtype=np.float64)
    held = np.asarray(histories.held @ member)  # (person_years, groups)
    out = np.asarray(histories.held @ np.array(occupations.is_state, dtype=np.float64))
    stays = careers.previous == careers.occupation
    tenure = np.where(stays, histories.tenure, 0)
    share = np.divide(out, histories.index, out=np.zeros(len(careers)), where=histories.index > 0)
    own = member[careers.occupation]  # (person_years, groups)
    values = np.column_stack([held, tenure, _moves(careers), share, own[:, 1:]])
    labels = [f"years in {name}" for name in names] + ["tenure", "moves", "share out of work"]
    return Columns((*labels, *(f"works in {name}" for name in names[1:])), values)


def _moves(careers: Careers) -> np.ndarray:
    """Earlier rows whose occupation was not that of the row before them, first rows apart, shape (person_years,)."""
    moved = (careers.transition == "move").astype(np.int64)
    before = np.cumsum(moved) - moved
    return before - before[careers.starts[:-1]][careers.person_of_row]


def group_names(occupations: Occupations) -> list[str]:
    """The broad groups of a list, in its order.

    Examples:
        >>> group_names(Occupations(("1", "2", "3"), ("Cooks", "Smiths", "Bakers"), ("Food", "Crafts", "Food")))
        ['Food', 'Crafts']
    """
    return list(dict.fromkeys(occupations.groups))


def occupation_shares(careers: Careers) -> np.ndarray:
    """The share of each person's rows in each occupation, shape (people, occupations)."""
    counts = np.zeros((careers.people, len(careers.occupations)))
    np.add.at(counts, (careers.person_of_row, careers.occupation), 1.0)
    return counts / counts.sum(axis=1, keepdims=True)


def history_vectors(careers: Careers) -> sparse.csr_array:
    """Each row's history as a vector: what a network that averages over a career reads.

    Behind one another: the share of earlier rows in each occupation, the row's own occupation, the previous one, then
    the shares of earlier rows and the row itself by broad group.

    Returns:
        float32, shape (person_years, 3 * occupations + 2 * groups).
    """
    occupations, histories = careers.occupations, Histories(careers)
    names = group_names(occupations)
    member = sparse.csr_array(
        np.array([[own == name for name in names] for own in occupations.groups], dtype=np.float64)
    )
    scale = sparse.diags_array(1 / np.maximum(histories.index, 1).astype(np.float64))
    shares = scale @ histories.held  # (person_years, occupations)
    own, previous = (_indicators(each, len(occupations)) for each in (careers.occupation, careers.previous))
    blocks = [shares, own, previous, shares @ member, own @ member]
    return sparse.csr_array(sparse.hstack(blocks, format="csr", dtype=np.float32))


def occupation_indicators(careers: Careers) -> np.ndarray:
    """One column an occupation, 1 where the row's own it is, float64, shape (person_years, occupations)."""
    return _indicators(careers.occupation, len(careers.occupations)).toarray()


def _indicators(position: np.ndarray, count: int) -> sparse.csr_array:
    """A 1 at each row's position, nothing where it is -1, shape (rows, count)."""
    rows = np.flatnonzero(position >= 0)
    return sparse.csr_array((np.ones(len(rows)), (rows, position[rows])), shape=(len(position), count))
