"""What a language model needs, measured on a few résumés before anything is trained."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from laborllm.models.language.batches import tokens_per_batch
from laborllm.models.language.finetune import time_per_token
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.survey.careers import Careers

SAMPLE = 24
"""Test people scored to measure the time."""


@dataclass(frozen=True)
class Estimate:
    """Needs of a language model.

    Attributes:
        parameters: number of weights.
        titles: titles tokenized without a fault.
        tokens_per_title: mean, line end included.
        training_tokens: tokens of the training résumés, one epoch.
        memory: bytes of weights, gradients, optimiser, kept checkpoints and one batch's logits with their gradients;
            activations come on top.
        training_seconds: all epochs, without early stopping.
        scoring_seconds: all test people, in the form the settings ask for.
    """

    parameters: int
    titles: int
    tokens_per_title: float
    training_tokens: int
    memory: int
    training_seconds: float
    scoring_seconds: float


def estimate(settings: LanguageModelSettings, careers: Careers) -> Estimate:
    """Load or make the model, tokenize everything, time one batch of training and a few people of scoring."""
    with TemporaryDirectory() as folder:
        model = LanguageModel(settings, Path(folder))
        model.prepare(careers.part("train"))
        train = model.tokenized(careers.part("train"))
        test = careers.part("test")
        sample = test.first_people(SAMPLE)
        start = perf_counter()
        model.predict(sample)
        scoring = (perf_counter() - start) * len(test) / len(sample)
    tokens = sum(len(resume.tokens) for resume in train)
    trained = settings.use == "finetune"
    copies = 6 if trained else 1  # weights, gradients, two moments, best and current checkpoint
    parameters = sum(parameter.numel() for parameter in model.model.parameters())
    tokens_at_once = max(tokens_per_batch(model.model), max(len(resume.tokens) for resume in train))
    logits = 4 * 3 * tokens_at_once * model.model.config.get_text_config().vocab_size
    passes = settings.training.epochs * tokens if trained else 0
    return Estimate(
        parameters=parameters,
        titles=len(model.resumes.sequences),
        tokens_per_title=float(np.mean([len(sequence) for sequence in model.resumes.sequences])),
        training_tokens=tokens,
        memory=4 * copies * parameters + logits,
        training_seconds=passes * time_per_token(model.model, train, settings.training) if trained else 0.0,
        scoring_seconds=scoring,
    )
