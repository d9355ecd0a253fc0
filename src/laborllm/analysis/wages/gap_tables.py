"""A gap decomposed in every way: unadjusted, linear on hand-made histories, and by learned representations."""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from scipy import sparse

from laborllm.analysis.wages.gap import AdjustedGap, GapFindings
from laborllm.analysis.wages.gap_learning import GapSample, decompose
from laborllm.analysis.wages.gap_settings import NAMES, GapSettings
from laborllm.analysis.wages.history_features import Columns, history_columns, history_vectors
from laborllm.analysis.wages.oaxaca import Decomposition, oaxaca_blinder
from laborllm.analysis.wages.wage_terms import WageRows, mincer_columns
from laborllm.errors import LaborLLMError
from laborllm.evaluation.tables import spread_of
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.models.regression.dense_logit import Axes

LINEAR = {"Mincer": "Oaxaca-Blinder, Mincer", "history": "Oaxaca-Blinder, with history"}
PARTS = ("gap", "explained", "unexplained")
OVERLAP = ("trimmed", "largest_weight", "effective_people", "reliable")


def gap_findings(
    wages: WageRows,
    representations: Mapping[str, np.ndarray],
    settings: GapSettings,
    *,
    confidence: float,
    components: int = 50,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> GapFindings:
    """Decompose the gap in log wages between two groups.

    Args:
        wages: rows of a wage equation; rows of other groups are left out.
        representations: name -> of every row, learned without the group, shape (rows, width).
        settings: group, objectives, folds, network.
        confidence: of the intervals.
        components: principal components of each representation.
        progress: called with (networks learned, all networks).

    Raises:
        LaborLLMError: a group has too few people with a wage.
    """
    words = wages.careers.table[settings.group][wages.rows]
    kept = words.is_in(list(settings.of)).fill_null(False).to_numpy()
    first = (words == settings.of[0]).fill_null(False).to_numpy()[kept]
    _require_groups(first, settings)
    classic = mincer_columns(wages, without=(settings.group,))
    history = history_columns(wages.careers).rows(wages.rows)
    outcome, person = wages.log_wage[kept], wages.person[kept]
    draws = draw_weights(len(np.unique(person)), settings.bootstrap, np.random.default_rng(settings.seed))
    frames, terms = [], []
    for name, columns in (("Mincer", classic), ("history", classic.beside(history))):
        columns = usable(columns.rows(kept), first)
        found = oaxaca_blinder(outcome, columns.values, first, names=columns.names, cluster=person)
        parts = oaxaca_draws(outcome, columns.values, first, person=person, draws=draws)
        frames.append(_linear(LINEAR[name], found, parts, confidence))
        terms.append(found.terms.select(pl.lit(LINEAR[name]).alias("method"), pl.all()))
    inputs = gap_inputs(wages, classic, representations, components)[np.flatnonzero(kept)]
    adjusted = decompose(GapSample(outcome, first, inputs, person), settings, progress)
    frames += [_adjusted(NAMES[objective], found, confidence) for objective, found in adjusted.items()]
    overlap = [
        {"method": NAMES[objective], **{name: getattr(found, name) for name in OVERLAP}}
        for objective, found in adjusted.items()
    ]
    people, firsts = len(np.unique(person)), len(np.unique(person[first]))
    return GapFindings(pl.concat(frames), pl.DataFrame(overlap), pl.concat(terms), len(outcome), people, firsts)


def _require_groups(first: np.ndarray, settings: GapSettings) -> None:
    for side, name in ((first, settings.of[0]), (~first, settings.of[1])):
        if not side.any():
            raise LaborLLMError(f"gap.of names {name!r}, but nobody with a wage has that {settings.group}")


def usable(columns: Columns, first: np.ndarray) -> Columns:
    """Without the columns that are constant or combinations of others in either group."""
    for rows in (first, ~first):
        columns = columns.varying(rows).independent(rows)
    return columns.independent(first).independent(~first)


def gap_inputs(
    wages: WageRows, classic: Columns, representations: Mapping[str, np.ndarray], components: int
) -> sparse.csr_array:
    """What the networks read: histories, the classic regressors and representations, each scaled.

    Returns:
        float32, shape (rows, features).
    """
    dense = [_scaled(classic.values[:, 1:])]
    dense += [Axes.of(values, components)(values)[:, 1:] for values in representations.values()]
    vectors = history_vectors(wages.careers)[wages.rows]
    blocks = [vectors, *(sparse.csr_array(each) for each in dense)]
    return sparse.csr_array(sparse.hstack(blocks, format="csr", dtype=np.float32))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Numbers of mean 0 and deviation 1; indicators stay as they are."""
    numbers = ((values != 0) & (values != 1)).any(axis=0)
    deviation = np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0)
    return np.where(numbers, (values - values.mean(axis=0)) / deviation, values)


def oaxaca_draws(
    outcome: np.ndarray, regressors: np.ndarray, first: np.ndarray, *, person: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """The pooled decomposition in every draw of people.

    Args:
        outcome, regressors, first: as of ``oaxaca_blinder``.
        person: each row's person, shape (rows,).
        draws: how often each of these people counts, in order, shape (people, replicates + 1).

    Returns:
        gap, explained, unexplained, shape (3, replicates + 1); NaN in draws that lack a group.
    """
    place = np.unique(person, return_inverse=True)[1]
    both = np.column_stack([regressors, first])
    found = np.full((3, draws.shape[1]), np.nan)
    for number in range(draws.shape[1]):
        weights = draws[place, number].astype(np.float64)
        totals = weights[first].sum(), weights[~first].sum()
        if min(totals) == 0:
            continue
        weighted = both * weights[:, None]
        returns = np.linalg.lstsq(weighted.T @ both, weighted.T @ outcome, rcond=None)[0][:-1]
        means = [weighted[of, :-1].sum(axis=0) / total for of, total in zip((first, ~first), totals, strict=True)]
        levels = [(weights * outcome)[of].sum() / total for of, total in zip((first, ~first), totals, strict=True)]
        gap, explained = levels[0] - levels[1], float((means[0] - means[1]) @ returns)
        found[:, number] = gap, explained, gap - explained
    return found


def _linear(method: str, found: Decomposition, draws: np.ndarray, confidence: float) -> pl.DataFrame:
    error, low, high = spread_of(
        draws,
        people=np.full(3, found.first_people + found.second_people),
        reflected=np.zeros(3, dtype=bool),
        confidence=confidence,
        least=-np.inf,
    )
    estimates = [getattr(found, part) for part in PARTS]
    return _frame(method, estimates, error, low, high, reliable=True)


def _adjusted(method: str, found: AdjustedGap, confidence: float) -> pl.DataFrame:
    low, high = zip(*(found.interval(part, confidence) for part in PARTS), strict=True)
    estimates, errors = zip(*((getattr(found, part), getattr(found, f"{part}_error")) for part in PARTS), strict=True)
    return _frame(method, estimates, errors, low, high, reliable=found.reliable)


def _frame(method: str, *columns: object, reliable: bool) -> pl.DataFrame:
    names = ("estimate", "std_error", "ci_low", "ci_high")
    values = {name: np.asarray(each, dtype=np.float64) for name, each in zip(names, columns, strict=True)}
    return pl.DataFrame({"method": [method] * 3, "part": PARTS, **values, "reliable": reliable})
