"""Multinomial logit on a worker's history and covariates, in one stage or two."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.baselines import require_same_list
from laborllm.models.probabilities import Probabilities
from laborllm.models.regression.features import Histories
from laborllm.models.regression.fitted_stage import Stage, fit_stage, shared_coefficients, stage_form
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.models.regression.softmax import BLOCK
from laborllm.models.regression.stage import What
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

FILE, ARRAYS = "logit.json", "logit.npz"


class MultinomialLogit:
    """Logits additive in terms of history and covariates, fitted by penalised maximum likelihood.

    P(k) = softmax over k of log m_k + x · W_k + sum over similarity variables v of (d_v · g_v) a_vk, with m the
    smoothed shares in training, x the features, W one coefficient per feature and occupation, a_vk what alternative k
    has of variable v, and d_v the term that its coefficient g_v varies with. In two stages P(previous) = P(stay), a
    logit in the terms and in those of "stay:TERM", and P(k) = (1 - P(stay)) P(k | move), a softmax over all k but the
    previous one; in a first row it is over all k. The likelihood is the product of the two, so they are fitted apart.

    Without a penalty an occupation that training never saw has its smoothed share m_k and the others the rest.

    Args:
        settings: terms, stages and penalties.
        prior: a fitted logit, e.g. of résumés, towards whose coefficients those of the same name are shrunk instead of
            towards zero.
    """

    def __init__(self, settings: LogitSettings | None = None, prior: "MultinomialLogit | None" = None) -> None:
        self.settings = settings or LogitSettings()
        self.prior = prior
        self.has_prior = prior is not None
        self.occupations: Occupations | None = None
        self.stages: tuple[Stage, ...] = ()
        self.counted: dict[str, int] = {}
        self.unseen: dict[str, int] = {}

    @property
    def description(self) -> str:
        """One sentence for the report."""
        how = "in two stages, stay or move and then where to" if self.settings.stages == 2 else "in one stage"
        terms = ", ".join(self.settings.terms)
        also = (
            f"; variables of the alternatives: {', '.join(self.settings.similarity)}"
            if self.settings.similarity
            else ""
        )
        prior = "; shrunk towards a logit of another population" if self.has_prior else ""
        return f"Multinomial logit {how} on {terms}{also}{prior}."

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What a report says of this model; no facts before ``fit``. Rows unseen are those of the last ``predict``."""
        facts: dict[str, str | int | float] = {}
        for stage in self.stages:
            of = {"all": "", "stay": " of staying", "move": " of moves"}[stage.form.what]
            facts[f"l2{of}"] = stage.l2
            facts |= {f"factor of {term}{of}": factor for term, factor in stage.factors.items()}
            facts[f"features{of}"] = len(stage.form.design.names)
            facts[f"evaluations of the likelihood{of}"] = stage.evaluations
            if stage.remaining > self.settings.tolerance:
                facts[f"nats per row that the fit{of} still lacks"] = float(f"{stage.remaining:.2g}")
            if stage.form.design.constant:
                facts[f"terms that do not vary{of}"] = ", ".join(stage.form.design.constant)
        return facts | self.counted | self.unseen

    def fit(self, train: Careers, validation: Careers) -> None:
        """Fit each stage on the training people for every penalty; keep the best on the validation people.

        Raises:
            LaborLLMError: the two have different lists of occupations; a feature is not finite; without a penalty,
                the coefficients are not identified or not finite; or a GPU is asked for and there is none.
        """
        require_same_list(train.occupations, validation.occupations)
        self.occupations, self.unseen = train.occupations, {}
        never = int((np.bincount(train.occupation, minlength=len(train.occupations)) == 0).sum())
        self.counted = {"training rows": len(train), "occupations never seen in training": never}
        whats: tuple[What, ...] = ("all",) if self.settings.stages == 1 else ("stay", "move")
        histories = Histories(train), Histories(validation)
        self.stages = tuple(self._fit_stage(what, *histories) for what in whats)

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation given history and covariates.

        Raises:
            LaborLLMError: the model is not fitted, or was fitted on another list of occupations.
        """
        self._require_fitted()
        require_same_list(self.occupations or careers.occupations, careers.occupations)
        answer = np.empty((len(careers), len(careers.occupations)), dtype=np.float32)
        for rows, block in self.log_probabilities(careers):
            answer[rows] = block
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def log_probabilities(self, careers: Careers) -> Iterator[tuple[slice, np.ndarray]]:
        """Stretches of rows and their log-probabilities, nats, float64, shape (rows, occupations)."""
        histories, everything = Histories(careers), np.arange(len(careers))
        feed = [(stage, *stage.form.choices(histories, rows=everything)) for stage in self.stages]
        unseen = {term: rows for _, _, found in feed for term, rows in found.items()}
        self.unseen = {f"predicted rows with a level of {term} never seen": rows for term, rows in unseen.items()}
        for first in range(0, len(careers), BLOCK):
            rows = slice(first, min(first + BLOCK, len(careers)))
            given = [stage.form.log_probabilities(choices, rows, stage.coefficients) for stage, choices, _ in feed]
            yield rows, given[0] if len(given) == 1 else joined(given[0], given[1], careers.previous[rows])

    def save(self, folder: Path) -> None:
        """Write coefficients as arrays, all else as JSON.

        Raises:
            LaborLLMError: the model is not fitted, or the folder cannot be written.
        """
        occupations = self._require_fitted()
        content = {
            "settings": self.settings.model_dump(mode="json"),
            "codes": occupations.codes,
            "titles": occupations.titles,
            "groups": occupations.groups,
            "counted": self.counted,
            "prior": self.has_prior,
            "stages": [stage.to_json() for stage in self.stages],
        }
        named = [(f"{n}.{name}", array) for n, each in enumerate(self.stages) for name, array in each.arrays().items()]
        arrays: dict[str, Any] = dict(named)
        with whole_file(folder / ARRAYS) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "MultinomialLogit":
        """Read what ``save`` wrote.

        Raises:
            LaborLLMError: a file is missing or holds no logit.
        """
        try:
            content = json.loads((folder / FILE).read_text(encoding="utf-8"))
            model = cls(LogitSettings(**content["settings"]))
            model.occupations = Occupations(*(tuple(content[name]) for name in ("codes", "titles", "groups")))
            model.counted, model.has_prior = content["counted"], content["prior"]
            with (folder / ARRAYS).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = [{name[2:]: file[name] for name in file if name.startswith(f"{n}.")} for n in (0, 1)]
            model.stages = tuple(map(Stage.from_json, content["stages"], arrays))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
            raise LaborLLMError(f"{folder / FILE}: cannot be read as a logit; run the study again") from error
        return model

    def _require_fitted(self) -> Occupations:
        if self.occupations is None or not self.stages:
            raise LaborLLMError("the logit is not fitted yet; call fit first")
        return self.occupations

    def _fit_stage(self, what: What, train: Histories, validation: Histories) -> Stage:
        """Fit one stage, shrunk towards the prior's stage of the same kind."""
        form = stage_form(self.settings, what, train)
        if self.prior is None:
            return fit_stage(self.settings, form, train, validation, centre=form.zeros())
        theirs = {stage.form.what: stage for stage in self.prior.stages}
        if what not in theirs or self.prior.occupations != self.occupations:
            raise LaborLLMError("the prior logit has other stages or occupations; fit it with the same stages and list")
        return fit_stage(self.settings, form, train, validation, centre=shared_coefficients(theirs[what], form))


def joined(stay: np.ndarray, move: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Both stages as one distribution.

    Args:
        stay: log-probabilities of moving and staying, nats, shape (rows, 2); ignored in first rows.
        move: log-probabilities of each occupation given a move, the previous one excluded, shape (rows, occupations).
        previous: position of the previous occupation, -1 in first rows, shape (rows,).

    Returns:
        log-probabilities, nats, shape (rows, occupations).

    Examples:
        >>> one = joined(np.log([[0.4, 0.6]]), np.log([[0.25, 1e-9, 0.75]]), np.array([1]))
        >>> np.exp(one).round(3).tolist()
        [[0.1, 0.6, 0.3]]
    """
    later = np.flatnonzero(previous >= 0)
    answer = move.copy()
    answer[later] += stay[later, :1]
    answer[later, previous[later]] = stay[later, 1]
    return answer  # (rows, occupations)
