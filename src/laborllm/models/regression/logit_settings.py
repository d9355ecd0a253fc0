"""The settings of a logit and the terms it has by default."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from laborllm.errors import LaborLLMError
from laborllm.models.regression.placement import Device
from laborllm.models.regression.similarity import DISTANCE, require_similarities
from laborllm.models.regression.terms import require_terms
from laborllm.models.temperature import Tempering

PUBLISHED = (
    "previous",
    "before",
    "tenure",
    "index",
    "year",
    "gap",
    "education",
    "education_changed",
    "gender",
    "ethnicity",
    "region",
    "birth_year",
)
"""The terms of the published regression (public CAREER code)."""
TERMS = (*PUBLISHED, "held", "log(distinct)")
SIMILARITY = (
    "stay",
    "stay:log(tenure)",
    "stay:log(index)",
    "stay:log(distinct)",
    "stay:previous",
    "stay:gap",
    "stay:education",
    "stay:gender",
    "return",
    "return:log(distinct)",
)
GRID = (100.0, 50.0, 25.0, 12.0, 6.0, 3.0, 1.5, 0.7, 0.3)


class LogitSettings(Tempering):
    """``[models.NAME] kind = "logit"``.

    Attributes:
        terms: the features, each with one coefficient an occupation; see ``models.terms``.
        similarity: variables of the alternatives, with few coefficients each; see ``models.similarity``. In two stages
            the terms of "stay:TERM" join those of the first stage, where "stay" is the intercept, and the others
            belong to the second.
        distances: a table of pairwise distances between occupations, with the columns a, b (codes) and distance; the
            similarity "distance", alone or as distance:TERM, is made of it.
        stages: 2, staying or moving, then where to; or 1, one softmax over all occupations.
        l2: penalties, in observations, from which validation perplexity chooses, stage by stage. ``[0]`` alone: none,
            and every level is measured against the first one and every outcome against the most frequent one, so that
            coefficients have standard errors.
        factors: term -> what the penalty of its coefficients is multiplied by.
        refine: whether to search for better factors on the validation people, term by term.
        tolerance: nats per training row that the fit may leave, as its quadratic model has it.
        device: where the likelihood is computed: "auto", a GPU where there is one and torch is installed, else the
            processor; "cpu"; or "gpu". Without a penalty it is the processor, in float64.
    """

    kind: Literal["logit"] = "logit"
    terms: tuple[str, ...] = TERMS
    similarity: tuple[str, ...] = SIMILARITY
    distances: Path | None = None
    stages: Literal[1, 2] = 2
    l2: tuple[float, ...] = Field(default=GRID, min_length=1)
    factors: dict[str, float] = Field(default_factory=dict)
    refine: bool = True
    tolerance: float = Field(default=2e-4, gt=0, allow_inf_nan=False)
    device: Device = "auto"

    @field_validator("l2")
    @classmethod
    def _penalties(cls, l2: tuple[float, ...]) -> tuple[float, ...]:
        if not (all(0 < each < np.inf for each in l2) or tuple(l2) == (0,)):
            raise ValueError(f"give numbers above 0, or 0 alone, not {list(l2)}")
        return tuple(sorted(l2, reverse=True))

    @model_validator(mode="after")
    def _known(self) -> "LogitSettings":
        try:
            require_terms(self.terms)
            require_similarities(self.similarity)
        except LaborLLMError as error:
            raise ValueError(str(error)) from error
        if (self.distances is not None) != any(name.split(":")[0] == DISTANCE for name in self.similarity):
            raise ValueError(
                'distances = "FILE.csv" and "distance" among similarity belong together; give both or neither'
            )
        if self.device == "gpu" and self.l2 == (0,):
            raise ValueError('l2 = [0] is fitted on the processor, in float64; leave out device = "gpu"')
        for term, factor in self.factors.items():
            if term not in self.terms or not 0 < factor < np.inf:
                raise ValueError(f"factors.{term} is {factor}; give a number above 0 for one of the terms")
        return self
