"""What it costs to draw careers from a language model: laborllm and Hugging Face ``generate`` under constraints.

    python benchmarks/simulation.py --json FILE [--people N] [--years T] [--paths P] [--rounds R] [--walks]

The model is the package's own small Llama from scratch, trained for some epochs on careers of the simulated population
over 335 titles, with a tokenizer that cuts titles as finely as large models' do: what a draw costs depends on how much
of its mass the model has on few titles, of which random weights know nothing. Every way draws the
rows behind the first one of the same N test people, T at most, P paths each, from the same weights in float32, on one
thread:

- laborllm: ``draw_occupations``, over the closed list. Keys and values are kept: a history goes on by the tokens of
  what was drawn, paths that part share what came before; titles are drawn by walks down their tree.
- xgrammar: ``generate(do_sample=True)`` row after row, all paths of a batch together, padded on the left, with the
  library's logits processor for the grammar of the 335 titles; the text of what was drawn is put behind the history.
- transformers alone: the same with ``prefix_allowed_tokens_fn`` and a tree of the titles' tokens.

Both peers draw each token anew among those that may follow, so that a title comes with the probability of its tokens,
each normalised on its own, which is not the model's probability normalised over the closed list: laborllm draws from
the latter exactly. Nothing else is compared of them than that each draw is a title of the list.

A round is every way once, in one order and in the other in turn; medians over rounds of CPU seconds of the process are
given, what is prepared once (tree, grammar) apart. ``--anew`` draws as well as for models that keep nothing, every
history encoded anew. ``--walks`` measures beside it how many times cheaper a walk is than scoring the whole list for
one draw behind one history, from which ``title_draws.WALK`` was chosen.

Peers are no dependencies of the project; they go into an environment of their own, which leaves torch as it is:

    python -m venv bench-venv && . bench-venv/bin/activate
    pip install -e ".[llm]" -c constraints.txt
    pip install xgrammar==0.2.8 -c constraints.txt
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import machine
import numpy as np
import torch

from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import SCRATCH_TRAINING, LanguageModelSettings
from laborllm.models.language.windows import last_lines
from laborllm.models.path_draws import draw_occupations
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import TitleTree

ANEW = "laborllm, every history encoded anew"
OURS, GRAMMAR, PREFIX = "laborllm", "generate with xgrammar", "generate with prefix_allowed_tokens_fn"
BATCH = 64
Way = Callable[[Careers, np.ndarray, int], np.ndarray]
"""Careers, whether a row is drawn, paths -> positions of occupations, shape (drawn_rows, paths)."""


def learned(folder: Path, epochs: float) -> tuple[LanguageModel, Careers]:
    """The fine-tuned model and the test people."""
    careers = simulate(SimulatedSettings(people=700, occupations=332, last_year=1995))
    careers = split_by_person(careers, (0.7, 0.1, 0.2), np.random.default_rng(1))
    settings = LanguageModelSettings(
        kind="language_model",
        scratch="tiny",
        vocabulary=1024,
        training=SCRATCH_TRAINING.model_copy(update={"epochs": epochs}),
    )
    model = LanguageModel(settings, folder)
    model.fit(careers.part("train"), careers.part("validation"))
    return model, careers.part("test")


def ours(model: LanguageModel) -> Way:
    """Paths as the package draws them."""
    return lambda careers, drawn, paths: draw_occupations(model, careers, drawn, paths=paths, seed=1)


def anew(model: LanguageModel) -> Way:
    """Paths as the package draws them from models that keep nothing of what they have read."""

    class Forgetful:
        description, facts = model.description, model.facts
        fit, predict, draw_last = model.fit, model.predict, model.draw_last

    return lambda careers, drawn, paths: draw_occupations(Forgetful(), careers, drawn, paths=paths, seed=1)


class Generate:
    """Paths by ``generate``, row after row, the text so far as its prompt.

    Args:
        model: whose weights and tokenizer are used.
        constraint: what is handed to ``generate`` for one call, anew each time.
    """

    def __init__(self, model: LanguageModel, constraint: Callable[[int], dict[str, Any]]) -> None:
        self.model, self.tokenizer, self.constraint = model.model, model.tokenizer, constraint
        self.ends = line_ends(self.tokenizer)
        self.longest = max(len(title) for title in model.resumes.titles) + 2  # spelled in single letters
        self.position = {f" {title}\n": place for place, title in enumerate(model.resumes.titles)}

    def __call__(self, careers: Careers, drawn: np.ndarray, paths: int) -> np.ndarray:
        """Every path of every person is a text of its own."""
        resumes = write_resumes(careers, ResumeSettings())
        rows = np.flatnonzero(drawn)
        answer = np.empty((len(rows), paths), dtype=np.int16)
        texts = {(n, p): r.text[: r.cuts[1]] for n, r in enumerate(resumes) if len(r.rows) > 1 for p in range(paths)}
        for step in range(1, max(len(resume.rows) for resume in resumes)):
            going = [(n, p) for n, p in texts if len(resumes[n].rows) > step]
            for first in range(0, len(going), BATCH):
                some = going[first : first + BATCH]
                for (n, p), title in zip(some, self._titles([texts[key] for key in some]), strict=True):
                    resume = resumes[n]
                    answer[np.searchsorted(rows, careers.starts[n] + step), p] = self.position[title]
                    after = resume.cuts[step + 1] if step + 1 < len(resume.rows) else resume.ends[step]
                    texts[n, p] += title + resume.text[resume.ends[step] : after]
        return answer

    def _titles(self, prompts: Sequence[str]) -> list[str]:
        """One title behind each text."""
        given = self.tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left")
        out = self.model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=self.longest,
            eos_token_id=self.ends,
            pad_token_id=self.tokenizer.pad_token_id,
            **self.constraint(given["input_ids"].shape[1]),
        )
        new = out[:, given["input_ids"].shape[1] :].tolist()
        kept = [line[: 1 + next(n for n, token in enumerate(line) if token in self.ends)] for line in new]
        return self.tokenizer.batch_decode(kept, clean_up_tokenization_spaces=False)


def line_ends(tokenizer: Any) -> list[int]:
    """Tokens that end a line."""
    return [token for token in range(len(tokenizer)) if tokenizer.decode([token]).endswith("\n")]


def with_grammar(model: LanguageModel) -> Way:
    """The grammar of the list in xgrammar, compiled once."""
    import xgrammar
    from xgrammar.contrib.hf import LogitsProcessor

    tokenizer = model.tokenizer
    info = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer, vocab_size=model.model.config.vocab_size, stop_token_ids=[tokenizer.pad_token_id]
    )
    listed = " | ".join(json.dumps(f" {title}\n") for title in model.resumes.titles)
    grammar = xgrammar.GrammarCompiler(info, max_threads=1).compile_grammar(f"root ::= {listed}")
    return Generate(model, lambda length: {"logits_processor": [LogitsProcessor(grammar)]})


def with_prefix(model: LanguageModel) -> Way:
    """The tokens that may follow, out of a tree of dictionaries, as users write it for transformers."""
    tree: dict[int, dict] = {}
    for sequence in model.resumes.sequences:
        node = tree
        for token in sequence:
            node = node.setdefault(token, {})
    padding = model.tokenizer.pad_token_id

    def constraint(length: int) -> dict[str, Any]:
        def allowed(batch: int, tokens: torch.Tensor) -> list[int]:
            node = tree
            for token in tokens[length:].tolist():
                node = node.get(token, {})
            return list(node) or [padding]

        return {"prefix_allowed_tokens_fn": allowed}

    return Generate(model, constraint)


def work_of(test: Careers, people: int, years: int) -> tuple[Careers, np.ndarray]:
    """The first so many people with a row to draw, so many rows behind the first at most."""
    kept = np.concatenate([np.arange(n) < years + 1 for n in np.diff(test.starts)])
    several = np.repeat(np.diff(test.starts) > 1, np.diff(test.starts))
    cut = np.concatenate([np.arange(n) for n in np.diff(test.starts)])
    careers = Careers(test.table.filter((cut <= years) & several & kept), test.occupations).first_people(people)
    drawn = np.ones(len(careers), dtype=bool)
    drawn[careers.starts[:-1]] = False
    return careers, drawn


def cpu(call: Callable[[], Any]) -> tuple[Any, float]:
    before = time.process_time()
    result = call()
    return result, time.process_time() - before


def walks(model: LanguageModel, test: Careers, rounds: int) -> dict[str, float]:
    """CPU seconds of one draw behind each history, by walks and over the whole list."""
    resumes, tree = last_lines(model._behind_prompts(test), test), TitleTree.of(model.resumes.sequences)
    from laborllm.models.language.title_draws import _last_lines

    lines = _last_lines(resumes, np.ones(len(resumes), dtype=np.int64))
    scorer, spent = model._scorer(lines), {"walk": [], "list": []}
    for turn in range(rounds + 1):  # the first warms up
        generators = [np.random.default_rng([turn, n]) for n in range(len(lines))]
        spent["walk"].append(cpu(lambda: scorer.draw(lines, tree, generators))[1])  # noqa: B023
        spent["list"].append(cpu(lambda: scorer.titles(lines, tree, rows=len(lines)))[1])
    return {name: statistics.median(each[1:]) / len(lines) for name, each in spent.items()} | {
        "inner nodes": len(tree.inner)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--years", type=int, default=12)
    parser.add_argument("--paths", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=6.0)
    parser.add_argument("--model", type=Path, help="keep the trained model here, or take the one that is there")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--walks", action="store_true")
    parser.add_argument("--without", nargs="*", default=[], help="ways that are left out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model, test = learned(options.model or Path(folder), options.epochs)
    careers, drawn = work_of(test, options.people, options.years)
    makers = {OURS: ours, GRAMMAR: with_grammar, PREFIX: with_prefix} | ({ANEW: anew} if options.anew else {})
    prepared = {
        name: cpu(lambda make=make: make(model)) for name, make in makers.items() if name not in options.without
    }
    spent: dict[str, list[float]] = {name: [] for name in prepared}
    small, few = work_of(test, 2, 2)
    for way, _ in prepared.values():
        way(small, few, 2)
    for turn in range(options.rounds):
        for name in list(prepared) if turn % 2 == 0 else list(prepared)[::-1]:
            torch.manual_seed(turn)
            found, seconds = cpu(lambda name=name: prepared[name][0](careers, drawn, options.paths))
            assert found.min() >= 0
            assert found.max() < len(careers.occupations)
            spent[name].append(seconds)
    report(options, model, int(drawn.sum()), careers.people, prepared, spent, test)


def report(options, model, rows, people, prepared, spent, test) -> None:  # type: ignore[no-untyped-def]
    draws = rows * options.paths
    results = {
        name: {
            "cpu_seconds": {"median": statistics.median(runs), "least": min(runs), "most": max(runs)},
            "cpu_ms_per_draw": 1000 * statistics.median(runs) / draws,
            "prepared_cpu_seconds": prepared[name][1],
            "runs": len(runs),
        }
        for name, runs in spent.items()
    }
    ratios = {
        name: results[name]["cpu_seconds"]["median"] / results[OURS]["cpu_seconds"]["median"]
        for name in results
        if name != OURS
    }
    tokens = float(np.mean([len(sequence) for sequence in model.resumes.sequences]))
    print(f"{people} people, {rows} rows to draw, {options.paths} paths: {draws} draws; {tokens:.1f} tokens a title")
    for name, each in results.items():
        seconds = each["cpu_seconds"]
        spread = f"{seconds['median']:.1f} ({seconds['least']:.1f}-{seconds['most']:.1f})"
        print(f"{name:40} {spread:>20} CPU s {each['cpu_ms_per_draw']:8.2f} ms a draw")
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f} times the CPU of laborllm")
    content = {"machine": machine.describe(), "people": people, "rows": rows, "paths": options.paths}
    content |= {"tokens_a_title": tokens, "results": results, "ratios": ratios}
    if options.walks:
        content["walks"] = walks(model, test.first_people(64), options.rounds)
        print(f"one draw behind one history: {content['walks']}")
    if options.json:
        options.json.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
