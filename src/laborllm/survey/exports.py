"""Careers for other programs: Stata, CSV, Parquet, CAREER's text format."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.files import whole_file
from laborllm.survey.careers import Careers
from laborllm.survey.tables.career_text import write_career_text
from laborllm.survey.tables.files import EXTENSIONS

STATA_VERSION = 118
"""Of the file format: Stata 14 and later; the first that holds titles in any script. Stata 13 reads 117 at most."""

LARGEST_LONG = 2_147_483_620
"""The largest whole number of Stata's type long."""

LABELS = {
    "person": "Person",
    "year": "Calendar year",
    "occupation": "Occupation, code of the closed list",
    "title": "Occupation, title",
    "education": "Education in that year",
    "gender": "Gender",
    "ethnicity": "Ethnicity",
    "region": "Region",
    "birth_year": "Year of birth",
    "survey": "Survey",
    "weight": "Sampling weight",
    "wage": "Hourly wage, dollars of the survey year",
    "labor_income": "Labor income of the year before, dollars a year",
    "split": "Part of the split",
}
"""Stata's labels of the variables."""


def export_careers(careers: Careers, path: Path) -> None:
    """Write a Careers table for another program; the file's extension names the format.

    - ``.dta``: Stata 14 and later. Where all codes of the closed list are plain whole numbers, occupation is a number
      labelled with its title. Elsewhere ("0110", "unemployed") it is the code as text, and the variable ``title``, a
      number labelled with the title, stands beside it. Years are whole numbers; missing words are empty texts, as
      Stata has them. ``TableSettings`` reads it back, given the closed list.
    - ``.csv``: UTF-8, one row per person-year, missing values empty.
    - ``.parquet``: as ``Careers.write``, with the closed list and the flow.
    - no extension: a folder in CAREER's text format, see ``write_career_text``; the careers must be split.

    Args:
        careers: any careers.
        path: the file, or the folder; it is written whole or not at all.

    Raises:
        LaborLLMError: the extension is unknown, the file cannot be written, Stata's numbers cannot hold an id, or
            pandas, which writes Stata files, is not installed.
    """
    require_known_extension(path)
    match path.suffix.lower():
        case "":
            write_career_text(careers, path)
        case ".parquet":
            careers.write(path)
        case ".csv":
            with whole_file(path) as temporary:
                careers.table.write_csv(temporary)
        case ".dta":
            _write_stata(careers, path)


def require_known_extension(path: Path) -> None:
    """Refuse a file whose extension names no format, before the careers are read.

    Raises:
        LaborLLMError: the extension is unknown.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in EXTENSIONS:
        raise LaborLLMError(f"{path}: extension {suffix!r} is none of {', '.join(EXTENSIONS)}; choose one of them")


def _write_stata(careers: Careers, path: Path) -> None:
    absent = [name for name in ("pandas", "pyarrow") if find_spec(name) is None]
    if absent:
        raise LaborLLMError(f"{path}: Stata files need {absent[0]}; run `pip install laborllm[stata]`")
    table, labelled = _with_occupation(careers)
    frame = _pandas(table, path)
    titles = dict(zip(labelled[1], careers.occupations.titles, strict=True))
    with whole_file(path) as temporary:
        try:
            frame.to_stata(
                temporary,
                write_index=False,
                version=STATA_VERSION,
                variable_labels={name: LABELS[name] for name in frame.columns},
                value_labels={labelled[0]: titles},
            )
        except ValueError as error:
            raise LaborLLMError(f"{path}: cannot be written as Stata ({error}); export a .csv") from error


def _with_occupation(careers: Careers) -> tuple[pl.DataFrame, tuple[str, list[int]]]:
    """The table with codes as numbers, or as text beside numbered titles; the labelled column and its numbers."""
    codes = careers.occupations.codes
    text = pl.col("occupation").cast(pl.String)
    if all(re.fullmatch("0|[1-9][0-9]{0,9}", code) and int(code) <= LARGEST_LONG for code in codes):
        return careers.table.with_columns(text.cast(pl.Int32)), ("occupation", [int(code) for code in codes])
    titles = (pl.col("occupation").to_physical().cast(pl.Int32) + 1).alias("title")
    table = careers.table.with_columns(text, titles)
    names = list(careers.table.columns)
    names.insert(names.index("occupation") + 1, "title")
    return table.select(names), ("title", list(range(1, len(codes) + 1)))


def _pandas(table: pl.DataFrame, path: Path) -> Any:
    """Columns of the types that Stata has: whole numbers that may be missing, numbers, texts that may be empty."""
    import pandas as pd

    columns = {}
    for column in table:
        if column.name == "person" and column.dtype.is_integer():
            columns["person"] = pd.Series(_ids(column, path))
        elif column.dtype.is_integer():
            columns[column.name] = pd.Series(column.to_list(), dtype="Int32")
        elif column.dtype.is_float():
            columns[column.name] = pd.Series(column.to_numpy())
        else:
            columns[column.name] = pd.Series(column.cast(pl.String).fill_null("").to_list(), dtype=object)
    return pd.DataFrame(columns)


def _ids(ids: pl.Series, path: Path) -> Any:
    """Whole numbers up to 2^53, which Stata's double holds exactly."""
    large = ids.filter((ids > 2**53) | (ids < -(2**53)))
    if len(large):
        raise LaborLLMError(
            f"{path}, column person: {large[0]} is above 2^53, more than a Stata number holds; "
            f"make the ids text, or export a .csv"
        )
    return ids.cast(pl.Int64).to_numpy()
