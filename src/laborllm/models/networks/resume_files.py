"""Parquet files of résumés, read a block of whole people at a time, however large the file is."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from laborllm.errors import LaborLLMError
from laborllm.models.training_state import chooses_weights
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import METADATA, Occupations

ROWS_PER_BLOCK = 500_000
"""Rows that are in memory together, about."""
LONGEST = 1_000
"""Rows after a block's last one among which its last person is sure to end, or the block goes on."""
Block = tuple[Path, int, int]
"""A file, the first row and the number of rows."""


def scan(path: Path) -> pl.LazyFrame:
    """The table of a file, unread.

    Raises:
        LaborLLMError: it is missing, no whole Parquet file, or carries no list of occupations.
    """
    try:
        with path.open("rb") as stream:
            listed = METADATA in pl.read_parquet_metadata(stream)
        table = pl.scan_parquet(path, glob=False)
        table.collect_schema()  # opens the file
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LaborLLMError(f"{path}: cannot be read as Parquet; write it with `laborllm careers`") from error
    if not listed:
        raise LaborLLMError(f"{path}: holds no list of occupations; write it with `laborllm careers`")
    return table


def count(path: Path, occupations: Occupations) -> tuple[int, int]:
    """Rows of a file, and those whose occupation is on the list.

    Raises:
        LaborLLMError: it cannot be read, or no row is on the list.
    """
    on_list = _on_list(occupations).sum()
    rows, kept = _collect(path, scan(path).select(pl.len(), on_list.alias("on the list"))).row(0)
    if not kept:
        raise LaborLLMError(f"{path}: shares no occupation with the survey's list; give both one list of occupations")
    return rows, kept


def blocks(path: Path) -> list[Block]:
    """The blocks of a file, each of whole people.

    Raises:
        LaborLLMError: it cannot be read.
    """
    persons = scan(path).select("person")
    rows = _collect(path, persons.select(pl.len())).item()
    cuts = [0]
    for target in range(ROWS_PER_BLOCK, rows, ROWS_PER_BLOCK):
        around = _collect(path, persons.slice(target - 1, LONGEST))["person"]
        changed = (around != around.shift()).fill_null(False).arg_true()
        if len(changed):
            cuts.append(target - 1 + int(changed[0]))
    return [(path, first, end - first) for first, end in zip(cuts, [*cuts[1:], rows], strict=True) if end > first]


def read_block(block: Block, occupations: Occupations, held_out: bool) -> Careers:
    """Rows of a block whose occupation is on the list, of every twentieth person or of the others; there may be none.

    Raises:
        LaborLLMError: the file cannot be read.
    """
    path, first, rows = block
    table = _collect(path, scan(path).slice(first, rows))
    person = (table["person"] != table["person"].shift()).fill_null(False).cum_sum()  # counted from 0
    kept = pl.Series(chooses_weights(person.to_numpy()) == held_out)
    table = table.filter(kept).filter(_on_list(occupations))
    return Careers(table.with_columns(pl.col("occupation").cast(pl.String).cast(occupations.dtype)), occupations)


def _on_list(occupations: Occupations) -> pl.Expr:
    codes: Sequence[str] = occupations.codes
    return pl.col("occupation").cast(pl.String).is_in(list(codes))


def _collect(path: Path, table: pl.LazyFrame) -> pl.DataFrame:
    try:
        return table.collect(engine="streaming")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LaborLLMError(f"{path}: cannot be read to its end; write it with `laborllm careers`") from error
