"""Which library grows the trees of boosting: LightGBM, XGBoost or scikit-learn.

    python benchmarks/boosting.py --folder FOLDER [--json FILE]
    python benchmarks/boosting.py --study FILE [--rounds 500] [--json FILE]

Careers come from a folder in CAREER's text format or from a study file. ``boosting`` is fitted as it is, in one stage
and in two. Then each library that is installed grows trees of the same size, on the same features, of the stage "move":
LightGBM and XGBoost from the transition frequencies, scikit-learn from the shares, since it takes no start. Each stops
by the same validation rows. Given are nats a test row in which the person moves or begins, CPU seconds, peak memory of
the process so far, rounds, and the size of the library on disk. One thread; set OMP_NUM_THREADS=1.
"""

import argparse
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from machine import peak_memory
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from laborllm.models.baselines import TransitionFrequencies
from laborllm.models.regression.boosted_stage import EXCLUDED, StageRows, fit_boosted, log_softmax
from laborllm.models.regression.boosting import GradientBoosting, held_out_start, stage_start
from laborllm.models.regression.boosting_features import TreeFeatures
from laborllm.models.regression.boosting_settings import BoostingSettings
from laborllm.models.regression.features import Histories
from laborllm.models.regression.stage import sample
from laborllm.study import read_careers, read_study
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text

PACKAGES = {"LightGBM": ("lightgbm",), "XGBoost": ("xgboost", "xgboost-cpu"), "scikit-learn": ("scikit-learn",)}
Parts = dict[str, StageRows]
"""The stage "move" of train, validation and test."""


def read(args: argparse.Namespace) -> dict[str, Careers]:
    """Careers by part of the split."""
    if args.folder is not None:
        careers = read_career_text(CareerTextSettings(folder=args.folder, spaces=True))
    else:
        study = read_study(args.study)
        careers = read_careers(study)
        if "split" not in careers.table.columns:
            careers = split_by_person(careers, study.split.shares, np.random.default_rng(study.split.seed))
    return {name: careers.part(name) for name in ("train", "validation", "test")}


def moves(parts: dict[str, Careers], settings: BoostingSettings) -> Parts:
    """What boosting's stage "move" is given."""
    features = TreeFeatures.of(settings.terms, Histories(parts["train"]))
    model = TransitionFrequencies()
    model.fit(parts["train"], parts["validation"])
    found = {}
    for name, careers in parts.items():
        keep = sample("move", careers)
        if name == "train":
            start = held_out_start(careers, parts["validation"], seed=settings.seed)
        else:
            start = np.asarray(model.predict(careers).log_probabilities)
        start = stage_start("move", start[keep], careers.previous[keep])
        found[name] = StageRows(features.matrix(Histories(careers))[0][keep], start, careers.occupation[keep])
    return found


def by_lightgbm(parts: Parts, settings: BoostingSettings) -> tuple[np.ndarray, int]:
    """Log-probabilities of the test rows, and rounds."""
    stage = fit_boosted(settings, "move", parts["train"], parts["validation"])
    return stage.log_probabilities(parts["test"].features, parts["test"].start), stage.rounds


def by_xgboost(parts: Parts, settings: BoostingSettings) -> tuple[np.ndarray, int]:
    """The same trees by XGBoost: grown best leaf first, from the same start."""
    import xgboost

    seen = np.unique(parts["train"].chosen)
    data = {}
    for name, rows in parts.items():
        kept = np.flatnonzero(np.isin(rows.chosen, seen)) if name != "test" else np.arange(len(rows.chosen))
        label = None if name == "test" else np.searchsorted(seen, rows.chosen[kept])
        dense = rows.features[kept].toarray()
        data[name] = xgboost.DMatrix(dense, label, base_margin=rows.start[kept][:, seen])
    booster = xgboost.train(
        {
            "objective": "multi:softprob",
            "num_class": len(seen),
            "tree_method": "hist",
            "grow_policy": "lossguide",
            "max_depth": 0,
            "max_leaves": settings.leaves,
            "eta": settings.learning_rate,
            "reg_lambda": settings.l2,
            "nthread": 1,
        },
        data["train"],
        settings.rounds,
        evals=[(data["validation"], "validation")],
        early_stopping_rounds=settings.patience,
        verbose_eval=False,
    )
    rounds = booster.best_iteration + 1
    grown = booster.predict(data["test"], output_margin=True, iteration_range=(0, rounds))
    return over_the_list(grown, parts["test"].start, seen), rounds


def by_sklearn(parts: Parts, settings: BoostingSettings) -> tuple[np.ndarray, int]:
    """scikit-learn's histogram trees; it takes neither a start nor sparse features."""
    train, validation, test = (parts[name] for name in ("train", "validation", "test"))
    known = np.isin(validation.chosen, train.chosen)
    model = HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=settings.rounds,
        max_leaf_nodes=settings.leaves,
        min_samples_leaf=settings.min_rows,
        l2_regularization=settings.l2,
        early_stopping=True,
        n_iter_no_change=settings.patience,
        random_state=settings.seed,
    )
    held_out = validation.features[known].toarray(), validation.chosen[known]
    model.fit(train.features.toarray(), train.chosen, X_val=held_out[0], y_val=held_out[1])
    scores = np.log(np.maximum(model.predict_proba(test.features.toarray()), np.finfo(float).tiny))
    scores[test.start[:, model.classes_] <= EXCLUDED / 2] = EXCLUDED  # the previous occupation
    return over_the_list(scores, test.start, model.classes_), model.n_iter_


def over_the_list(scores: np.ndarray, start: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Scores of the outcomes seen as log-probabilities of all; those never seen keep the start."""
    never = np.setdiff1d(np.arange(start.shape[1]), seen)
    answer = start.copy()
    answer[:, seen] = log_softmax(scores) + np.log1p(-np.exp(start[:, never]).sum(axis=1, keepdims=True))
    return answer


def measured(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives and its CPU seconds."""
    before = time.process_time()
    result = call()
    return result, time.process_time() - before


def whole(parts: dict[str, Careers], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Boosting as a study runs it, in one stage and in two."""
    lines = []
    for stages in (2, 1):
        model = GradientBoosting(settings_of(args, stages=stages))
        _, cpu = measured(lambda model=model: model.fit(parts["train"], parts["validation"]))
        answer, predicting = measured(lambda model=model: model.predict(parts["test"]))
        perplexity = float(np.exp(-answer.realised.mean()))
        line = {"stages": stages, "perplexity": perplexity, "cpu": cpu, "cpu_predicting": predicting}
        lines.append(line | {"facts": model.facts, "peak_mib": peak_memory() / 2**20})
        print(f"boosting, {stages} stage(s): {perplexity:.3f}, fitted in {cpu:.1f} CPU s; {model.facts}", flush=True)
    return lines


def libraries(parts: dict[str, Careers], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One line a library."""
    settings, lines = settings_of(args), []
    data = moves(parts, settings)
    ways = {"LightGBM": by_lightgbm, "XGBoost": by_xgboost, "scikit-learn": by_sklearn}
    for name, way in ways.items():
        if name not in args.only or find_spec({"scikit-learn": "sklearn"}.get(name, name.lower())) is None:
            print(f"{name:14}not asked for or not installed")
            continue
        (scores, rounds), cpu = measured(lambda way=way: way(data, settings))
        chosen = data["test"].chosen
        nats = -float(scores[np.arange(len(chosen)), chosen].mean())
        package, megabytes = size(PACKAGES[name])
        line = {"library": name, "package": package, "mib_on_disk": megabytes, "nats": nats, "cpu": cpu}
        lines.append(line | {"rounds": rounds, "peak_mib": peak_memory() / 2**20})
        print(f"{name:14}{nats:8.4f} nats a move{cpu:9.1f} CPU s{rounds:5} rounds  {package}, {megabytes:.0f} MiB")
    return lines


def size(names: tuple[str, ...]) -> tuple[str, float]:
    """The first of the packages that is installed, with its version, and its files in MiB."""
    for name in names:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
        return f"{name} {distribution.version}", sum(file.stat().st_size for file in files if file.exists()) / 2**20
    return "not installed", float("nan")


def settings_of(args: argparse.Namespace, **changes: Any) -> BoostingSettings:
    """The settings, with the command line's."""
    given = {"rounds": args.rounds, "learning_rate": args.learning_rate, "leaves": args.leaves}
    return BoostingSettings(**{name: value for name, value in given.items() if value is not None} | changes)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", type=Path)
    source.add_argument("--study", type=Path)
    parser.add_argument("--rounds", type=int, help="at most; boosting's default otherwise")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--leaves", type=int)
    parser.add_argument("--only", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--no-whole", action="store_true", help="the libraries alone")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    with threadpool_limits(1):
        parts = read(args)
        print({name: len(part) for name, part in parts.items()}, len(parts["train"].occupations), "occupations")
        lines = {"boosting": [] if args.no_whole else whole(parts, args), "libraries": libraries(parts, args)}
    machine = {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()}
    if args.json is not None:
        settings = {name: str(value) for name, value in vars(args).items()}
        args.json.write_text(json.dumps({"machine": machine, "settings": settings} | lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
