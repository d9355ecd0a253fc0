"""Smoothed transition frequencies: of one or two last occupations, over everybody or in cells of covariates."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy import sparse

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.context_counts import ContextCounts
from laborllm.models.probabilities import Probabilities
from laborllm.models.regression.features import Histories
from laborllm.models.temperature import Tempering
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

FLOOR = 0.5
"""Observations that every occupation is given beside those counted, so that none has probability zero."""
WEIGHTS = (0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 3000.0, 10000.0)
FILE = "transition.json"
BLOCK = 4096
"""Rows whose distributions are shrunk at a time."""
MISSING = "<missing>"
"""A missing covariate, which is a level of its own."""
Cell = Literal["education", "gender", "ethnicity", "region", "birth_year", "survey"]


class TransitionSettings(Tempering):
    """``[models.NAME] kind = "transition"``.

    Attributes:
        weights: the grid of shrinkage weights, in observations, from which validation perplexity chooses.
        order: how many last occupations are conditioned on.
        by: covariates whose cells have frequencies of their own, shrunk towards everybody's.
    """

    kind: Literal["transition"] = "transition"
    weights: tuple[float, ...] = WEIGHTS
    order: Literal[1, 2] = 1
    by: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class _Finer:
    """A finer context than the one before it in the chain, and how far it is shrunk towards that one.

    Attributes:
        what: "before" (the last two occupations) or "cell" (covariates beside).
        counts: of training rows.
        weight, first_weight: shrinkage weights of later rows and of first rows.
    """

    what: str
    counts: ContextCounts
    weight: float = 1.0
    first_weight: float = 1.0


class TransitionFrequencies:
    """Transition frequencies shrunk towards the marginal.

    With n counted over training rows: marginal m_k = (n_k + 1/2) / sum over l of (n_l + 1/2);
    P(k | previous j) = (n_jk + w m_k) / (n_j + w); in a first row (f_k + w' m_k) / (f + w'), f counting first rows.
    This is the posterior mean under a Dirichlet prior around the marginal. The weights w and w' are those of the
    grid with the lowest validation perplexity of later rows and of first rows. After an occupation that training
    never saw as a previous one the answer is the marginal.

    Each finer context c of a row backs off to the coarser one in the same way, with P(k | c) equal to (n_ck + w_c P(k
    | coarser)) / (n_c + w_c) and weights chosen in turn: the last two occupations (``order = 2``; a second row has
    none before the previous one, which is a context too), then these within the covariates of ``by``. A context that
    training never saw leaves the coarser answer as it is.
    """

    def __init__(self, settings: TransitionSettings | None = None) -> None:
        self.settings = settings or TransitionSettings()
        if not self.settings.weights or min(self.settings.weights) <= 0:
            raise LaborLLMError(f"weights is {list(self.settings.weights)}; give at least one number above 0")
        self.occupations: Occupations | None = None
        self.counts = np.zeros((0, 0))
        self.weight = self.first_weight = float("nan")
        self.finer: tuple[_Finer, ...] = ()
        self.cells: tuple[str, ...] = ()
        self.unseen: dict[str, int] = {}

    @property
    def description(self) -> str:
        """One sentence for the report."""
        order = {1: "First-order", 2: "Second-order"}[self.settings.order]
        within = f" by {', '.join(self.settings.by)}" if self.settings.by else "; no covariates"
        towards = "the marginal" if not self._chain() else "the coarser ones and the marginal"
        return f"{order} transition frequencies between occupations, shrunk towards {towards}{within}."

    @property
    def memory(self) -> int:
        """Rows before a row that its prediction depends on."""
        return self.settings.order

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What a report says of this model; no facts before ``fit``. Rows unseen are those of the last ``predict``."""
        if self.occupations is None:
            return {}
        facts: dict[str, str | int | float] = {
            "shrinkage weight": self.weight,
            "shrinkage weight of first rows": self.first_weight,
            "training rows": int(self.counts.sum()),
            "occupations never seen in training": int((self.counts.sum(axis=0) == 0).sum()),
        }
        for finer in self.finer:
            facts[f"shrinkage weight, {WHAT[finer.what]}"] = finer.weight
        return facts | self.unseen

    def fit(self, train: Careers, validation: Careers) -> None:
        """Count the training transitions; choose the weights on the validation people.

        Raises:
            LaborLLMError: the two have different lists of occupations.
        """
        require_same_list(train.occupations, validation.occupations)
        self.occupations, self.unseen = train.occupations, {}
        self.counts = transition_counts(train.previous, train.occupation, len(train.occupations))
        held_out = transition_counts(validation.previous, validation.occupation, len(train.occupations))
        self.weight = self._best_weight(held_out[:-1], slice(None, -1))
        self.first_weight = self._best_weight(held_out[-1:], slice(-1, None))
        self.cells = tuple(sorted(set(_cell_words(train, self.settings.by))))
        self.finer = ()
        coarser = self._first_order()[validation.previous, validation.occupation]  # (person_years,)
        for what in self._chain():
            rows = np.flatnonzero(_applies(what, train.previous))
            counts = ContextCounts.of_rows(
                self._context(what, train)[rows], train.occupation[rows], len(train.occupations)
            )
            finer, coarser = self._choose(_Finer(what, counts), validation, coarser)
            self.finer = (*self.finer, finer)

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation given the previous one, or what the settings add to it.

        Raises:
            LaborLLMError: the model is not fitted, or was fitted on another list of occupations.
        """
        if self.occupations is None:
            raise LaborLLMError("the transition model is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        self.unseen = self._count_unseen(careers)
        if self.finer:
            answer = self._backed_off(careers)
        else:
            answer = np.log(self._first_order()).astype(np.float32)[careers.previous]  # (person_years, occupations)
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def save(self, folder: Path) -> None:
        """Write the counts, the weights and the list of occupations as JSON.

        Raises:
            LaborLLMError: the model is not fitted, or the folder cannot be written.
        """
        if self.occupations is None:
            raise LaborLLMError("the transition model is not fitted yet; call fit first")
        content = {
            "settings": self.settings.model_dump(mode="json"),
            "codes": self.occupations.codes,
            "titles": self.occupations.titles,
            "groups": self.occupations.groups,
            "weight": self.weight,
            "first_weight": self.first_weight,
            "counts": _triples(sparse.coo_array(self.counts)),
        }
        if self.finer:
            content |= {"cells": self.cells, "finer": [_finer_to_json(finer) for finer in self.finer]}
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TransitionFrequencies":
        """Read what ``save`` wrote.

        Raises:
            LaborLLMError: the file is missing or holds no transition model.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            model = cls(TransitionSettings(**content["settings"]))
            model.occupations = Occupations(*(tuple(content[name]) for name in ("codes", "titles", "groups")))
            model.weight, model.first_weight = content["weight"], content["first_weight"]
            jobs = len(model.occupations)
            model.counts = _from_triples(content["counts"], (jobs + 1, jobs)).toarray()
            model.cells = tuple(content.get("cells", ()))
            model.finer = tuple(_finer_from_json(each, jobs) for each in content.get("finer", ()))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise LaborLLMError(f"{path}: cannot be read as a transition model; run the study again") from error
        return model

    def _best_weight(self, held_out: np.ndarray, origins: slice) -> float:
        """The weight under which the held-out transitions of these origins are likeliest."""
        nats = [-np.sum(held_out * np.log(shrunk(self.counts, weight)[origins])) for weight in self.settings.weights]
        return self.settings.weights[int(np.argmin(nats))]

    def _first_order(self) -> np.ndarray:
        """Probabilities by previous occupation, first rows last, shape (origins, destinations)."""
        return np.vstack([shrunk(self.counts, self.weight)[:-1], shrunk(self.counts, self.first_weight)[-1:]])

    def _chain(self) -> list[str]:
        """The contexts finer than the previous occupation, coarse to fine."""
        return [*(["before"] if self.settings.order == 2 else []), *(["cell"] if self.settings.by else [])]

    def _context(self, what: str, careers: Careers) -> np.ndarray:
        """The context of each row as a number, below 0 where a cell was never seen, shape (person_years,)."""
        origins = len(careers.occupations) + 1
        context = careers.previous + 1
        if self.settings.order == 2:
            context = context + origins * (Histories(careers).before + 1)
        if what == "cell":
            words = pl.Series(_cell_words(careers, self.settings.by), dtype=pl.String)
            cell = words.replace_strict(self.cells, range(len(self.cells)), default=-1, return_dtype=pl.Int64)
            context = np.where(cell < 0, -1, context + origins**2 * cell.to_numpy())
        return context

    def _choose(self, finer: _Finer, held_out: Careers, coarser: np.ndarray) -> tuple[_Finer, np.ndarray]:
        """The best weights of a context, and the probability of what happened under them, shape (person_years,)."""
        count, total = finer.counts.of(self._context(finer.what, held_out), held_out.occupation)
        given = np.array([(count + w * coarser) / (total + w) for w in self.settings.weights])  # (weights, rows)
        nats = -np.log(given)
        first = held_out.previous < 0
        later, of_first = (int(np.argmin(nats[:, rows].sum(axis=1))) for rows in (~first, first))
        chosen = replace(finer, weight=self.settings.weights[later], first_weight=self.settings.weights[of_first])
        fine = np.where(first, given[of_first], given[later])
        return chosen, np.where(_applies(finer.what, held_out.previous), fine, coarser)

    def _backed_off(self, careers: Careers) -> np.ndarray:
        """Log-probabilities along the chain, float32, shape (person_years, occupations)."""
        answer = np.empty((len(careers), len(careers.occupations)), dtype=np.float32)
        table, previous = self._first_order(), careers.previous
        contexts = [(finer, self._context(finer.what, careers)) for finer in self.finer]
        for start in range(0, len(careers), BLOCK):
            rows = slice(start, start + BLOCK)
            given = table[previous[rows]]  # (rows, occupations)
            for finer, context in contexts:
                weight = np.where(previous[rows] < 0, finer.first_weight, finer.weight)
                here = np.where(_applies(finer.what, previous[rows]), context[rows], -1)
                given = finer.counts.shrunk(here, given, weight)
            answer[rows] = np.log(given)
        return answer

    def _count_unseen(self, careers: Careers) -> dict[str, int]:
        """Rows that training says little of: what -> how many, where there are any."""
        never = self.counts.sum(axis=0) == 0  # (occupations,)
        unseen = {"predicted rows in an occupation never seen in training": int(never[careers.occupation].sum())}
        if self.settings.by:
            cells = set(self.cells)
            off = sum(cell not in cells for cell in _cell_words(careers, self.settings.by))
            unseen["predicted rows in a cell never seen in training"] = off
        return {what: rows for what, rows in unseen.items() if rows}


WHAT = {"before": "last two occupations", "cell": "within cells"}
"""A finer context in words."""


def _applies(what: str, previous: np.ndarray) -> np.ndarray:
    """Whether a context is finer than the one before it: a first row has no last two occupations, shape (rows,)."""
    return (previous >= 0) | (what == "cell")


def _cell_words(careers: Careers, by: tuple[str, ...]) -> list[str]:
    """The covariates of each row in one string, shape (person_years,); empty without covariates."""
    if not by:
        return []
    words = [pl.col(name).cast(pl.String).fill_null(MISSING) for name in by]
    return careers.table.select(pl.concat_str(words, separator=" | "))[by[0]].to_list()


def _triples(counts: sparse.coo_array) -> list[list[int]]:
    """Row, column and count of what is not zero."""
    return np.stack([*counts.coords, counts.data.astype(np.int64)], axis=1).tolist()


def _from_triples(triples: list[list[int]], shape: tuple[int, int]) -> sparse.csr_array:
    """What ``_triples`` wrote."""
    row, column, count = np.array(triples, dtype=np.int64).reshape(-1, 3).T
    return sparse.csr_array(sparse.coo_array((count.astype(np.float64), (row, column)), shape=shape))


def _finer_to_json(finer: _Finer) -> dict[str, Any]:
    weights = {"weight": finer.weight, "first_weight": finer.first_weight}
    contexts = {
        "contexts": finer.counts.contexts.tolist(),
        "counts": _triples(sparse.coo_array(finer.counts.counts)),
    }
    return {"what": finer.what} | weights | contexts


def _finer_from_json(content: dict[str, Any], occupations: int) -> _Finer:
    contexts = np.array(content["contexts"], dtype=np.int64)
    counts = ContextCounts(contexts, _from_triples(content["counts"], (len(contexts), occupations)))
    return _Finer(content["what"], counts, content["weight"], content["first_weight"])


def transition_counts(previous: np.ndarray, occupation: np.ndarray, occupations: int) -> np.ndarray:
    """Number of rows by origin and destination.

    Args:
        previous: position of the previous occupation, -1 in first rows, shape (person_years,).
        occupation: position of the occupation, shape (person_years,).
        occupations: length of the closed list.

    Returns:
        float64, shape (origins, destinations); the last origin, found by -1, counts first rows.
    """
    counts = np.zeros((occupations + 1, occupations))
    np.add.at(counts, (previous, occupation), 1)
    return counts


def shrunk(counts: np.ndarray, weight: float) -> np.ndarray:
    """Posterior mean of each origin's distribution under a Dirichlet prior of this weight around the marginal.

    Args:
        counts: shape (origins, destinations).
        weight: observations that the marginal counts for, above 0.

    Returns:
        probabilities, shape (origins, destinations); each row sums to 1 and holds no zero.

    Examples:
        >>> shrunk(np.array([[3.0, 0.0], [0.0, 1.0]]), 1.0).round(3).tolist()
        [[0.925, 0.075], [0.35, 0.65]]
    """
    marginal = counts.sum(axis=0) + FLOOR
    marginal /= marginal.sum()
    return (counts + weight * marginal) / (counts.sum(axis=1, keepdims=True) + weight)  # (origins, destinations)


def require_same_list(fitted: Occupations, given: Occupations) -> None:
    """Refuse careers over another list than the one that was fitted.

    Raises:
        LaborLLMError: the codes differ.
    """
    if fitted.codes != given.codes:
        raise LaborLLMError(
            f"the careers have {len(given)} occupations, the model was fitted on another list of {len(fitted)}; "
            f"read both with the same settings"
        )
