"""The Probabilities table and the two methods that make anything a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from laborllm.files import whole_file
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import METADATA, Occupations, read_listed


@dataclass(frozen=True)
class Probabilities:
    """One probability per occupation for every person-year of a Careers table, in its order.

    Attributes:
        rows: person, year, occupation (realised), shape (person_years, 3).
        occupations: the closed list.
        log_probabilities: float32, nats, shape (person_years, occupations); exp of each row sums to 1.
            None in the realised-only form.
        log_mass: float64, nats, shape (person_years,): log of the raw mass a language model leaves on the closed
            list; None for models that have no other strings to spend it on (method: raw, mass, normalised).
        realised_raw: float64, nats, shape (person_years,): raw log-probability of the realised title, the only
            number of the realised-only form; None otherwise.
    """

    rows: pl.DataFrame
    occupations: Occupations
    log_probabilities: np.ndarray | None = None
    log_mass: np.ndarray | None = None
    realised_raw: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (self.rows.height, len(self.occupations))
        if (self.log_probabilities is None) == (self.realised_raw is None):
            raise ValueError("give log_probabilities or, for the realised-only form, realised_raw")
        if self.log_probabilities is not None and self.log_probabilities.shape != shape:
            raise ValueError(f"log_probabilities have shape {self.log_probabilities.shape}, not {shape}")

    @property
    def realised(self) -> np.ndarray | None:
        """Normalised log-probability of the realised occupation, nats, shape (person_years,)."""
        if self.log_probabilities is None:
            return None
        place = self.rows["occupation"].to_physical().to_numpy().astype(np.int64)
        return self.log_probabilities[np.arange(len(place)), place].astype(np.float64)  # (person_years,)

    @property
    def raw(self) -> np.ndarray | None:
        """Raw log-probability of the realised title, nats, shape (person_years,); None without a language model."""
        if self.realised_raw is not None:
            return self.realised_raw
        normalised = self.realised
        if self.log_mass is None or normalised is None:
            return None
        return normalised + self.log_mass  # (person_years,)

    def write(self, path: Path) -> None:
        """Write one Parquet file: person, year, occupation, a float32 column per code, log_mass where there is one."""
        columns = self.rows.select(KEYS)
        if self.log_probabilities is not None:
            block = pl.from_numpy(self.log_probabilities, schema=list(self.occupations.codes), orient="row")
            columns = columns.hstack(block)
        extra = {"log_mass": self.log_mass, "realised_raw": self.realised_raw}
        columns = columns.with_columns(pl.Series(name, values) for name, values in extra.items() if values is not None)
        with whole_file(path) as temporary:
            columns.write_parquet(temporary, metadata={METADATA: self.occupations.to_json()})

    @classmethod
    def read(cls, path: Path) -> "Probabilities":
        """Read what ``write`` wrote.

        Raises:
            LaborLLMError: the file is missing, no Parquet file, or holds no probabilities.
        """
        table, occupations, _ = read_listed(path, "run the study again to write it")
        full = occupations.codes[0] in table.columns
        return cls(
            rows=table.select(KEYS),
            occupations=occupations,
            log_probabilities=table.select(occupations.codes).to_numpy() if full else None,
            log_mass=table["log_mass"].to_numpy() if "log_mass" in table.columns else None,
            realised_raw=table["realised_raw"].to_numpy() if "realised_raw" in table.columns else None,
        )


class Model(Protocol):
    """Anything that learns from careers and gives one probability per occupation.

    Attributes:
        description: one sentence for the report.
        facts: label -> value for the report: what was chosen, what was counted.
    """

    @property
    def description(self) -> str: ...

    @property
    def facts(self) -> dict[str, str | int | float]: ...

    def fit(self, train: Careers, validation: Careers) -> None:
        """Learn from the training people; choose settings on the validation people."""

    def predict(self, careers: Careers) -> Probabilities:
        """Probability of each occupation in every person-year, given what came before it."""


def normalise(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide raw probabilities by their mass.

    Args:
        raw: log-probabilities or any log-scores, nats, shape (person_years, occupations).

    Returns:
        Normalised log-probabilities, float32, shape (person_years, occupations), and the log mass, float64, shape
        (person_years,).
    """
    scores = np.asarray(raw, dtype=np.float64)
    top = scores.max(axis=1, keepdims=True)
    log_mass = top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True))  # (person_years, 1)
    return (scores - log_mass).astype(np.float32), log_mass[:, 0]
