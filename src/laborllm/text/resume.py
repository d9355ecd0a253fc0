"""A career written as a résumé, with the place of every title remembered (LABOR-LLM, text template)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from laborllm.settings import Settings
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import Occupations

INFORMATION = "The following information is available about the work history of"
BORN = "The worker was born in"
RECORDS = "The worker has the following records of work experience, one entry per line, including"
FULL_FIELDS = "year, education level, and the job title:"
FIELDS_WITHOUT_EDUCATION = "year, and the job title:"
END_OF_DATA = "<END OF DATA>"
Covariate = Literal["education", "gender", "ethnicity", "region", "birth_year"]


class ResumeSettings(Settings):
    """How careers are worded.

    Attributes:
        titles: "text" (the occupation's title), "numeric" (job_144), or the controls "permuted" (titles shuffled
            among occupations) and "random" (random letters of the same length).
        drop: covariates left out of the text.
        permute: covariates shuffled among people (education: among person-years) before writing.
        last_rows: how many earlier rows the text shows; all of them if not given.
        seed: seed of "permuted", "random" and ``permute``.
    """

    titles: Literal["text", "numeric", "permuted", "random"] = "text"
    drop: tuple[Covariate, ...] = ()
    permute: tuple[Covariate, ...] = ()
    last_rows: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Resume:
    """The text of one career, or of a window of it.

    Attributes:
        text: header, one line per row, and the end line where the career ends.
        rows: positions in the Careers table of the lines, shape (lines,), consecutive.
        cuts: character at which each line's prefix ends, just before the space and the title, shape (lines,).
        ends: character just after each line's line end, shape (lines,).
        occupation: position of each line's occupation in the closed list, shape (lines,).
        first_scored: the first line whose title this window predicts; earlier lines are history alone.
    """

    text: str
    rows: range
    cuts: np.ndarray
    ends: np.ndarray
    occupation: np.ndarray
    first_scored: int = 0


def resume_titles(occupations: Occupations, settings: ResumeSettings) -> tuple[str, ...]:
    """The words that stand for each occupation, shape (occupations,).

    Examples:
        >>> pair = Occupations(codes=("436", "313"), titles=("Cooks", "Secretaries"), groups=("food", "cleric"))
        >>> resume_titles(pair, ResumeSettings(titles="numeric"))
        ('job_0', 'job_1')
    """
    rng = np.random.default_rng(settings.seed)
    match settings.titles:
        case "text":
            return occupations.titles
        case "numeric":
            return tuple(f"job_{place}" for place in range(len(occupations)))
        case "permuted":
            return tuple(occupations.titles[place] for place in rng.permutation(len(occupations)))
        case "random":
            return _random_strings([len(title) for title in occupations.titles], rng)


def write_resumes(careers: Careers, settings: ResumeSettings) -> list[Resume]:
    """One résumé per person; with ``last_rows`` further windows, so that every row is scored exactly once.

    Args:
        careers: any careers.
        settings: the wording.
    """
    careers = permute_covariates(careers, settings.permute, np.random.default_rng(settings.seed))
    titles = resume_titles(careers.occupations, settings)
    writer = _Writer(careers, titles, settings)
    resumes = []
    for first, after in zip(careers.starts[:-1].tolist(), careers.starts[1:].tolist(), strict=True):
        whole = writer.write(range(first, after))
        resumes += [whole] if settings.last_rows is None else _last_rows(whole, settings.last_rows)
    return resumes


def shorten(resume: Resume, lines: int) -> list[Resume]:
    """Windows of at most ``lines`` lines under the same header; every scored line is scored exactly once.

    The oldest lines leave first and the header stays. Windows overlap by half, so that a line that has lost
    history still keeps at least half a window of it.
    """
    total = len(resume.rows)
    if total <= lines:
        return [resume]
    fresh = max(1, lines // 2)
    windows = [_window(resume, 0, lines, resume.first_scored)]
    done = lines
    while done < total:
        after = min(done + fresh, total)
        windows.append(_window(resume, max(0, after - lines), after, max(done, resume.first_scored)))
        done = after
    return [window for window in windows if window.first_scored < len(window.rows)]


def permute_covariates(careers: Careers, names: Sequence[str], rng: np.random.Generator) -> Careers:
    """Shuffle covariates among people (education: among person-years), each by the same draw of people."""
    if not names:
        return careers
    people = rng.permutation(careers.people)
    donor_row = careers.starts[:-1][people][careers.person_of_row]  # (person_years,)
    any_row = rng.permutation(len(careers))
    columns = [careers.table[name].gather(any_row if name == "education" else donor_row) for name in names]
    return replace(careers, table=careers.table.with_columns(columns))


class _Writer:
    """Holds the columns of a Careers table as lists, so that a résumé is written without a look-up per cell."""

    def __init__(self, careers: Careers, titles: Sequence[str], settings: ResumeSettings) -> None:
        self.hidden = set(settings.drop)
        nothing = [pl.lit(None).alias(name) for name in settings.drop]
        self.columns = careers.table.with_columns(nothing).to_dict(as_series=False)
        self.occupation = careers.occupation
        self.titles = [titles[place] for place in careers.occupation]

    def header(self, row: int) -> str:
        survey, birth_year = self.columns["survey"][row], self.columns["birth_year"][row]
        lines = [
            f"<A worker from the {survey} dataset>",
            f"{INFORMATION} {self._worker(row)}.",
        ]
        if birth_year is not None:
            lines.append(f"{BORN} {birth_year}.")
        without = "education" in self.hidden
        lines.append(f"{RECORDS} {FIELDS_WITHOUT_EDUCATION if without else FULL_FIELDS}")
        return "\n".join(lines) + "\n"

    def _worker(self, row: int) -> str:
        words = [self.columns["gender"][row], self.columns["ethnicity"][row], "US worker"]
        phrase = " ".join(word for word in words if word)
        article = "an" if phrase[0].lower() in "aeio" else "a"
        region = self.columns["region"][row]
        return f"{article} {phrase}" + (f" residing in the {region} region" if region else "")

    def line_start(self, row: int) -> str:
        education = self.columns["education"][row]
        return f"{self.columns['year'][row]}:" if education is None else f"{self.columns['year'][row]} ({education}):"

    def write(self, rows: range) -> Resume:
        text = self.header(rows[0])
        cuts, ends = [], []
        for row in rows:
            text += self.line_start(row)
            cuts.append(len(text))
            text += f" {self.titles[row]}\n"
            ends.append(len(text))
        return Resume(text + END_OF_DATA, rows, np.array(cuts), np.array(ends), self.occupation[rows.start : rows.stop])


def _last_rows(resume: Resume, last_rows: int) -> list[Resume]:
    """Windows in which every line sees at most so many lines before it."""
    lines = len(resume.rows)
    head = min(lines, last_rows + 1)
    windows = [resume if head == lines else _window(resume, 0, head, 0)]
    return windows + [_window(resume, line - last_rows, line + 1, line) for line in range(head, lines)]


def _window(resume: Resume, first: int, after: int, scored: int) -> Resume:
    """Lines ``first`` to ``after`` of a résumé under its header, predicting from line ``scored`` on."""
    header = resume.text[: _line_start(resume, 0)]
    start, stop = _line_start(resume, first), int(resume.ends[after - 1])
    ending = END_OF_DATA if after == len(resume.rows) else ""
    shift = len(header) - start
    return Resume(
        text=header + resume.text[start:stop] + ending,
        rows=resume.rows[first:after],
        cuts=resume.cuts[first:after] + shift,
        ends=resume.ends[first:after] + shift,
        occupation=resume.occupation[first:after],
        first_scored=scored - first,
    )


def _line_start(resume: Resume, line: int) -> int:
    if line > 0:
        return int(resume.ends[line - 1])
    return resume.text.rindex("\n", 0, int(resume.cuts[0])) + 1


def _random_strings(lengths: Sequence[int], rng: np.random.Generator) -> tuple[str, ...]:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    drawn: dict[str, None] = {}
    for length in lengths:
        attempts = 0
        while (word := "".join(rng.choice(letters, size=length + attempts // 100))) in drawn:
            attempts += 1
        drawn[word] = None
    return tuple(drawn)
