"""CAREER's text format -> Careers, and back.

One file per variable and part of the split, ``train.job``, ``train.year``, ``valid.job``, …; one person a line, tokens
separated by spaces. The tokens of a line of ``job``, ``year`` and ``education`` stand for the same years. The other
variables, ``ethnicity``, ``gender``, ``location`` (our region) and ``birth_year`` (our own addition), have one token a
line, or the same token as often as there are jobs. The format is that of the published CAREER code (Vafa et al.,
"CAREER: A Foundation Model for Labor Sequence Data", Transactions on Machine Learning Research 2024).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_folder
from laborllm.settings import Settings
from laborllm.survey.careers import Careers
from laborllm.survey.door import FIRST_YEAR, LAST_YEAR, Source, careers_from_frame
from laborllm.survey.flow import step
from laborllm.survey.occupations import Occupations
from laborllm.survey.own_list import OwnList, name_states, read_own_list, write_occupations

FILES = {"train": "train", "valid": "validation", "test": "test"}
"""Their name of a part -> ours."""

ALIGNED = {"job": "occupation", "year": "year", "education": "education"}
FIXED = {"ethnicity": "ethnicity", "gender": "gender", "location": "region", "birth_year": "birth_year"}
VARIABLES = {**ALIGNED, **FIXED}
"""Their name of a variable, the file's extension -> ours."""

MISSING = "<missing>"
"""The token of a missing value, our own; the published format has none."""


class CareerTextSettings(Settings):
    """A folder in CAREER's text format: ``[survey] source = "career_text"``.

    Attributes:
        folder: holds ``train.job``, ``train.year`` and, if wanted, further parts (valid, test) and variables.
        titles: CSV with the columns code, title and, if wanted, group and state: the whole closed list; code is the
            token. Default: the job tokens of all parts, each its own title, in the order of the alphabet.
        survey: the population's name.
        spaces: read underscores in covariates, and in titles made from tokens, as spaces.
    """

    source: Literal["career_text"] = "career_text"
    folder: Path
    titles: Path | None = None
    survey: str = "survey"
    spaces: bool = False


@dataclass(frozen=True)
class LineSource(Source):
    """A ``Source`` whose rows are tokens: a message names the variable's file and the person's line.

    Attributes:
        names: the files without their extension.
        rows: the lines of each, shape (files,).
        origin: the line, counted from 1 over all parts, of each row of the frame, shape (frame_rows,).
    """

    def at(self, column: str, row: int) -> str:
        file, line = self.row(row)
        extension = next((theirs for theirs, ours in VARIABLES.items() if ours == column), column)
        return f"{file}.{extension}, line {line}"


def read_career_text(settings: CareerTextSettings) -> Careers:
    """Read a folder in CAREER's text format; the parts are the split.

    Person n is line n of train; the lines of valid and test are counted on.

    Raises:
        LaborLLMError: a file is missing, no UTF-8 or has an empty line; two files of a part differ in lines, or two
            lines in tokens; the years of a line do not rise; or a job is off the list. The message names file and line.
    """
    parts = career_text_parts(settings.folder)
    lines = {part: _read_part(settings.folder, part, variables) for part, variables in parts.items()}
    people = [tokens.height for tokens in lines.values()]
    before = np.cumsum([0, *people])
    rows = pl.concat(
        [_rows(tokens, part, offset) for (part, tokens), offset in zip(lines.items(), before, strict=False)]
    )
    if settings.spaces:
        words = [name for name in ("education", "ethnicity", "gender", "region") if name in rows.columns]
        rows = rows.with_columns(pl.col(words).str.replace_all("_", " "))
    own = _closed_list(rows["occupation"], settings)
    named, recoded = name_states(rows, own.states)
    names = tuple(str(settings.folder / part) for part in lines)
    source = LineSource(names, tuple(people), origin=rows["person"].to_numpy())
    read = [step(f"read from {part}.*", rows.filter(pl.col("split") == FILES[part]), "kept") for part in lines]
    return careers_from_frame(named, own.occupations, source=source, survey=settings.survey, flow=[*read, *recoded])


def career_text_parts(folder: Path) -> dict[str, list[str]]:
    """Part -> the variables that have a file, of every part that has one.

    Raises:
        LaborLLMError: the folder is missing, has no training careers, a part lacks jobs or years, or two parts have
            different variables.
    """
    if not folder.is_dir():
        raise LaborLLMError(f"{folder}: no such folder; give a folder with train.job and train.year")
    found = {part: [name for name in VARIABLES if (folder / f"{part}.{name}").is_file()] for part in FILES}
    parts = {part: variables for part, variables in found.items() if variables or part == "train"}
    for part, variables in parts.items():
        for name in ("job", "year", *parts["train"]):
            if name not in variables:
                raise LaborLLMError(f"{folder / part}.{name}: no such file; every part has the same variables as train")
        for name in variables:
            if name not in parts["train"]:
                raise LaborLLMError(
                    f"{folder / 'train'}.{name}: no such file, but there is {part}.{name}; "
                    f"every part has the same variables as train"
                )
    return parts


def write_career_text(careers: Careers, folder: Path) -> None:
    """Write careers in CAREER's text format: all files, or none.

    What the format holds: jobs, years, education, the fixed covariates that are known of somebody, and the parts of
    the split, people in their order. It has no person ids, survey names, weights and wages. Spaces in words and codes
    become underscores; a missing covariate is the token ``<missing>``. The closed list is written beside it, as
    ``occupations.csv`` (code is the token, title, group), which ``CareerTextSettings.titles`` reads.

    Args:
        careers: careers with a split.
        folder: a new or empty folder.

    Raises:
        LaborLLMError: the careers have no split, the folder holds something, it cannot be written, or two words or
            codes become the same token.
    """
    if "split" not in careers.table.columns:
        raise LaborLLMError("the careers are not split yet; call split_by_person first")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LaborLLMError(f"{folder}: is there already and holds something; choose a new or an empty folder")
    tokens = _token_table(careers)
    listed = careers.occupations
    codes = _tokens(pl.Series("occupation", listed.codes))
    with whole_folder(folder) as temporary:
        write_occupations(Occupations(tuple(codes), listed.titles, listed.groups), temporary / "occupations.csv")
        for part, ours in FILES.items():
            people = tokens.filter(pl.col("split") == ours).drop("split")
            for name in people.columns[1:] if people.height else ():
                text = "".join(f"{line}\n" for line in people[name])
                (temporary / f"{part}.{name}").write_text(text, encoding="utf-8", newline="\n")


def _token_table(careers: Careers) -> pl.DataFrame:
    """One row a person: person, the line of each variable's file, and split."""
    table = careers.table.with_columns(pl.col("occupation").cast(pl.String))
    ours = [
        (name, column)
        for name, column in VARIABLES.items()
        if column in table.columns and table[column].null_count() < table.height
    ]
    tokens = table.select("person", "split", *(_tokens(table[column]).alias(name) for name, column in ours))
    lines = [pl.col(name).str.join(" ") if name in ALIGNED else pl.col(name).first() for name, _ in ours]
    people = tokens.group_by("person", maintain_order=True).agg(*lines, pl.col("split").first())
    return people


def _tokens(column: pl.Series) -> pl.Series:
    """Words as tokens: spaces become underscores, missing values a token of their own."""
    words = column.cast(pl.String)
    tokens = words.str.replace_all(r"\s", "_").fill_null(MISSING)
    pairs = pl.DataFrame({"word": words, "token": tokens}).unique().sort("word", nulls_last=True)
    twice = pairs.filter(pl.col("token").is_duplicated())
    if twice.height:
        first, second = twice["word"].head(2).to_list()
        raise LaborLLMError(
            f"column {column.name}: {first!r} and {second!r} would both be written as {twice['token'][0]!r}; rename one"
        )
    return tokens


def _read_part(folder: Path, part: str, variables: list[str]) -> pl.DataFrame:
    """One row a line: a list of tokens for each variable, under our names, shape (lines,)."""
    columns = {name: _read_lines(folder / f"{part}.{name}") for name in variables}
    jobs = columns["job"]
    for name, tokens in columns.items():
        file = folder / f"{part}.{name}"
        if len(tokens) != len(jobs):
            raise LaborLLMError(f"{file}: has {len(tokens)} lines, {part}.job has {len(jobs)}; give one a person")
        _require_aligned(tokens.list.len(), jobs.list.len(), file, fixed=name in FIXED)
        if name in FIXED:
            _require_one_value(tokens, file)
    _require_rising(columns["year"], folder / f"{part}.year")
    return pl.DataFrame([tokens.alias(VARIABLES[name]) for name, tokens in columns.items()])


def _read_lines(file: Path) -> pl.Series:
    """The tokens of each line, shape (lines,)."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LaborLLMError(f"{file}: cannot be read ({error}); give UTF-8 text, one person a line") from error
    if "\0" in text:
        raise LaborLLMError(
            f"{file}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: holds a null byte; the file is damaged"
        )
    lines = pl.Series("tokens", text.removesuffix("\n").split("\n"), dtype=pl.String)
    tokens = lines.str.extract_all(r"[^ \t]+")
    empty = (tokens.list.len() == 0).arg_true()
    if len(empty):
        raise LaborLLMError(
            f"{file}, line {empty[0] + 1}: holds no token ({len(empty)} such lines); one person a line, none empty"
        )
    return tokens


def _require_aligned(counts: pl.Series, jobs: pl.Series, file: Path, *, fixed: bool) -> None:
    wrong = (counts != jobs) & (counts != 1) if fixed else counts != jobs
    line = wrong.arg_max()
    if wrong.any() and line is not None:
        often = "one, or as many as jobs" if fixed else "as many as jobs"
        raise LaborLLMError(
            f"{file}, line {line + 1}: has {counts[line]} tokens, {file.stem}.job has {jobs[line]} "
            f"({wrong.sum()} such lines); give {often}"
        )


def _require_one_value(tokens: pl.Series, file: Path) -> None:
    changing = (tokens.list.n_unique() > 1).arg_true()
    if len(changing):
        first, second = tokens[int(changing[0])].unique(maintain_order=True).to_list()[:2]
        raise LaborLLMError(
            f"{file}, line {changing[0] + 1}: has both {first!r} and {second!r} ({len(changing)} such lines); "
            f"{file.suffix[1:]} must be one value a person"
        )


def _require_rising(years: pl.Series, file: Path) -> None:
    """Years are whole numbers of four digits that rise along a line."""
    tokens = years.explode()  # (tokens,)
    line = np.repeat(np.arange(1, len(years) + 1), years.list.len().to_numpy())  # (tokens,)
    numbers = tokens.cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    known = tokens.str.contains(r"^[0-9]{4}$").to_numpy() & (numbers >= FIRST_YEAR) & (numbers <= LAST_YEAR)
    for place in np.flatnonzero(~known)[:1]:
        year = tokens[int(place)]
        raise LaborLLMError(
            f"{file}, line {line[place]}: {year!r} is no calendar year of {FIRST_YEAR}-{LAST_YEAR}; mend it"
        )
    falls = 1 + np.flatnonzero((np.diff(numbers) <= 0) & (np.diff(line) == 0))
    for place in falls[:1]:
        raise LaborLLMError(
            f"{file}, line {line[place]}: {numbers[place]} follows {numbers[place - 1]} "
            f"({len(np.unique(line[falls]))} such lines); the years of a line rise, one job a year"
        )


def _rows(tokens: pl.DataFrame, part: str, before: int) -> pl.DataFrame:
    """One row a job; people are counted on from those before."""
    aligned = [name for name in ALIGNED.values() if name in tokens.columns]
    fixed = [name for name in FIXED.values() if name in tokens.columns]
    table = tokens.with_columns(pl.col(name).list.first() for name in fixed).with_row_index("person", offset=before + 1)
    rows = table.with_columns(pl.col("person").cast(pl.Int64), split=pl.lit(FILES[part])).explode(aligned)
    return rows.with_columns(pl.col(name).replace(MISSING, None) for name in (*aligned[2:], *fixed))


def _closed_list(jobs: pl.Series, settings: CareerTextSettings) -> OwnList:
    if settings.titles is not None:
        return read_own_list(settings.titles)
    codes = tuple(jobs.unique().sort())
    titles = tuple(code.replace("_", " ") for code in codes) if settings.spaces else codes
    return OwnList(Occupations(codes, titles, groups=("",) * len(codes)), {})
