"""Log-wage equations with and without representations of histories: what each explains of people never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.analysis.wages.history_features import Columns, history_columns, occupation_indicators
from laborllm.analysis.wages.least_squares import LinearFit, least_squares
from laborllm.analysis.wages.wage_terms import WageRows, WageSettings, mincer_columns
from laborllm.errors import LaborLLMError
from laborllm.evaluation.tables import spread_of
from laborllm.evaluation.uncertainty import ratio, weighted_sums
from laborllm.models.regression.dense_logit import Axes

MINCER, HISTORY, OCCUPATION = "Mincer", "hand-made history", "occupation"


@dataclass(frozen=True)
class Specification:
    """One wage equation.

    Attributes:
        name: e.g. "Mincer".
        penalised: regressors beside the classic ones, under a ridge penalty, shape (rows, regressors).
    """

    name: str
    penalised: np.ndarray


@dataclass(frozen=True)
class WageFindings:
    """What wage equations found.

    Attributes:
        table: specification, regressors, penalty, r_squared, std_error, ci_low, ci_high, gain (over Mincer, paired),
            gain_std_error, gain_ci_low, gain_ci_high, rmse (log points), rows, people (of the test part).
        coefficients: specification, term, estimate, std_error, statistic, p_value, ci_low, ci_high of the small
            specifications, by least squares on the training rows, clustered by person.
        residuals: specification -> log wage less prediction in the test rows, shape (test rows,).
    """

    table: pl.DataFrame
    coefficients: pl.DataFrame
    residuals: Mapping[str, np.ndarray]


def wage_equations(
    wages: WageRows,
    representations: Mapping[str, np.ndarray],
    *,
    settings: WageSettings,
    draws: np.ndarray,
    confidence: float,
) -> WageFindings:
    """Fit every specification on the training rows and try it on the test rows.

    Args:
        wages: rows, split by person.
        representations: name -> of every row, before its own occupation is known, shape (rows, width).
        settings: components, penalties.
        draws: how often each test person counts, those with a wage in order; column 0 is the sample itself, shape
            (test people, replicates + 1).
        confidence: of the intervals.

    Raises:
        LaborLLMError: a part of the split has no wages, or a specification cannot be fitted.
    """
    train, test = wages.part("train"), wages.part("test")
    for name in ("train", "validation", "test"):
        if not wages.part(name).any():
            raise LaborLLMError(f"wages: no person of the part {name!r} has a wage; use more people")
    base, small = mincer_columns(wages).varying(train), history_columns(wages.careers).rows(wages.rows).varying(train)
    fits = {MINCER: _small(wages, base), HISTORY: _small(wages, base.beside(small).independent(train))}
    predicted = {name: columns.values[test] @ fit.coefficients for name, (columns, fit) in fits.items()}
    about: dict[str, tuple[int, float | None]] = {name: (len(fit.names) - 1, None) for name, (_, fit) in fits.items()}
    for one in _specifications(wages, representations, settings.components):
        ridge = fit_ridge(wages, base.values, others=one.penalised, penalties=settings.penalties)
        predicted[one.name] = ridge.predict(base.values[test], one.penalised[test])
        about[one.name] = base.values.shape[1] - 1 + one.penalised.shape[1], ridge.penalty
    residuals = {name: wages.log_wage[test] - each for name, each in predicted.items()}
    table = r_squared_table(
        residuals,
        wages.log_wage[test] - wages.log_wage[train].mean(),
        person=wages.person[test],
        draws=draws,
        confidence=confidence,
    )
    facts = pl.DataFrame(
        {"regressors": [each[0] for each in about.values()], "penalty": [each[1] for each in about.values()]},
        schema_overrides={"penalty": pl.Float64},
    )
    tidy = [
        fit.tidy(confidence).select(pl.lit(name).alias("specification"), pl.all()) for name, (_, fit) in fits.items()
    ]
    return WageFindings(pl.concat([table[:, :1], facts, table[:, 1:]], how="horizontal"), pl.concat(tidy), residuals)


def _small(wages: WageRows, columns: Columns) -> tuple[Columns, LinearFit]:
    """Least squares on the training rows."""
    train = wages.part("train")
    fit = least_squares(wages.log_wage[train], columns.values[train], names=columns.names, cluster=wages.person[train])
    return columns, fit


def _specifications(wages: WageRows, representations: Mapping[str, np.ndarray], components: int) -> list[Specification]:
    """The row's occupation alone, then with each representation."""
    train = wages.part("train")
    occupation = occupation_indicators(wages.careers)[wages.rows]
    found = [Specification(OCCUPATION, occupation)]
    for name, values in representations.items():
        turned = Axes.of(values[train], components)(values)[:, 1:].astype(np.float64)  # (rows, components)
        found.append(Specification(name, np.hstack([occupation, turned])))
    return found


@dataclass(frozen=True)
class Ridge:
    """log wage = base @ classic + standardised others @ coefficients, the latter under a penalty.

    Attributes:
        classic: coefficients of the unpenalised regressors, shape (base,).
        coefficients: of the others, shape (others,).
        mean, scale: by which the others are standardised on training rows, shape (others,).
        penalty: the one that validation people chose, in rows.
    """

    classic: np.ndarray
    coefficients: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    penalty: float

    def predict(self, base: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Log wages, shape (rows,)."""
        return base @ self.classic + ((others - self.mean) * self.scale) @ self.coefficients


def fit_ridge(wages: WageRows, base: np.ndarray, *, others: np.ndarray, penalties: Sequence[float]) -> Ridge:
    """Minimise the squared error plus penalty times the squared coefficients of standardised regressors.

    The classic regressors are not penalised: under a large enough penalty nothing but their equation is left. What they
    explain of the others and of wages is taken out first (Frisch & Waugh 1933), then all penalties are read off one
    eigendecomposition.

    Args:
        wages: rows, split by person.
        base: unpenalised regressors, a column of ones among them, shape (rows, base).
        others: penalised ones, shape (rows, others).
        penalties: from which the squared error of the validation rows chooses; the larger one of two that are as good.
    """
    train, validation = wages.part("train"), wages.part("validation")
    mean, deviation = others[train].mean(axis=0), others[train].std(axis=0)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
    standard, outcome = (others[train] - mean) * scale, wages.log_wage[train]
    on_base = np.linalg.lstsq(base[train], np.column_stack([outcome, standard]), rcond=None)[0]  # (base, 1 + others)
    left = np.column_stack([outcome, standard]) - base[train] @ on_base  # (rows, 1 + others)
    values, vectors = np.linalg.eigh(left[:, 1:].T @ left[:, 1:])
    turned = vectors.T @ (left[:, 1:].T @ left[:, 0])  # (others,)
    best, least = None, np.inf
    for penalty in sorted(penalties, reverse=True):
        coefficients = vectors @ (turned / (np.maximum(values, 0) + penalty))
        tried = Ridge(on_base[:, 0] - on_base[:, 1:] @ coefficients, coefficients, mean, scale, penalty)
        error = ((wages.log_wage - tried.predict(base, others))[validation] ** 2).mean()
        if error < least:
            best, least = tried, error
    if best is None:
        raise LaborLLMError("wages: a representation holds numbers that are not finite; leave the model out")
    return best


def r_squared_table(
    residuals: Mapping[str, np.ndarray],
    around_mean: np.ndarray,
    *,
    person: np.ndarray,
    draws: np.ndarray,
    confidence: float,
) -> pl.DataFrame:
    """Out-of-sample R-squared of every specification and its gain over the first, on shared draws of people.

    R² = 1 - sum of squared residuals / sum of squared deviations from the training mean: what the equation explains
    beyond a constant, both learned from other people. Below zero, it does worse.

    Args:
        residuals: specification -> of the test rows, shape (rows,).
        around_mean: outcome less its mean in the training rows, shape (rows,).
        person: each row's person, shape (rows,).
        draws: how often each of these people counts, in order, shape (people, replicates + 1).
        confidence: of the intervals.

    Returns:
        Columns as in ``WageFindings``, regressors and penalty apart.
    """
    names, place = np.unique(person, return_inverse=True)
    squares = [each**2 for each in (around_mean, *residuals.values())]
    sums = np.stack([np.bincount(place, weights=each, minlength=len(names)) for each in squares])
    total, *errors = weighted_sums(sums, draws)
    r_squared = np.stack([1 - ratio(each, total) for each in errors])  # (specifications, replicates + 1)
    gain = r_squared - r_squared[:1]
    columns: dict[str, object] = {"specification": list(residuals), "r_squared": r_squared[:, 0]}
    columns |= _spread("", r_squared, len(names), confidence)
    columns |= {"gain": gain[:, 0]} | _spread("gain_", gain, len(names), confidence)
    columns |= {"rmse": [float(np.sqrt((each**2).mean())) for each in residuals.values()]}
    columns |= {"rows": [len(place)] * len(residuals), "people": [len(names)] * len(residuals)}
    return pl.DataFrame(columns)


def _spread(prefix: str, values: np.ndarray, people: int, confidence: float) -> dict[str, np.ndarray]:
    found = spread_of(
        values,
        people=np.full(len(values), people),
        reflected=np.zeros(len(values), dtype=bool),
        confidence=confidence,
        least=-np.inf,
    )
    return {f"{prefix}{name}": each for name, each in zip(("std_error", "ci_low", "ci_high"), found, strict=True)}
