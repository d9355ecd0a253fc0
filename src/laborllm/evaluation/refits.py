"""Uncertainty of test people and of training people together: a metric over refits on resampled training people.

Let v(S, T) be a metric of a model that learned from the people S and is tested on the people T, both random and
independent. The law of total variance splits

    Var v(S, T) = E_S Var_T(v | S) + Var_S E_T(v | S).

The first part, of the test people, is the person-clustered variance of the fit on the whole sample, which an
evaluation reports alone. The second, of the training people, is learned from refits on people drawn with replacement
(LABOR-LLM, evaluation): with v_r the metric of refit r on the same test people, u_ri the share of person i in it (see
``Fits``), and v and u_i their means over the R refits,

    V_training = max(0, sum over r of (v_r - v)² / (R - 1) - n / (n - 1) sum over i, r of (u_ri - u_i)² / (R - 1)).

The term taken off is the interaction of training and test people: a refit that suits these n test people by luck. It
stands in the variance between refits, and the variance of the test people counts it already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from scipy import stats

PERPLEXITIES = ("perplexity", "perplexity_raw")
SPLIT = {
    **dict.fromkeys(("std_error_test", "std_error_training", "std_error_total", "ci_low", "ci_high"), pl.Float64),
    **dict.fromkeys(("confidence", "degrees_of_freedom"), pl.Float64),
    **dict.fromkeys(("refit_mean", "refit_std_dev"), pl.Float64),
    "refits": pl.Int64,
    "people": pl.Int64,
}
"""Columns of a variance in its two parts."""
REFITS = {"model": pl.String, "metric": pl.String, "estimate": pl.Float64, **SPLIT}
COMPARISONS = {
    **dict.fromkeys(("model_a", "model_b", "metric"), pl.String),
    "difference": pl.Float64,
    **SPLIT,
}


@dataclass(frozen=True)
class Fits:
    """A metric of one model in several fits, on the same test people.

    Attributes:
        values: the fit on the whole sample, then the refits, in the metric's unit, shape (refits + 1,).
        influence: what each test person adds to the metric's sampling error, by the delta method: the metric of a
            sample in which person i counts w_i times is about values + sum over i of (w_i - 1) influence_i; shape
            (refits + 1, people). Each row sums to zero.
    """

    values: np.ndarray
    influence: np.ndarray

    def __sub__(self, other: "Fits") -> "Fits":
        """The difference of two metrics on the same people and refits: paired in both."""
        with np.errstate(invalid="ignore"):  # infinite less infinite: unknown
            return Fits(self.values - other.values, self.influence - other.influence)


@dataclass(frozen=True)
class VarianceSplit:
    """A metric with the variance of its test people and of its training people.

    Attributes:
        estimate: of the fit on the whole sample, in the metric's unit.
        refit_mean: mean over the refits. Its distance from the estimate is what resampling itself does to a fit (a
            draw holds about 63 % of the people, some of them several times); it is no error of the estimate.
        refit_std_dev: standard deviation over the refits, the interaction with the test people left in; NaN with fewer
            than two refits.
        std_error_test: given the fit, clustered by person (delta method); NaN with fewer than two people.
        std_error_training: over training people; 0 where the refits differ no more than by luck with these test
            people, which std_error_test counts already; NaN with fewer than two refits.
        std_error_total: root of the sum of the squares.
        degrees_of_freedom: of the total (Satterthwaite), people - 1 for the test part and refits - 1 for the other.
        ci_low, ci_high: estimate -/+ quantile of Student's t times std_error_total, of a perplexity in its logarithm.
        confidence: of the interval.
        refits: number of them.
        people: test people.
    """

    estimate: float
    refit_mean: float
    refit_std_dev: float
    std_error_test: float
    std_error_training: float
    std_error_total: float
    degrees_of_freedom: float
    ci_low: float
    ci_high: float
    confidence: float
    refits: int
    people: int


def mean_of(sums: np.ndarray, person_years: np.ndarray) -> Fits:
    """A mean over person-years, e.g. the log score.

    Args:
        sums: per-person sums of what is averaged, shape (refits + 1, people).
        person_years: of each person, shape (people,).
    """
    values = sums.sum(axis=1) / person_years.sum()
    with np.errstate(invalid="ignore"):  # an infinite sum has no influence
        influence = (sums - values[:, None] * person_years) / person_years.sum()
    return Fits(values, influence)  # (refits + 1,), (refits + 1, people)


def perplexity_of(log_likelihood: np.ndarray, person_years: np.ndarray) -> Fits:
    """exp of minus the mean log-likelihood.

    Args:
        log_likelihood: per-person sums, nats, shape (refits + 1, people).
        person_years: of each person, shape (people,).
    """
    nats = mean_of(-log_likelihood, person_years)
    with np.errstate(over="ignore", invalid="ignore"):  # more than 709 nats a row: infinite
        values = np.exp(nats.values)
        return Fits(values, values[:, None] * nats.influence)


def split_variance(fits: Fits, *, confidence: float, positive: bool = False) -> VarianceSplit:
    """Standard errors of a metric over test people, over training people, and over both.

    The training part takes the spread of refits for the spread of fits on new training people. That is right where a
    metric moves in proportion to what is learned, as of a model held back by a penalty or stopped early. Of a model
    fitted by the very metric it is judged by, and by nothing else, the slope at the best fit is zero: the refits'
    variance is then three times that of new samples, in small ones more, so that intervals are too wide, not too
    narrow.

    Args:
        fits: of a metric, or of a difference of two.
        confidence: of the interval, e.g. 0.95.
        positive: whether the metric is, as a perplexity: the interval is then taken in its logarithm.

    Examples:
        >>> sums = np.array([[2.0, 4.0, 6.0, 8.0], [2.5, 4.5, 6.5, 8.5], [1.5, 3.5, 5.5, 7.5]])  # no interaction
        >>> found = split_variance(mean_of(sums, np.full(4, 2.0)), confidence=0.95)
        >>> found.estimate, round(found.std_error_test, 4), round(found.std_error_training, 4)
        (2.5, 0.6455, 0.3536)
    """
    refits, people = len(fits.values) - 1, fits.influence.shape[1]
    test, training = _test_variance(fits), _training_variance(fits)
    total = test + training
    degrees = np.nan
    if total > 0:
        degrees = total**2 / (test**2 / (people - 1) + training**2 / (refits - 1))
    reach = float(stats.t.ppf((1 + confidence) / 2, degrees)) * np.sqrt(total) if total > 0 else total
    estimate = float(fits.values[0])
    with np.errstate(over="ignore"):  # two refits far apart: no upper end
        factor = float(np.exp(reach / estimate)) if positive else np.nan
    return VarianceSplit(
        estimate=estimate,
        refit_mean=float(fits.values[1:].mean()) if refits else np.nan,
        refit_std_dev=float(fits.values[1:].std(ddof=1)) if refits > 1 else np.nan,
        std_error_test=float(np.sqrt(test)),
        std_error_training=float(np.sqrt(training)),
        std_error_total=float(np.sqrt(total)),
        degrees_of_freedom=float(degrees),
        ci_low=estimate / factor if positive else estimate - reach,
        ci_high=estimate * factor if positive else estimate + reach,
        confidence=confidence,
        refits=refits,
        people=people,
    )


def _test_variance(fits: Fits) -> float:
    """Variance over test people of the fit on the whole sample; NaN with fewer than two, or an infinite metric."""
    people = fits.influence.shape[1]
    if people < 2 or not np.isfinite(fits.influence[0]).all():
        return np.nan
    return people / (people - 1) * float((fits.influence[0] ** 2).sum())


def _training_variance(fits: Fits) -> float:
    """Variance between refits less its interaction with the test people; NaN with fewer than two refits."""
    refits, people = len(fits.values) - 1, fits.influence.shape[1]
    if refits < 2 or people < 2 or not np.isfinite(fits.influence).all():
        return np.nan
    between = float(fits.values[1:].var(ddof=1))
    interaction = people / (people - 1) * float(fits.influence[1:].var(axis=0, ddof=1).sum())
    return max(between - interaction, 0.0)


def refits_table(fits: Mapping[str, Mapping[str, Fits]], *, confidence: float) -> pl.DataFrame:
    """One row per model and metric; columns as in ``REFITS``.

    Args:
        fits: model -> metric -> its fits, all of the same test people and refits.
        confidence: of every interval.
    """
    rows = [
        (model, metric, *_row(split_variance(one, confidence=confidence, positive=metric in PERPLEXITIES)))
        for model, metrics in fits.items()
        for metric, one in metrics.items()
    ]
    return _frame(rows, REFITS)


def comparisons_table(fits: Mapping[str, Mapping[str, Fits]], *, confidence: float) -> pl.DataFrame:
    """One row per pair of models and metric that both have, a - b; columns as in ``COMPARISONS``."""
    rows = [
        (a, b, metric, *_row(split_variance(one - fits[b][metric], confidence=confidence)))
        for a, b in combinations(fits, 2)
        for metric, one in fits[a].items()
        if metric in fits[b]
    ]
    return _frame(rows, COMPARISONS)


def _row(split: VarianceSplit) -> tuple[float, ...]:
    return (split.estimate, *(getattr(split, column) for column in SPLIT))


def _frame(rows: list[tuple], schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Typed rows; an undefined number is null, never NaN."""
    frame = pl.DataFrame(rows, schema=dict(schema), orient="row")
    return frame.with_columns(pl.selectors.float().fill_nan(None))
