"""The truth of the simulated population as a model: the best that any model can do."""

from pathlib import Path
from typing import Literal

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.models.probabilities import Probabilities
from laborllm.models.temperature import Tempering
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.simulated.simulate import SimulatedSettings, build_world, logits, situations, with_type

ROWS_AT_A_TIME = 8192


class OracleSettings(Tempering):
    """``[models.NAME] kind = "oracle"``: for ``[survey] source = "simulated"`` only."""

    kind: Literal["oracle"] = "oracle"


class Oracle:
    """The generator's probabilities, the latent type integrated out by exact filtering.

    P(y_t | past) = sum over types of P(type | past) P(y_t | past, type), with P(type | past) proportional to
    P(type) times the product over earlier rows s of P(y_s | past of s, type). Schooling, interviews and covariates
    are drawn without regard to the type, so they add no term.

    Args:
        survey: the settings that simulated the careers.
    """

    description = (
        "The probabilities that generated the population, latent types filtered exactly: no model can do better."
    )

    def __init__(self, survey: SimulatedSettings) -> None:
        self.survey = survey
        self.world = build_world(survey)

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What a report says of this model."""
        return {"latent types": len(self.world.type_shares)}

    def fit(self, train: Careers, validation: Careers) -> None:
        """Nothing to learn."""

    def predict(self, careers: Careers) -> Probabilities:
        """True probability of each occupation given what a model may see.

        Raises:
            LaborLLMError: the careers are not of the simulated survey population.
        """
        situation = situations(self.world, careers)
        answer = np.empty((len(careers), len(careers.occupations)), dtype=np.float32)
        for first, last in _blocks_of_people(careers.starts):
            rows = slice(first, last)
            scores = logits(self.world, situation.rows(rows))
            by_type = np.stack([self._given(scores, situation.previous[rows], each) for each in self._types])
            realised = by_type[:, np.arange(last - first), careers.occupation[rows]]  # (types, rows)
            posterior = filter_types(realised, np.log(self.world.type_shares), careers.person_of_row[rows])
            answer[rows] = np.logaddexp.reduce(by_type + posterior[:, :, None], axis=0)  # (rows, occupations)
        return Probabilities(rows=careers.table.select(KEYS), occupations=careers.occupations, log_probabilities=answer)

    def save(self, folder: Path) -> None:
        """Write the settings, from which the world is built again."""
        with whole_file(folder / "oracle.json") as temporary:
            temporary.write_text(self.survey.model_dump_json(indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Oracle":
        """Read what ``save`` wrote.

        Raises:
            LaborLLMError: the file is missing or holds no settings.
        """
        path = folder / "oracle.json"
        try:
            return cls(SimulatedSettings.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise LaborLLMError(f"{path}: cannot be read as an oracle's settings; run the study again") from error

    @property
    def _types(self) -> range:
        return range(len(self.world.type_shares))

    def _given(self, scores: np.ndarray, previous: np.ndarray, each: int) -> np.ndarray:
        types = np.full(len(previous), each)
        return with_type(self.world, scores, previous=previous, types=types)  # (rows, occupations)


def filter_types(realised: np.ndarray, log_shares: np.ndarray, person: np.ndarray) -> np.ndarray:
    """log P(type | rows before this one) for whole people.

    Args:
        realised: log-probability of what happened, given each type, nats, shape (types, rows).
        log_shares: log shares of the types, shape (types,).
        person: index of each row's person, ascending, shape (rows,).

    Returns:
        nats, float64, shape (types, rows); exp of each column sums to 1.
    """
    before = np.cumsum(realised, axis=1) - realised  # (types, rows)
    begins = np.flatnonzero(np.append(True, person[1:] != person[:-1]))
    before -= np.repeat(before[:, begins], np.diff(np.append(begins, len(person))), axis=1)
    joint = log_shares[:, None] + before
    return joint - np.logaddexp.reduce(joint, axis=0)  # (types, rows)


def _blocks_of_people(starts: np.ndarray) -> list[tuple[int, int]]:
    """First and last row (excluded) of blocks of whole people, about ``ROWS_AT_A_TIME`` rows each."""
    blocks, first = [], 0
    for end in starts[1:]:
        if end - first >= ROWS_AT_A_TIME or end == starts[-1]:
            blocks.append((first, int(end)))
            first = int(end)
    return blocks
