"""What drawing whole careers costs: CPU seconds and peak memory of 1,000 paths over ten years.

    python benchmarks/paths.py --model transition --people 2000 --json FILE
    python benchmarks/paths.py --model career --people 200

A simulated population over 335 occupations, interviewed from 1979 to 1990, is drawn ten calendar years forward. One
model a run, so that the peak of memory is its own; ``--plain`` hides the faster ways that it offers, so that whole
careers are predicted and last rows kept. Networks have learned for 20 updates: what they cost does not depend on it.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.networks.sequence_model import SequenceModel
from laborllm.models.networks.sequence_settings import BagOfJobsSettings, CareerSettings, LSTMSettings, SequenceTraining
from laborllm.models.oracle import Oracle
from laborllm.models.paths import draw_paths, with_years
from laborllm.models.probabilities import Model, Probabilities
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate

QUICK = SequenceTraining(updates=20, warmup=5, evaluations=1)
NETWORKS = {"career": CareerSettings, "bag_of_jobs": BagOfJobsSettings, "lstm": LSTMSettings}
MODELS = ("transition", "second_order", "logit", "oracle", *NETWORKS)


class Plain:
    """A model without its faster ways."""

    description, facts = "plain", {}

    def __init__(self, model: Model) -> None:
        self.model = model

    def fit(self, train: Careers, validation: Careers) -> None:
        self.model.fit(train, validation)

    def predict(self, careers: Careers) -> Probabilities:
        return self.model.predict(careers)


def build(name: str, survey: SimulatedSettings, folder: Path) -> Model:
    if name in NETWORKS:
        return SequenceModel(NETWORKS[name](training=QUICK), folder)
    simple = {
        "transition": TransitionFrequencies(),
        "second_order": TransitionFrequencies(TransitionSettings(order=2)),
        "oracle": Oracle(survey),
    }
    return simple[name] if name in simple else MultinomialLogit(LogitSettings(l2=(1.0,)))


def run(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    survey = SimulatedSettings(people=4000, occupations=332, first_year=1979, last_year=1990, seed=1)
    careers = simulate(survey)
    model = build(given.model, survey, folder)
    model.fit(careers.first_people(1000), careers.first_people(200))
    starts = careers.first_people(given.people)
    whole, drawn = with_years(starts, range(1991, 1991 + given.years))
    begun = time.process_time()
    found = draw_paths(Plain(model) if given.plain else model, whole, drawn, paths=given.paths)
    return {
        "model": given.model + (" (plain)" if given.plain else ""),
        "people": starts.people,
        "rows of history a person": len(starts) / starts.people,
        "years": given.years,
        "paths": given.paths,
        "occupations drawn": found.occupation.size,
        "cpu": time.process_time() - begun,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        line = run(given, Path(folder))
    print(json.dumps(line))
    if given.json:
        given.json.write_text(json.dumps(line, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
