"""Fine-tuning against Hugging Face's Trainer: the same model, résumés, batch and loss, in one interleaved run.

    python benchmarks/finetuning.py [--rounds 5] [--json FILE]

Peers pad every batch to its longest résumé: the Trainer as it is, and with batches of similar length. Printed are CPU
seconds (seconds on a GPU) of a leg of training, tokens and occupation-tokens per second, ratios, and the share of the
machine's rate of multiplying matrices that the operations of the tokens make up: 6 per weight and token, and those of
attention. On a GPU the models are shaped as one of 1 and one of 7 billion weights and the Trainer stays out; --try-gpu
runs that code with small shapes on a processor.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from machine import JOBS, build_model, describe, measure_rates, timed, train_tokenizer

from laborllm.models.language import scratch
from laborllm.models.language.adapters import add_adapters
from laborllm.models.language.finetune import Run
from laborllm.models.language.language_model_settings import LoraSettings, TrainingSettings
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TokenizedResume

BATCH = 32
STEPS = {"tiny": 8, "15M": 2, "1B": 16, "7B": 8}
"""Batches of a pass, by model."""
OURS, TRAINER, BY_LENGTH = "laborllm", "Trainer", "Trainer, by length"
GPU_SHAPES = {"1B": (2048, 16, 32, 8192, 128256), "7B": (4096, 32, 32, 11008, 32000)}
"""Name -> width, layers, heads, intermediate width, vocabulary."""
TRIAL_SHAPES = {"1B": (64, 2, 4, 256, 1500), "7B": (128, 2, 4, 256, 1500)}
ADAPTED = "7B"
"""Trained through adapters: its moments would not fit beside it."""


@dataclass(frozen=True)
class Job:
    """A model and what it learns.

    Attributes:
        name: of the model's shape.
        model: with random weights.
        tokenizer: of the résumés.
        resumes: what it learns.
    """

    name: str
    model: Any
    tokenizer: Any
    resumes: list[TokenizedResume]

    @property
    def tokens(self) -> int:
        """Tokens of all résumés."""
        return sum(len(resume.tokens) for resume in self.resumes)

    @property
    def of_titles(self) -> int:
        """Tokens of titles, line ends included."""
        return int(sum((resume.ends - resume.cuts).sum() for resume in self.resumes))

    @property
    def operations(self) -> float:
        """Floating-point operations of learning every token once: 6 per weight, and those of attention."""
        embedding = self.model.get_input_embeddings().weight
        tied = embedding is self.model.get_output_embeddings().weight
        weights = sum(each.numel() for each in self.model.parameters()) - (0 if tied else embedding.numel())
        config = self.model.config
        squares = sum(len(resume.tokens) ** 2 for resume in self.resumes)
        return 6.0 * weights * self.tokens + 6.0 * config.num_hidden_layers * config.hidden_size * squares


def written(people: int) -> tuple[list[Any], tuple[str, ...]]:
    """Résumés of simulated people, and the closed list."""
    careers = simulate(SimulatedSettings(people=people, occupations=JOBS, last_year=2010, seed=1))
    return write_resumes(careers, ResumeSettings()), careers.occupations.titles


def jobs() -> list[Job]:
    """A small model from scratch with whole titles as tokens, and one of 15 million weights in its layers and more."""
    texts, titles = written(BATCH * max(STEPS["tiny"], STEPS["15M"]))
    own = scratch.train_tokenizer([resume.text for resume in texts], titles, 8192)
    words = [*(f" {title}\n" for title in titles), *(resume.text for resume in texts[:40])]
    common = train_tokenizer(words)
    return [
        Job(
            "tiny",
            scratch.tiny_llama(own, seed=1),
            own,
            ResumeTokenizer(own, titles).encode(texts[: BATCH * STEPS["tiny"]]),
        ),
        Job("15M", build_model("15M"), common, ResumeTokenizer(common, titles).encode(texts[: BATCH * STEPS["15M"]])),
    ]


def settings(**changed: Any) -> TrainingSettings:
    """One pass over the résumés."""
    return TrainingSettings(epochs=1, learning_rate=1e-4, batch=BATCH, schedule="constant", warmup=0.0, **changed)


def ours(job: Job, model: Any, folder: Path) -> Callable[[], float]:
    """One leg of ours; the mean loss."""
    run = Run(model, job.resumes, settings(), folder, seed=1)
    return lambda: run.leg(lambda done, total: None)


def trainer(job: Job, model: Any, folder: Path, sampling: str) -> Callable[[], float]:
    """One epoch of the Trainer; the mean loss."""
    arguments = hf.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        adam_beta2=0.95,
        train_sampling_strategy=sampling,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    data = [{"input_ids": resume.tokens.tolist()} for resume in job.resumes]
    collator = hf.DataCollatorForLanguageModeling(job.tokenizer, mlm=False)
    train = hf.Trainer(model, arguments, train_dataset=data, data_collator=collator)
    train.remove_callback(hf.PrinterCallback)
    return lambda: float(train.train().training_loss)


def compare(job: Job, rounds: int) -> dict[str, Any]:
    """CPU seconds of one pass of each way, in turn; the medians and their ratios."""
    seconds: dict[str, list[float]] = {OURS: [], TRAINER: [], BY_LENGTH: []}
    losses: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name in seconds:
            model = copy.deepcopy(job.model)
            with tempfile.TemporaryDirectory() as folder:
                way = _way(name, job, model, Path(folder))
                losses[name], cpu, _ = timed(way)
            if turn:  # the first warms up
                seconds[name].append(cpu)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    peak = max(rate.cpu for rate in measure_rates(job.model).values())
    return {
        "model": job.name,
        "tokens": job.tokens,
        "padded_tokens": padded_tokens(job.resumes),
        "ways": {
            name: {
                "cpu_seconds": median,
                "loss": losses[name],
                "tokens_per_second": job.tokens / median,
                "occupation_tokens_per_second": job.of_titles / median,
                "utilisation": job.operations / median / peak,
                "times_ours": median / medians[OURS],
            }
            for name, median in medians.items()
        },
        "peak_operations_per_cpu_second": peak,
    }


def _way(name: str, job: Job, model: Any, folder: Path) -> Callable[[], float]:
    if name == OURS:
        return ours(job, model, folder)
    return trainer(job, model, folder, "random" if name == TRAINER else "group_by_length")


def padded_tokens(resumes: Sequence[TokenizedResume]) -> int:
    """Tokens of random batches with their padding."""
    order = np.random.default_rng(1).permutation(len(resumes))
    lengths = np.array([len(resume.tokens) for resume in resumes])[order]
    return int(sum(lengths[start : start + BATCH].max() * BATCH for start in range(0, len(order), BATCH)))


def gpu_job(name: str, shape: tuple[int, ...], batches: int) -> Job:
    """A model with random weights on the device, with adapters where its moments would not fit."""
    width, layers, heads, inside, vocabulary = shape
    texts, titles = written(BATCH * batches)
    tokenizer = train_tokenizer([f" {title}\n" for title in titles])
    config = hf.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inside,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=4096,
    )
    with torch.device(device()):
        model = hf.LlamaForCausalLM(config)
    return Job(name, model, tokenizer, ResumeTokenizer(tokenizer, titles).encode(texts))


def on_gpu(name: str, shape: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Seconds of a pass of ours in bfloat16, and the share of the measured rate."""
    job = gpu_job(name, shape, STEPS[name] if torch.cuda.is_available() else 1)
    operations = job.operations
    model, method = job.model, "full"
    if name == ADAPTED:
        model, method = add_adapters(model, LoraSettings(), seed=1), "lora"
        operations *= 2 / 3  # frozen weights have no gradient
    with tempfile.TemporaryDirectory() as folder:
        run = Run(model, job.resumes, settings(precision="bfloat16"), Path(folder), seed=1)
        seconds = []
        for turn in range(rounds + 1):
            run.step = 0
            start = time.perf_counter()
            run.leg(lambda done, total: None)
            if turn:
                seconds.append(time.perf_counter() - start)
    median, peak = statistics.median(seconds), bfloat16_rate()
    return {
        "model": name,
        "method": method,
        "how": run.loss.how,
        "tokens_at_once": run.tokens_at_once,
        "tokens_per_second": job.tokens / median,
        "occupation_tokens_per_second": job.of_titles / median,
        "utilisation": operations / median / peak,
        "peak_operations_per_second": peak,
    }


def device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def bfloat16_rate() -> float:
    """Operations a second of a large product in bfloat16, the median of a few."""
    size = 8192 if torch.cuda.is_available() else 512
    x = torch.randn(size, size, dtype=torch.bfloat16, device=device())
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        (x @ x).sum().item()
        seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 / statistics.median(seconds)


def show(result: dict[str, Any]) -> None:
    """One model's figures."""
    if "ways" not in result:
        print(
            f"{result['model']} ({result['method']}, {result['how']}): {result['tokens_per_second']:,.0f} tokens/s, "
            f"{result['occupation_tokens_per_second']:,.0f} of titles, {result['utilisation']:.0%} of the peak"
        )
        return
    print(f"{result['model']}: {result['tokens']:,} tokens, {result['padded_tokens']:,} with padding")
    for name, way in result["ways"].items():
        print(
            f"  {name:20} {way['cpu_seconds']:8.2f} CPU s {way['tokens_per_second']:10,.0f} tokens/s "
            f"{way['occupation_tokens_per_second']:8,.0f} of titles/s {way['utilisation']:5.0%} of the peak "
            f"{way['times_ours']:5.2f} times ours, loss {way['loss']:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", choices=["tiny", "15M"], help="one of the two alone")
    parser.add_argument("--try-gpu", action="store_true", help="what a GPU would run, with small shapes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    hf.utils.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    results = []
    if torch.cuda.is_available() or given.try_gpu:
        shapes = TRIAL_SHAPES if given.try_gpu else GPU_SHAPES
        for name, shape in shapes.items():
            results.append(on_gpu(name, shape, given.rounds))
            show(results[-1])
    else:
        for job in jobs():
            if given.model in (None, job.name):
                results.append(compare(job, given.rounds))
                show(results[-1])
    if given.json:
        given.json.write_text(json.dumps({"machine": describe(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
