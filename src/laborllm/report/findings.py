"""The findings in plain language, written from the numbers and from nothing else."""

import math

from laborllm.report.folder import RunFolder, group_words, value_of
from laborllm.report.numbers import (
    Estimate,
    difference_decimals,
    fixed,
    percent,
    perplexity,
    perplexity_decimals,
    whole,
)
from laborllm.report.sample import mapping
from laborllm.report.wider_findings import wider_details

ENOUGH_PEOPLE = 30
"""Test people below whom a group is not singled out."""


def answer(run: RunFolder) -> list[str]:
    """Sentences for a reader who reads nothing else: what data, which model is best, by how much, how far from best."""
    return [sentence for sentence in (_sample(run), *_best(run), *_gain(run), *_floor(run)) if sentence]


def details(run: RunFolder) -> list[str]:
    """Sentences on where the best model is good and where it is not."""
    return [*_transitions(run), *_groups(run), *_moving(run), *wider_details(run)]


def survey_title(run: RunFolder) -> str:
    """The survey's name, for the page's title."""
    survey = mapping(run.record.get("survey"))
    return str(survey.get("title") or survey.get("source") or "a survey")


def within(run: RunFolder, estimate: Estimate, decimals: int, *, scale: float = 1.0, unit: str = "") -> str:
    """A number with its interval in words, e.g. "8.12 (95% CI 7.90 to 8.34)"."""
    text = fixed(scale * estimate.value, decimals) + unit
    if estimate.interval is None:
        return text
    low, high = (fixed(scale * end, decimals) for end in estimate.interval)
    return f"{text} ({run.ci} {low} to {high})"


def _ppl(run: RunFolder, estimate: Estimate) -> str:
    return within(run, estimate, perplexity_decimals(estimate.value))


def _sample(run: RunFolder) -> str:
    careers = run.careers
    title = survey_title(run)
    sentence = (
        f"{title[:1].upper()}{title[1:]}: {whole(careers.people)} people observed in {whole(len(careers))} person-years"
    )
    sentence += f", each in one of {whole(len(careers.occupations))} occupations or states."
    if "split" in careers.table.columns:
        test = careers.part("test")
        sentence += f" Models are scored on {whole(test.people if len(test) else 0)} people they have never seen"
        sentence += f" ({whole(len(test))} person-years)."
    return sentence


def _best(run: RunFolder) -> list[str]:
    if not run.rivals:
        return ["No model of this run gives a normalised perplexity; only raw perplexities can be read below."]
    best = run.rivals[0]
    estimate = run.estimates("perplexity")[best]
    if len(run.rivals) == 1:
        lead = f"The model {best} has a test perplexity of {_ppl(run, estimate)}"
    else:
        lead = f"Of {len(run.rivals)} models {best} has the lowest test perplexity, {_ppl(run, estimate)}"
    if not math.isfinite(estimate.value):
        return [f"{lead}: it gave no probability at all to something that happened."]
    return [
        f"{lead}: on average it is as uncertain about the next occupation as someone who must pick among "
        f"{perplexity(estimate.value)} equally likely ones."
    ]


def _gain(run: RunFolder) -> list[str]:
    """How far the best model is ahead of the baseline and of the runner-up."""
    if len(run.rivals) < 2:
        return []
    best, second = run.rivals[:2]
    sentences = []
    if run.baseline == best:
        sentences.append(f"No model beats the baseline {best}.")
    elif run.baseline is not None:
        sentences.append(ahead(run, best, run.baseline, f"the baseline {run.baseline}"))
    if second != run.baseline:
        sentences.append(ahead(run, best, second, f"the runner-up {second}"))
    return sentences


def ahead(run: RunFolder, model: str, other: str, name: str) -> str:
    """How much lower the model's perplexity is, and whether that is more than noise; empty without a difference."""
    difference = run.differences("perplexity").get((other, model))
    if difference is None or not math.isfinite(difference.value):
        return ""
    way, difference = ("lower", difference) if difference.value >= 0 else ("higher", difference.flipped())
    decimals = difference_decimals(difference)
    size = within(run, difference, max(decimals - 1, 2) if decimals < 4 else decimals)
    if difference.interval is None:
        return f"The perplexity of {model} is {size} {way} than that of {name}; no interval was computed."
    return f"On the same people the perplexity of {model} is {size} {way} than that of {name}, {_sure(difference)}."


def _sure(difference: Estimate) -> str:
    """Whether a difference is more than noise, alone and among all pairs."""
    if not difference.excludes_zero:
        return "an interval that includes zero: no clear lead"
    if difference.band.interval is None:
        return "an interval that excludes zero"
    if difference.band.excludes_zero:
        return "an interval that excludes zero, as does the one that holds for all pairs of models at once"
    return "an interval that excludes zero; the one that holds for all pairs of models at once does not"


def _floor(run: RunFolder) -> list[str]:
    if run.floor is None or run.floor not in run.estimates("perplexity") or not run.rivals:
        return []
    best = run.rivals[0]
    sentence = (
        f"The true probabilities are known here, and knowing them ({run.floor}) gives "
        f"{_ppl(run, run.estimates('perplexity')[run.floor])}, the floor below which no model gets but by luck"
    )
    share = run.shares.get(best)
    if share is None or not math.isfinite(share.value):
        return [sentence + "."]
    return [f"{sentence}; {best} realises {within(run, share, 0, scale=100, unit='%')} of the attainable gain."]


def _transitions(run: RunFolder) -> list[str]:
    if not run.rivals:
        return []
    found = {subset: run.estimates("perplexity", subset=subset).get(run.rivals[0]) for subset in ("stay", "move")}
    stay, move = found["stay"], found["move"]
    if stay is None or move is None:
        return []
    return [
        f"Moves are the hard part: the perplexity of {run.rivals[0]} is {perplexity(move.value)} in years in which "
        f"people move and {perplexity(stay.value)} in years in which they stay."
    ]


def _groups(run: RunFolder) -> list[str]:
    """Where the best model is least and most certain, among groups of enough people."""
    if not run.rivals:
        return []
    found = [
        (group, run.estimates("perplexity", group=group).get(run.rivals[0]))
        for groups in run.covariates.values()
        for group in groups
        if value_of(group) != "missing"
    ]
    known = {
        group: estimate
        for group, estimate in found
        if estimate and (estimate.people or 0) >= ENOUGH_PEOPLE and math.isfinite(estimate.value)
    }
    if len(known) < 2:
        return []
    worst, easiest = max(known, key=lambda g: known[g].value), min(known, key=lambda g: known[g].value)
    return [
        f"Of the groups with at least {ENOUGH_PEOPLE} test people, {run.rivals[0]} predicts worst for "
        f"{group_words(worst)}, {_ppl(run, known[worst])}, and best for {group_words(easiest)}, "
        f"{_ppl(run, known[easiest])}{_apart(known[easiest], known[worst])}."
    ]


def _apart(low: Estimate, high: Estimate) -> str:
    """A warning where two groups' intervals overlap."""
    if low.interval is None or high.interval is None or low.interval[1] < high.interval[0]:
        return ""
    return "; the two intervals overlap, so that the order may be chance"


def _moving(run: RunFolder) -> list[str]:
    if not run.rivals:
        return []
    auc = run.estimates("auc", task="move").get(run.rivals[0])
    error = run.estimates("calibration_error", task="move").get(run.rivals[0])
    if auc is None:
        return []
    sentence = f"Of two person-years, one a move, {run.rivals[0]} gives the move the higher probability in "
    sentence += f"{percent(auc.value, 0)} of cases (AUC)"
    if error is not None:
        sentence += f", and its probabilities of moving are off by {fixed(100 * error.value, 1)} percentage points"
        sentence += " on average"
    return [sentence + "."]
