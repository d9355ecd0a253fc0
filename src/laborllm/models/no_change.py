"""The rival that expects no change."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import optimize

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.baselines import FLOOR, require_same_list
from laborllm.models.probabilities import Probabilities
from laborllm.models.temperature import Tempering
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import Occupations

FILE = "no_change.json"


class NoChangeSettings(Tempering):
    """``[models.NAME] kind = "no_change"``."""

    kind: Literal["no_change"] = "no_change"


class NoChange:
    """The last occupation again, or the marginal.

    With m the marginal of training rows, m_k = (n_k + 1/2) / sum over l of (n_l + 1/2), and s a share:
    P(k | previous j) = s 1[k = j] + (1 - s) m_k, and m_k in a first row. The share is the likeliest one on the
    validation people's later rows, with half a move added so that it stays below 1; it is 0 if they have none.
    """

    description = "The last occupation with one probability for everybody, the marginal otherwise; no covariates."
    memory = 1
    """Rows before a row that its prediction depends on."""

    def __init__(self, settings: NoChangeSettings | None = None) -> None:
        self.settings = settings or NoChangeSettings()
        self.occupations: Occupations | None = None
        self.counts = np.zeros(0)
        self.share = float("nan")
        self.unseen = 0

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What a report says of this model; no facts before ``fit``. Rows unseen are those of the last ``predict``."""
        if self.occupations is None:
            return {}
        facts: dict[str, str | int | float] = {
            "share of the last occupation": self.share,
            "training rows": int(self.counts.sum()),
            "occupations never seen in training": int((self.counts == 0).sum()),
        }
        return facts | ({"predicted rows in an occupation never seen in training": self.unseen} if self.unseen else {})

    def fit(self, train: Careers, validation: Careers) -> None:
        """Count the training rows; choose the share on the validation people.

        Raises:
            LaborLLMError: the two have different lists of occupations.
        """
        require_same_list(train.occupations, validation.occupations)
        self.occupations, self.unseen = train.occupations, 0
        self.counts = np.bincount(train.occupation, minlength=len(train.occupations)).astype(np.float64)
        transition = validation.transition
        stayed = self._marginal()[validation.occupation[transition == "stay"]]
        self.share = likeliest_share(stayed, int((transition == "move").sum()))

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation given the previous one.

        Raises:
            LaborLLMError: the model is not fitted, or was fitted on another list of occupations.
        """
        if self.occupations is None:
            raise LaborLLMError("the no-change model is not fitted yet; call fit first")
        require_same_list(self.occupations, careers.occupations)
        self.unseen = int((self.counts[careers.occupation] == 0).sum())
        later = careers.previous >= 0
        chances = np.where(later[:, None], 1 - self.share, 1) * self._marginal()  # (person_years, occupations)
        chances[np.flatnonzero(later), careers.previous[later]] += self.share
        answer = np.log(chances).astype(np.float32)
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def save(self, folder: Path) -> None:
        """Write the counts, the share and the list of occupations as JSON.

        Raises:
            LaborLLMError: the model is not fitted, or the folder cannot be written.
        """
        if self.occupations is None:
            raise LaborLLMError("the no-change model is not fitted yet; call fit first")
        content = json.loads(self.occupations.to_json())
        content |= {"share": self.share, "counts": self.counts.astype(int).tolist()}
        with whole_file(folder / FILE) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "NoChange":
        """Read what ``save`` wrote.

        Raises:
            LaborLLMError: the file is missing or holds no such model.
        """
        path, model = folder / FILE, cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            model.occupations = Occupations(*(tuple(content[name]) for name in ("codes", "titles", "groups")))
            model.share, model.counts = float(content["share"]), np.array(content["counts"], dtype=np.float64)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LaborLLMError(f"{path}: cannot be read as a no-change model; run the study again") from error
        return model

    def _marginal(self) -> np.ndarray:
        """Smoothed shares of the training rows, shape (occupations,)."""
        counts = self.counts + FLOOR
        return counts / counts.sum()


def likeliest_share(stayed: np.ndarray, moves: int) -> float:
    """The s that maximises sum of log(s + (1 - s) m) over stays plus (moves + 1/2) log(1 - s).

    Args:
        stayed: the marginal of the occupation stayed in, shape (stays,).
        moves: number of moves.

    Examples:
        >>> round(likeliest_share(np.full(60, 1e-9), 40), 3)
        0.597
    """
    if not len(stayed):
        return 0.0

    def nats(share: float) -> float:
        return -float(np.log(share + (1 - share) * stayed).sum() + (moves + FLOOR) * np.log1p(-share))

    found = optimize.minimize_scalar(nats, bounds=(0, 1 - 1e-9), method="bounded", options={"xatol": 1e-10})
    return float(found.x)
