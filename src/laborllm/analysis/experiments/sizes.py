"""How many training people one model needs to be as good as another: iso-performance read off learning curves."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from laborllm.analysis.experiments.trials import Plan, Trial, mean_draws


def people_needed(
    plan: Plan, nats: Mapping[str, np.ndarray], person: np.ndarray, weights: np.ndarray, *, confidence: float
) -> pl.DataFrame:
    """For every pair of learning curves: the people with whom the one reaches where the other ends.

    Between two sizes that were tried the loss is taken to fall linearly in the logarithm of people, and a curve that
    rises again is held at its lowest. The interval is over draws of test people; the fitted models are held fixed.

    Args:
        plan: of the experiment on size.
        nats: cell -> minus the log-probability of what happened, shape (person_years,).
        person: each row's person, shape (person_years,).
        weights: how often each person counts; column 0 is the sample itself, shape (people, replicates + 1).
        confidence: of the intervals.

    Returns:
        curve, reaches, people (training people of the curve that it reaches), perplexity (there), needed, ci_low,
        ci_high. Infinite: not with any number that was tried; 0: already with fewer than the smallest.
    """
    curves: dict[str, list[Trial]] = {}
    for trial in sorted(plan.trials, key=lambda each: float(each.factors["training_people"])):
        curves.setdefault(curve_of(trial), []).append(trial)
    draws = {
        name: np.stack([mean_draws(nats[trial.name], person, weights) for trial in trials])
        for name, trials in curves.items()
    }  # (sizes, replicates + 1)
    tail = (1 - confidence) / 2
    rows = []
    for name, trials in curves.items():
        sizes = np.array([float(trial.factors["training_people"]) for trial in trials])
        for other in (each for each in curves if each != name):
            needed = _needed(sizes, draws[name], draws[other][-1])  # (replicates + 1,)
            low, high = np.quantile(needed[1:], [tail, 1 - tail], method="nearest") if len(needed) > 1 else (None,) * 2
            end = float(np.exp(draws[other][-1, 0]))
            rows.append((name, other, int(curves[other][-1].factors["training_people"]), end, needed[0], low, high))
    names = ("curve", "reaches", "people", "perplexity", "needed", "ci_low", "ci_high")
    types = (pl.String, pl.String, pl.Int64, pl.Float64, pl.Float64, pl.Float64, pl.Float64)
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


def curve_of(trial: Trial) -> str:
    """The learning curve that a cell lies on: its model, and how that was pre-trained."""
    how = trial.factors.get("pretraining")
    return trial.model if how is None else f"{trial.model}, pre-training: {how}"


def _needed(sizes: np.ndarray, curve: np.ndarray, target: np.ndarray) -> np.ndarray:
    """People at which each draw's curve first falls to its target.

    Args:
        sizes: people, rising, shape (sizes,).
        curve: mean nats, shape (sizes, draws).
        target: mean nats, shape (draws,).

    Examples:
        >>> curve = np.array([[3.0], [2.0], [1.0]])
        >>> [round(_needed(np.array([100.0, 200.0, 400.0]), curve, np.array([t]))[0]) for t in (3.5, 2.0, 1.5)]
        [0, 200, 283]
    """
    falling = np.minimum.accumulate(curve, axis=0)
    needed = np.full(len(target), np.inf)
    for draw, goal in enumerate(target):
        reached = np.flatnonzero(falling[:, draw] <= goal)
        if len(reached):
            needed[draw] = _between(sizes, falling[:, draw], goal, int(reached[0]))
    return needed  # (draws,)


def _between(sizes: np.ndarray, curve: np.ndarray, goal: float, place: int) -> float:
    """People at a goal that lies between the size before ``place`` and that at it."""
    if place == 0:
        return float(sizes[0]) if curve[0] == goal else 0.0
    share = (curve[place - 1] - goal) / (curve[place - 1] - curve[place])
    return float(np.exp(np.log(sizes[place - 1]) + share * np.log(sizes[place] / sizes[place - 1])))
