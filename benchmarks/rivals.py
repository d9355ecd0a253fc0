"""The rivals without a language model: how well they predict, and what fitting them costs.

    python benchmarks/rivals.py table --folder FOLDER [--floor NATS.npz] [--json FILE]
    python benchmarks/rivals.py speed [--rows 200000] [--rounds 2] [--device cpu] [--json FILE]
    python benchmarks/rivals.py torch-choice [--rows 10000] [--batch 64] [--minibatches N] [--rounds 2] [--json FILE]

``table`` reads careers in CAREER's text format, fits every rival on train, chooses on valid, and gives the perplexity
of test, first rows included, with the CPU seconds of fitting. ``--floor`` names a file with the log-probabilities of
the truth, ``log_prob_history`` (people, rows) in nats, where the population is made up and has one.

``speed`` fits the published regression's multinomial logit over 335 alternatives on simulated careers, with one
penalty: laborllm, from careers to coefficients; and scikit-learn's ``LogisticRegression(solver="lbfgs")`` from the same
features, sparse float32, ready made. Both minimise the negative log-likelihood plus half of l2 times the squared
coefficients; in scikit-learn intercepts are free, here nearly so. One thread; a round is laborllm, scikit-learn,
laborllm. Costs are CPU seconds of the process, or elapsed ones with ``--device gpu``, which laborllm alone uses;
quality is the mean log-likelihood of test people's rows in occupations that training has seen.

``torch-choice`` sets one pass over the same rows, features and alternatives against each other: one epoch of
torch-choice's own training loop (Adam, minibatches, without the likelihood that it computes at the end), the features
as ``session_`` observables with a coefficient for every item; and one evaluation of laborllm's likelihood with its
gradient, which is what a step of L-BFGS costs. Both run in float32 on one thread and must agree on the log-likelihood
of given coefficients. torch-choice is no dependency: run this with the Python of an environment of its own that has
both, made by ``pip install . torch pandas tqdm termcolor pytorch-lightning`` and then
``pip install --no-deps torch-choice``. Its loop holds rows x alternatives x features of a batch and copies all features
for each batch, so its epoch grows faster than the rows; few rows are in its favour. With ``--minibatches`` its loop
runs over so many batches out of the whole data set, features of all rows in place, and an epoch costs that times all
rows over theirs; likelihoods are compared on the rows of these batches.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.no_change import NoChange
from laborllm.models.probabilities import Model
from laborllm.models.regression.features import Histories
from laborllm.models.regression.fitted_stage import stage_form
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import PUBLISHED, LogitSettings
from laborllm.models.regression.softmax import Choices, Coefficients
from laborllm.models.regression.terms import Design
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text

JOBS = 332
"""With the three states 335 alternatives."""
ROWS_A_PERSON = 12.8
L2 = 1.0
"""Near the best of the grid for these terms."""


def rivals() -> dict[str, Model]:
    """Every rival, not yet fitted."""
    published = {"terms": PUBLISHED, "similarity": ()}
    return {
        "no change": NoChange(),
        "transitions": TransitionFrequencies(),
        "transitions by gender and education": TransitionFrequencies(TransitionSettings(by=("gender", "education"))),
        "second order": TransitionFrequencies(TransitionSettings(order=2)),
        "second order by education": TransitionFrequencies(TransitionSettings(order=2, by=("education",))),
        "logit, published terms": MultinomialLogit(LogitSettings(**published, stages=1)),
        "logit, published terms and stay": MultinomialLogit(
            LogitSettings(terms=PUBLISHED, similarity=("stay",), stages=1)
        ),
        "logit, published terms, two stages": MultinomialLogit(LogitSettings(**published, stages=2)),
        "logit": MultinomialLogit(LogitSettings(stages=1)),
        "logit, two stages": MultinomialLogit(LogitSettings(stages=2)),
    }


def table(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One line a rival; printed as they come."""
    careers = read_career_text(CareerTextSettings(folder=args.folder, spaces=True))
    train, validation, test = (careers.part(name) for name in ("train", "validation", "test"))
    floor = None if args.floor is None else float(np.exp(-np.nanmean(truth(args.floor, test))))
    print(f"{len(train)} training rows, {len(test)} test rows, {len(careers.occupations)} occupations; floor {floor}")
    lines = []
    for name, model in rivals().items():
        if args.only and args.only not in name:
            continue
        cpu = cpu_seconds(lambda model=model: model.fit(train, validation))
        realised = model.predict(test).realised
        perplexity = float(np.exp(-realised.mean()))
        lines.append({"rival": name, "perplexity": perplexity, "cpu": cpu, "facts": dict(model.facts)})
        above = "" if floor is None else f"  {np.log(perplexity / floor):+.3f} nats from the floor"
        print(f"{name:40}{perplexity:8.3f}{cpu:9.1f} CPU s{above}", flush=True)
    return lines


def truth(path: Path, test: Careers) -> np.ndarray:
    """Log-probabilities of the realised occupations under the truth, shape (person_years,)."""
    with np.load(path, allow_pickle=False) as file:
        history, length = file["log_prob_history"], file["length"]
    return history[np.arange(history.shape[1]) < length[:, None]][: len(test)]


def speed(args: argparse.Namespace) -> list[dict[str, Any]]:
    """laborllm and scikit-learn on the same problem, in turn."""
    people = round(args.rows / ROWS_A_PERSON / 0.8)
    simulated = simulate(SimulatedSettings(people=people, occupations=JOBS, seed=3))
    careers = split_by_person(simulated, [0.8, 0.1, 0.1], np.random.default_rng(0))
    train, validation, test = (careers.part(name) for name in ("train", "validation", "test"))
    design = Design.of(PUBLISHED, Histories(train))
    x, x_test = (design.matrix(Histories(part))[0].astype(np.float32)[:, 1:] for part in (train, test))
    print(f"{x.shape[0]} rows, {x.shape[1]} features, {len(careers.occupations)} alternatives, {len(test)} test rows")

    def ours() -> MultinomialLogit:
        settings = LogitSettings(terms=PUBLISHED, similarity=(), stages=1, l2=(L2,), refine=False, device=args.device)
        model = MultinomialLogit(settings)
        model.fit(train, validation)
        done["evaluations of laborllm"] = model.stages[0].evaluations
        return model

    def theirs() -> LogisticRegression:
        model = LogisticRegression(C=1 / L2, solver="lbfgs", max_iter=args.max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, train.occupation)
        done["iterations of scikit-learn"] = int(model.n_iter_[0])
        return model

    def scored(model: Any) -> float:
        if isinstance(model, MultinomialLogit):
            return float(model.predict(test).realised[known].mean())
        place = np.searchsorted(model.classes_, test.occupation[known])
        return float(model.predict_log_proba(x_test)[known, place].mean())

    clock, unit = (time.process_time, "CPU s") if args.device == "cpu" else (time.perf_counter, "s")
    known = np.flatnonzero(np.isin(test.occupation, train.occupation))  # scikit-learn has no class for the others
    done: dict[str, int] = {}
    runs: dict[str, list[float]] = {"laborllm": [], "scikit-learn": []}
    quality: dict[str, float] = {}
    for _ in range(args.rounds):
        for name, call in (("laborllm", ours), ("scikit-learn", theirs), ("laborllm", ours)):
            fitted: list[Any] = []
            runs[name].append(cpu_seconds(lambda call=call, fitted=fitted: fitted.append(call()), clock))
            quality[name] = scored(fitted[0])
            print(f"{name:14}{runs[name][-1]:9.1f} {unit}, test log-likelihood {quality[name]:.4f}", flush=True)
    middle = {name: statistics.median(each) for name, each in runs.items()}
    print(f"scikit-learn takes {middle['scikit-learn'] / middle['laborllm']:.2f} times the {unit}; {done}")
    return [{"way": name, "cpu": middle[name], "cpu_runs": runs[name], "test": quality[name]} for name in runs] + [done]


def torch_choice(args: argparse.Namespace) -> list[dict[str, Any]]:
    """torch-choice's epoch and our evaluation, in turn, on the same rows."""
    import torch  # ours does not need it here

    torch.set_num_threads(1)
    choices = published_choices(args.rows)
    dataset, peer = their_problem(choices)
    seen = min(args.rows, args.minibatches * args.batch or args.rows)
    dataset = dataset[torch.arange(seen)]  # features of every session stay with it
    weights = Coefficients(np.random.default_rng(0).normal(scale=0.1, size=choices.shape), np.zeros(0))
    with torch.no_grad():
        next(iter(peer.parameters())).copy_(torch.from_numpy(weights.by_outcome.T))
    batches = {"batch_size": args.batch, "num_workers": 0}
    theirs = -peer._compute_dataset_log_likelihood(dataset, **batches, device="cpu")
    ours, _ = first_rows(choices, seen).loss(weights)
    if abs(ours / theirs - 1) > 1e-4:
        raise SystemExit(f"the two likelihoods differ: {ours} and {theirs} nats; they are not the same problem")
    print(f"{choices.features.shape} features, {choices.shape[1]} alternatives; {ours:.1f} and {theirs:.1f} nats")

    def epoch() -> None:
        peer._fit_with_torch_backend(
            dataset_train=dataset, dataset_val=None, dataset_test=None, **batches, learning_rate=0.01, num_epochs=1,
            model_optimizer="Adam", report_frequency=None, device_hint="cpu",
        )  # fmt: skip

    runs: dict[str, list[float]] = {"laborllm": [], "torch-choice": []}
    with torch.no_grad():  # what its loop adds at the end
        last = cpu_seconds(lambda: peer._compute_dataset_log_likelihood(dataset, **batches, device="cpu"))
    for _ in range(args.rounds):
        runs["laborllm"].append(cpu_seconds(lambda: choices.loss(weights)))
        runs["torch-choice"].append((cpu_seconds(epoch) - last) * args.rows / seen)
        runs["laborllm"].append(cpu_seconds(lambda: choices.loss(weights)))
    middle = {name: statistics.median(each) for name, each in runs.items()}
    how = "" if seen == args.rows else f" (its epoch extrapolated from {seen} of {args.rows} rows)"
    times = middle["torch-choice"] / middle["laborllm"]
    print(f"{middle}: torch-choice takes {times:.1f} times the CPU time of a pass{how}")
    lines = [{"way": name, "cpu": middle[name], "cpu_runs": runs[name]} for name in runs]
    return [*lines, {"rows of torch-choice's loop": seen}]


def published_choices(rows: int) -> Choices:
    """The published regression's features and choices of simulated careers, without a variable of the alternatives."""
    careers = simulate(SimulatedSettings(people=round(rows / ROWS_A_PERSON * 1.1) + 1, occupations=JOBS, seed=3))
    settings = LogitSettings(terms=PUBLISHED, similarity=(), stages=1)
    form = stage_form(settings, "all", Histories(careers))
    choices, _ = form.choices(Histories(careers), rows=np.arange(rows))
    return replace(choices, offset=np.zeros_like(choices.offset))


def first_rows(choices: Choices, rows: int) -> Choices:
    """The first rows alone."""
    kept = slice(rows)
    return replace(
        choices, features=choices.features[kept], excluded=choices.excluded[kept], chosen=choices.chosen[kept]
    )


def their_problem(choices: Choices) -> tuple[Any, Any]:
    """The same rows as torch-choice wants them: every feature of a session, a coefficient for every item."""
    import torch
    from torch_choice.data import ChoiceDataset
    from torch_choice.model import ConditionalLogitModel

    dataset = ChoiceDataset(
        item_index=torch.from_numpy(choices.chosen.astype(np.int64)),
        session_index=torch.arange(len(choices.chosen)),
        num_items=choices.shape[1],
        num_sessions=len(choices.chosen),
        session_x=torch.from_numpy(choices.features.toarray()),
    )
    model = ConditionalLogitModel(
        coef_variation_dict={"session_x": "item-full"},
        num_param_dict={"session_x": choices.shape[0]},
        num_items=choices.shape[1],
        weight_initialization="zero",
    )
    return dataset, model


def cpu_seconds(call: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """CPU seconds of the process, or those of another clock, while a call runs."""
    before = clock()
    call()
    return clock() - before


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    ways = parser.add_subparsers(dest="way", required=True)
    wide = ways.add_parser("table")
    wide.add_argument("--folder", type=Path, required=True)
    wide.add_argument("--floor", type=Path)
    wide.add_argument("--only", help="rivals whose name holds this")
    fast = ways.add_parser("speed")
    fast.add_argument("--rows", type=int, default=200_000)
    fast.add_argument("--rounds", type=int, default=2)
    fast.add_argument("--max-iter", type=int, default=100, help="of scikit-learn; 100 is its default")
    fast.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where laborllm computes")
    peer = ways.add_parser("torch-choice")
    peer.add_argument("--rows", type=int, default=10_000)
    peer.add_argument("--batch", type=int, default=64, help="rows of torch-choice's minibatches")
    peer.add_argument("--minibatches", type=int, default=0, help="of torch-choice that are timed; 0: all of an epoch")
    peer.add_argument("--rounds", type=int, default=2)
    for each in (wide, fast, peer):
        each.add_argument("--json", type=Path, default=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run one of the three and write it."""
    args = arguments()
    with threadpool_limits(1):
        lines = {"table": table, "speed": speed, "torch-choice": torch_choice}[args.way](args)
    used = (
        "numpy",
        "scipy",
        "scikit-learn",
        "polars",
        *(["torch", "torch-choice"] if args.way == "torch-choice" else []),
    )
    software = {name: version(name) for name in used}
    machine = {"machine": platform.machine(), "system": platform.platform(), "threads": 1} | software
    if args.json is not None:
        settings = {name: str(value) for name, value in vars(args).items()}
        args.json.write_text(json.dumps({"machine": machine, "settings": settings, "lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
