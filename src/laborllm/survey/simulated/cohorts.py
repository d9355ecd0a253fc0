"""What the simulated bundles of both NLS cohorts share: variables by concept and round.

A cohort gives for each concept of the reader's table a matrix of values, people by rounds, or one value a person. The
table says in which rounds the survey has the variable and under which number; variables whose number is not known are
left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.survey.nls.cohort import NO_INTERVIEW
from laborllm.survey.simulated.bundles import Description, write_bundle
from laborllm.survey.simulated.panel import Panel
from laborllm.survey.variables import VariableTable


@dataclass(frozen=True)
class Measured:
    """One concept of a survey.

    Attributes:
        title: what the codebook says.
        values: shape (people, rounds), or (people,) where it is asked once.
        labels: value -> words, where the codebook lists them.
    """

    title: str
    values: np.ndarray
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    """A variable that stands in no table of variables: its description, and one value a person, shape (people,)."""

    description: Description
    values: np.ndarray


class Numbered:
    """The rounds in which a survey has each concept under a number that is known."""

    def __init__(self, table: VariableTable, rounds: np.ndarray) -> None:
        rows = table.rows.drop_nulls(["reference", "questions"])
        self.rows = rows.unique("reference", keep="first", maintain_order=True)
        self.rounds = rounds

    def asked(self, concept: str) -> np.ndarray:
        """Whether each round has the concept, bool, shape (rounds,)."""
        years = set(self.rows.filter(pl.col("concept") == concept)["year"])
        return np.array([str(year) in years for year in self.rounds])


def interviewed_only(values: np.ndarray, panel: Panel) -> np.ndarray:
    """-5 in rounds without an interview."""
    return np.where(panel.population.interviewed, values, NO_INTERVIEW)


def write_cohort(
    numbered: Numbered,
    measured: Mapping[str, Measured],
    others: Sequence[Other],
    folder: Path,
    *,
    person: Description,
    cohort: str,
) -> None:
    """Write one bundle ``COHORT.csv`` … with the id, the measured concepts and the others, in order of their numbers.

    Args:
        numbered: the numbers of the concepts by round.
        measured: concept -> values.
        others: further variables, such as weeks, and such as no reader wants.
        folder: where to write.
        person: the id; people count from 1.
        cohort: "NLSY79" or "NLSY97".
    """
    columns = [(other.description, other.values) for other in others]
    turn = {str(year): place for place, year in enumerate(numbered.rounds)}
    for concept, year, reference, questions in numbered.rows.select(
        "concept", "year", "reference", "questions"
    ).iter_rows():
        what = measured.get(concept)
        if what is None or (what.values.ndim == 2 and year not in turn):
            continue
        values = what.values if what.values.ndim == 1 else what.values[:, turn[year]]
        columns.append((Description(reference, questions.split()[0], year, what.title, what.labels), values))
    columns.sort(key=lambda column: column[0].reference)
    people = np.arange(1, len(columns[0][1]) + 1)
    columns.insert(0, (person, people))
    table = pl.DataFrame({description.reference: values for description, values in columns})
    write_bundle(table, [description for description, _ in columns], folder, name=cohort.lower(), cohort=cohort)
