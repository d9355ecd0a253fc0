"""The settings of gradient boosting, apart, so that a study is read without LightGBM."""

from typing import Literal

from pydantic import Field, field_validator

from laborllm.models.regression.logit_settings import PUBLISHED
from laborllm.models.regression.terms import HELD, LEVELS, NUMBERS
from laborllm.models.temperature import Tempering

TERMS = (*PUBLISHED, HELD, "distinct")
"""What the logit has by default; a tree needs no logarithm."""
VARIABLES = (*LEVELS, *NUMBERS, HELD)


class BoostingSettings(Tempering):
    """``[models.NAME] kind = "boosting"``.

    Attributes:
        terms: variables of ``models.regression.terms``, each as it is: trees find products and cuts by themselves.
        stages: 2, staying or moving, then where to; or 1, one model over all occupations.
        rounds: at most so many; a round grows one tree for staying, and one for each occupation.
        learning_rate: what a tree's leaves are multiplied by.
        leaves: of a tree, at most.
        min_rows: training rows in a leaf, at least.
        l2: penalty of a leaf, in units of its second derivative.
        patience: rounds without a new best on the validation people after which a stage stops.
        seed: which training people are held out together where the transitions are counted that trees start from.
    """

    kind: Literal["boosting"] = "boosting"
    terms: tuple[str, ...] = Field(default=TERMS, min_length=1)
    stages: Literal[1, 2] = 2
    rounds: int = Field(default=500, ge=1)
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    leaves: int = Field(default=4, ge=2)
    min_rows: int = Field(default=20, ge=1)
    l2: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    patience: int = Field(default=15, ge=1)
    seed: int = Field(default=1, ge=0)

    @field_validator("terms")
    @classmethod
    def _known(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        for place, term in enumerate(terms):
            if term not in VARIABLES:
                raise ValueError(
                    f"there is no variable {term!r}; name one of {', '.join(VARIABLES)}, without log() or a colon: "
                    "trees find both"
                )
            if term in terms[:place]:
                raise ValueError(f"term {term!r} stands twice; keep one of them")
        return terms
