"""The settings of a gap decomposition, apart from it so that a study is read without torch."""

from typing import Literal

from pydantic import Field, field_validator

from laborllm.settings import Settings

Objective = Literal["naive", "joint", "projection", "residual"]
OBJECTIVES: tuple[Objective, ...] = ("naive", "joint", "projection", "residual")
NAMES: dict[Objective, str] = {
    "naive": "Naive fine-tuning",
    "joint": "Joint (outcome and group)",
    "projection": "Projection",
    "residual": "Residual on residual",
}
"""What a report calls the objectives."""


class GapNetworkSettings(Settings):
    """How the representation of histories is learned.

    Attributes:
        width: numbers a history is boiled down to. The smaller, the more an objective must choose what to keep.
        hidden: hidden units of each head on the representation.
        updates: steps of Adam at most.
        learning_rate: its rate at the start; a cosine brings it to zero.
        rows_per_batch: rows a step.
        weight_decay: penalty on all squared weights, as a part of the loss.
        evaluations: times the loss of the held-out fifth of the people is measured; the weights at its lowest are kept,
            and the same people calibrate the propensities.
        group_weight: of the cross-entropy of the group beside the squared error of the standardised outcome, in the
            objectives that learn the representation for both.
        projection_weight: of the squared covariance in the objective "projection".
    """

    width: int = Field(default=16, ge=1)
    hidden: int = Field(default=32, ge=1)
    updates: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    rows_per_batch: int = Field(default=2048, ge=2)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    evaluations: int = Field(default=20, ge=1)
    group_weight: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    projection_weight: float = Field(default=5.0, gt=0, allow_inf_nan=False)


class GapSettings(Settings):
    """``[gap]``: which gap, and how it is split into what histories explain and what they do not.

    Attributes:
        group: the covariate that tells the groups apart.
        of: the two groups; the gap is the mean outcome of the first less that of the second, and what is adjusted for
            is the first group's histories.
        objectives: how representations are learned.
        models: models of the study whose representation of the row is read beside the occupations held so far.
        folds: parts of the people; what scores a part is learned from the others.
        bootstrap: resamplings of people for the standard errors of the linear decomposition.
        trim: propensities are kept at this distance from 0 and 1.
        seed: of folds, weights and batches.
        network: of the representation.
    """

    group: Literal["gender", "ethnicity", "region", "education"] = "gender"
    of: tuple[str, str] = ("female", "male")
    objectives: tuple[Objective, ...] = Field(default=OBJECTIVES, min_length=1)
    models: tuple[str, ...] = ()
    folds: int = Field(default=5, ge=2)
    bootstrap: int = Field(default=200, ge=2)
    trim: float = Field(default=0.01, gt=0, lt=0.5)
    seed: int = Field(default=1, ge=0)
    network: GapNetworkSettings = GapNetworkSettings()

    @field_validator("of")
    @classmethod
    def _two_groups(cls, of: tuple[str, str]) -> tuple[str, str]:
        if of[0] == of[1]:
            raise ValueError(f"give two different groups, not {list(of)}")
        return of

    @field_validator("objectives")
    @classmethod
    def _once(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if len(set(objectives)) < len(objectives):
            raise ValueError(f"name each objective once, not {list(objectives)}")
        return objectives
