"""Greedy rationales: which earlier rows of a career explain a prediction (Vafa et al., EMNLP 2021, arXiv 2109.06387).

Rows are added one by one, each time the one under which the predicted occupation is likeliest, until the model predicts
it from the chosen rows alone. The network must know careers with rows left out: train it with ``row_dropout``.
"""

from dataclasses import dataclass

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.networks.sequence_model import SequenceModel, sequences
from laborllm.models.networks.sequence_training import log_probabilities
from laborllm.models.networks.sequences import with_rows
from laborllm.survey.careers import Careers


@dataclass(frozen=True)
class Rationale:
    """The earlier rows that explain what is predicted for one row of a career.

    Attributes:
        row: the row of the careers that is predicted.
        occupation: position of the occupation that the whole history makes likeliest.
        chosen: earlier rows in the order in which they were chosen, shape (chosen,).
        probability: of that occupation before the first and after each choice, shape (chosen + 1,).
        enough: whether it is the likeliest occupation under the chosen rows; always true of a whole history.
    """

    row: int
    occupation: int
    chosen: np.ndarray
    probability: np.ndarray
    enough: bool


def greedy_rationale(model: SequenceModel, careers: Careers, row: int, most: int | None = None) -> Rationale:
    """Choose earlier rows until they alone make the model predict what the whole history does.

    Args:
        model: fitted, with ``row_dropout``.
        careers: whole histories.
        row: the row of the careers to explain.
        most: rows to choose at most; all earlier ones if not given.

    Raises:
        LaborLLMError: the model is not fitted or was trained without ``row_dropout``, or there is no such row.
    """
    if model.network is None:
        raise LaborLLMError(f"{model.settings.kind} is not fitted yet; call fit first")
    if not model.settings.training.row_dropout:
        raise LaborLLMError("rationales need a model that knows careers with rows left out; set training.row_dropout")
    if not 0 <= row < len(careers):
        raise LaborLLMError(f"row {row} is none of the {len(careers)} rows of the careers; count from 0")
    given = sequences(careers, model.words)
    first = int(given.starts[careers.person_of_row[row]])

    def predicted(subsets: list[list[int]]) -> np.ndarray:
        """Log-probabilities of the row after each subset of earlier rows, shape (subsets, occupations)."""
        thinned = with_rows([np.array([*sorted(subset), row]) for subset in subsets], given)
        return log_probabilities(model.network, thinned)[thinned.starts[1:] - 1]  # type: ignore[arg-type]

    earlier = list(range(first, row))
    occupation = int(predicted([earlier])[0].argmax())
    chosen: list[int] = []
    scores = predicted([[]])
    probability = [float(np.exp(scores[0, occupation]))]
    while scores[0].argmax() != occupation and len(chosen) < min(len(earlier), most or len(earlier)):
        left = [each for each in earlier if each not in chosen]
        tried = predicted([[*chosen, each] for each in left])
        best = int(tried[:, occupation].argmax())
        chosen.append(left[best])
        scores = tried[best : best + 1]
        probability.append(float(np.exp(scores[0, occupation])))
    enough = bool(scores[0].argmax() == occupation)
    return Rationale(row, occupation, np.array(chosen, dtype=np.int64), np.array(probability), enough)
