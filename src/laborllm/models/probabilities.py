"""The Probabilities table and the two methods that make anything a model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.careers import KEYS, Careers
from laborllm.survey.occupations import METADATA, Occupations

BLOCK = 4096
"""Person-years held a second time while a table is normalised, written or read; one row group of the file."""

ARITHMETIC = "laborllm.arithmetic"
"""The key under which a file says in which numbers a model was run."""


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
        arithmetic: in which numbers a language model was run, in words, e.g. "bfloat16 layers, float32 head"; None
            where all of them were float32.
    """

    rows: pl.DataFrame
    occupations: Occupations
    log_probabilities: np.ndarray | None = None
    log_mass: np.ndarray | None = None
    realised_raw: np.ndarray | None = None
    arithmetic: str | None = None

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
        """Write one Parquet file: person, year, occupation, a float32 column per code, log_mass where there is one.

        Rows are written block by block, so that the array is not held twice.
        """

        def blocks(*_: object) -> Iterator[pl.DataFrame]:
            yield from (self._frame(rows) for rows in _blocks(self.rows.height))

        metadata = {METADATA: self.occupations.to_json()}
        if self.arithmetic is not None:
            metadata[ARITHMETIC] = self.arithmetic
        table = register_io_source(blocks, schema=self._frame(slice(0)).schema)
        with whole_file(path) as temporary:
            table.sink_parquet(temporary, row_group_size=BLOCK, metadata=metadata)

    def _frame(self, rows: slice) -> pl.DataFrame:
        """The file's columns for some rows."""
        frame = self.rows[rows].select(KEYS)
        if self.log_probabilities is not None:
            block = self.log_probabilities[rows].astype(np.float32, copy=False)
            frame = frame.hstack(pl.from_numpy(block, schema=list(self.occupations.codes), orient="row"))
        extra = {"log_mass": self.log_mass, "realised_raw": self.realised_raw}
        return frame.with_columns(pl.Series(name, each[rows]) for name, each in extra.items() if each is not None)

    @classmethod
    def read(cls, path: Path) -> "Probabilities":
        """Read what ``write`` wrote, block by block into one array.

        Raises:
            LaborLLMError: the file is missing, no Parquet file, or holds no probabilities.
        """
        remedy = "run the study again to write it"
        try:
            with path.open("rb") as stream:
                metadata = pl.read_parquet_metadata(stream)
            if METADATA not in metadata:
                raise LaborLLMError(f"{path}: holds no list of occupations; {remedy}")
            occupations = Occupations.from_json(metadata[METADATA])
            table = pl.scan_parquet(path, glob=False)
            rest = table.select(pl.exclude(occupations.codes)).collect()
            full = occupations.codes[0] in table.collect_schema()
            scores = _read_blocks(table.select(occupations.codes), rest.height) if full else None
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LaborLLMError(f"{path}: cannot be read as Parquet; {remedy}") from error
        return cls(
            rows=rest.select(KEYS),
            occupations=occupations,
            log_probabilities=scores,
            log_mass=rest["log_mass"].to_numpy() if "log_mass" in rest.columns else None,
            realised_raw=rest["realised_raw"].to_numpy() if "realised_raw" in rest.columns else None,
            arithmetic=metadata.get(ARITHMETIC),
        )


@dataclass(frozen=True)
class StoredProbabilities(Mapping[str, Probabilities]):
    """Models' probabilities in a folder, read when they are asked for and not kept: one array in memory at a time.

    Attributes:
        folder: holds NAME.parquet, as ``Probabilities.write`` wrote it, for every name.
        names: the models, in order.
    """

    folder: Path
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> Probabilities:
        if name not in self.names:
            raise KeyError(name)
        return Probabilities.read(self.folder / f"{name}.parquet")

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


PhaseProgress = Callable[[str, int, int], None]
"""How a model that takes long says how far it is; called with (phase, done, total)."""


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
    normalised = np.empty(raw.shape, dtype=np.float32)
    log_mass = np.empty(len(raw))
    for rows in _blocks(len(raw)):
        scores = np.asarray(raw[rows], dtype=np.float64)  # (rows, occupations)
        top = scores.max(axis=1, keepdims=True)
        mass = top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True))  # (rows, 1)
        normalised[rows] = scores - mass
        log_mass[rows] = mass[:, 0]
    return normalised, log_mass


def _blocks(rows: int) -> Iterator[slice]:
    """Stretches of at most ``BLOCK`` rows."""
    return (slice(first, min(first + BLOCK, rows)) for first in range(0, rows, BLOCK))


def _read_blocks(columns: pl.LazyFrame, rows: int) -> np.ndarray:
    """Float32 columns of a file as one array, shape (rows, columns)."""
    array = np.empty((rows, len(columns.collect_schema())), dtype=np.float32)
    for block in _blocks(rows):
        array[block] = columns.slice(block.start, BLOCK).collect().to_numpy()
    return array
