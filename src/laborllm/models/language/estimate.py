"""What a language model needs, measured on a few résumés before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from laborllm.models.language.adapters import add_adapters
from laborllm.models.language.finetune import time_per_token
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings, LoraSettings, TrainingSettings
from laborllm.models.language.loading import load_checkpoint, load_tokenizer, read_config
from laborllm.models.language.memory import (
    FLOAT32,
    METHODS,
    Method,
    ScoringMemory,
    TrainingMemory,
    activation_memory,
    empty_model,
    scoring_memory,
    training_memory,
)
from laborllm.models.language.resume_loss import TOKENS_PER_PACK
from laborllm.models.language.windows import fit_context, longest_title
from laborllm.models.room import free_memory
from laborllm.models.scoring.routes import context_length
from laborllm.models.scoring.scorer import MOST_ROWS, Scorer
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, resume_titles, write_resumes
from laborllm.text.titles import ResumeTokenizer, TitleTree, TokenizedResume

SAMPLE = 24
"""Test people of a study scored to measure the time."""
SCORED = 2
"""People scored to measure the time where there may be no study: every title of occ1990dd in every row."""
BATCHES = (1, 8, 32)
"""Résumés at once for which activations are counted."""
ROWS = (64, 512, 4096, 32768)
"""Rows at once for which scoring is counted: from the fewest to the most of a GPU; one tree at least."""
STEP_OPERATIONS = 1e12
"""Floating-point operations that a timed step of training may take; one résumé at least."""
ASSUMED_TOKENS = 512
"""Tokens of a résumé where there is no tokenizer to count them."""


@dataclass(frozen=True)
class Estimate:
    """Needs of a language model.

    Attributes:
        parameters: number of weights.
        titles: titles tokenized without a fault.
        tokens_per_title: mean, line end included.
        training_tokens: tokens of the training résumés, one epoch.
        memory: bytes of weights, gradients, moments, copies kept, and activations of one pack of résumés; of the
            weights and one tile of scoring where nothing is trained.
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


@dataclass(frozen=True)
class Tokens:
    """A checkpoint's tokenizer on the closed list and on some résumés.

    Attributes:
        titles: titles tokenized without a fault.
        per_title: mean tokens a title, line end included.
        longest_title: most tokens of a title.
        people: people whose résumés were counted.
        windows: as many as people, or more where careers are longer than the context and are cut into windows.
        per_resume: mean tokens of a person, all windows.
        longest_resume: most tokens of a window.
    """

    titles: int
    per_title: float
    longest_title: int
    people: int
    windows: int
    per_resume: float
    longest_resume: int


@dataclass(frozen=True)
class Activations:
    """Bytes that one batch of fine-tuning holds beside weights, gradients and moments.

    Attributes:
        method: "full" or "lora"; those of "qlora" are as of "lora".
        resumes: résumés or windows at once, each of the mean length.
        plain: without checkpointing.
        checkpointed: with it.
    """

    method: Method
    resumes: int
    plain: int
    checkpointed: int


@dataclass(frozen=True)
class Times:
    """Measured on this machine.

    Attributes:
        epoch_seconds: one epoch of full fine-tuning; None where its memory does not suffice.
        adapter_seconds: one epoch of adapters (LoRA, the defaults); None where their memory does not suffice.
        scoring_seconds: scoring every title in every row of the same people.
    """

    epoch_seconds: float | None
    adapter_seconds: float | None
    scoring_seconds: float


@dataclass(frozen=True)
class CheckpointNeeds:
    """What a checkpoint is and what it needs.

    Attributes:
        architecture: name of the model's class.
        parameters: number of weights, tied ones once.
        vocabulary: tokens.
        context: tokens seen at once.
        scored_by: the forward pass that scores; None where the weights were not loaded.
        tokens: of titles and résumés; None without a tokenizer.
        people: of an epoch.
        training: fixed memory by method.
        activations: memory by method and batch, for résumés of the mean length.
        scoring: memory by rows at once.
        free: bytes of memory that are free.
        times: None where the weights were not loaded.
    """

    architecture: str
    parameters: int
    vocabulary: int
    context: int
    scored_by: str | None
    tokens: Tokens | None
    people: int
    training: tuple[TrainingMemory, ...]
    activations: tuple[Activations, ...]
    scoring: tuple[ScoringMemory, ...]
    free: int
    times: Times | None


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
    memory = scoring_memory(model.model, MOST_ROWS[model.model.device.type]).total
    training = 0.0
    if settings.use == "finetune":
        memory = _memory_of(settings, model.model, tokens // len(train))
        trained = model.model if settings.method == "full" else add_adapters(model.model, settings.lora, seed=0)
        training = settings.training.epochs * tokens * time_per_token(trained, train, settings.training)
    return Estimate(
        parameters=sum(parameter.numel() for parameter in model.model.parameters()),
        titles=len(model.resumes.sequences),
        tokens_per_title=float(np.mean([len(sequence) for sequence in model.resumes.sequences])),
        training_tokens=tokens,
        memory=memory,
        training_seconds=training,
        scoring_seconds=scoring,
    )


def check_checkpoint(
    folder: Path,
    careers: Careers,
    *,
    people: int,
    text: ResumeSettings | None = None,
    titles: Sequence[str] = (),
    weights: bool = True,
) -> CheckpointNeeds:
    """Check a checkpoint against a closed list, and tell what it needs.

    Args:
        folder: a local checkpoint; without weights its config.json is enough, with a tokenizer.json better.
        careers: whose résumés are counted and timed, and whose closed list is verified.
        people: people of an epoch, for the time.
        text: how careers are worded.
        titles: further titles to verify, such as a whole standard list.
        weights: whether the weights are loaded, checked and timed; memory is told without them.

    Raises:
        LaborLLMError: the checkpoint or its tokenizer cannot be used; the message names the file, tensor or title.
    """
    config = read_config(folder)
    model: Any = None
    if weights:
        model, tokenizer = load_checkpoint(folder)
    else:
        tokenizer = load_tokenizer(folder, config) if (folder / "tokenizer.json").is_file() else None
    shapes, resumes, found = empty_model(config), [], None
    if tokenizer is not None:
        text = text or ResumeSettings()
        if titles:
            ResumeTokenizer(tokenizer, tuple(titles))
        encoder = ResumeTokenizer(tokenizer, resume_titles(careers.occupations, text))
        resumes = fit_context(encoder, write_resumes(careers, text), context_length(shapes))
        found = _tokens(encoder, resumes, careers.people, len(set(titles) | set(encoder.titles)))
    each = round(found.per_resume * found.people / found.windows) if found else ASSUMED_TOKENS
    fewest = 1 if tokenizer is None else len(TitleTree.of(encoder.sequences).inner)
    training = tuple(training_memory(shapes, method) for method in METHODS)
    return CheckpointNeeds(
        architecture=type(shapes).__name__,
        parameters=training[0].trained,
        vocabulary=int(config.get_text_config().vocab_size),
        context=context_length(shapes),
        scored_by=None if model is None else Scorer(model).route,
        tokens=found,
        people=people,
        training=training,
        activations=_activations(config, min(each, context_length(shapes))),
        scoring=tuple(dict.fromkeys(scoring_memory(shapes, rows, fewest=fewest) for rows in ROWS)),
        free=free_memory(),
        times=None if model is None else _times(model, encoder, resumes, careers, people),
    )


def weight_bytes(folder: Path) -> int:
    """Bytes of a checkpoint's weights in float32, from its configuration alone."""
    return training_memory(empty_model(read_config(folder))).weights


def _memory_of(settings: LanguageModelSettings, model: Any, tokens: int) -> int:
    """Bytes that fine-tuning under these settings takes with one pack of résumés of so many tokens each."""
    shapes = empty_model(model.config)
    fixed = training_memory(shapes, settings.method, settings.lora).total
    if settings.method != "full":
        shapes = add_adapters(shapes, settings.lora, seed=0)
    resumes = max(1, TOKENS_PER_PACK[model.device.type] // tokens)
    checkpointing = settings.training.checkpointing
    return fixed + activation_memory(shapes, resumes, tokens, checkpointing=checkpointing)


def _tokens(encoder: ResumeTokenizer, resumes: list[TokenizedResume], people: int, titles: int) -> Tokens:
    lengths = [len(resume.tokens) for resume in resumes]
    return Tokens(
        titles=titles,
        per_title=float(np.mean([len(sequence) for sequence in encoder.sequences])),
        longest_title=longest_title(encoder),
        people=people,
        windows=len(resumes),
        per_resume=sum(lengths) / people,
        longest_resume=max(lengths),
    )


def _activations(config: Any, tokens: int) -> tuple[Activations, ...]:
    """For full fine-tuning and for adapters."""
    kinds: dict[Method, Any] = {
        "full": empty_model(config),
        "lora": add_adapters(empty_model(config), LoraSettings(), seed=0),
    }
    return tuple(
        Activations(
            method=method,
            resumes=resumes,
            plain=activation_memory(model, resumes, tokens),
            checkpointed=activation_memory(model, resumes, tokens, checkpointing=True),
        )
        for method, model in kinds.items()
        for resumes in BATCHES
    )


def _times(
    model: Any, encoder: ResumeTokenizer, resumes: list[TokenizedResume], careers: Careers, people: int
) -> Times:
    """Seconds of one epoch and of scoring, from a few résumés."""
    sample = careers.first_people(SCORED)
    some = [resume for resume in resumes if resume.rows[-1] < len(sample)]
    scorer = Scorer(model)
    scorer.check(some)
    start = perf_counter()
    scorer.titles(some, TitleTree.of(encoder.sequences), rows=len(sample))
    scoring = (perf_counter() - start) * people * len(careers) / (careers.people * len(sample))
    tokens = people * sum(len(resume.tokens) for resume in resumes) / careers.people
    full, adapters = training_memory(model), training_memory(model, "lora")
    epoch = _epoch(model, resumes, full, tokens, people)
    model.zero_grad(set_to_none=True)  # adapters hold none of the weights' gradients
    adapted = add_adapters(model, LoraSettings(), seed=0)
    return Times(
        epoch_seconds=epoch,
        adapter_seconds=_epoch(adapted, resumes, adapters, tokens, people),
        scoring_seconds=scoring,
    )


def _epoch(
    model: Any, resumes: list[TokenizedResume], memory: TrainingMemory, tokens: float, people: int
) -> float | None:
    """Seconds of learning so many tokens, from two steps; the model's weights change. None: memory does not suffice."""
    if memory.total >= free_memory():
        return None
    weights = memory.weights / FLOAT32  # each of them is multiplied with every token, whether it learns or not
    batch = int(np.clip(STEP_OPERATIONS * people / (6 * weights * tokens), 1, TrainingSettings().batch))
    return tokens * time_per_token(model, resumes, TrainingSettings(batch=batch))
