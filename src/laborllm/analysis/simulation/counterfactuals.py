"""How a model draws the careers of the same workers with one thing otherwise.

Both are drawn with the same luck, so that what the model does not change does not differ. What differs is what the
model says of people who have another gender, region, … and so of those who had it in the survey: nobody was changed.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from laborllm.analysis.simulation.career_sums import CareerSums, by_years_since, person_sums
from laborllm.analysis.simulation.simulated_careers import Draws, framed, linear_parts, require_rows, spread, told
from laborllm.analysis.simulation.workers import Workers
from laborllm.evaluation.evaluate import EvaluationSettings
from laborllm.evaluation.groups.implied_rates import MIN_PEOPLE
from laborllm.evaluation.simultaneous import adjusted_p_values
from laborllm.evaluation.tables import Schema
from laborllm.evaluation.uncertainty import bootstrap_std_error, draw_weights, percentile_interval

MEANING = (
    "This is the model's description of how the careers of such people differ, not a causal effect, unless what was "
    "set had been randomised."
)
"""Stands in every output of a counterfactual."""
DIFFERENCES: Schema = {
    **dict.fromkeys(("model", "counterfactual", "summary", "what", "years_since", "unit"), pl.String),
    **dict.fromkeys(
        (
            *("factual", "factual_ci_low", "factual_ci_high"),
            *("otherwise", "otherwise_ci_low", "otherwise_ci_high"),
            *("difference", "std_error", "ci_low", "ci_high", "monte_carlo_error", "p_adjusted"),
        ),
        pl.Float64,
    ),
    **dict.fromkeys(("flagged", "people"), pl.Int64),
    "meaning": pl.String,
}
"""Columns of counterfactuals.csv."""


@dataclass(frozen=True)
class Pair:
    """The same workers as they are and as they would be.

    Attributes:
        name: of the counterfactual.
        factual: as they are.
        other: as they would be.
    """

    name: str
    factual: Workers
    other: Workers


def contrast(
    model: str,
    pair: Pair,
    factual: np.ndarray,
    other: np.ndarray,
    settings: EvaluationSettings | None = None,
) -> pl.DataFrame:
    """Count both sets of careers by calendar years since the last given row, and take differences person by person.

    Args:
        model: its name.
        pair: the workers.
        factual, other: occupations of the rows drawn, by the same seed, shape (drawn_rows, paths).
        settings: replicates, confidence and seed.

    Returns:
        model, counterfactual; summary, what, unit and years_since ("all" for all rows) as in ``career_sums.Quantity``;
        factual and otherwise with the ends of their intervals; difference (otherwise - factual), std_error, ci_low,
        ci_high (people resampled, the same draws on both sides; the luck of the paths is in them, the model is held
        fixed); monte_carlo_error, the part of std_error that more paths would take away; p_adjusted (step-down, for
        all rows of this table) and flagged; people; meaning, ``MEANING``. A difference that is exactly zero in every
        draw has a std_error of 0 and no p-value.

    Raises:
        LaborLLMError: occupations are not of these workers.
    """
    settings = settings or EvaluationSettings(by=())
    sides = [CareerSums(workers, by_years_since(workers)) for workers in (pair.factual, pair.other)]
    everyone = np.ones(sides[0].people, dtype=bool)
    found = []
    for sums, occupation in zip(sides, (factual, other), strict=True):
        require_rows(model, occupation, sums)
        found.append(person_sums(sums, occupation, everyone[None, :]))
    kept = told(sides[0].quantities, *found, people=everyone, matrices=True, paths=factual.shape[1])
    weights = draw_weights(sides[0].people, settings.bootstrap, np.random.default_rng(settings.seed))
    draws = [Draws.of(each, kept, sides[0], people=everyone, weights=weights) for each in found]
    parts = [linear_parts(each, 0, kept, sides[0].base[kept]) for each in found]
    quantities = [sides[0].quantities[place] for place in kept]
    table = pl.DataFrame(
        {
            **{name: [getattr(each, name) for each in quantities] for name in ("summary", "what", "unit")},
            "years_since": [each.when for each in quantities],
            "people": draws[0].people,
            "monte_carlo_error": spread(parts[1] - parts[0]),
        }
    )
    table = table.with_columns(model=pl.lit(model), counterfactual=pl.lit(pair.name), meaning=pl.lit(MEANING))
    return framed(table.with_columns(_numbers(draws[0], draws[1], settings)), DIFFERENCES)


def _numbers(factual: Draws, other: Draws, settings: EvaluationSettings) -> list[pl.Series]:
    """Both sides and their difference."""
    difference = other.values - factual.values
    numbers = {"difference": difference[:, 0], "std_error": bootstrap_std_error(difference[:, 1:])}
    for name, values in (("factual", factual.values), ("otherwise", other.values), ("", difference)):
        low, high = percentile_interval(values[:, 1:], confidence=settings.confidence)
        start = f"{name}_" if name else ""
        numbers |= {f"{start}ci_low": low, f"{start}ci_high": high} | ({name: values[:, 0]} if name else {})
    p_value = adjusted_p_values(difference) if len(difference) else np.zeros(0)
    flagged = pl.Series("flagged", p_value).fill_nan(None) < 1 - settings.confidence
    return [*(pl.Series(name, each) for name, each in numbers.items()), pl.Series("p_adjusted", p_value), flagged]


def notes_of(pair: Pair) -> tuple[str, ...]:
    """Whom a counterfactual concerns, and what a reader must know of it."""
    people = pair.factual.careers.people
    notes = [f"counterfactual {pair.name}: {people} test people whom it changes; those it leaves as they are, are out"]
    if people < MIN_PEOPLE:
        notes.append(f"counterfactual {pair.name}: fewer than {MIN_PEOPLE} people, so nothing is told of them")
    return (*notes, f"counterfactual {pair.name}: {MEANING}")
