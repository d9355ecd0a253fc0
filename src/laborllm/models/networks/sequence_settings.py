"""Settings of CAREER, bag of jobs and the LSTM, apart, so that a study is read without torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from laborllm.models.temperature import Tempering
from laborllm.settings import Settings


class SequenceTraining(Settings):
    """How a network learns from whole careers: Adam with decoupled decay; its rate rises over ``warmup``, then falls.

    Attributes:
        updates: steps at most.
        learning_rate: the highest.
        warmup: updates until it is reached.
        schedule: "inverse_sqrt" falls with the root of the update (the published one); "cosine" falls to zero.
        rows_per_batch: person-years a batch, about.
        weight_decay: decoupled.
        clip: largest norm of the gradient; 0 for none.
        row_dropout: share of the rows that half of the people of a batch lack, as if they had not been interviewed;
            greedy rationales need it.
        evaluations: how often validation perplexity is measured and the state saved.
        patience: evaluations without a new best after which learning stops.
    """

    updates: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    warmup: int = Field(default=400, ge=1)
    schedule: Literal["inverse_sqrt", "cosine"] = "inverse_sqrt"
    rows_per_batch: int = Field(default=4000, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=0.0, ge=0)
    row_dropout: float = Field(default=0.0, ge=0, le=0.5)
    evaluations: int = Field(default=20, ge=1)
    patience: int = Field(default=5, ge=1)


class SequenceSettings(Tempering):
    """What the networks share.

    Attributes:
        pretrain: Parquet files of careers to learn from first, such as résumés; those of their occupations that are on
            the survey's list count, covariates may be missing.
        pretraining: how it learns from them.
        training: how it learns from the survey.
        seed: random weights, order of people, dropout.
    """

    pretrain: tuple[Path, ...] = ()
    pretraining: SequenceTraining = SequenceTraining(updates=4000)
    training: SequenceTraining = SequenceTraining()
    seed: int = Field(default=1, ge=0)


class CareerSettings(SequenceSettings):
    """``[models.NAME] kind = "career"``.

    Attributes:
        size: "paper" (12 layers, width 192, 3 heads, feed-forward 768) or "small" (4 layers, width 64, 2 heads, 256).
        dropout: of the input, of both residual branches and of attention.
        published: the published code's head, for comparisons alone: outputs held within 10 of zero, symbols that are
            no occupation left in the softmax, a stay term in the first row too.
    """

    kind: Literal["career"] = "career"
    size: Literal["small", "paper"] = "small"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    published: bool = False


class BagOfJobsSettings(SequenceSettings):
    """``[models.NAME] kind = "bag_of_jobs"``.

    Attributes:
        width: of the embeddings; 1,024 in the published code.
    """

    kind: Literal["bag_of_jobs"] = "bag_of_jobs"
    width: int = Field(default=1024, ge=1)


class LSTMSettings(SequenceSettings):
    """``[models.NAME] kind = "lstm"``.

    Attributes:
        width: of embeddings and state.
        layers: stacked.
        dropout: of the input and of the state that is read.
    """

    kind: Literal["lstm"] = "lstm"
    width: int = Field(default=128, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
