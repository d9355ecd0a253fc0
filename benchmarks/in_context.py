"""What a checkpoint knows of careers: off the shelf, behind the list of titles, behind examples, after some training.

    python benchmarks/in_context.py --study STUDY.toml --checkpoint FOLDER [--people 40] [--examples 1 3 5] --json FILE
    python benchmarks/in_context.py … --no-list --examples --tune 300     # a context too short for either

Raw perplexity of the realised titles of the first so many test people of the study's survey, with 95 % intervals by
person (1,000 bootstrap draws), and paired differences from off the shelf in nats a person-year. Examples are complete
résumés of random training people, one set for everybody. The title list is the closed list in words. With --tune the
checkpoint is also fine-tuned, every weight and by adapters (LoRA), on so many training people.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from laborllm.evaluation.uncertainty import draw_weights, percentile_interval, ratio, weighted_sums
from laborllm.models.language.language_model import LanguageModel
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.study import read_careers, read_study

DRAWS = 1000


def ways(given: argparse.Namespace) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {"off the shelf": {"use": "off_the_shelf"}}
    if not given.no_list:
        found["+ title list"] = {"use": "off_the_shelf", "title_list": True}
    found |= {f"{k} examples": {"use": "in_context", "examples": {"count": k}} for k in given.examples}
    if given.tune:
        for name, method, rate in (("fine-tuned", "full", given.rate), ("LoRA", "lora", given.lora_rate)):
            training = {"epochs": given.epochs, "learning_rate": rate, "batch": given.batch}
            found[name] = {"use": "finetune", "method": method, "training": training}
    return found


def mean_by_person(nats: np.ndarray, person: np.ndarray) -> list[float]:
    """The mean a person-year and its 95 % interval; people are resampled, the same draws for every way."""
    sums = np.stack(
        [np.bincount(person, weights=nats), np.bincount(person).astype(np.float64)]
    )  # (sum and rows, people)
    weights = draw_weights(sums.shape[1], DRAWS, np.random.default_rng(1))
    totals = weighted_sums(sums, weights)  # (sum and rows, draws)
    means = ratio(totals[:1], totals[1:])
    low, high = percentile_interval(means[:, 1:], confidence=0.95)
    return [float(means[0, 0]), float(low[0]), float(high[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--examples", type=int, nargs="*", default=[1, 3, 5])
    parser.add_argument("--no-list", action="store_true")
    parser.add_argument("--tune", type=int, default=0, help="training people of fine-tuning; none by default")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--batch", type=int, default=16, help="résumés a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate of full fine-tuning")
    parser.add_argument("--lora-rate", type=float, default=1e-2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    careers = read_careers(read_study(given.study))
    train, validation = careers.part("train"), careers.part("validation")
    test = careers.part("test").first_people(given.people)
    held_out = validation.first_people(max(1, given.tune // 10))
    lines, first = [], None
    print(f"{test.people} people, {len(test):,} person-years; raw perplexity [95 % interval]")
    for name, way in ways(given).items():
        settings = LanguageModelSettings(
            kind="language_model", checkpoint=given.checkpoint, probabilities="realised", **way
        )
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            model = LanguageModel(settings, Path(folder))
            tuned = way["use"] == "finetune"
            model.fit(*((train.first_people(given.tune), held_out) if tuned else (train, validation)))
            nats = -model.predict(test).raw
        first = nats if first is None else first
        level = [math.exp(each) for each in mean_by_person(nats, test.person_of_row)]
        gain = mean_by_person(first - nats, test.person_of_row)
        parts = {part: float(np.exp(nats[test.transition == part].mean())) for part in ("first", "stay", "move")}
        facts = {key: value for key, value in model.facts.items() if "example" in key}
        line = {"way": name, "perplexity": level, "nats_gained": gain, **parts, "facts": facts}
        lines.append(line | {"cpu": time.process_time() - start})
        print(json.dumps(lines[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"people": test.people, "person_years": len(test), "lines": lines}, indent=1))


if __name__ == "__main__":
    main()
