"""Settings of CAREER, apart, so that a study is read without torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from laborllm.settings import Settings


class CareerTraining(Settings):
    """How CAREER learns: Adam with decoupled decay, the rate rising over ``warmup`` updates and then falling.

    Attributes:
        updates: steps at most.
        learning_rate: the highest.
        warmup: updates until it is reached.
        schedule: "inverse_sqrt" falls with the root of the update (the published one); "cosine" falls to zero.
        rows_per_batch: person-years a batch, about.
        weight_decay: decoupled.
        dropout: of the input, of both residual branches and of attention.
        clip: largest norm of the gradient; 0 for none.
        evaluations: how often validation perplexity is measured and the state saved.
        patience: evaluations without a new best after which learning stops.
    """

    updates: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: int = Field(default=400, ge=1)
    schedule: Literal["inverse_sqrt", "cosine"] = "inverse_sqrt"
    rows_per_batch: int = Field(default=4000, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    clip: float = Field(default=0.0, ge=0)
    evaluations: int = Field(default=20, ge=1)
    patience: int = Field(default=5, ge=1)


class CareerSettings(Settings):
    """``[models.NAME] kind = "career"``.

    Attributes:
        size: "paper" (12 layers, width 192, 3 heads, feed-forward 768) or "small" (4 layers, width 64, 2 heads, 256).
        pretrain: Parquet files of careers to learn from first, such as résumés; their occupations are on the survey's
            list, covariates may be missing.
        pretraining: how it learns from them.
        training: how it learns from the survey.
        published: the published code's head, for comparisons alone: logits held within 10 of zero, symbols that are
            no occupation left in the softmax, a stay term in the first row too.
        seed: random weights, order of people, dropout.
    """

    kind: Literal["career"] = "career"
    size: Literal["small", "paper"] = "small"
    pretrain: tuple[Path, ...] = ()
    pretraining: CareerTraining = CareerTraining(updates=4000, warmup=400)
    training: CareerTraining = CareerTraining()
    published: bool = False
    seed: int = Field(default=1, ge=0)
