"""What the benchmark stands on: the models, careers and tokenizer it makes, and the machine under it.

The machine is described, its rate of multiplying matrices measured, and from it the floor.
"""

import contextlib
import datetime
import importlib.metadata
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from peers import Case, ClosedList
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from laborllm.text.resume import END_OF_DATA, Resume, ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TitleTree, TokenizedResume

MODELS = {"15M": (288, 6, 6, 768), "110M": (768, 12, 12, 2048)}
"""Name -> width, layers, heads, intermediate width."""
MODEL_VOCABULARY, WINDOW = 32000, 2048
TOKENIZER_VOCABULARY = 1500
"""Cuts the titles as finely as large models' tokenizers do: about 7.6 tokens with the line end, 2,000 inner nodes."""
JOBS = 332
"""With the three states 335 titles."""
ROWS_PER_CAREER = 17


ROWS = (1024, 2048, 4096, 8192)
LARGEST_PRODUCT = 1.3e11
"""Floating-point operations beyond which a shape is not tried with more rows."""
REPETITIONS = 5
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "lm_eval", "minicons")
Shape = tuple[int, int]
"""Inputs and outputs of a linear layer."""


@dataclass(frozen=True)
class Text:
    """Tokenizer, closed list, tree and résumés that all models share."""

    tokenizer: Any
    encoder: ResumeTokenizer
    titles: ClosedList
    tree: TitleTree
    whole: list[Resume]
    bare: list[Resume]


@dataclass(frozen=True)
class Work:
    """Careers whose mean prefix is near a number of tokens.

    Attributes:
        careers: one tokenized résumé a worker.
        cases: the first worker's years, as other ways see them.
    """

    careers: list[TokenizedResume]
    cases: list[Case]

    @property
    def years(self) -> int:
        """Person-years."""
        return sum(len(career.rows) for career in self.careers)

    @property
    def mean_prefix(self) -> float:
        """Tokens before a title, mean over years."""
        return float(np.concatenate([career.cuts for career in self.careers]).mean())

    def spread(self, count: int) -> list[Case]:
        """So many of the first worker's years, evenly spread; a single one is that nearest the mean prefix."""
        if count == 1:
            return [min(self.cases, key=lambda case: abs(len(case.tokens) - self.mean_prefix))]
        return [self.cases[round((place + 0.5) * len(self.cases) / count - 0.5)] for place in range(count)]


@dataclass(frozen=True)
class Rate:
    """The best of a shape over kernels and rows: operations per CPU second, by which kernel, and per second."""

    kernel: str
    rows: int
    cpu: float
    wall: float


@dataclass(frozen=True)
class Floor:
    """Seconds per (worker, year) that the multiplications alone would take at the measured rates.

    Attributes:
        linear: linear layers at the tree's inner nodes.
        attention: each inner node to its prefix, its ancestors and itself.
        document: linear layers and attention of the career, encoded once, divided by its years.
        head: the full vocabulary at the root and at every inner node.
    """

    linear: float
    attention: float
    document: float
    head: float

    @property
    def total(self) -> float:
        """All four together."""
        return self.linear + self.attention + self.document + self.head


def build_text() -> Text:
    """Simulated careers of about the wanted number of rows, in full and in short, and their tokenizer."""
    careers = simulate(SimulatedSettings(people=400, occupations=JOBS, last_year=2002, seed=1))
    everything = write_resumes(careers, ResumeSettings())
    places = [place for place, resume in enumerate(everything) if len(resume.rows) == ROWS_PER_CAREER]
    short = write_resumes(careers, ResumeSettings(drop=("education", "gender", "ethnicity", "region", "birth_year")))
    texts = tuple(f" {title}\n" for title in careers.occupations.titles)
    tokenizer = train_tokenizer([*texts, *(resume.text for resume in everything[:40])])
    encoder = ResumeTokenizer(tokenizer, careers.occupations.titles)
    titles = ClosedList(texts, encoder.sequences)
    whole = [everything[place] for place in places]
    return Text(tokenizer, encoder, titles, TitleTree.of(encoder.sequences), whole, [short[place] for place in places])


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of words, as in GPT-2, that puts a start token before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENIZER_VOCABULARY,
        special_tokens=["<s>", "<pad>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>")


def build_model(name: str) -> LlamaForCausalLM:
    """A Llama with random weights in float32, the same at every call."""
    width, layers, heads, intermediate = MODELS[name]
    config = LlamaConfig(
        vocab_size=MODEL_VOCABULARY,
        hidden_size=width,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=WINDOW,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=1,
    )
    torch.manual_seed(1)
    return LlamaForCausalLM(config).float().eval()


def build_work(text: Text, prefix: int, workers: int) -> Work:
    """Careers of the first workers whose mean prefix is as near as lines allow."""
    resumes, start = [], 0
    for worker in range(workers):
        resume = min(_variants(text, worker, prefix), key=lambda one: abs(_mean_prefix(text, one) - prefix))
        resumes.append(replace(resume, rows=range(start, start + len(resume.rows))))
        start += len(resume.rows)
    careers = text.encoder.encode(resumes)
    cases = [
        Case(resumes[0].text[:cut], tuple(careers[0].tokens[:tokens].tolist()), row)
        for row, (cut, tokens) in enumerate(zip(resumes[0].cuts.tolist(), careers[0].cuts.tolist(), strict=True))
    ]
    _require_same_tokens(text, cases[0])
    return Work(careers, cases)


def _mean_prefix(text: Text, resume: Resume) -> float:
    """Tokens before a title, mean over a résumé's lines."""
    return float(text.encoder.encode([resume])[0].cuts.mean())


def _variants(text: Text, worker: int, prefix: int) -> Iterator[Resume]:
    """A worker's résumé behind more and more lines of others, or in short and with fewer and fewer lines."""
    resume = text.whole[worker]
    if _mean_prefix(text, resume) > prefix:
        bare = text.bare[worker]
        yield from (_first_lines(bare, lines) for lines in range(1, len(bare.rows) + 1))
        return
    others = "\n".join(one.text for one in text.whole[-8:]).splitlines(keepends=True)
    for lines in range(len(others)):
        lead = "".join(others[:lines])
        yield replace(resume, text=lead + resume.text, cuts=resume.cuts + len(lead), ends=resume.ends + len(lead))


def _first_lines(resume: Resume, lines: int) -> Resume:
    """The first line of the header and the first lines of the career."""
    header = resume.text[: resume.text.index("\n") + 1]
    start = resume.text.rindex("\n", 0, int(resume.cuts[0])) + 1
    shift = len(header) - start
    return Resume(
        text=header + resume.text[start : int(resume.ends[lines - 1])] + END_OF_DATA,
        rows=resume.rows[:lines],
        cuts=resume.cuts[:lines] + shift,
        ends=resume.ends[:lines] + shift,
        occupation=resume.occupation[:lines],
    )


def _require_same_tokens(text: Text, case: Case) -> None:
    """Stop where the strings that peers are given have other tokens than those that laborllm scores."""
    for words, sequence in zip(text.titles.texts, text.titles.sequences, strict=True):
        if tuple(text.tokenizer(case.text + words)["input_ids"]) != (*case.tokens, *sequence):
            sys.exit(f"{words!r} has other tokens as a string")


def describe_text(text: Text) -> dict[str, Any]:
    """How finely the tokenizer cuts the titles, and the size of their tree."""
    return {
        "titles": len(text.titles.texts),
        "tokens_per_title_with_line_end": float(np.mean([len(sequence) for sequence in text.titles.sequences])),
        "edges": len(text.tree.token),
        "inner_nodes": len(text.tree.inner),
        "tokenizer_vocabulary": len(text.tokenizer),
    }


def describe() -> dict[str, Any]:
    """Processor, cores, memory, system, versions and the time."""
    return {
        "cpu": _processor(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    """The processor's name and family as the system gives them."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return f"{named.get('model name', '?')} (family {named.get('cpu family')}, model {named.get('model')})"


def _version(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes.

    ``ru_maxrss`` survives exec on Linux and would count the parent; the kernel's own mark does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        marks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(marks[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def forget_peak() -> None:
    """Let the largest resident memory begin anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call gives, its CPU seconds over all threads of the process, and its seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def layer_shapes(model: Any) -> list[Shape]:
    """Every linear layer of the trunk of a Llama, one entry a layer."""
    linear = [module for module in model.model.modules() if isinstance(module, torch.nn.Linear)]
    return [(module.in_features, module.out_features) for module in linear]


def head_shape(model: Any) -> Shape:
    """The layer from hidden states to the vocabulary."""
    return model.lm_head.in_features, model.lm_head.out_features


@torch.inference_mode()
def measure_rates(model: Any) -> dict[Shape, Rate]:
    """The best rate of each shape over kernels and numbers of rows, at the number of threads that is set."""
    return {shape: _best_rate(shape) for shape in sorted({*layer_shapes(model), head_shape(model)})}


def _best_rate(shape: Shape) -> Rate:
    """The fastest kernel and number of rows, each by the median of a few runs, as laborllm itself is measured."""
    inputs, outputs = shape
    weight = torch.randn(outputs, inputs)
    found = []
    for rows in ROWS:
        work = 2.0 * rows * inputs * outputs
        if rows > ROWS[0] and work > LARGEST_PRODUCT:
            break
        for name, kernel in _kernels(torch.randn(rows, inputs), weight).items():
            kernel()
            runs = [timed(kernel)[1:] for _ in range(REPETITIONS)]
            cpu, wall = (statistics.median(column) for column in zip(*runs, strict=True))
            found.append(Rate(name, rows, work / cpu, work / wall))
    best = max(found, key=lambda rate: rate.cpu)
    return replace(best, wall=max(rate.wall for rate in found))


def _kernels(x: torch.Tensor, weight: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """Ways to multiply in float32: torch's own, into a buffer that is kept, and oneDNN's where it is there."""
    buffer, transposed = torch.empty(len(x), len(weight)), weight.t()
    kernels: dict[str, Callable[[], Any]] = {
        "linear": lambda: functional.linear(x, weight),
        "mm into a kept buffer": lambda: torch.mm(x, transposed, out=buffer),
    }
    onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    if onednn is not None:
        kernels["oneDNN"] = lambda: onednn(x, weight, None, "none", [], "")
    return kernels


def floors(
    model: Any, tree: TitleTree, resumes: Sequence[TokenizedResume], rates: dict[Shape, Rate]
) -> dict[str, Floor]:
    """The floor in CPU seconds ("cpu") and in seconds ("wall")."""
    return {clock: floor(model, tree, resumes, {s: getattr(r, clock) for s, r in rates.items()}) for clock in _CLOCKS}


_CLOCKS = ("cpu", "wall")


def floor(model: Any, tree: TitleTree, resumes: Sequence[TokenizedResume], rates: dict[Shape, float]) -> Floor:
    """The formula of the module ``scoring``; attention is given the best rate of all shapes."""
    layers, best = model.config.num_hidden_layers, max(rates.values())
    row = sum(2 * inputs * outputs / rates[inputs, outputs] for inputs, outputs in layer_shapes(model))
    inputs, outputs = head_shape(model)
    pair = 4 * layers * model.config.num_attention_heads * model.model.layers[0].self_attn.head_dim / best
    depth = tree.depth[tree.inner] + 1.0  # (inner,): the ancestors of an inner node and itself
    cuts = np.concatenate([resume.cuts for resume in resumes])  # (years,)
    documents = np.array([resume.cuts[-1] for resume in resumes], dtype=np.float64)
    return Floor(
        linear=len(depth) * row,
        attention=float(len(depth) * cuts.mean() + depth.sum()) * pair,
        document=float((documents * row + documents * (documents + 1) / 2 * pair).sum()) / len(cuts),
        head=(len(depth) + 1) * 2 * inputs * outputs / rates[inputs, outputs],
    )


def as_json(rates: dict[Shape, Rate]) -> list[dict[str, Any]]:
    """Rates as plain records."""
    return [{"inputs": inputs, "outputs": outputs} | asdict(rate) for (inputs, outputs), rate in rates.items()]
