"""Careers that a model draws, set beside the survey's own: the same people, the same rows, the same counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from laborllm.analysis.simulation.career_sums import ALL, CareerSums, PersonSums, Quantity, by_age, person_sums
from laborllm.analysis.simulation.workers import Workers
from laborllm.errors import LaborLLMError
from laborllm.evaluation.cells import group_values
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.implied_rates import MIN_PEOPLE
from laborllm.evaluation.groups.representativeness import MIN_EVENTS
from laborllm.evaluation.groups.sampling_noise import normalised, widened
from laborllm.evaluation.simultaneous import adjusted_p_values
from laborllm.evaluation.tables import Schema
from laborllm.evaluation.uncertainty import (
    bootstrap_std_error,
    draw_weights,
    percentile_interval,
    ratio,
    weighted_sums,
)

SUMMARIES: Schema = {
    **dict.fromkeys(("model", "group", "summary", "what", "when", "unit"), pl.String),
    **dict.fromkeys(
        (
            *("simulated", "simulated_std_error", "simulated_ci_low", "simulated_ci_high", "monte_carlo_error"),
            *("observed", "observed_std_error", "observed_ci_low", "observed_ci_high"),
            *("difference", "std_error", "ci_low", "ci_high", "p_adjusted"),
        ),
        pl.Float64,
    ),
    **dict.fromkeys(("flagged", "people"), pl.Int64),
}
"""Columns of summaries.csv."""


@dataclass(frozen=True)
class Summaries:
    """What careers drawn from models look like, beside the survey's own.

    Attributes:
        table: model; group ("all", "gender=female", …, by a person's last row); summary, what, when (ages; "all") and
            unit, as in ``career_sums.Quantity``; simulated and observed with std_error, ci_low, ci_high each;
            monte_carlo_error of the simulated number, due to the number of paths and already in its std_error;
            difference (simulated - observed) with the larger of the bootstrap's std_error and the one that the paths
            imply, ci_low, ci_high (of this one difference), p_adjusted (step-down, for all rows of the model), flagged
            (1 if p_adjusted < 1 - confidence, else 0); people. Observed and what follows are null where the survey
            does not have the rows; without bootstrap every interval is null.
        notes: what was left out, and what a reader must know, one sentence each.
    """

    table: pl.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Groups:
    """Groups of people.

    Attributes:
        names: "all", then "gender=female" and the like.
        member: whether a person is in a group, bool, shape (groups, people).
    """

    names: tuple[str, ...]
    member: np.ndarray


def summarise(
    drawn: Mapping[str, np.ndarray], workers: Workers, settings: EvaluationSettings | None = None
) -> Summaries:
    """Count the careers drawn and the survey's own, overall and by group.

    Shares and moves by age and the tables of transitions are told of all people together; groups have the rest.
    Differences are paired by person: bootstrap draws of people serve both sides. Were the model right, the chance of
    any flag at all would be at most 1 - confidence.

    Args:
        drawn: model name -> occupations as ``models.path_draws`` draws them, shape (drawn_rows, paths).
        workers: whose careers they are.
        settings: groups, replicates, confidence and seed.

    Raises:
        LaborLLMError: occupations are not of these workers, or a name in ``by`` is no grouping.
    """
    settings = settings or EvaluationSettings()
    groups, notes = groups_of(workers, settings.by)
    sums = CareerSums(workers, by_age(workers))
    weights = draw_weights(sums.people, settings.bootstrap, np.random.default_rng(settings.seed))
    own = workers.careers.occupation[sums.row][:, None]
    observed = person_sums(sums, own, groups.member) if workers.observed else None
    tables = [pl.DataFrame(schema=SUMMARIES)]
    for model, occupation in drawn.items():
        require_rows(model, occupation, sums)
        found = person_sums(sums, occupation, groups.member)
        tables.append(_table(model, found, observed, sums, groups=groups, weights=weights, settings=settings))
    return Summaries(pl.concat(tables), (*notes, *_notes(workers, sums)))


def require_rows(model: str, occupation: np.ndarray, sums: CareerSums) -> None:
    """
    Raises:
        LaborLLMError: occupations are not of the rows to draw.
    """
    if occupation.ndim != 2 or len(occupation) != len(sums.row):
        raise LaborLLMError(
            f"{model}: occupations of shape {occupation.shape} for {len(sums.row)} rows to draw; "
            "give what draw_occupations returns for these workers"
        )


def groups_of(workers: Workers, by: Sequence[str]) -> tuple[Groups, tuple[str, ...]]:
    """Everybody, and the values of covariates in people's last rows; with a note on groups that are too small."""
    careers = workers.careers
    ends = (careers.starts[1:] - 1).tolist()
    names, member, small = [ALL], [np.ones(careers.people, dtype=bool)], []
    for name in by:
        values = group_values(careers, name)[ends]
        for value in values.drop_nulls().unique().sort().to_list():
            people = values.eq(value).fill_null(value=False).to_numpy()
            if people.sum() < MIN_PEOPLE:
                small.append(f"{name}={value}")
            elif not people.all():
                names.append(f"{name}={value}")
                member.append(people)
    left = f"groups of fewer than {MIN_PEOPLE} people left out: {', '.join(small)}"
    return Groups(tuple(names), np.stack(member)), (left,) if small else ()


def _table(
    model: str,
    found: PersonSums,
    observed: PersonSums | None,
    sums: CareerSums,
    *,
    groups: Groups,
    weights: np.ndarray,
    settings: EvaluationSettings,
) -> pl.DataFrame:
    """Every group's numbers of one model; p-values are of all of them together."""
    rows, differences, least = [], [], []
    for place, (name, people) in enumerate(zip(groups.names, groups.member, strict=True)):
        kept = told(sums.quantities, found, observed, people=people, matrices=name == ALL)
        simulated = Draws.of(found, kept, sums, people=people, weights=weights)
        error = path_error(found, place, kept, sums.base[kept])
        own = Draws.of(observed, kept, sums, people=people, weights=weights) if observed is not None else None
        columns = [simulated, own]
        rows.append(_columns(model, name, sums, kept, columns, error, settings.confidence))
        difference = simulated.values - own.values if own is not None else np.full_like(simulated.values, np.nan)
        differences.append(difference)
        paths = len(found.path_top)
        least.append(error * np.sqrt(paths + 1))  # of a path drawn, as the survey's is, and of the mean over paths
    return _with_differences(pl.concat(rows), np.concatenate(differences), np.concatenate(least), settings)


def _with_differences(
    table: pl.DataFrame, differences: np.ndarray, least: np.ndarray, settings: EvaluationSettings
) -> pl.DataFrame:
    """Add what is told of differences, draws of shape (rows, replicates + 1)."""
    rng = np.random.default_rng(settings.seed)
    std_error, wide = widened(differences, np.nan_to_num(least), rng)
    p_value = adjusted_p_values(normalised(wide, rng)) if len(wide) else np.zeros(0)
    low, high = percentile_interval(wide[:, 1:], confidence=settings.confidence)
    p_value = np.where(np.isfinite(differences[:, 0]), p_value, np.nan)
    flagged = pl.Series(p_value).fill_nan(None) < 1 - settings.confidence
    numbers = {
        "difference": differences[:, 0],
        "std_error": std_error,
        "ci_low": low,
        "ci_high": high,
        "p_adjusted": p_value,
        "flagged": flagged,
    }
    return framed(table.with_columns(pl.Series(name, values) for name, values in numbers.items()), SUMMARIES)


def told(
    quantities: Sequence[Quantity],
    found: PersonSums,
    other: PersonSums | None,
    *,
    people: np.ndarray,
    matrices: bool,
    paths: int = 1,
) -> np.ndarray:
    """Quantities that enough people and events are behind, positions, shape (told,).

    Left out are those of fewer than ``MIN_PEOPLE`` people on either side, and shares of what happens, or fails to
    happen, fewer than ``MIN_EVENTS`` times on both; a share that is no transition may count the events of all
    ``paths``.
    """
    base = np.array([quantity.base for quantity in quantities])
    share = np.array([quantity.unit == "share" for quantity in quantities])
    enough = np.ones(len(base), dtype=bool)
    most = np.zeros((2, len(base)))
    for sums in (found, other):
        if sums is None:
            continue
        below, top = sums.base[people][:, base], sums.top[people]
        enough &= (below > 0).sum(axis=0) >= MIN_PEOPLE
        most = np.maximum(most, [top.sum(axis=0), (below.sum(axis=0) - top.sum(axis=0))])
    matrix = np.array([quantity.matrix for quantity in quantities])
    enough &= ~share | (most * np.where(matrix, 1, paths) >= MIN_EVENTS).all(axis=0)
    headline = np.array([quantity.when == ALL for quantity in quantities]) & ~matrix
    return np.flatnonzero(enough & (headline | matrices))


@dataclass(frozen=True)
class Draws:
    """Some quantities of a group in the sample itself and in every bootstrap draw of its people.

    Attributes:
        values: column 0 the sample itself, shape (told, replicates + 1).
        people: with a positive denominator, shape (told,).
    """

    values: np.ndarray
    people: np.ndarray

    @classmethod
    def of(
        cls, sums: PersonSums, kept: np.ndarray, counted: CareerSums, *, people: np.ndarray, weights: np.ndarray
    ) -> "Draws":
        """Ratios of weighted sums."""
        below = sums.base[people]  # (people, bases)
        chosen = weights[people]
        top = weighted_sums(sums.top[people][:, kept].T, chosen)
        used, again = np.unique(counted.base[kept], return_inverse=True)
        base = weighted_sums(below[:, used].T, chosen)[again]
        return cls(ratio(top, base), (below > 0).sum(axis=0)[counted.base[kept]])

    def interval(self, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Estimate, standard error, and both ends of the interval, each of shape (told,)."""
        low, high = percentile_interval(self.values[:, 1:], confidence=confidence)
        return self.values[:, 0], bootstrap_std_error(self.values[:, 1:]), low, high


def path_error(sums: PersonSums, group: int, kept: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Standard error of quantities that is due to the number of paths, by the delta method, shape (told,)."""
    return spread(linear_parts(sums, group, kept, base))


def linear_parts(sums: PersonSums, group: int, kept: np.ndarray, base: np.ndarray) -> np.ndarray:
    """By how much each path's totals move a ratio, to first order, shape (paths, told)."""
    top, below = sums.path_top[:, group][:, kept], sums.path_base[:, group][:, base]
    middle = below.mean(axis=0)
    value = ratio(top.mean(axis=0), middle)
    return ratio(top - value * below, np.broadcast_to(middle, below.shape))


def spread(parts: np.ndarray) -> np.ndarray:
    """Standard error of the mean over paths of an array of shape (paths, told): shape (told,)."""
    return parts.std(axis=0, ddof=1) / np.sqrt(len(parts))


def _columns(
    model: str,
    group: str,
    sums: CareerSums,
    kept: np.ndarray,
    sides: Sequence[Draws | None],
    error: np.ndarray,
    confidence: float,
) -> pl.DataFrame:
    """The columns up to those of differences."""
    quantities = [sums.quantities[place] for place in kept]
    data: dict[str, Any] = {"model": [model] * len(kept), "group": [group] * len(kept)}
    data |= {name: [getattr(each, name) for each in quantities] for name in ("summary", "what", "when", "unit")}
    for name, side in zip(("simulated", "observed"), sides, strict=True):
        numbers = [None] * 4 if side is None else side.interval(confidence)
        ends = (name, f"{name}_std_error", f"{name}_ci_low", f"{name}_ci_high")
        data |= dict(zip(ends, numbers, strict=True))
    data |= {"monte_carlo_error": error, "people": sides[0].people if sides[0] is not None else None}
    return pl.DataFrame(data, strict=False)


def framed(table: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Columns in the order and of the types of a schema; an undefined number is null, never NaN."""
    return table.select(pl.col(name).cast(kind) for name, kind in schema.items()).with_columns(
        pl.selectors.float().fill_nan(None)
    )


def _notes(workers: Workers, sums: CareerSums) -> tuple[str, ...]:
    """What a reader must know of these numbers."""
    notes = [
        f"summaries: left out where fewer than {MIN_PEOPLE} people are behind a number, or where a share's event, or "
        f"its absence, happens in fewer than {MIN_EVENTS} cases among the simulated and among the observed careers",
        "survey weights are not used: every person counts once",
        "a spell's length is the calendar years up to the row before which the next one begins; what the last row cuts "
        "off counts as long as it was seen, in the simulated and in the observed careers alike",
    ]
    if not workers.observed:
        notes.append("the survey has none of the rows drawn, so there is nothing to compare them with")
    if (sums.when.place < 0).any():
        notes.append(f"{int((sums.when.place < 0).sum())} drawn rows have no age and are in no number by age")
    return tuple(notes)
