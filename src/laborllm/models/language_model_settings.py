"""The settings of a language model, apart from it so that a study is read without torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from laborllm.settings import Settings
from laborllm.text.resume import ResumeSettings


class TrainingSettings(Settings):
    """How a language model is fine-tuned.

    Attributes:
        epochs: passes over the training people; 0.1 is a tenth of one.
        learning_rate: the peak of the schedule.
        batch: résumés a step.
        schedule: what the learning rate does after warming up: falls to zero along a cosine or a line, or stays.
        warmup: share of the steps in which the learning rate rises.
        weight_decay: decoupled decay of matrices (AdamW).
        dropout: share of activations dropped after the embedding and in every attention and feed-forward output.
        clip: largest norm of the gradient.
        evaluations: how many times an epoch the validation perplexity is measured and the state saved.
        patience: training stops after this many evaluations without a new best.
    """

    epochs: float = Field(default=3, gt=0, allow_inf_nan=False)
    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    batch: int = Field(default=32, ge=1)
    schedule: Literal["cosine", "linear", "constant"] = "linear"
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    evaluations: int = Field(default=1, ge=1)
    patience: int = Field(default=5, ge=1)


SCRATCH_TRAINING = TrainingSettings(
    epochs=8,
    learning_rate=2e-3,
    batch=32,
    schedule="cosine",
    warmup=0.05,
    weight_decay=0.1,
    dropout=0.1,
    patience=3,
)
"""What a model with random weights is trained with, unless the study says otherwise."""


class LanguageModelSettings(Settings):
    """A causal language model in a study.

    Attributes:
        checkpoint: folder of a Hugging Face checkpoint (config, safetensors, tokenizer.json); or
        scratch: "tiny", a small model with random weights and a tokenizer made from the training résumés.
        vocabulary: of a model from scratch: size of the BPE that cuts titles. Large: one token a title, fast and
            blind to words that titles share. Small (1024, say): rare titles are spelled in pieces that they share.
        use: "off_the_shelf" (untouched) or "finetune".
        text: how careers are worded.
        training: how it is fine-tuned; by default as the paper does, or as suits random weights.
        probabilities: "full" (the whole list) or "realised" (one number a row: only raw perplexity).
        arithmetic: of scoring: "float32", or "bfloat16" layers under a float32 head, labelled in every output.
        memory_gib: memory that scoring's activations may take; half of what is free if not given.
        seed: seed of random weights, of the order of people and of dropout.
    """

    kind: Literal["language_model"]
    checkpoint: Path | None = None
    scratch: Literal["tiny"] | None = None
    vocabulary: int = Field(default=8192, ge=256)
    use: Literal["off_the_shelf", "finetune"] = "finetune"
    text: ResumeSettings = ResumeSettings()
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    probabilities: Literal["full", "realised"] = "full"
    arithmetic: Literal["float32", "bfloat16"] = "float32"
    memory_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seed: int = Field(default=1, ge=0)

    def learned(self) -> dict[str, Any]:
        """What the fitted model depends on: not where its checkpoint lies, nor in which form it answers."""
        return self.model_dump(mode="json", exclude={"checkpoint", "probabilities", "arithmetic", "memory_gib"})

    @model_validator(mode="before")
    @classmethod
    def _training_of_scratch(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("scratch") and isinstance(given.get("training", {}), dict):
            return {**given, "training": SCRATCH_TRAINING.model_dump() | given.get("training", {})}
        return given

    @model_validator(mode="after")
    def _one_source(self) -> "LanguageModelSettings":
        if (self.checkpoint is None) == (self.scratch is None):
            raise ValueError('give checkpoint = "FOLDER" or scratch = "tiny", one of the two')
        if self.scratch and self.use == "off_the_shelf":
            raise ValueError('scratch = "tiny" has random weights; use = "finetune" is the only use of it')
        return self
