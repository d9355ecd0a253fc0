"""What learning the text of résumés first is worth to a small language model, and what the words of titles are.

    python benchmarks/transfer.py --json FILE --csv FILE --figure FILE.png [--people 500 1500 5000]

A simulated labor market (60 jobs): résumés of other people, unrepresentative and without states, and a survey. One
small Llama learns the text of the résumés (real titles). From it, models of the first 500, 1,500 and 5,000 training
people of the survey are fine-tuned with the real titles; at some sizes also with numeric codes, and with titles
permuted among occupations.
Beside them a model from random weights learns the same people, for as many epochs as make 400 updates (at least 8,
stopped by validation). All predict the same 1,500 test people, or more of the same population with --test, which leaves
who is learned from as it is; differences are paired, intervals are clustered by person (1,000 bootstrap draws).
Perplexity is over the closed list (normalised). The intervals hold the trained models as they are: another seed moves
the figures too.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl

from laborllm.evaluation.evaluate import EvaluationSettings, evaluate
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.oracle import Oracle
from laborllm.models.probabilities import Model
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings

VOCABULARY = 1024
VALIDATION, TEST = 400, 1500
UPDATES, BATCH = 400, 32
WORDS = ("text", "numeric", "permuted")
WITHOUT = "no pre-training"
COLOURS = (
    "#777777",
    "#000000",
    "#d55e00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
)  # Okabe & Ito: told apart without red and green
MARKERS = "s_ovD^"


def settings(seed: int, **given: object) -> LanguageModelSettings:
    return LanguageModelSettings(kind="language_model", vocabulary=VOCABULARY, seed=seed, **given)


def people(careers: Careers, first: int, count: int) -> Careers:
    """So many people from the given one on."""
    start, stop = careers.starts[first], careers.starts[first + count]
    return Careers(careers.table.slice(int(start), int(stop - start)), careers.occupations)


def test_people(survey: Careers, count: int, largest: int) -> Careers:
    """The first people, and if more are wanted those behind the largest set of training people."""
    beyond = TEST + VALIDATION + largest
    if count - TEST > survey.people - beyond:
        raise SystemExit(
            f"--test: at most {TEST + survey.people - beyond:,} people are neither trained on nor validated"
        )
    first = people(survey, 0, min(count, TEST))
    if count <= TEST:
        return first
    more = people(survey, beyond, count - TEST)
    return Careers(pl.concat([first.table, more.table]), survey.occupations)


def models(base: Path, count: int, rates: list[float], words: tuple[str, ...]) -> dict[str, LanguageModelSettings]:
    epochs = max(8, math.ceil(UPDATES * BATCH / count))
    after = {"epochs": epochs, "schedule": "cosine", "warmup": 0.05}
    after |= {"weight_decay": 0.1, "dropout": 0.1, "patience": 3}

    def tuned(titles: str, rate: float) -> LanguageModelSettings:
        return settings(1, checkpoint=base, text={"titles": titles}, training=after | {"learning_rate": rate})

    return (
        {WITHOUT: settings(1, scratch="tiny", training={"epochs": epochs})}
        | {f"pre-trained, {each} titles": tuned(each, rates[0]) for each in words}
        | {f"pre-trained, {WORDS[0]} titles, rate {rate:g}": tuned(WORDS[0], rate) for rate in rates[1:]}
    )


def run(given: argparse.Namespace, folder: Path) -> pl.DataFrame:
    world = {"source": "simulated", "seed": given.seed}
    simulate(SimulatedSettings(**world, people=given.resumes, population="resume")).write(folder / "resumes.parquet")
    market = SimulatedSettings(**world, people=2 * TEST + VALIDATION + 2 * max(given.people))
    survey = simulate(market)
    test, validation = test_people(survey, given.test, max(given.people)), people(survey, TEST, VALIDATION)
    pretraining = {"epochs": given.epochs}
    first = settings(
        1, scratch="tiny", use="off_the_shelf", pretrain=[folder / "resumes.parquet"], pretraining=pretraining
    )
    LanguageModel(first, folder / "base").fit(people(survey, TEST + VALIDATION, min(given.people)), validation)
    results = []
    for count in given.people:
        words = WORDS if count in given.controls else WORDS[:1]
        train = people(survey, TEST + VALIDATION, count)
        tried: dict[str, Model] = {"transitions": TransitionFrequencies(TransitionSettings()), "oracle": Oracle(market)}
        for name, chosen in models(folder / "base" / "checkpoint", count, given.rate, words).items():
            tried[name] = LanguageModel(chosen, folder / f"{count} {name}")
        predictions = {}
        for name, model in tried.items():
            start = time.process_time()
            model.fit(train, validation)
            predictions[name] = model.predict(test)
            print(f"{count} people, {test.people} tested, {name}: {time.process_time() - start:.0f} CPU s", flush=True)
        results.append(compared(evaluate(predictions, test, EvaluationSettings(by=())), count))
    return pl.concat(results)


def compared(result: object, count: int) -> pl.DataFrame:
    """Perplexity of each model; how much lower that of the one with résumés and real titles is; how much lower its own
    is than without résumés."""
    whole = {"task": "occupation", "metric": "perplexity", "subset": "all", "group": "all"}
    wanted = pl.all_horizontal(pl.col(name) == value for name, value in whole.items())
    levels = result.evaluation.filter(wanted).select("model", "estimate", "ci_low", "ci_high")
    pairs = result.comparisons.filter(wanted)
    best = beyond(pairs, f"pre-trained, {WORDS[0]} titles")
    over_none = beyond(pairs, WITHOUT).select(
        "model", over_none=-pl.col("gain"), over_none_low=-pl.col("gain_high"), over_none_high=-pl.col("gain_low")
    )
    return (
        levels.join(best, on="model", how="left")
        .join(over_none, on="model", how="left")
        .with_columns(people=pl.lit(count))
    )


def beyond(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """How much higher the perplexity of every other model is than that of the named one, with its interval."""
    pairs = pairs.filter((pl.col("model_a") == name) | (pl.col("model_b") == name))
    sign = pl.when(pl.col("model_a") == name).then(-1).otherwise(1)
    ends = [sign * pl.col("ci_low"), sign * pl.col("ci_high")]
    return pairs.select(
        model=pl.when(pl.col("model_a") == name).then("model_b").otherwise("model_a"),
        gain=sign * pl.col("difference"),
        gain_low=pl.min_horizontal(ends),
        gain_high=pl.max_horizontal(ends),
    )


def draw(table: pl.DataFrame, path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for place, name in enumerate(table["model"].unique(maintain_order=True)):
        rows = table.filter(pl.col("model") == name)
        heights = rows["estimate"].to_numpy()
        spread = np.abs(rows.select("ci_low", "ci_high").to_numpy().T - heights)  # (ends, sizes)
        shifted = rows["people"].to_numpy() * (1 + 0.02 * (place - 2.5))
        axes.errorbar(
            shifted,
            heights,
            yerr=spread,
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=5,
            capsize=2,
            label=name,
        )
    axes.set(xscale="log", xlabel="training people of the survey", ylabel="test perplexity, 95 % interval")
    axes.set_xticks(table["people"].unique().sort().to_list(), [f"{n:,}" for n in table["people"].unique().sort()])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[500, 1500, 5000])
    parser.add_argument("--controls", type=int, nargs="*", default=[1500], help="sizes with numeric, permuted titles")
    parser.add_argument("--resumes", type=int, default=20_000)
    parser.add_argument("--epochs", type=float, default=1, help="of pre-training")
    parser.add_argument(
        "--rate",
        type=float,
        nargs="+",
        default=[1e-3],
        help="of fine-tuning after pre-training; further ones: real titles",
    )
    parser.add_argument("--test", type=int, default=TEST, help="test people")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = run(given, Path(folder))
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=180, float_precision=3, fmt_str_lengths=40):
        print(table)
    if given.json:
        given.json.write_text(json.dumps(table.to_dicts(), indent=1))
    if given.csv:
        table.write_csv(given.csv)
    if given.figure:
        draw(table, given.figure)


if __name__ == "__main__":
    main()
