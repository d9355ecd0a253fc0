"""Fine-tuning of a causal language model on résumés: the only place where a language model learns.

The loss is the mean negative log-probability of all tokens, each learned once an epoch (LABOR-LLM, fine-tuning), or of
the titles' tokens alone. A step of the optimiser takes the mean over all its tokens, however they are cut into packs
(``resume_loss.py``); weights, gradients and moments are float32 in every precision. The checkpoint that is kept is the
one of lowest raw perplexity of the occupations of the validation people, measured by the exact scoring that serves the
evaluation: nats summed over person-years and divided once.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from laborllm.errors import LaborLLMError
from laborllm.models.language.language_model_settings import TrainingSettings
from laborllm.models.language.packing import learned_tokens
from laborllm.models.language.parallel import SpreadLoss
from laborllm.models.language.resume_loss import ResumeLoss
from laborllm.models.ranks import ALONE, Ranks
from laborllm.models.room import lacks_memory
from laborllm.models.scoring.scorer import Progress, Scorer, no_progress
from laborllm.models.training_state import History, TrainingState
from laborllm.text.titles import TokenizedResume

logger = logging.getLogger(__name__)

RANK_SEED = 500_009
"""Ranks drop different activations."""
POOL = 16
"""Batches are made of résumés of similar length within a random pool of this many batches."""


def finetune(
    model: Any,
    train: Sequence[TokenizedResume],
    validation: Callable[[Any], float],
    *,
    settings: TrainingSettings,
    folder: Path,
    seed: int,
    progress: Progress = no_progress,
    ranks: Ranks = ALONE,
) -> History:
    """Fine-tune a model in place and leave it at its best checkpoint.

    The state is saved at every evaluation; called again with the same folder after a kill, training goes on there
    and ends with the same weights as if it had not been interrupted.

    Args:
        model: a Hugging Face causal language model; with adapters (``adapters.py``) they alone are trained.
        train: tokenized résumés of the training people.
        validation: perplexity of the occupations of the validation people under what it is given: the model or, where
            that is sharded, the loss that it is trained with.
        settings: epochs, learning rate, …
        folder: where the state is kept while training lasts.
        seed: seed of the order of people and of dropout.
        progress: called with (steps done, all steps).
        ranks: the processes that train together, each with the same model and the same résumés.

    Raises:
        LaborLLMError: the loss is not finite, or memory does not suffice for one résumé; the best checkpoint so far
            stays in the folder.
    """
    run = Run(model, train, settings, folder, seed, ranks=ranks)
    run.resume()
    run.history.how = run.loss.how
    dropout = add_dropout(run.model, settings.dropout)
    try:
        while run.step < run.steps and run.history.since_best() < settings.patience:
            loss = run.leg(progress)
            perplexity = ranks.shared(validation(run.spread if run.spread.sharded else model))
            if not math.isfinite(perplexity):
                raise LaborLLMError(
                    f"{folder}: the validation perplexity is {perplexity} at step {run.step}; lower "
                    "training.learning_rate (the best checkpoint so far is kept)"
                )
            run.keep(run.history.add(run.step, run.step / run.steps_per_epoch, loss, perplexity))
    finally:
        for handle in dropout:
            handle.remove()
    run.model = run.spread.end()
    run.load_best()
    return run.history


def occupation_perplexity(model: Any, resumes: Sequence[TokenizedResume], rows: int, *, ranks: Ranks = ALONE) -> float:
    """Perplexity of the realised titles: exp(total nats / person-years).

    Args:
        model: a Hugging Face causal language model, or the loss with which a sharded one is trained.
        resumes: tokenized résumés that together score every row once.
        rows: number of person-years.
        ranks: the processes that have the model; each scores some of the résumés.
    """
    if isinstance(model, SpreadLoss):
        return float(np.exp(model.title_nats(resumes) / rows))
    model.eval()
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        return math.nan
    own, raw = resumes[ranks.rank :: ranks.size], np.zeros(rows)
    scored = Scorer(model).realised(own, rows=rows) if own else raw
    for resume in own:
        lines = resume.rows[resume.first_scored :]
        raw[lines.start : lines.stop] = scored[lines.start : lines.stop]
    return float(np.exp(-ranks.sum_arrays(raw).mean()))


def time_per_token(model: Any, train: Sequence[TokenizedResume], settings: TrainingSettings) -> float:
    """Seconds of training a token takes, from two steps; the model's weights change."""
    run = Run(model, train, settings, Path(), seed=0)
    model.train()
    start, tokens = 0.0, 0
    for number in range(3):
        if number == 1:  # the first step warms up
            start = perf_counter()
        batch = [train[place % len(train)] for place in range(number * settings.batch, (number + 1) * settings.batch)]
        with run.loss.ready():
            count = run.update(batch)[1]
        tokens += count if number else 0
    return (perf_counter() - start) / tokens


def add_dropout(model: Any, rate: float) -> list[Any]:
    """Drop activations of the embedding, of attention and of feed-forward outputs while the model is in training mode.

    Architectures such as Llama have no dropout of their own and over-fit a survey within a few epochs.

    Returns:
        Handles whose ``remove()`` takes the dropout away.

    Raises:
        LaborLLMError: no attention or feed-forward modules are found by name.
    """
    if rate == 0:
        return []
    blocks = [
        module for name, module in model.named_modules() if name.endswith((".self_attn", ".attn", ".attention", ".mlp"))
    ]
    if not blocks:
        raise LaborLLMError(
            f"training.dropout: {type(model).__name__} has no modules named attention or mlp; set dropout = 0"
        )

    def drop(module: torch.nn.Module, _: Any, output: Any) -> Any:
        if not module.training:
            return output
        if isinstance(output, tuple):
            return (functional.dropout(output[0], rate), *output[1:])
        return functional.dropout(output, rate)

    return [module.register_forward_hook(drop) for module in (model.get_input_embeddings(), *blocks)]


class Run(TrainingState):
    """One training run over résumés.

    Args:
        model: a Hugging Face causal language model.
        train: tokenized résumés.
        settings: epochs, learning rate, …
        folder: where the state is kept.
        seed: of the order of people and of dropout.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        model: Any,
        train: Sequence[TokenizedResume],
        settings: TrainingSettings,
        folder: Path,
        seed: int,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        loss = ResumeLoss(model, settings)
        loss.choose(train)
        self.spread = SpreadLoss(loss, ranks, sharded=settings.sharded)
        self.loss = self.spread.loss
        super().__init__(self.spread.model, _optimizer(self.spread.model, settings), folder, ranks=ranks)
        self.train, self.settings, self.seed = train, settings, seed
        self.tokens_at_once = self.loss.tokens_at_once
        self.steps_per_epoch = math.ceil(len(train) / settings.batch)
        self.steps = math.ceil(self.steps_per_epoch * settings.epochs)

    def leg(self, progress: Progress) -> float:
        """Train up to the next evaluation; mean loss in nats a token."""
        device = self.loss.device
        self.model.train()
        total, tokens = 0.0, 0
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), self.loss.ready():
            torch.manual_seed(self.seed * 1_000_003 + self.step + RANK_SEED * self.ranks.rank)
            for batch in self._batches_of_leg():
                loss, count = self.update(batch)
                total, tokens = total + loss * count, tokens + count
                progress(self.step, self.steps)
        return total / tokens

    def _batches_of_leg(self) -> Iterator[list[TokenizedResume]]:
        epoch, within = divmod(self.step, self.steps_per_epoch)
        edges = np.linspace(0, self.steps_per_epoch, self.settings.evaluations + 1).round().astype(int)
        after = min(int(edges[np.searchsorted(edges, within, side="right")]), within + self.steps - self.step)
        places = _epoch_batches(self.train, self.settings.batch, np.random.default_rng((self.seed, epoch)))
        for group in places[within:after]:
            yield [self.train[place] for place in group]

    def update(self, resumes: list[TokenizedResume]) -> tuple[float, int]:
        """One step of the optimiser; mean loss and number of tokens learned."""
        count = sum(len(learned_tokens(resume, self.settings.loss)) for resume in resumes)
        loss = self.ranks.sum(self._gradients(resumes, count))
        if not math.isfinite(loss):
            raise LaborLLMError(
                f"{self.folder}: the loss is {loss} at step {self.step + 1}; lower training.learning_rate "
                f"(the best checkpoint so far is kept)"
            )
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * share_of_peak(self.step, self.steps, self.settings)
        self.optimizer.step()
        self.step += 1
        return loss, count

    def _gradients(self, resumes: list[TokenizedResume], count: int) -> float:
        """Gradients of the mean loss over ``count`` tokens, of which these résumés have a share; that share, nats."""
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return self.spread.backward(resumes, count, self.tokens_at_once)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not lacks_memory(error):
                    raise
                largest = self._largest(resumes, error)
            self._halve(largest)  # when what the failed pack held is free again

    def _largest(self, resumes: list[TokenizedResume], error: RuntimeError) -> int:
        """Tokens of the largest pack that can still be halved."""
        cut = [each for each in self.spread.own(resumes, self.tokens_at_once) if len(each) > 1]
        if self.spread.sharded:
            raise LaborLLMError(
                f"process {self.ranks.rank} lacks memory for {self.tokens_at_once} tokens at once, and the others wait "
                "for it; set training.checkpointing = true, or start more processes"
            ) from error
        if not cut:
            raise LaborLLMError(
                f"not enough memory to train on one résumé of {max(len(each.tokens) for each in resumes)} tokens; set "
                'training.checkpointing = true, method = "lora", or text.last_rows to shorten the résumés'
            ) from error
        return max(sum(len(resume.tokens) for resume in each) for each in cut)

    def _halve(self, largest: int) -> None:
        """Smaller packs from now on; the step begins again, since some gradients are there already."""
        if self.tokens_at_once == self.loss.tokens_at_once:
            logger.warning(
                "not enough memory for %d tokens at once: steps are cut into smaller packs, which changes no result",
                largest,
            )
        self.tokens_at_once = largest // 2
        if self.loss.device.type == "cuda":
            torch.cuda.empty_cache()


def _optimizer(model: Any, settings: TrainingSettings) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim >= 2]
    vectors = [parameter for parameter in trained if parameter.ndim < 2]
    parts = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(parts, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)


def share_of_peak(step: int, steps: int, settings: TrainingSettings) -> float:
    """Learning rate at a step as a share of its peak."""
    warm = settings.warmup * steps
    if step < warm:
        return (step + 1) / (warm + 1)
    left = 1 - (step - warm) / max(1.0, steps - warm)
    match settings.schedule:
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        case "linear":
            return left
        case "inverse_sqrt":
            return math.sqrt((warm + 1) / (step + 1))
        case "constant":
            return 1.0


def _epoch_batches(resumes: Sequence[TokenizedResume], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random batches of résumés of similar length, in random order."""
    order = rng.permutation(len(resumes))
    lengths = np.array([len(resume.tokens) for resume in resumes])
    places: list[np.ndarray] = []
    for start in range(0, len(order), POOL * size):
        pool = order[start : start + POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        places += [pool[first : first + size] for first in range(0, len(pool), size)]
    return [places[place] for place in rng.permutation(len(places))]
