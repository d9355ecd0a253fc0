"""One stage of gradient boosting: trees that learn what a start does not know yet.

LightGBM grows them (Ke et al. 2017, NeurIPS 30). The module imports it when trees are grown or read, not before.
"""

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse

from laborllm.errors import LaborLLMError
from laborllm.models.regression.boosting_settings import BoostingSettings
from laborllm.models.regression.stage import What

EXCLUDED = -30.0
"""Log-probability, in nats, that an impossible outcome starts from: LightGBM wants finite numbers."""


@dataclass(frozen=True)
class StageRows:
    """Rows of a stage.

    Attributes:
        features: float32, shape (rows, columns).
        start: log-probability of each outcome before any tree, nats, float64, shape (rows, outcomes).
        chosen: the outcome of each row, shape (rows,).
    """

    features: sparse.csr_array
    start: np.ndarray
    chosen: np.ndarray


@dataclass(frozen=True)
class BoostedStage:
    """Trees over the outcomes that training saw.

    P(k) = (1 - sum of s over outcomes never seen) times the softmax of log s_k + f_k over those seen, with s the start
    and f_k the sum of k's trees; an outcome never seen keeps s_k. Of staying or moving only the former has trees.

    Attributes:
        what: "all", "stay" or "move", as in ``stage.Form``.
        seen: outcomes with trees, ascending, shape (outcomes seen,).
        trees: in LightGBM's text format; empty where the start alone was best on the validation rows.
        rounds: how many trees an outcome has.
    """

    what: What
    seen: np.ndarray
    trees: str
    rounds: int

    def log_probabilities(self, features: sparse.csr_array, start: np.ndarray) -> np.ndarray:
        """Of every outcome, nats, float64, shape (rows, outcomes); arguments as in ``StageRows``."""
        if not self.trees:
            return start
        never = np.ones(start.shape[1], dtype=bool)
        never[self.seen] = False
        scores = log_softmax(start[:, self.seen] + self._grown(features))
        answer = start.copy()
        answer[:, self.seen] = scores + np.log1p(-np.exp(start[:, never]).sum(axis=1, keepdims=True))
        return answer  # (rows, outcomes)

    def _grown(self, features: sparse.csr_array) -> np.ndarray:
        """The sum of each outcome's trees, shape (rows, outcomes seen)."""
        raw = np.asarray(self.booster.predict(sparse.csr_matrix(features), raw_score=True))
        return np.stack([np.zeros(len(raw)), raw], axis=1) if self.what == "stay" else raw

    @cached_property
    def booster(self) -> Any:
        """The trees as LightGBM has them.

        Raises:
            LaborLLMError: LightGBM is not installed.
        """
        return lightgbm().Booster(model_str=self.trees)


def fit_boosted(settings: BoostingSettings, what: What, train: StageRows, validation: StageRows) -> BoostedStage:
    """Grow trees as long as validation rows gain.

    Where training has one outcome alone, or validation has no row, there are no trees.

    Raises:
        LaborLLMError: LightGBM is not installed.
    """
    seen = np.unique(train.chosen)
    known = np.isin(validation.chosen, seen)
    if len(seen) < 2 or not known.any():
        return BoostedStage(what, seen, "", 0)
    held_out = StageRows(validation.features[known], validation.start[known], validation.chosen[known])
    booster = _grow(settings, what, (train, held_out), seen)
    trees = booster.model_to_string(num_iteration=booster.best_iteration)
    grown, none = BoostedStage(what, seen, trees, booster.best_iteration), BoostedStage(what, seen, "", 0)
    return grown if _nats(grown, held_out) < _nats(none, held_out) else none


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Scores less the log of the sum of their exponentials, nats, float64, shape (rows, outcomes)."""
    top = scores.max(axis=1, keepdims=True)
    return scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))


def lightgbm() -> ModuleType:
    """The library, imported when it is needed.

    Raises:
        LaborLLMError: it is not installed, or the system has no OpenMP for it.
    """
    try:
        import lightgbm as library
    except ImportError as error:
        raise LaborLLMError("boosting needs LightGBM; install it with pip install 'laborllm[boosting]'") from error
    except OSError as error:
        raise LaborLLMError(
            f"LightGBM cannot be loaded ({error}); install OpenMP, e.g. libgomp1 on Debian, libomp on macOS"
        ) from error
    return library


def _grow(settings: BoostingSettings, what: What, rows: tuple[StageRows, StageRows], seen: np.ndarray) -> Any:
    """LightGBM's booster, grown on the first rows and stopped by the second."""
    library = lightgbm()
    parameters = _parameters(settings, what, len(seen))
    train, validation = (
        library.Dataset(
            sparse.csr_matrix(each.features),
            np.searchsorted(seen, each.chosen),
            init_score=each.start[:, 1] - each.start[:, 0] if what == "stay" else each.start[:, seen],
            params=parameters,
        )
        for each in rows
    )
    validation.set_reference(train)
    stop = library.early_stopping(settings.patience, verbose=False)
    return library.train(parameters, train, settings.rounds, [validation], callbacks=[stop])


def _nats(stage: BoostedStage, rows: StageRows) -> float:
    """Minus the log-likelihood of the rows."""
    return -float(stage.log_probabilities(rows.features, rows.start)[np.arange(len(rows.chosen)), rows.chosen].sum())


def _parameters(settings: BoostingSettings, what: What, outcomes: int) -> dict[str, Any]:
    """What LightGBM calls the settings; the rest makes it silent and the same at every call."""
    objective = {"objective": "binary"} if what == "stay" else {"objective": "multiclass", "num_class": outcomes}
    return objective | {
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows,
        "lambda_l2": settings.l2,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
