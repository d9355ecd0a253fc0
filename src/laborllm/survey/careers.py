"""The Careers table: one row per person and year."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.occupations import METADATA, Occupations, read_listed

KEYS = ("person", "year", "occupation")
FIXED = ("gender", "ethnicity", "region", "birth_year", "survey")
"""Covariates with one value a person."""
COVARIATES = ("education", "gender", "ethnicity", "region", "birth_year")
NUMBERS = ("weight", "wage", "labor_income")
PARTS = ("train", "validation", "test")
COLUMNS = (*KEYS, *COVARIATES, "survey", *NUMBERS, "split")

EDUCATION = ("less than high school", "high school", "some college", "college", "graduate degree")
GENDERS = ("female", "male")
ETHNICITIES = ("white", "black or african american", "hispanic", "other")
REGIONS = ("northeast", "northcentral", "south", "west")
"""The words the built-in readers use; a user's own table may use others."""


@dataclass(frozen=True)
class Step:
    """One line of the sample flow: what happened to how many, and why.

    Attributes:
        what: the step in words, e.g. "dropped: code maps to no occupation (Census 1980: 999)".
        people: people concerned.
        person_years: person-years concerned.
        kind: "kept" (the sample after this step), "dropped", "recoded", or "noted" (what the files lack or hold unread;
            the sample stays as it is).
    """

    what: str
    people: int
    person_years: int
    kind: str = "kept"


@dataclass(frozen=True)
class Careers:
    """Careers by person and year: the table that every model reads.

    Attributes:
        table: sorted by person and year, one row per person-year; columns person (int or str), year (int32),
            occupation (``Enum`` over ``occupations.codes``), education, gender, ethnicity, region (str, may be
            missing), birth_year (int32, may be missing), survey (str), and where known weight (float64), wage
            (dollars an hour of the survey year), labor_income (dollars a year, of the calendar year before the survey
            year, nominal unless deflated), split ("train" | "validation" | "test").
        occupations: the closed list.
        flow: how the sample came about, in order.
    """

    table: pl.DataFrame
    occupations: Occupations
    flow: tuple[Step, ...] = ()

    def __len__(self) -> int:
        return self.table.height

    @property
    def people(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each person, then the number of rows, shape (people + 1,)."""
        changed = self.table["person"].to_frame().select(pl.col("person") != pl.col("person").shift())
        first = changed["person"].fill_null(True).arg_true().to_numpy()
        return np.append(first, len(self)).astype(np.int64)  # (people + 1,)

    @cached_property
    def person_of_row(self) -> np.ndarray:
        """Index of each row's person, 0 … people - 1, shape (person_years,)."""
        return np.repeat(np.arange(self.people), np.diff(self.starts))

    @cached_property
    def occupation(self) -> np.ndarray:
        """Position of each row's occupation in the closed list, shape (person_years,)."""
        return self.table["occupation"].to_physical().to_numpy().astype(np.int64)

    @cached_property
    def previous(self) -> np.ndarray:
        """Position of the person's previous observed occupation, -1 in a first row, shape (person_years,)."""
        previous = np.full(len(self), -1, dtype=np.int64)
        previous[1:] = self.occupation[:-1]
        previous[self.starts[:-1]] = -1
        return previous

    @cached_property
    def transition(self) -> np.ndarray:
        """ "first", "stay" or "move" for each row, shape (person_years,)."""
        stays = np.where(self.previous == self.occupation, "stay", "move")
        return np.where(self.previous < 0, "first", stays)

    def part(self, name: str) -> "Careers":
        """The people of one part of the split: train, validation or test."""
        if "split" not in self.table.columns:
            raise LaborLLMError("the careers are not split yet; call split_by_person first")
        return replace(self, table=self.table.filter(pl.col("split") == name), flow=())

    def first_people(self, people: int) -> "Careers":
        """The first so many people."""
        return replace(self, table=self.table.head(int(self.starts[min(people, self.people)])))

    def write(self, path: Path) -> None:
        """Write one Parquet file that carries the closed list in its metadata."""
        flow = json.dumps([vars(step) for step in self.flow])
        with whole_file(path) as temporary:
            self.table.write_parquet(temporary, metadata={METADATA: self.occupations.to_json(), "laborllm.flow": flow})

    @classmethod
    def read(cls, path: Path) -> "Careers":
        """Read what ``write`` wrote.

        Raises:
            LaborLLMError: the file is missing, no Parquet file, or holds no careers.
        """
        table, occupations, metadata = read_listed(path, "write it with `laborllm careers`")
        flow = tuple(Step(**step) for step in json.loads(metadata.get("laborllm.flow", "[]")))
        return cls(table=table, occupations=occupations, flow=flow)


def split_by_person(careers: Careers, shares: Sequence[float], rng: np.random.Generator) -> Careers:
    """Assign every person to train, validation or test at random.

    Args:
        careers: any careers; a split already there is replaced.
        shares: shares of people in train, validation and test; they sum to 1.
        rng: the source of randomness.

    Raises:
        LaborLLMError: the shares are not three numbers that sum to 1, or a part would hold nobody.
    """
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise LaborLLMError(f"split.shares is {list(shares)}; give three positive shares that sum to 1")
    bounds = np.round(np.cumsum(shares) * careers.people).astype(int)
    sizes = np.diff(bounds, prepend=0)
    if sizes.min() < 1:
        raise LaborLLMError(f"{careers.people} people are too few for split.shares {list(shares)}; add people")
    part_of_person = np.repeat(np.arange(3), sizes)
    rng.shuffle(part_of_person)
    split = pl.Series("split", np.array(PARTS)[part_of_person[careers.person_of_row]], dtype=pl.Enum(PARTS))
    return replace(careers, table=careers.table.with_columns(split))
