"""Who is head or spouse of which family in which wave of the PSID, and what the family file says of them."""

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Step
from laborllm.survey.flow import first_names, sift
from laborllm.survey.psid.codes import (
    ABSENT,
    CENSUS,
    FIRST_WAVE,
    IN_FAMILY,
    REGION,
    RETROSPECTIVE,
    ROLES,
    SPANISH_DESCENT,
    WORKS_NOW,
    races,
    relations,
    statuses,
)
from laborllm.survey.psid.waves import PERSON, Waves
from laborllm.survey.variables import VariableTable

MENTIONS = ("status", "status_2", "status_3")
STATES = ("in_education", "unemployed", "not_in_labor_force")


def occupation_kinds(year_concepts: list[str], role: str, retrospective: bool) -> list[str]:
    """The kinds of occupation code (words of ``CENSUS``) among the concepts of a wave, newest classification first.

    Examples:
        >>> occupation_kinds(["head_occupation_1970", "head_status"], "head", retrospective=False)
        ['1970']
    """
    kinds = [kind for kind in reversed(CENSUS) if retrospective or kind != RETROSPECTIVE]
    return [kind for kind in kinds if f"{role}_occupation_{kind}" in year_concepts]


def roster(waves: Waves, table: VariableTable, *, retrospective: bool) -> pl.DataFrame:
    """Everyone in a family that answered, in the waves whose family file has an occupation.

    Returns:
        Columns person, year (int32), interview (int64), sequence and relation (1968: sequence 1 of all who have a
        relation); one row per person and wave.

    Raises:
        LaborLLMError: no wave has an occupation, or one lacks interview number, sequence number or relation.
    """
    parts = []
    for year, families in waves.families.items():
        if any(occupation_kinds(families.columns, role, retrospective) for role in ROLES):
            parts.append(_roster_of(waves, table, year))
    if not parts:
        raise LaborLLMError(
            f"{next(iter(waves.headers))}: no occupation among the variables; add family files of 1981 to 2021, or "
            f"draw an extract with the variables of the package's psid_cart.txt"
        )
    return pl.concat(parts)


def _roster_of(waves: Waves, table: VariableTable, year: int) -> pl.DataFrame:
    concepts = ["interview", "relation", *(["sequence"] if year > FIRST_WAVE else [])]
    columns = {concept: waves.of_people(concept, year) for concept in concepts}
    lacking = [concept for concept, column in columns.items() if column is None]
    if lacking:
        listed = table.rows.filter((pl.col("year") == str(year)) & pl.col("concept").is_in(lacking))[
            "reference"
        ].to_list()
        raise LaborLLMError(
            f"{next(iter(waves.headers))}: has family variables of {year}, but the files with people lack {lacking[0]} "
            f"of that wave; add the cross-year individual file, or draw {', '.join(listed)} too"
        )
    rows = waves.people.select(
        PERSON, pl.lit(year, pl.Int32).alias("year"), *[c for c in columns.values() if c is not None]
    )
    if year == FIRST_WAVE:
        rows = rows.with_columns(sequence=(pl.col("relation") > 0).cast(pl.Int32))
    keys = (PERSON, "year", pl.col("interview").cast(pl.Int64), pl.col("sequence", "relation").cast(pl.Int32))
    return rows.filter(pl.col("interview") > 0).select(*keys)


def heads_and_spouses(everyone: pl.DataFrame) -> tuple[pl.DataFrame, list[Step]]:
    """The heads and spouses in their family at the interview, with the column role, and a step for all others."""
    sequence = pl.col("sequence")
    reasons = [(words, sequence.is_between(*between)) for words, between in ABSENT.items()]
    elsewhere = ~sequence.is_between(*IN_FAMILY).fill_null(False)
    reasons.append(("not in the family at the interview (any other sequence number)", elsewhere))
    rows, steps = sift(everyone, reasons)
    chosen = []
    for year in rows["year"].unique():
        for role, codes in relations(year).items():
            is_role = (pl.col("year") == year) & pl.col("relation").is_in(codes)
            chosen.append(rows.filter(is_role).with_columns(pl.lit(role).alias("role")))
    named = pl.concat(chosen)
    others = rows.join(named, on=[PERSON, "year"], how="anti")
    alone = pl.struct("year", "interview", "role").is_duplicated()
    named, several = sift(named, [("two people are head, or spouse, of one family", alone)])
    neither = sift(others, [("neither head (reference person) nor spouse of the family", pl.lit(True))])[1]
    return named, [*steps, *neither, *several]


def answers(named: pl.DataFrame, waves: Waves, *, retrospective: bool) -> tuple[pl.DataFrame, list[Step]]:
    """What the family file says of each head and spouse.

    Args:
        named: columns person, year, interview and role.
        waves: the files.
        retrospective: whether occupations coded later, 1968-1980, count.

    Returns:
        Columns person, year, role, kind (word of ``CENSUS``), census, code; whether the person is at_work or on_leave,
        and for each of ``STATES`` whether a mention says it; race (ethnicity), spanish, region (words or null), wage
        (dollars an hour, null where none), labor_income (as the files have it). And the steps for those whose wave or
        family the files lack.
    """
    parts = [_answers_of(waves.families[year], year, role, retrospective) for year in waves.families for role in ROLES]
    told = pl.concat([part for part in parts if part is not None])
    covered = told.select("year", "role").unique().with_columns(covered=pl.lit(True))
    rows = named.join(covered, on=["year", "role"], how="left", maintain_order="left")
    rows = rows.join(told, on=["year", "role", "interview"], how="left", maintain_order="left")
    rows, steps = sift(
        rows,
        [
            ("the files have no occupation of the spouse (or head) in this wave", pl.col("covered").is_null()),
            ("the family has no row in the wave's family file", pl.col("kind").is_null()),
        ],
    )
    return rows.drop("covered", "interview", "sequence", "relation").sort(PERSON, "year"), steps


def _answers_of(families: pl.DataFrame, year: int, role: str, retrospective: bool) -> pl.DataFrame | None:
    """One row a family, of one wave and role; None where the files have no occupation of them."""
    kinds = occupation_kinds(families.columns, role, retrospective)
    if not kinds:
        return None
    words = statuses(year)
    said = [_word(families, f"{role}_{mention}", words) for mention in MENTIONS]
    any_of = {
        word: pl.any_horizontal(*(each == word for each in said)).fill_null(False) for word in set(words.values())
    }
    never = pl.lit(False)
    works_now = (_number(families, f"{role}_works_now") == WORKS_NOW).fill_null(False)
    on_leave = any_of.get("on_leave", never)
    wage = _number(families, f"{role}_wage").cast(pl.Float64)
    return families.select(
        "interview",
        year=pl.lit(year, pl.Int32),
        role=pl.lit(role),
        kind=pl.lit(kinds[0]),
        census=pl.lit(CENSUS[kinds[0]], pl.Int32),
        code=pl.col(f"{role}_occupation_{kinds[0]}").cast(pl.Int32),
        at_work=any_of["employed"] | works_now,
        on_leave=on_leave,
        in_education=any_of["in_education"],
        unemployed=any_of["unemployed"] | on_leave,
        not_in_labor_force=any_of["not_in_labor_force"],
        race=_word(families, f"{role}_race", races(year)),
        spanish=_number(families, f"{role}_hispanic").is_in(SPANISH_DESCENT).fill_null(False),
        region=_word(families, "region", REGION),
        wage=pl.when(wage > 0).then(wage),
        labor_income=_number(families, f"{role}_labor_income").cast(pl.Float64),
    )


def _number(families: pl.DataFrame, concept: str) -> pl.Expr:
    """A concept of a wave, null where the files lack it."""
    return pl.col(concept) if concept in families.columns else pl.lit(None, pl.Int32)


def _word(families: pl.DataFrame, concept: str, words: dict[int, str]) -> pl.Expr:
    column = _number(families, concept)
    return column.replace_strict(list(words), list(words.values()), default=None, return_dtype=pl.String)


def missing_waves(waves: Waves, table: VariableTable, *, people: int, retrospective: bool) -> list[Step]:
    """A step for each role that says in which waves of the table the files have no occupation of it."""
    steps = []
    for role in ROLES:
        kinds = [kind for kind in CENSUS if retrospective or kind != RETROSPECTIVE]
        listed = {int(year) for kind in kinds for year in table.years(f"{role}_occupation_{kind}")}
        held = {y for y, f in waves.families.items() if occupation_kinds(f.columns, role, retrospective)}
        missing = [str(year) for year in sorted(listed - held)]
        if missing:
            what = f"missing waves: occupation of the {role} in {len(held)} of {len(listed | held)} waves; not "
            steps.append(Step(what + first_names(missing), people, person_years=people * len(missing), kind="noted"))
    return steps
