"""Extracts with the survey's words beside its codes: a row per person and variable, or a row per person."""

import numpy as np
import polars as pl

from laborllm.survey.nls.codebook import MISSING, MISSING_CODES, Codebook
from laborllm.survey.nls.extracts import PERSON, Extract, Variable

_LONG = {PERSON: pl.Int64, "year": pl.String, "variable": pl.String, "value": pl.Int64, "label": pl.String}


def long_form(extract: Extract, codebook: Codebook | None = None) -> pl.DataFrame:
    """One row a person and variable.

    Args:
        extract: what ``read_extract`` gave; choose variables there with ``wanted``, so that no other is read.
        codebook: where the words are; None leaves label null.

    Returns:
        Columns person, year (as the survey writes it), variable (question name, else the column's name), value (with
        the survey's missing codes) and label (null where the codebook has no words), variable by variable and sorted
        by person. People who are not in a variable's file have no row for it.
    """
    parts = [pl.DataFrame(schema=_LONG)]
    for variable in extract.variables:
        values = extract.values[variable.column].cast(pl.Int64)
        columns = [
            extract.values[PERSON],
            pl.Series("year", [variable.year], pl.String).new_from_index(0, len(values)),
            pl.Series("variable", [variable.question or variable.column]).new_from_index(0, len(values)),
            values.alias("value"),
            _words(values, variable, codebook),
        ]
        parts.append(pl.DataFrame(columns).drop_nulls("value"))
    return pl.concat(parts)


def labelled(extract: Extract, codebook: Codebook) -> pl.DataFrame:
    """One row a person, with the survey's words in place of its codes.

    Returns:
        Column person, then the extract's columns as text: the label, or the number where the codebook has no words for
        it; null where the person is not in that variable's file.
    """
    columns = [extract.values[PERSON]]
    for variable in extract.variables:
        values = extract.values[variable.column].cast(pl.Int64)
        words = _words(values, variable, codebook)
        columns.append(words.fill_null(values.cast(pl.String)).alias(variable.column))
    return pl.DataFrame(columns)


def _words(values: pl.Series, variable: Variable, codebook: Codebook | None) -> pl.Series:
    """The label of each value, null where there is none. A missing code is one even where a printed range holds it."""
    reference = variable.reference or ""
    if codebook is None or reference not in codebook:
        return pl.Series("label", [None], pl.String).new_from_index(0, len(values))
    labels = codebook.labels(reference).filter(~pl.col("low").is_in(MISSING_CODES)).sort("low")
    numbers = values.unique().drop_nulls()
    words: dict[int, str] = {}
    if labels.height:
        places = np.searchsorted(labels["low"].to_numpy(), numbers.to_numpy(), side="right") - 1
        found = labels[np.maximum(places, 0)].with_columns(value=numbers)
        named = found.filter(pl.Series(places >= 0) & (pl.col("value") <= pl.col("high")))
        words = dict(zip(named["value"], named["label"], strict=True))
    words |= MISSING
    return values.replace_strict(list(words), list(words.values()), default=None, return_dtype=pl.String).alias("label")
