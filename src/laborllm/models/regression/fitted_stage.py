"""Fitting one stage of a logit: the path of penalties, the choice among them, and a prior to shrink towards."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from laborllm.models.regression.distances import read_distances
from laborllm.models.regression.features import Histories
from laborllm.models.regression.likelihood import MaximumLikelihood, maximum_likelihood
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.models.regression.penalised import Products, fit_penalised
from laborllm.models.regression.placement import placed
from laborllm.models.regression.similarity import DISTANCE, coded_similarities
from laborllm.models.regression.softmax import Coefficients
from laborllm.models.regression.stage import OUTCOMES, Form, What, log_shares, outcome, sample
from laborllm.models.regression.terms import Design

STEPS = 500
TRIALS = (1 / 4, 4.0)
"""What a term's factor is multiplied by when it is tried."""
GAIN = 2e-4
"""Nats per validation row that a new factor must bring to be kept."""


@dataclass(frozen=True)
class Stage:
    """A fitted softmax.

    Attributes:
        form: its variables.
        coefficients: what was estimated.
        l2, factors: the penalty that was chosen.
        evaluations: of the likelihood and its gradient, over all penalties tried.
        remaining: nats per row that the chosen fit may still gain.
        estimates: of the unpenalised fit; None with a penalty.
    """

    form: Form
    coefficients: Coefficients
    l2: float
    factors: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0
    remaining: float = 0.0
    estimates: MaximumLikelihood | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        penalty = {"l2": self.l2, "factors": self.factors}
        return self.form.to_json() | penalty | {"evaluations": self.evaluations, "remaining": self.remaining}

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays."""
        coefficients = {"by_outcome": self.coefficients.by_outcome, "similarity": self.coefficients.similarity}
        return self.form.arrays() | coefficients | (self.estimates.arrays() if self.estimates else {})

    @classmethod
    def from_json(cls, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Stage":
        """Read what ``to_json`` and ``arrays`` wrote."""
        form = Form.from_json(content, arrays)
        coefficients = Coefficients(arrays["by_outcome"], arrays["similarity"])
        estimates = MaximumLikelihood.from_arrays(coefficients, arrays) if "covariance" in arrays else None
        numbers = {name: content[name] for name in ("l2", "factors", "evaluations", "remaining")}
        return cls(form, coefficients, estimates=estimates, **numbers)


def stage_form(settings: LogitSettings, what: What, train: Histories) -> Form:
    """The variables of a stage, read off the training rows.

    Raises:
        LaborLLMError: a feature is not finite, or the file of distances is not as it should be.
    """
    reference = settings.l2 == (0.0,)
    terms, similarity = list(settings.terms), settings.similarity
    if what == "stay":
        terms += [name[5:] for name in similarity if name.startswith("stay:") and name[5:] not in terms]
        similarity = ()
    if what == "move":
        similarity = tuple(name for name in similarity if name.split(":")[0] != "stay")
    careers = train.careers
    outcomes = len(OUTCOMES) if what == "stay" else len(careers.occupations)
    chosen = outcome(what, careers)[sample(what, careers)]
    offset, never = log_shares(chosen, outcomes), np.zeros(outcomes)
    if reference:
        unseen = np.bincount(chosen, minlength=outcomes) == 0
        offset, never = np.where(unseen, -np.inf, 0.0), np.where(unseen, np.exp(offset), 0.0)
    distances = None
    if settings.distances and any(name.split(":")[0] == DISTANCE for name in similarity):
        distances = read_distances(settings.distances, careers.occupations)
    similarities = coded_similarities(similarity, train, reference=reference, distances=distances)
    return Form(what, Design.of(terms, train, reference=reference), similarities, offset, never)


def fit_stage(
    settings: LogitSettings, form: Form, train: Histories, validation: Histories, *, centre: Coefficients
) -> Stage:
    """The coefficients of a stage; the penalty is the best on the validation rows.

    Raises:
        LaborLLMError: without a penalty, coefficients that are not identified or not finite; a GPU is asked for and
            there is none.
    """
    if settings.l2 != (0.0,):
        return _Search(settings, form, train, validation, centre).run()
    choices, _ = form.choices(train, exact=True)
    person = train.careers.person_of_row[sample(form.what, train.careers)]
    estimates = maximum_likelihood(
        choices,
        person,
        names=form.design.names,
        similarity_names=_similarity_names(form),
        outcomes=OUTCOMES if form.what == "stay" else train.careers.occupations.codes,
    )
    return Stage(form, estimates.coefficients, 0.0, evaluations=estimates.evaluations, estimates=estimates)


def shared_coefficients(prior: Stage, form: Form) -> Coefficients:
    """The coefficients of another fitted stage that have the same names, zero elsewhere."""
    found = form.zeros()
    values = zip(prior.coefficients.by_outcome, prior.form.design.scales, strict=True)
    theirs = dict(zip(prior.form.design.names, values, strict=True))
    for row, (name, scale) in enumerate(zip(form.design.names, form.design.scales, strict=True)):
        if name in theirs:
            found.by_outcome[row] = theirs[name][0] * (scale / theirs[name][1])
    numbers = zip(prior.coefficients.similarity, _similarity_scales(prior.form), strict=True)
    known = dict(zip(_similarity_names(prior.form), numbers, strict=True))
    for column, (name, scale) in enumerate(zip(_similarity_names(form), _similarity_scales(form), strict=True)):
        if name in known:
            found.similarity[column] = known[name][0] * scale / known[name][1]
    return found


class _Search:
    """Fits a stage under one penalty after another, each from where the one before ended.

    Args:
        settings: the grid, and what else may vary.
        form: the stage's variables.
        train, validation: rows to fit on and to choose on.
        centre: what coefficients are shrunk towards.
    """

    def __init__(
        self, settings: LogitSettings, form: Form, train: Histories, validation: Histories, centre: Coefficients
    ) -> None:
        self.settings, self.form, self.centre = settings, form, centre
        self.choices, self.held_out = (
            placed(form.choices(histories)[0], settings.device) for histories in (train, validation)
        )
        self.has_prior = bool(centre.flat().any())
        self.start = centre if self.has_prior else form.start(train.careers)
        self.evaluations = 0
        # What stays is most of what "previous" says; where no variable of its own says it, a smaller penalty lets all
        # of its coefficients grow, and the way from the fit before takes longer than from the transition frequencies.
        self.near_one_another = form.what != "all" or any(each.kind == "stay" for each in form.similarities)

    def run(self) -> Stage:
        """Along the grid while it helps, then, if asked for, term by term."""
        best, score = self._along_the_grid(dict(self.settings.factors))
        if self.settings.refine:
            best, score = self._refine(best, score)
        return replace(best, evaluations=self.evaluations)

    def _along_the_grid(self, factors: dict[str, float]) -> tuple[Stage, float]:
        """From the largest penalty downwards, until the validation rows are less likely than before."""
        products = self._products(factors)
        best, score, start = None, np.inf, self.start
        for l2 in self.settings.l2:
            stage = self._fit(l2, factors, products, start)
            start = stage.coefficients if self.near_one_another else self.start
            nats = self._score(stage)
            if best is not None and nats > score:
                break
            best, score = stage, nats
        return best or stage, score

    def _refine(self, best: Stage, score: float) -> tuple[Stage, float]:
        """Try other factors for each term in turn, going on in a direction while it helps."""
        for term in (term.name for term in self.form.design.terms if term.kept):
            for trial in TRIALS:
                while True:
                    factors = best.factors | {term: best.factors.get(term, 1.0) * trial}
                    stage = self._fit(best.l2, factors, self._products(factors), best.coefficients)
                    nats = self._score(stage)
                    if nats > score - GAIN * len(self.held_out.chosen):
                        break
                    best, score = stage, nats
        return best, score

    def _fit(self, l2: float, factors: dict[str, float], products: Products, start: Coefficients) -> Stage:
        penalty = self.form.penalty(l2, factors, self.centre)
        coefficients, least = fit_penalised(
            self.choices, penalty, start, products, tolerance=self.settings.tolerance, steps=STEPS
        )
        self.evaluations += least.evaluations
        rows = max(len(self.choices.chosen), 1)
        return Stage(self.form, coefficients, l2, factors, remaining=least.remaining / rows)

    def _products(self, factors: dict[str, float]) -> Products:
        return Products(self.choices, self.form.penalty(1.0, factors, self.centre).factor)

    def _score(self, stage: Stage) -> float:
        """Nats of the validation rows."""
        return self.held_out.loss(stage.coefficients)[0]


def _similarity_names(form: Form) -> list[tuple[str, str]]:
    return [name for each in form.similarities for name in each.names]


def _similarity_scales(form: Form) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(each.scales for each in form.similarities)])
