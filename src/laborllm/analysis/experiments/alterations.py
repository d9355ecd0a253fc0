"""Careers altered on purpose, one thing at a time, so that what a model loses by it can be measured."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from laborllm.errors import LaborLLMError
from laborllm.models.probabilities import Model
from laborllm.settings import Settings
from laborllm.survey.careers import Careers
from laborllm.text.resume import ResumeSettings, permute_covariates, resume_titles

Covariate = Literal["education", "gender", "ethnicity", "region", "birth_year"]
Titles = Literal["text", "numeric", "permuted", "random"]

WINDOW_ROWS = 200_000
"""Rows of windows predicted at a time: each is a row of the closed list in memory while a model predicts."""


class Alteration(Settings):
    """What is done to careers before a model reads them.

    Attributes:
        titles: of the closed list: its own words ("text"), codes ("numeric"), the words shuffled among occupations
            ("permuted"), random letters ("random").
        drop: covariates that are missing for everybody.
        permute: covariates shuffled among people (education: among person-years), all by the same draw.
        without: codes of occupations; person-years in them are left out.
        people: so many people, drawn at random; of two numbers the larger draw holds the smaller.
        pooled: share of the people of other surveys that stand beside the survey's own.
        seed: of every draw.
    """

    titles: Titles = "text"
    drop: tuple[Covariate, ...] = ()
    permute: tuple[Covariate, ...] = ()
    without: tuple[str, ...] = ()
    people: int | None = Field(default=None, ge=1)
    pooled: float = Field(default=0.0, ge=0, le=1)
    seed: int = Field(default=1, ge=0)


def altered(careers: Careers, alteration: Alteration, others: Sequence[Careers] = ()) -> Careers:
    """Careers after an alteration.

    Args:
        careers: training, validation or test people.
        alteration: what is done to them.
        others: other surveys, of each of whose people the share ``pooled`` is added.

    Raises:
        LaborLLMError: fewer people than are asked for, no row left, or no other survey to pool.
    """
    rng = np.random.default_rng(alteration.seed)
    if alteration.people is not None:
        careers = some_people(careers, alteration.people, rng)
    if alteration.pooled:
        if not others:
            raise LaborLLMError("pooled: there is no other survey; name the files of one in experiments.pooling.files")
        shares = [some_people(each, max(1, round(alteration.pooled * each.people)), rng) for each in others]
        careers = pooled(careers, shares)
    careers = permute_covariates(careers, alteration.permute, rng)
    table = careers.table.with_columns(_nothing(careers.table, name) for name in alteration.drop)
    if alteration.without:
        table = table.filter(~pl.col("occupation").cast(pl.String).is_in(alteration.without))
        if not table.height:
            raise LaborLLMError(f"without {', '.join(alteration.without)} no person-year is left; leave out fewer")
    titles = resume_titles(careers.occupations, ResumeSettings(titles=alteration.titles, seed=alteration.seed))
    return replace(careers, table=table, occupations=replace(careers.occupations, titles=titles))


def _nothing(table: pl.DataFrame, name: str) -> pl.Expr:
    return pl.lit(None, dtype=table.schema[name]).alias(name)


def some_people(careers: Careers, people: int, rng: np.random.Generator) -> Careers:
    """So many people at random, in the order of the table.

    Raises:
        LaborLLMError: there are fewer.
    """
    if people > careers.people:
        raise LaborLLMError(f"{people} people are asked for, there are {careers.people}; ask for fewer")
    chosen = np.zeros(careers.people, dtype=bool)
    chosen[rng.permutation(careers.people)[:people]] = True
    return replace(careers, table=careers.table.filter(pl.Series(chosen[careers.person_of_row])))


def pooled(own: Careers, others: Sequence[Careers]) -> Careers:
    """Careers of several surveys over the list of the first; people have names that tell the surveys apart.

    Person-years of the others in occupations that are not on the list are left out.

    Raises:
        LaborLLMError: one of the others shares no occupation with the list.
    """
    tables = [_of_survey(own, 0, own)] + [_of_survey(each, place, own) for place, each in enumerate(others, start=1)]
    names = [name for name in own.table.columns if all(name in table.columns for table in tables)]
    joined = pl.concat([table.select(names) for table in tables], how="vertical_relaxed")
    return replace(own, table=joined.sort("person", "year"))


def _of_survey(careers: Careers, place: int, own: Careers) -> pl.DataFrame:
    known = careers.table.filter(pl.col("occupation").cast(pl.String).is_in(own.occupations.codes))
    if not known.height:
        raise LaborLLMError(
            f"pooled: survey {place} shares no occupation with the study's list; bring both to the same closed list"
        )
    return known.with_columns(
        (pl.lit(f"{place}:") + pl.col("person").cast(pl.String)).alias("person"),
        pl.col("occupation").cast(pl.String).cast(own.occupations.dtype),
    )


def realised_after(model: Model, careers: Careers, last_rows: int | None = None) -> np.ndarray:
    """Log-probability of what happened, given the last rows of each history alone.

    Args:
        model: fitted.
        careers: the people to predict.
        last_rows: how many earlier rows the model may see, 0 for none; all of them if None. Covariates stay.

    Returns:
        nats, shape (person_years,).

    Raises:
        LaborLLMError: the model scores realised titles alone, which are not normalised over the list.
    """
    if last_rows is None:
        return _realised(model, careers)
    found = np.empty(len(careers))
    place = np.arange(len(careers)) - careers.starts[careers.person_of_row]  # (person_years,)
    short = np.flatnonzero(place <= last_rows)
    found[short] = _realised(model, _rows(careers, short))
    for rows in _blocks(np.flatnonzero(place > last_rows), max(1, WINDOW_ROWS // (last_rows + 1))):
        windows = (rows[:, None] + np.arange(-last_rows, 1)).ravel()  # (rows x (last_rows + 1),)
        people = np.repeat(np.arange(len(rows)), last_rows + 1)
        table = careers.table[windows].with_columns(person=pl.Series(people))
        found[rows] = _realised(model, replace(careers, table=table))[last_rows :: last_rows + 1]
    return found


def _realised(model: Model, careers: Careers) -> np.ndarray:
    realised = model.predict(careers).realised
    if realised is None:
        raise LaborLLMError(f'{model.description} It scores realised titles alone; set probabilities = "full"')
    return realised


def _rows(careers: Careers, rows: np.ndarray) -> Careers:
    """The person-years at these places; each person's are its first ones."""
    return replace(careers, table=careers.table[rows])


def _blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[first : first + size] for first in range(0, len(rows), size))
