"""What the report takes from each model's probabilities; every file is read once, one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Probabilities
from laborllm.report.folder import RunFolder
from laborllm.report.mistakes import Mistakes, find_mistakes
from laborllm.survey.careers import Careers

TOP = 5
"""Occupations shown of a prediction."""


@dataclass(frozen=True)
class Guess:
    """One occupation that a model held possible.

    Attributes:
        place: in the closed list.
        title: of the occupation.
        probability: normalised.
        realised: whether it is what happened.
    """

    place: int
    title: str
    probability: float
    realised: bool


@dataclass(frozen=True)
class Prediction:
    """What one model said of one person-year.

    Attributes:
        model: its name.
        top: the most probable occupations, highest first.
        realised: probability of what happened.
        rank: place of what happened, 1 is first.
    """

    model: str
    top: tuple[Guess, ...]
    realised: float
    rank: int


@dataclass(frozen=True)
class Reading:
    """What was taken from one model's probabilities.

    Attributes:
        predictions: row of the test careers -> what the model said of it, for the rows that were asked for.
        mistakes: where it is most often wrong; None where nobody asked.
    """

    predictions: dict[int, Prediction]
    mistakes: Mistakes | None


def read_models(run: RunFolder, test: Careers, rows: Sequence[int], *, mistakes: bool) -> dict[str, Reading]:
    """Model -> reading, for every model that gives one probability per occupation and whose file is kept.

    Args:
        run: the run folder.
        test: its test people.
        rows: person-years whose predictions are wanted.
        mistakes: whether mistakes over all test people are wanted.

    Raises:
        LaborLLMError: probabilities are of other people or of another list of occupations.
    """
    readings = {}
    for model in run.models if rows or mistakes else ():
        probabilities = run.probabilities(model)
        if probabilities is None or probabilities.log_probabilities is None:
            continue
        _require_same_rows(model, probabilities, test)
        scores = probabilities.log_probabilities  # (person_years, occupations)
        readings[model] = Reading(
            predictions={row: prediction_of(model, scores[row], test, row) for row in rows},
            mistakes=find_mistakes(scores, test) if mistakes else None,
        )
    return readings


def _require_same_rows(model: str, probabilities: Probabilities, test: Careers) -> None:
    theirs, ours = (table.select("person", "year") for table in (probabilities.rows, test.table))
    if probabilities.occupations.codes == test.occupations.codes and theirs.equals(ours):
        return
    common = min(theirs.height, ours.height)
    same = np.array([a == b for a, b in zip(theirs.head(common).rows(), ours.head(common).rows(), strict=True)])
    row = min(int(same.argmin()) if common and not same.all() else common, ours.height - 1)
    person, year = ours.row(row)
    raise LaborLLMError(
        f"probabilities/{model}.parquet, row {row + 1}: is not person {person} in {year} over the occupations "
        "of careers.parquet; run the study again so that both are of the same people and list"
    )


def prediction_of(model: str, scores: np.ndarray, test: Careers, row: int) -> Prediction:
    """The most probable occupations and the realised one; ``scores`` are log-probabilities, shape (occupations,)."""
    order = np.argsort(-scores, kind="stable")
    realised = int(test.occupation[row])
    titles = test.occupations.titles
    top = tuple(Guess(int(i), titles[i], float(np.exp(scores[i])), int(i) == realised) for i in order[:TOP])
    rank = 1 + int((scores > scores[realised]).sum())
    return Prediction(model, top, float(np.exp(scores[realised])), rank)
