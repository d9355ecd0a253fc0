"""Survey weights: which rows have a usable one."""

import numpy as np
import polars as pl

from laborllm.survey.careers import Careers


def survey_weights(careers: Careers) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """How much each person-year counts where careers have survey weights.

    Returns:
        The weights, 0 where one is missing or not positive, shape (person_years,); None where no person-year has one.
        With a note of how many are left out, or that weights are there and none is positive.
    """
    if "weight" not in careers.table.columns:
        return None, ()
    weight = careers.table["weight"].cast(pl.Float64).fill_null(0.0).to_numpy()
    usable = np.isfinite(weight) & (weight > 0)
    if not usable.any():
        known = careers.table["weight"].is_not_null().any()
        note = "weights: none of the test people's is positive, so that no number is weighted"
        return None, (note,) if known else ()
    lost = len(careers) - int(usable.sum())
    note = f"weights: {lost} of {len(careers)} person-years have no positive weight and are in no weighted number"
    return np.where(usable, weight, 0.0), (note,) if lost else ()
