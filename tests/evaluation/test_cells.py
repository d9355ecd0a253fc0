from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.cells import GROUPINGS, find_cells, group_values
from laborllm.survey.careers import Careers


def test_cells_partition_the_rows_by_subset_and_by_covariate(few_careers: Careers) -> None:
    cells, notes = find_cells(few_careers, ("gender", "region", "education", "birth_year"))
    assert notes == ()
    assert cells[0].rows.all()
    assert sum(cell.rows.sum() for cell in cells if cell.subset != "all") == len(few_careers)
    for covariate in ("gender", "region", "education", "birth_year"):
        chosen = [cell for cell in cells if cell.group.startswith(f"{covariate}=")]
        assert sum(cell.rows.astype(int) for cell in chosen).tolist() == [1] * len(few_careers)


def test_groups_hold_the_rows_of_their_value_and_missing_stands_last(few_careers: Careers) -> None:
    cells = {cell.group: cell for cell in find_cells(few_careers, ("region",))[0]}
    assert list(cells) == ["all", "region=south", "region=missing"]
    np.testing.assert_array_equal(cells["region=missing"].rows, few_careers.table["region"].is_null())
    np.testing.assert_array_equal(cells["region=south"].rows, few_careers.table["person"].to_numpy() % 5 > 0)


def test_a_covariate_that_is_missing_everywhere_makes_no_groups(few_careers: Careers) -> None:
    empty = replace(few_careers, table=few_careers.table.with_columns(gender=pl.lit(None, dtype=pl.String)))
    cells, notes = find_cells(empty, ("gender",))
    assert all(cell.group == "all" for cell in cells)
    assert notes == ("gender: no groups, the value is missing in every row",)


def test_a_cohort_is_five_years_of_birth_and_missing_where_the_year_is(few_careers: Careers) -> None:
    years = pl.Series([1899, 1960, 1964, 1965, None] + [1970] * (len(few_careers) - 5), dtype=pl.Int32)
    careers = replace(few_careers, table=few_careers.table.with_columns(birth_year=years))
    values = group_values(careers, "cohort")
    assert values[:6].to_list() == ["1895-1899", "1960-1964", "1960-1964", "1965-1969", None, "1970-1974"]
    groups = [cell.group for cell in find_cells(careers, ("cohort",))[0] if cell.group != "all"]
    assert groups[0] == "cohort=1895-1899"
    assert groups[-1] == "cohort=missing"


def test_every_grouping_is_words_and_null_where_missing(few_careers: Careers) -> None:
    for name in GROUPINGS:
        values = group_values(few_careers, name)
        assert (values.dtype, len(values), values.name) == (pl.String, len(few_careers), name)
    assert group_values(few_careers, "region").null_count() == few_careers.table["region"].null_count() > 0


def test_an_unknown_covariate_is_named_with_those_allowed(few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match=r"evaluation.by: 'race' is no covariate.*use education, .*, cohort"):
        find_cells(few_careers, ("race",))


def test_a_value_that_reads_missing_is_one_group_with_those_that_are(few_careers: Careers) -> None:
    words = [None, "missing", "f", "missing", *["f"] * (len(few_careers) - 4)]
    careers = replace(few_careers, table=few_careers.table.with_columns(gender=pl.Series(words, dtype=pl.String)))
    cells = [(cell.group, int(cell.rows.sum())) for cell in find_cells(careers, ("gender",))[0] if "=" in cell.group]
    assert cells == [("gender=f", len(few_careers) - 3), ("gender=missing", 3)]
