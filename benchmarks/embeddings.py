"""What the states of an untouched model know of careers: a multinomial logit on them against simple frequencies.

    python benchmarks/embeddings.py --study STUDY.toml --packaged minilm [--people 500] [--last-rows 3] --cache FOLDER
    python benchmarks/embeddings.py --study STUDY.toml --checkpoint FOLDER [--pool last mean] --json FILE

Learned from the first so many training people of the study's split, with a seventh of as many validation people, and
tested on the first 2 for every 7 of them. An encoder reads every prefix by itself, so --last-rows (how many earlier
rows a prefix shows) decides what it costs; states stay in --cache. Printed are test perplexity over the closed list,
95 % intervals by person (1,000 bootstrap draws), and paired differences from the marginal (shares of training rows,
half an observation added) and from transition frequencies. CPU seconds include what embeds.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.language.embedding_logit import EmbeddingLogit
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.probabilities import Probabilities
from laborllm.study import read_careers, read_study
from laborllm.survey.careers import Careers

STAGES = {1: "one softmax", 2: "two stages"}


def marginal(train: Careers, careers: Careers) -> Probabilities:
    """The same probabilities in every row: shares of training rows."""
    counts = np.bincount(train.occupation, minlength=len(train.occupations)) + 0.5
    shares = np.log(counts / counts.sum()).astype(np.float32)
    rows = careers.table.select("person", "year", "occupation")
    return Probabilities(
        rows=rows, occupations=careers.occupations, log_probabilities=np.tile(shares, (len(careers), 1))
    )


def ways(given: argparse.Namespace) -> dict[str, EmbeddingLogitSettings]:
    """Each pool with one softmax and with two stages."""
    where = {"packaged": given.packaged, "checkpoint": given.checkpoint}
    text = {"last_rows": given.last_rows}
    return {
        f"{STAGES[stages]}, {pool or 'default'} state": EmbeddingLogitSettings(
            **where, pool=pool, stages=stages, text=text
        )
        for pool in given.pool
        for stages in STAGES
    }


def run(given: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    careers = read_careers(read_study(given.study))
    parts = {"train": given.people, "validation": given.people // 7, "test": given.people * 2 // 7}
    train, validation, test = (careers.part(name).first_people(count) for name, count in parts.items())
    for name, part in zip(parts, (train, validation, test), strict=True):
        print(f"{name}: {part.people:,} people, {len(part):,} person-years")
    transitions = TransitionFrequencies(TransitionSettings())
    transitions.fit(train, validation)
    predictions = {"marginal": marginal(train, test), "transitions": transitions.predict(test)}
    seconds = dict.fromkeys(predictions, 0.0)
    for place, (name, settings) in enumerate(ways(given).items()):
        start = time.process_time()
        model = EmbeddingLogit(settings, folder / str(place), cache=given.cache or folder / "cache")
        model.fit(train, validation)
        predictions[name] = model.predict(test)
        seconds[name] = time.process_time() - start
        print(f"{name}: {seconds[name]:.0f} CPU s; {json.dumps(model.facts)}", flush=True)
    return table(evaluate(predictions, test, EvaluationSettings(by=())), seconds)


def table(result: object, seconds: dict[str, float]) -> list[dict[str, object]]:
    """Perplexity of each model, and how much lower it is than those of the first two."""
    whole = {"task": "occupation", "metric": "perplexity", "subset": "all", "group": "all"}
    wanted = pl.all_horizontal(pl.col(name) == value for name, value in whole.items())
    levels = result.evaluation.filter(wanted).to_dicts()
    pairs = {(row["model_a"], row["model_b"]): row for row in result.comparisons.filter(wanted).to_dicts()}
    lines = []
    for row in levels:
        line = {"model": row["model"], "perplexity": [row["estimate"], row["ci_low"], row["ci_high"]]}
        for before in ("marginal", "transitions"):
            if pair := pairs.get((before, row["model"])):
                line[f"below {before}"] = [pair["difference"], pair["ci_low"], pair["ci_high"]]
        lines.append(line | {"cpu": seconds[str(row["model"])]})
        print(json.dumps(lines[-1]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--packaged", choices=["minilm"])
    source.add_argument("--checkpoint", type=Path)
    parser.add_argument("--pool", nargs="+", default=[None], choices=["last", "mean", "first"])
    parser.add_argument("--people", type=int, default=700, help="training people")
    parser.add_argument("--last-rows", type=int, help="earlier rows that a prefix shows; all of them if not given")
    parser.add_argument("--cache", type=Path, help="folder of states, kept")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = run(given, Path(folder))
    if given.json:
        given.json.write_text(
            json.dumps({"people": given.people, "last_rows": given.last_rows, "lines": lines}, indent=1)
        )


if __name__ == "__main__":
    main()
