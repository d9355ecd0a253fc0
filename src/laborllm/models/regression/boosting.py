"""Gradient boosting: trees on a worker's history and covariates, from the transition frequencies on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import file_hash, whole_file
from laborllm.models.baselines import TransitionFrequencies, require_same_list
from laborllm.models.probabilities import Probabilities
from laborllm.models.regression.boosted_stage import EXCLUDED, BoostedStage, StageRows, fit_boosted, log_softmax
from laborllm.models.regression.boosting_features import TreeFeatures
from laborllm.models.regression.boosting_settings import BoostingSettings
from laborllm.models.regression.features import Histories
from laborllm.models.regression.logit import joined
from laborllm.models.regression.stage import What, outcome, sample
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

FILE = "boosting.json"
FOLDS = 5
"""Parts of the training people, each of which starts from the transitions of the other parts."""
BLOCK = 4096
"""Rows that trees are asked about at a time."""
EDGE = -1e-12
"""Log-probability of staying at most, in nats, so that moving is possible."""


class GradientBoosting:
    """Sums of trees that learn what the transition frequencies do not know yet.

    A stage starts from log s_k, the transition frequencies of ``baselines.TransitionFrequencies``, and adds f_k(x), the
    sum of k's trees; P(k) is the softmax of the two (``boosted_stage.BoostedStage``). In two stages P(previous) =
    P(stay) and P(k) = (1 - P(stay)) P(k | move), where the previous occupation is excluded; in a first row P(k | move)
    is over all k. Training rows start from transitions of other people, since those that count the row itself would
    leave trees too little to learn. The number of rounds is that which is best on the validation people.

    Args:
        settings: terms, stages and size of the trees.
    """

    def __init__(self, settings: BoostingSettings | None = None) -> None:
        self.settings = settings or BoostingSettings()
        self.start = TransitionFrequencies()
        self.features = TreeFeatures((), {})
        self.stages: tuple[BoostedStage, ...] = ()
        self.training_rows = 0
        self.unseen: dict[str, int] = {}

    @property
    def description(self) -> str:
        """One sentence for the report."""
        how = "in two stages, stay or move and then where to" if self.settings.stages == 2 else "in one stage"
        return f"Gradient boosting {how}, from transition frequencies on, on {', '.join(self.settings.terms)}."

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What a report says of this model; no facts before ``fit``. Rows unseen are those of the last ``predict``."""
        if not self.stages:
            return {}
        of = {"all": "", "stay": " of staying", "move": " of moves"}
        facts: dict[str, str | int | float] = {f"rounds{of[stage.what]}": stage.rounds for stage in self.stages}
        short = [stage for stage in self.stages if stage.rounds == self.settings.rounds]
        facts |= {f"rounds{of[stage.what]} ended before validation did": "yes" for stage in short}
        facts["training rows"] = self.training_rows
        facts["occupations never seen in training"] = int((self.start.counts.sum(axis=0) == 0).sum())
        return facts | self.unseen

    def fit(self, train: Careers, validation: Careers) -> None:
        """Grow trees on the training people; choose the number of rounds on the validation people.

        Raises:
            LaborLLMError: the two have different lists of occupations, or LightGBM is not installed.
        """
        require_same_list(train.occupations, validation.occupations)
        self.unseen, self.training_rows = {}, len(train)
        self.start = TransitionFrequencies()
        self.start.fit(train, validation)
        self.features = TreeFeatures.of(self.settings.terms, Histories(train))
        whats: tuple[What, ...] = ("all",) if self.settings.stages == 1 else ("stay", "move")
        starts = held_out_start(train, validation, seed=self.settings.seed), _start(self.start, validation)
        parts = [
            (careers, self.features.matrix(Histories(careers))[0], start)
            for careers, start in zip((train, validation), starts, strict=True)
        ]

        def rows(what: What, part: int) -> StageRows:
            careers, matrix, start = parts[part]
            keep = sample(what, careers)
            start = stage_start(what, start[keep], careers.previous[keep])
            return StageRows(matrix[keep], start, outcome(what, careers)[keep])

        self.stages = tuple(fit_boosted(self.settings, what, rows(what, 0), rows(what, 1)) for what in whats)

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation given history and covariates.

        Raises:
            LaborLLMError: the model is not fitted, was fitted on another list of occupations, or LightGBM is not
                installed.
        """
        require_same_list(self._require_fitted(), careers.occupations)
        start, previous = _start(self.start, careers), careers.previous
        matrix, unseen = self.features.matrix(Histories(careers))
        self.unseen = {f"predicted rows with a level of {term} never seen": rows for term, rows in unseen.items()}
        self.unseen |= self.start.unseen
        answer = np.empty(start.shape, dtype=np.float32)
        for first in range(0, len(careers), BLOCK):
            rows = slice(first, first + BLOCK)
            given = [
                stage.log_probabilities(matrix[rows], stage_start(stage.what, start[rows], previous[rows]))
                for stage in self.stages
            ]
            answer[rows] = given[0] if len(given) == 1 else joined(given[0], given[1], previous[rows])
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def save(self, folder: Path) -> None:
        """Write the transition frequencies and all else as JSON, each stage's trees as LightGBM's text.

        Raises:
            LaborLLMError: the model is not fitted, or the folder cannot be written.
        """
        self._require_fitted()
        self.start.save(folder)
        content = {
            "settings": self.settings.model_dump(mode="json"),
            "levels": self.features.levels,
            "training_rows": self.training_rows,
            "stages": [_write_stage(folder, stage) for stage in self.stages],
        }
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "GradientBoosting":
        """Read what ``save`` wrote.

        Raises:
            LaborLLMError: a file is missing or holds no boosting model.
        """
        try:
            content = json.loads((folder / FILE).read_text(encoding="utf-8"))
            model = cls(BoostingSettings(**content["settings"]))
            levels = {term: tuple(each) for term, each in content["levels"].items()}
            model.features = TreeFeatures(model.settings.terms, levels)
            model.training_rows = content["training_rows"]
            model.stages = tuple(_read_stage(folder, stage) for stage in content["stages"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LaborLLMError(f"{folder / FILE}: cannot be read as boosting; run the study again") from error
        model.start = TransitionFrequencies.load(folder)
        return model

    def _require_fitted(self) -> Occupations:
        if self.start.occupations is None or not self.stages:
            raise LaborLLMError("boosting is not fitted yet; call fit first")
        return self.start.occupations


def held_out_start(train: Careers, validation: Careers, *, seed: int) -> np.ndarray:
    """Transition frequencies of each training row, counted over other people.

    Args:
        train: at least two people; of a single one the row itself is counted too.
        validation: chooses the shrinkage weights.
        seed: which people are held out together.

    Returns:
        log-probabilities, nats, float32, shape (person_years, occupations).
    """
    fold = np.random.default_rng(seed).permutation(train.people)[train.person_of_row] % FOLDS
    answer = np.empty((len(train), len(train.occupations)), dtype=np.float32)
    for held_out in range(min(FOLDS, train.people)):
        rows, model = fold == held_out, TransitionFrequencies()
        others = train if rows.all() else replace(train, table=train.table.filter(pl.Series(~rows)))
        model.fit(others, validation)
        answer[rows] = _start(model, replace(train, table=train.table.filter(pl.Series(rows))))
    return answer


def stage_start(what: What, log_probabilities: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """What a stage starts from.

    Args:
        what: the stage.
        log_probabilities: of each occupation, nats, shape (rows, occupations).
        previous: position of the previous occupation, -1 in first rows, shape (rows,).

    Returns:
        log-probabilities of the stage's outcomes, nats, float64: of moving and staying, shape (rows, 2), in first rows
        without a meaning; else of each occupation, shape (rows, occupations), the previous one excluded in "move".

    Examples:
        >>> whole = np.log([[0.5, 0.2, 0.3]])
        >>> np.exp(stage_start("stay", whole, np.array([0]))).round(2).tolist()
        [[0.5, 0.5]]
        >>> np.exp(stage_start("move", whole, np.array([0]))).round(2).tolist()
        [[0.0, 0.4, 0.6]]
    """
    scores = log_probabilities.astype(np.float64)
    if what == "all":
        return log_softmax(scores)
    later = np.flatnonzero(previous >= 0)
    if what == "stay":
        staying = np.exp(np.minimum(scores[np.arange(len(scores)), previous], EDGE))
        return np.log(np.stack([1 - staying, staying], axis=1))  # (rows, 2)
    scores[later, previous[later]] = EXCLUDED + scores.max(axis=1)[later]
    return log_softmax(scores)  # (rows, occupations)


def _write_stage(folder: Path, stage: BoostedStage) -> dict[str, Any]:
    """Write the trees; what else there is, and the trees' checksum."""
    path = folder / f"{stage.what}.txt"
    with whole_file(path) as temporary:
        temporary.write_text(stage.trees, encoding="utf-8")
    return {"what": stage.what, "seen": stage.seen.tolist(), "rounds": stage.rounds, "sha256": file_hash(path)}


def _read_stage(folder: Path, content: dict[str, Any]) -> BoostedStage:
    """Read what ``_write_stage`` wrote. LightGBM may not come back from a broken file: it never gets one."""
    path = folder / f"{content['what']}.txt"
    trees = path.read_text(encoding="utf-8")
    if file_hash(path) != content["sha256"]:
        raise LaborLLMError(f"{path}: is not the file that was saved with {FILE}; run the study again")
    return BoostedStage(content["what"], np.array(content["seen"], dtype=np.int64), trees, content["rounds"])


def _start(model: TransitionFrequencies, careers: Careers) -> np.ndarray:
    """The model's log-probabilities, nats, float32, shape (person_years, occupations)."""
    return np.asarray(model.predict(careers).log_probabilities)
