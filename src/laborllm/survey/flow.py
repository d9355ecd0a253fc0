"""What the readers of surveys share: lines of the sample flow, rows sifted and filled, the list that codes reach."""

from collections.abc import Sequence

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.occupations import STATES, Occupations, crosswalk, occ1990dd

ENOUGH_CODES = 20
"""Codes in a round from which its classification is judged."""
NAMED = 5
"""Columns, codes or years that a step names before it breaks off."""


def step(what: str, rows: pl.DataFrame, kind: str) -> Step:
    """A line of the flow that counts the people and the rows of a frame with the column person."""
    return Step(what, people=rows["person"].n_unique(), person_years=rows.height, kind=kind)


def first_names(names: Sequence[str]) -> str:
    """The first few names, and whether there are more.

    Examples:
        >>> first_names(["1979", "1980"])
        '1979, 1980'
    """
    return ", ".join([*names[:NAMED], *(["..."] if len(names) > NAMED else [])])


def unmapped_codes(rows: pl.DataFrame, most: int = NAMED) -> str:
    """The codes of a frame (columns census and code), most frequent first.

    Examples:
        >>> unmapped_codes(pl.DataFrame({"census": [1980, 1980], "code": [999, 999]}))
        'Census 1980: 999 2 times'
    """
    texts = []
    for (census,), part in rows.group_by("census", maintain_order=True):
        counts = part.group_by("code").len().sort(["len", "code"], descending=[True, False])
        named = [f"{code} {count} times" for code, count in counts.head(most).iter_rows()]
        others = [f"{counts.height - most} other codes"] if counts.height > most else []
        texts.append(f"Census {census}: {', '.join(named + others)}")
    return "; ".join(texts)


def closed_list(rows: pl.DataFrame) -> Occupations:
    """The occupations that the census codes of a frame (columns census and occupation) reach, then its states."""
    present = set(rows["occupation"].unique())
    states = [state for state in STATES if state in present]
    censuses = rows["census"].drop_nulls().unique()
    reachable = {code for census in censuses for code in crosswalk(census).values()}
    return occ1990dd(states).restrict(reachable | set(states))


def require_classified(rows: pl.DataFrame, source: str) -> None:
    """Refuse a round most of whose codes are unknown to the classification that the table of variables says.

    Args:
        rows: columns year, census, code and job (null where the code maps to no occupation).
        source: the files, for the message.

    Raises:
        LaborLLMError: of a round with at least ``ENOUGH_CODES`` codes, more than half map to no occupation.
    """
    coded = rows.filter(pl.col("code") >= 0)
    rounds = coded.group_by("year", "census").agg(codes=pl.len(), unknown=pl.col("job").is_null().sum()).sort("year")
    strange = rounds.filter((pl.col("codes") >= ENOUGH_CODES) & (pl.col("unknown") * 2 > pl.col("codes")))
    for year, census, codes, unknown in strange.head(1).iter_rows():
        which = coded.filter((pl.col("year") == year) & (pl.col("census") == census) & pl.col("job").is_null())
        raise LaborLLMError(
            f"{source}: {unknown} of the {codes} occupation codes of {year} map to no occupation "
            f"({unmapped_codes(which)}); the round is coded in another classification: say which in survey.variables"
        )


def sift(rows: pl.DataFrame, reasons: Sequence[tuple[str, pl.Expr]]) -> tuple[pl.DataFrame, list[Step]]:
    """The rows for which no reason holds, and a step for each reason that drops some.

    Args:
        rows: with the column person.
        reasons: words and a condition on the rows; the first that holds counts. A null is no reason.
    """
    steps = []
    for words, condition in reasons:
        holds = rows.select(condition.fill_null(False).alias("holds"))["holds"]
        if holds.any():
            steps.append(step(f"dropped: {words}", rows.filter(holds), "dropped"))
            rows = rows.filter(~holds)
    return rows, steps


def require_rows(rows: pl.DataFrame, steps: Sequence[Step], source: str) -> None:
    """Refuse a sample of which nothing is left.

    Raises:
        LaborLLMError: there are no rows; the message says which steps dropped them.
    """
    if not rows.height:
        lost = "; ".join(f"{each.what}: {each.person_years:,}" for each in steps if each.kind == "dropped")
        raise LaborLLMError(f"{source}: no person-year is left ({lost}); draw the files again or change the settings")


def carried_forward(rows: pl.DataFrame, known: pl.DataFrame, name: str) -> pl.DataFrame:
    """Adds the last value known up to each row's year.

    Args:
        rows: with the columns person and year (int32).
        known: columns person, year (int32) and ``name``, no nulls.
        name: the column to add; also adds ``name_year``, the year in which the value was told.

    Returns:
        The rows, sorted by person and year; both columns are null where nothing is known yet.
    """
    told = known.select("person", "year", name, pl.col("year").alias(f"{name}_year")).sort("year")
    joined = rows.sort("year").join_asof(told, on="year", by="person", strategy="backward", check_sortedness=False)
    return joined.sort("person", "year")


def carried_steps(rows: pl.DataFrame, name: str) -> list[Step]:
    """A step for the rows whose value ``carried_forward`` took from an earlier round."""
    carried = rows.filter(pl.col(f"{name}_year") < pl.col("year"))
    return (
        [step(f"recoded: {name} carried forward from an earlier round", carried, "recoded")] if carried.height else []
    )
