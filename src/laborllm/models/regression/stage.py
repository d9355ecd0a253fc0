"""One fitted softmax of a logit: over all occupations, over staying or moving, or over the occupations moved to."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from laborllm.models.baselines import FLOOR, shrunk, transition_counts
from laborllm.models.regression.features import Histories
from laborllm.models.regression.penalised import Penalty
from laborllm.models.regression.similarity import DISTANCE, Coded
from laborllm.models.regression.softmax import Choices, Coefficients, log_softmax
from laborllm.models.regression.terms import INTERCEPT, Design, Override, Term, Variable
from laborllm.survey.careers import Careers

What = Literal["all", "stay", "move"]
OUTCOMES = ("move", "stay")
"""The outcomes of the stage "stay"."""
FREE = 0.01
"""Factor of the penalty of intercepts and of similarity coefficients: few, and far from zero."""
START_WEIGHT, START_SHARE = 30.0, 0.8
"""Weight of the transition frequencies that a fit starts from, and how much of them."""


@dataclass(frozen=True)
class Form:
    """What a stage is about and the variables it has, as training had them.

    Attributes:
        what: "all" (every occupation), "stay" (move or stay, in later rows), or "move" (every occupation but the
            previous one).
        design: the features.
        similarities: the variables of the alternatives.
        offset: log shares of the outcomes that features add to, minus infinity for one that cannot be, (outcomes,).
        never: probability of each outcome that training never saw and the softmax leaves out, else 0, (outcomes,).
    """

    what: What
    design: Design
    similarities: tuple[Coded, ...]
    offset: np.ndarray
    never: np.ndarray

    def choices(
        self,
        histories: Histories,
        *,
        rows: np.ndarray | None = None,
        exact: bool = False,
        override: Override | None = None,
    ) -> tuple[Choices, dict[str, int]]:
        """Features and outcomes of careers, and term -> rows with a level that training did not have.

        Args:
            histories: of the careers.
            rows: those to keep, shape (rows,); the stage's own rows if None.
            exact: in float64 rather than float32.
            override: variables set or moved, for marginal effects.
        """
        rows = sample(self.what, histories.careers) if rows is None else rows
        matrix, unseen = self.design.matrix(histories, override)
        choices = Choices(
            features=matrix[rows].astype(np.float64 if exact else np.float32),
            offset=self.offset,
            similarities=tuple(each.variable(histories, override).rows(rows) for each in self.similarities),
            excluded=histories.previous[rows] if self.what == "move" else np.full(len(rows), -1),
            chosen=outcome(self.what, histories.careers)[rows],
        )
        return choices, unseen

    def log_probabilities(self, choices: Choices, rows: slice, coefficients: Coefficients) -> np.ndarray:
        """Of every outcome in some rows, nats, float64, shape (rows, outcomes)."""
        logits = choices.logits(rows, coefficients).astype(np.float64)
        log_softmax(logits, np.zeros(len(logits), dtype=np.int64))  # now probabilities
        if self.never.any():
            logits = logits * (1 - self.never.sum()) + self.never
            barred = np.flatnonzero(choices.excluded[rows] >= 0)
            logits[barred, choices.excluded[rows][barred]] = 0
            logits /= logits.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            return np.log(logits)

    def zeros(self) -> Coefficients:
        """Coefficients of no effect."""
        columns = sum(len(each.names) for each in self.similarities)
        return Coefficients(np.zeros((len(self.design.names), len(self.offset))), np.zeros(columns))

    def penalty(self, l2: float, factors: dict[str, float], centre: Coefficients) -> Penalty:
        """The penalty with factors by term."""
        factor = [FREE if term == INTERCEPT else factors.get(term, 1.0) for term, _ in self.design.names]
        return Penalty(l2, np.array(factor), FREE, centre)

    def start(self, train: Careers) -> Coefficients:
        """Coefficients near those of the transition frequencies, where the previous occupation is a term."""
        start = self.zeros()
        place = {level: row for row, (term, level) in enumerate(self.design.names) if term == "previous"}
        if self.what == "stay" or not place:
            return start
        rows = sample(self.what, train)
        counts = transition_counts(train.previous[rows], train.occupation[rows], len(self.offset))
        pull = START_SHARE * (
            np.log(shrunk(counts, START_WEIGHT)) - log_shares(train.occupation[rows], len(self.offset))
        )
        origins = [train.occupations.position.get(level, -1) for level in place]
        pull -= pull.mean(axis=1, keepdims=True)  # the same probabilities, and the smallest squares
        own = np.arange(len(self.offset))
        level = self._start_of_staying(start, pull[own, own], train.previous[train.transition == "stay"])
        pull[own, own] = 0 if self.what == "move" else pull[own, own] - level
        start.by_outcome[list(place.values())] = pull[origins]
        return start

    def _start_of_staying(self, start: Coefficients, pull: np.ndarray, stayed: np.ndarray) -> float:
        """Let the variable "stay", where there is one, start at the mean pull of the rows that stay; that mean."""
        names = [name for each in self.similarities for name in each.names]
        if ("stay", "") not in names or not len(stayed):
            return 0.0
        start.similarity[names.index(("stay", ""))] = level = float(pull[stayed].mean())
        return level

    def to_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {
            "what": self.what,
            "terms": [_term_to_json(term) for term in self.design.terms],
            "similarities": [
                [each.name, _term_to_json(each.term) if each.term else None] for each in self.similarities
            ],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays; distances between occupations where a variable is made of them."""
        arrays = {"offset": self.offset, "never": self.never}
        for each in self.similarities:
            if each.distances is not None:
                arrays["distances"] = each.distances  # the same for all of them
        return arrays

    @classmethod
    def from_json(cls, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Form":
        """Read what ``to_json`` and ``arrays`` wrote."""
        design = Design(tuple(_term_from_json(term) for term in content["terms"]))
        similarities = []
        for name, term in content["similarities"]:
            distances = arrays["distances"] if name.split(":")[0] == DISTANCE else None
            similarities.append(Coded(name, _term_from_json(term) if term else None, distances))
        return cls(content["what"], design, tuple(similarities), arrays["offset"], arrays["never"])


def sample(what: What, careers: Careers) -> np.ndarray:
    """The rows that a stage is about, shape (rows,)."""
    first, stays = careers.previous < 0, careers.previous == careers.occupation
    keep = {"all": np.ones(len(careers), dtype=bool), "stay": ~first, "move": first | ~stays}[what]
    return np.flatnonzero(keep)


def outcome(what: What, careers: Careers) -> np.ndarray:
    """The outcome of each row in a stage, shape (person_years,)."""
    return (careers.previous == careers.occupation).astype(np.int64) if what == "stay" else careers.occupation


def log_shares(chosen: np.ndarray, outcomes: int) -> np.ndarray:
    """Log of each outcome's share, half an observation added to each, shape (outcomes,)."""
    counts = np.bincount(chosen, minlength=outcomes) + FLOOR
    return np.log(counts / counts.sum())


def _term_to_json(term: Term) -> dict[str, Any]:
    variables = [[variable.name, variable.levels, variable.scale] for variable in term.variables]
    return {"name": term.name, "variables": variables, "kept": term.kept, "seen": term.seen}


def _term_from_json(content: dict[str, Any]) -> Term:
    variables = tuple(Variable(name, tuple(levels), scale) for name, levels, scale in content["variables"])
    return Term(content["name"], variables, tuple(content["kept"]), tuple(content["seen"]))
