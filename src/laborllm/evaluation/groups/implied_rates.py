"""Rates and shares that a model implies on average, set beside what happened, in every group of people.

A difference is sum(p - y) / person-years at risk. Everything that depends on a model is summed in one pass over its
array: first over a person's rows, then by group, so that a bootstrap draw of people is one matrix product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from laborllm.evaluation.cells import find_cells
from laborllm.evaluation.checks import BLOCK
from laborllm.evaluation.tasks import OUT_OF_LABOR_FORCE, find_events
from laborllm.evaluation.uncertainty import blocks
from laborllm.survey.careers import Careers

MIN_PEOPLE = 20
"""People that a group, and the rows at risk in it, must come from."""
MOST_FLOWS = 12
"""Flows between broad groups that are compared: those with the most person-years."""
MIN_FLOW = 20
"""Person-years that a flow must have."""


SUMS = ("outside", "inside", "previous", "other")
"""Sums that events are read from, as ``tasks.Event`` names them: out of the labor force, in it, the previous
occupation, any other."""


@dataclass(frozen=True)
class Group:
    """Some people, or some years of theirs.

    Attributes:
        name: "all", "gender=female", or of a pair "gender=female & ethnicity=white".
        rows: whether each person-year belongs, bool, shape (person_years,).
        pair: whether two covariates define it.
    """

    name: str
    rows: np.ndarray
    pair: bool = False


@dataclass(frozen=True)
class Quantity:
    """A share or a rate: how often something happens among the person-years at risk of it.

    Attributes:
        name: "share: GROUP", "stay", "leave_labor_force", "flow: A → B" and the like.
        column: of ``Targets.probabilities`` that holds its probability.
        at_risk: bool, shape (person_years,).
        happened: bool, False where nobody is at risk, shape (person_years,).
        flow: whether it is a flow between broad groups, which pairs of covariates are spared.
    """

    name: str
    column: int
    at_risk: np.ndarray
    happened: np.ndarray
    flow: bool = False


@dataclass(frozen=True)
class Targets:
    """What a row's probabilities are summed to.

    Attributes:
        indicator: which occupations belong to each broad group and, last, to none of the labor force, float32, shape
            (occupations, broad groups + 1).
        previous: position of the previous occupation, -1 in a first row, shape (person_years,).
    """

    indicator: np.ndarray
    previous: np.ndarray

    def probabilities(self, shares: np.ndarray, rows: slice) -> np.ndarray:
        """Probability of each broad group, then of ``SUMS``, shape (rows, broad groups + 4).

        Those of the previous occupation mean nothing in a first row.
        """
        listed = shares @ self.indicator  # (rows, broad groups + 1)
        previous = np.take_along_axis(shares, self.previous[rows, None], axis=1)  # (rows, 1)
        outside = listed[:, -1:]
        return np.concatenate([listed, 1 - outside, previous, 1 - previous], axis=1, dtype=np.float64)


def broad_groups(careers: Careers) -> tuple[tuple[str, ...], np.ndarray]:
    """Broad groups of occupations, each state a group of its own; in the order of the closed list.

    Returns:
        Names, and the position of every occupation's broad group among them, shape (occupations,).
    """
    occupations = careers.occupations
    labels = [
        title if state else group
        for state, title, group in zip(occupations.is_state, occupations.titles, occupations.groups, strict=True)
    ]
    names = tuple(dict.fromkeys(labels))
    return names, np.array([names.index(label) for label in labels])


def find_groups(careers: Careers, by: Sequence[str]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """All rows, every value of each covariate and every pair of values of two, with notes on what is left out.

    Left out are groups of fewer than ``MIN_PEOPLE`` people, pairs with a missing value, and groups that hold the same
    rows as one that is there.

    Raises:
        LaborLLMError: a name in ``by`` is no grouping of these careers.
    """
    cells, notes = find_cells(careers, by)
    singles = [Group(c.group, c.rows) for c in cells if c.subset == "all"]
    known = [group for group in singles if "=" in group.name and not group.name.endswith("=missing")]
    pairs = [
        Group(f"{a.name} & {b.name}", a.rows & b.rows, pair=True)
        for a, b in combinations(known, 2)
        if a.name.partition("=")[0] != b.name.partition("=")[0]
    ]
    kept: list[Group] = []
    small: list[Group] = []
    seen = set()
    for group in (*singles, *pairs):
        rows = np.packbits(group.rows).tobytes()
        if not group.rows.any() or rows in seen:
            continue
        seen.add(rows)
        enough = np.count_nonzero(np.bincount(careers.person_of_row[group.rows])) >= MIN_PEOPLE
        (kept if enough else small).append(group)
    if small:
        named = ", ".join(group.name for group in small[:5]) + (", …" if len(small) > 5 else "")
        notes += (f"representativeness: {len(small)} groups of fewer than {MIN_PEOPLE} people left out: {named}",)
    return tuple(kept), notes


def find_quantities(careers: Careers) -> tuple[Targets, tuple[Quantity, ...], tuple[str, ...]]:
    """Shares of broad groups, rates of events and the larger flows, with notes on events that are not defined."""
    groups, broad = broad_groups(careers)
    outside = np.isin(careers.occupations.codes, OUT_OF_LABOR_FORCE)
    indicator = np.column_stack([broad[:, None] == np.arange(len(groups)), outside]).astype(np.float32)
    targets = Targets(indicator, careers.previous)
    everybody = np.ones(len(careers), dtype=bool)
    occupation = broad[careers.occupation]
    shares = [Quantity(f"share: {name}", place, everybody, occupation == place) for place, name in enumerate(groups)]
    rates, notes = _rates(careers, broad)
    return targets, (*rates, *shares, *_flows(careers, groups, broad)), notes


def _rates(careers: Careers, broad: np.ndarray) -> tuple[list[Quantity], tuple[str, ...]]:
    """The yes-or-no tasks of the evaluation, moving told as staying, and losing a job to unemployment."""
    events, notes = find_events(careers)
    rates = []
    for event in events:
        stay = event.task == "move"
        happened = ~event.happened if stay else event.happened
        column = broad.max() + 1 + SUMS.index(event.no if stay else event.yes)
        rates.append(Quantity("stay" if stay else event.task, column, *_spread(event.rows, happened, len(careers))))
    unemployed = careers.occupations.position.get("unemployed")
    employed = ~np.array(careers.occupations.is_state)
    rows = np.flatnonzero((careers.previous >= 0) & employed[careers.previous])
    if unemployed is None or not len(rows):
        return rates, (*notes, "become_unemployed: left out, nobody could go from a job to a state 'unemployed'")
    lost = _spread(rows, careers.occupation[rows] == unemployed, len(careers))
    return [*rates, Quantity("become_unemployed", broad[unemployed], *lost)], notes


def _spread(rows: np.ndarray, happened: np.ndarray, person_years: int) -> tuple[np.ndarray, np.ndarray]:
    """At risk and happened, over all person-years."""
    at_risk, over_all = np.zeros((2, person_years), dtype=bool)
    at_risk[rows] = True
    over_all[rows] = happened
    return at_risk, over_all


def _flows(careers: Careers, names: Sequence[str], broad: np.ndarray) -> list[Quantity]:
    """The flows between different broad groups that have the most person-years, largest first."""
    later = careers.previous >= 0
    origin, end = np.where(later, broad[careers.previous], -1), broad[careers.occupation]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (origin[later], end[later]), 1)
    np.fill_diagonal(counts, 0)
    largest = np.argsort(-counts, axis=None, kind="stable")[:MOST_FLOWS]
    pairs = [np.unravel_index(place, counts.shape) for place in largest if counts.flat[place] >= MIN_FLOW]
    return [
        Quantity(f"flow: {names[a]} → {names[b]}", int(b), origin == a, (origin == a) & (end == b), flow=True)
        for a, b in pairs
    ]


@dataclass(frozen=True)
class Design:
    """Who is in which group and at risk of what, the same for every model.

    A run is consecutive rows of one person that are in the same groups; a pattern is the groups that a row is in.

    Attributes:
        groups: the groups.
        quantities: the quantities.
        targets: how a row's probabilities give those of the quantities.
        occupation: position of each row's occupation, shape (person_years,).
        run: each row's run, ascending, shape (person_years,).
        person: each run's person, shape (runs,).
        member: whether a run is in a group, bool, shape (groups, runs).
        run_pattern: each run's pattern, 0 … patterns - 1, shape (runs,).
        pattern_member: whether a pattern is in a group, bool, shape (groups, patterns).
        at_risk: bool, shape (person_years, quantities).
        happened: bool, shape (person_years, quantities).
    """

    groups: tuple[Group, ...]
    quantities: tuple[Quantity, ...]
    targets: Targets
    occupation: np.ndarray
    run: np.ndarray
    person: np.ndarray
    member: np.ndarray
    run_pattern: np.ndarray
    pattern_member: np.ndarray
    at_risk: np.ndarray
    happened: np.ndarray

    def run_sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over each run's rows of an array of shape (person_years, columns): shape (runs, columns)."""
        return _sums_by(self.run, len(self.person), np.ones(len(values))) @ values

    def draws(self, sums: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sums over each group's people in every draw; the sample's in double, the others in single precision.

        Every run is counted once, in its pattern; groups are sums of patterns.

        Args:
            sums: of each run, shape (runs, statistics).
            weights: how often each person counts; column 0 is the sample itself, shape (people, replicates + 1).

        Returns:
            Shape (groups, statistics, replicates + 1).
        """
        statistics, draws = sums.shape[1], weights.shape[1]
        order = np.argsort(self.run_pattern, kind="stable")
        ends = np.cumsum(np.bincount(self.run_pattern))
        pieces = np.split(np.ascontiguousarray(sums[order].T, dtype=np.float32), ends[:-1], axis=1)
        member = sparse.csr_array(self.pattern_member, dtype=np.float32)
        totals = np.empty((len(self.groups), statistics, draws))
        with threadpool_limits(limits=1, user_api="blas"):  # for the reason in uncertainty.weighted_sums
            for some in blocks(draws, 128):
                counts = np.split(weights[self.person[order], some].astype(np.float32), ends[:-1])
                found = np.stack([one @ count for one, count in zip(pieces, counts, strict=True)])
                flat = member @ found.reshape(len(found), -1)  # (groups, statistics * draws)
                totals[:, :, some] = flat.reshape(len(self.groups), statistics, -1)
        totals[:, :, 0] = self.member @ sums
        return totals


def design_of(
    careers: Careers, groups: tuple[Group, ...], targets: Targets, quantities: tuple[Quantity, ...]
) -> Design:
    """Lay out the careers for the pass over a model's array."""
    member = np.stack([group.rows for group in groups])  # (groups, person_years)
    changes = np.any(member[:, 1:] != member[:, :-1], axis=0) | (np.diff(careers.person_of_row) != 0)
    run = np.append(0, np.cumsum(changes))
    first = np.append(0, np.flatnonzero(changes) + 1)
    keys = [column.tobytes() for column in np.packbits(member[:, first], axis=0).T]
    patterns = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    pattern = np.array([patterns[key] for key in keys])  # (runs,)
    return Design(
        groups=groups,
        quantities=quantities,
        targets=targets,
        occupation=careers.occupation,
        run=run,
        person=careers.person_of_row[first],
        member=member[:, first],
        run_pattern=pattern,
        pattern_member=member[:, first[np.unique(pattern, return_index=True)[1]]],
        at_risk=np.stack([quantity.at_risk for quantity in quantities], axis=1),
        happened=np.stack([quantity.happened for quantity in quantities], axis=1),
    )


def _sums_by(place: np.ndarray, places: int, values: np.ndarray) -> sparse.csr_array:
    """The matrix (places, rows) that sums rows, each times its value, over the rows of a place."""
    return sparse.csr_array((values, (place, np.arange(len(place)))), shape=(places, len(place)))


@dataclass(frozen=True)
class ModelSums:
    """Everything that representativeness needs of one model under one weighting of the rows.

    Attributes:
        gap: sum of w (p - y) over the rows at risk, shape (runs, quantities).
        variance: sum of w² p (1 - p) over the rows at risk: of the gap, if the model is right, shape (runs,
            quantities).
        occupations: sums of w p, w² p and w² p² over a pattern's rows, shape (3, patterns, occupations).
    """

    gap: np.ndarray
    variance: np.ndarray
    occupations: np.ndarray


def model_sums(
    log_probabilities: np.ndarray, design: Design, weightings: Mapping[str, np.ndarray | None]
) -> dict[str, ModelSums]:
    """One pass over a model's array, block by block.

    Args:
        log_probabilities: nats, shape (person_years, occupations).
        design: of the careers.
        weightings: name -> weight of each row, shape (person_years,), or None where every row counts once.
    """
    runs = len(design.person), len(design.quantities)
    patterns = 3, design.pattern_member.shape[1], log_probabilities.shape[1]
    sums = {name: ModelSums(np.zeros(runs), np.zeros(runs), np.zeros(patterns)) for name in weightings}
    place = np.array([quantity.column for quantity in design.quantities])
    for rows in blocks(len(log_probabilities), BLOCK):
        shares = np.exp(log_probabilities[rows])  # (rows, occupations)
        p = design.targets.probabilities(shares, rows)[:, place]  # (rows, quantities)
        gap = np.where(design.at_risk[rows], p - design.happened[rows], 0.0)
        variance = np.where(design.at_risk[rows], p * (1 - p), 0.0)
        for name, weight in weightings.items():
            w = np.ones(len(shares)) if weight is None else weight[rows]
            _add(sums[name], design, rows, w=w, row_values=(gap, variance), shares=shares)
    return sums


def _add(
    sums: ModelSums,
    design: Design,
    rows: slice,
    *,
    w: np.ndarray,
    row_values: tuple[np.ndarray, np.ndarray],
    shares: np.ndarray,
) -> None:
    """Add the rows of one block, weighted by ``w``."""
    first, last = design.run[rows.start], design.run[rows.stop - 1] + 1
    run, pattern, patterns = (
        design.run[rows] - first,
        design.run_pattern[design.run[rows]],
        design.pattern_member.shape[1],
    )
    sums.gap[first:last] += _sums_by(run, last - first, w) @ row_values[0]
    sums.variance[first:last] += _sums_by(run, last - first, w**2) @ row_values[1]
    once, twice = (_sums_by(pattern, patterns, weight.astype(np.float32)) for weight in (w, w**2))
    sums.occupations[0] += once @ shares
    sums.occupations[1] += twice @ shares
    sums.occupations[2] += twice @ shares**2
