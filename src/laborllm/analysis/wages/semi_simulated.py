"""Made-up wages and groups over given careers: what estimators of wages and gaps must find is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from laborllm.analysis.wages.gap import Nuisances, adjusted_gap
from laborllm.analysis.wages.gap_learning import GapSample, decompose
from laborllm.analysis.wages.gap_settings import GapSettings
from laborllm.analysis.wages.history_features import group_names, occupation_shares
from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers


@dataclass(frozen=True)
class GapTruth:
    """Histories with a known outcome equation and a known chance of the first group.

    Attributes:
        inputs: shares of a person's rows in each occupation, then in each broad group, shape (people, features).
        second: E[Y | G=0, H], shape (people,).
        difference: E[Y | G=1, H] - E[Y | G=0, H], shape (people,).
        propensity: P(G=1 | H), shape (people,).
        noise: standard deviation of what is added to outcomes.
    """

    inputs: np.ndarray
    second: np.ndarray
    difference: np.ndarray
    propensity: np.ndarray
    noise: float

    @property
    def tau(self) -> float:
        """The history-adjusted gap among the first group."""
        return float(np.average(self.difference, weights=self.propensity))

    @property
    def gap(self) -> float:
        """The unadjusted gap."""
        first = np.average(self.second + self.difference, weights=self.propensity)
        return float(first - np.average(self.second, weights=1 - self.propensity))

    def draw(self, people: int, rng: np.random.Generator) -> tuple[GapSample, np.ndarray]:
        """People drawn with replacement, one row each, with a group and an outcome of their own; and who they are."""
        who = rng.integers(0, len(self.second), people)
        first = rng.random(people) < self.propensity[who]
        outcome = self.second[who] + first * self.difference[who] + self.noise * rng.normal(size=people)
        return GapSample(outcome, first, self.inputs[who], np.arange(people)), who


def gap_truth(
    careers: Careers, *, weak: float = 0.15, group: float = 1.0, noise: float = 0.5, seed: int = 5
) -> GapTruth:
    """Outcomes that depend strongly on the broad groups a person worked in, and groups that depend on something else.

    That something, z, is which of the occupations *inside* a broad group a career was spent in. It is uncorrelated
    with the broad groups by construction of its scores, decides the group G, and moves outcomes a little:
    E[Y | G=0, H] = 0.4 s + weak z, logit P(G=1 | H) = group z, and the gap among equals is -0.2 + 0.05 s, where s and
    z have mean 0 and variance 1.

    Args:
        careers: whose histories.
        weak: what a standard deviation of z adds to the outcome.
        group: what it adds to the logit of the first group.
        noise: standard deviation of what is added to outcomes.
        seed: of the scores of occupations and broad groups.
    """
    rng = np.random.default_rng(seed)
    shares = occupation_shares(careers)  # (people, occupations)
    names = group_names(careers.occupations)
    member = np.array([[own == name for name in names] for own in careers.occupations.groups], dtype=np.float64)
    broad, common = shares @ member, shares.mean(axis=0)  # (people, groups), (occupations,)
    scores = np.zeros(len(common))
    for place in range(len(names)):
        inside = np.flatnonzero(member[:, place])
        drawn = rng.permutation(np.linspace(-1, 1, len(inside))) if len(inside) > 1 else np.zeros(1)
        scores[inside] = drawn - np.average(drawn, weights=np.maximum(common[inside], 1e-12))
    z, strong = _standard(shares @ scores), _standard(broad @ rng.normal(size=len(names)))
    return GapTruth(
        inputs=np.hstack([shares, broad]).astype(np.float32),
        second=0.4 * strong + weak * z,
        difference=-0.2 + 0.05 * strong,
        propensity=1 / (1 + np.exp(-group * z)),
        noise=noise,
    )


KNOWN = "known"
"""The estimator that is told both nuisances."""


def replicate(
    truth: GapTruth,
    settings: GapSettings,
    *,
    people: int,
    seeds: Sequence[int],
    confidence: float = 0.95,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pl.DataFrame:
    """Draw people, groups and outcomes anew for every seed and estimate the gap by every objective, on the same folds.

    Args:
        truth: what is to be found.
        settings: objectives, folds, network; the seed is that of the replication.
        people: drawn in each.
        seeds: one a replication.
        confidence: of the intervals.
        progress: called with (replications done, all of them).

    Returns:
        seed, method (an objective or ``KNOWN``), estimate, std_error, covered, trimmed.
    """
    found = []
    for done, seed in enumerate(seeds, start=1):
        sample, who = truth.draw(people, np.random.default_rng(seed))
        known = Nuisances(truth.second[who], truth.propensity[who])
        told = adjusted_gap(sample.outcome, sample.first, known, person=sample.person)
        estimated = decompose(sample, settings.model_copy(update={"seed": seed}))
        for method, gap in ((KNOWN, told), *estimated.items()):
            low, high = gap.interval("unexplained", confidence)
            numbers = gap.unexplained, gap.unexplained_error, low <= truth.tau <= high, gap.trimmed
            found.append((seed, method, *numbers))
        progress(done, len(seeds))
    return pl.DataFrame(found, schema=["seed", "method", "estimate", "std_error", "covered", "trimmed"], orient="row")


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def with_wages(
    careers: Careers,
    determinants: np.ndarray,
    coefficients: np.ndarray,
    *,
    person_noise: float,
    row_noise: float,
    rng: np.random.Generator,
) -> Careers:
    """Careers with a made-up hourly wage in the rows with a job, none in those without.

    log wage = 2 + determinants @ coefficients + a person's own part + a row's own part.

    Args:
        careers: any careers.
        determinants: of each row, shape (person_years, determinants).
        coefficients: log points each adds, shape (determinants,).
        person_noise, row_noise: standard deviations.
        rng: the source of randomness.

    Raises:
        LaborLLMError: there is not one row of determinants a person-year.
    """
    if len(determinants) != len(careers):
        raise LaborLLMError(f"{len(determinants)} rows of determinants for {len(careers)} person-years")
    own = person_noise * rng.normal(size=careers.people)[careers.person_of_row]
    log_wage = 2 + determinants @ coefficients + own + row_noise * rng.normal(size=len(careers))
    job = ~np.array(careers.occupations.is_state)[careers.occupation]
    wage = pl.Series("wage", np.where(job, np.exp(log_wage), np.nan)).fill_nan(None)
    return replace(careers, table=careers.table.with_columns(wage))
