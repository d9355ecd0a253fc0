"""Careers, such as résumés, whose text a language model learns before it learns from the survey."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.models.training_state import HELD_OUT, chooses_weights
from laborllm.survey.careers import Careers
from laborllm.text.resume import Resume, ResumeSettings, resume_titles, write_resumes


@dataclass(frozen=True)
class TextCorpus:
    """Careers of one closed list, to be learned as text.

    Attributes:
        learned: the careers that are learned.
        held_out: those whose perplexity chooses the checkpoint.
        text: how they are worded.
    """

    learned: Careers
    held_out: Careers
    text: ResumeSettings

    @property
    def titles(self) -> tuple[str, ...]:
        """The words of the corpus's own closed list, shape (occupations,)."""
        return resume_titles(self.learned.occupations, self.text)

    def written(self) -> list[Resume]:
        """The text of the careers that are learned."""
        return write_resumes(self.learned, self.text)

    def written_held_out(self) -> list[Resume]:
        """The text of the careers that are held out."""
        return write_resumes(self.held_out, self.text)


def read_corpus(files: Sequence[Path], text: ResumeSettings) -> TextCorpus:
    """Read files of careers; real titles, whatever words the survey's résumés use, and no covariate that all lack.

    Args:
        files: Parquet files that ``laborllm careers`` wrote, all with one closed list; it may be another than the
            survey's.
        text: how the survey's careers are worded.

    Raises:
        LaborLLMError: a file cannot be read, the files have different lists, or fewer than two people.
    """
    parts = [Careers.read(file) for file in files]
    first = parts[0].occupations
    for file, part in zip(files, parts, strict=True):
        if part.occupations != first:
            raise LaborLLMError(f"{file}: has another list of occupations than {files[0]}; give all files one list")
    careers = _stacked(parts)
    if careers.people < HELD_OUT:
        raise LaborLLMError(
            f"{files[0]}: {careers.people} people are too few to pre-train on; give {HELD_OUT} at least"
        )
    choosing = pl.Series(chooses_weights(careers.person_of_row))
    return TextCorpus(
        learned=Careers(careers.table.filter(~choosing), first),
        held_out=Careers(careers.table.filter(choosing), first),
        text=text.model_copy(update={"titles": "text", "permute": ()}),
    )


def _stacked(parts: Sequence[Careers]) -> Careers:
    """All files' people, one after another; people of different files are different people."""
    people = np.cumsum([0, *(part.people for part in parts)])
    tables = [
        part.table.with_columns(person=pl.Series(part.person_of_row + before))
        for part, before in zip(parts, people[:-1].tolist(), strict=True)
    ]
    return Careers(pl.concat(tables, how="diagonal_relaxed"), parts[0].occupations)
