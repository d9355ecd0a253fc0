"""The findings in plain language, written from the numbers and from nothing else."""

import math

from laborllm.report.folder import RunFolder, value_of
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

ENOUGH_PEOPLE = 30
"""Test people below whom a group is not singled out."""


def answer(run: RunFolder) -> list[str]:
    """Sentences for a reader who reads nothing else: what data, which model is best, by how much, how far from best."""
    return [sentence for sentence in (_sample(run), *_best(run), *_gain(run), *_floor(run)) if sentence]


def details(run: RunFolder) -> list[str]:
    """Sentences on where the best model is good and where it is not."""
    return [*_transitions(run), *_groups(run), *_moving(run)]


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
        lead = f"The best of {len(run.rivals)} models is {best}, with a test perplexity of {_ppl(run, estimate)}"
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
        sentences.append(_ahead(run, best, run.baseline, f"the baseline {run.baseline}"))
    if second != run.baseline:
        sentences.append(_ahead(run, best, second, f"the runner-up {second}"))
    return sentences


def _ahead(run: RunFolder, best: str, other: str, name: str) -> str:
    """How much lower the best model's perplexity is, and whether that is more than noise."""
    difference = run.differences("perplexity").get((other, best))
    if difference is None or not math.isfinite(difference.value):
        return ""
    size = within(run, difference, max(difference_decimals(difference) - 1, 2))
    if difference.interval is None:
        return f"Its perplexity is {size} lower than that of {name}; no interval was computed."
    sure = (
        "an interval that excludes zero"
        if difference.excludes_zero
        else "an interval that includes zero: no clear lead"
    )
    return f"On the same people its perplexity is {size} lower than that of {name}, {sure}."


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
        f"Moves are the hard part: its perplexity is {perplexity(move.value)} in years in which people move and "
        f"{perplexity(stay.value)} in years in which they stay."
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
        f"Of the groups with at least {ENOUGH_PEOPLE} test people, it predicts worst for {_group(worst)}, "
        f"{_ppl(run, known[worst])}, and best for {_group(easiest)}, {_ppl(run, known[easiest])}."
    ]


def _group(group: str) -> str:
    return f"{group.partition('=')[0].replace('_', ' ')} “{value_of(group)}”"


def _moving(run: RunFolder) -> list[str]:
    if not run.rivals:
        return []
    auc = run.estimates("auc", task="move").get(run.rivals[0])
    error = run.estimates("calibration_error", task="move").get(run.rivals[0])
    if auc is None:
        return []
    sentence = f"Of two person-years, one a move, it gives the move the higher probability in {percent(auc.value, 0)}"
    sentence += " of cases (AUC)"
    if error is not None:
        sentence += f", and its probabilities of moving are off by {fixed(100 * error.value, 1)} percentage points"
        sentence += " on average"
    return [sentence + "."]
