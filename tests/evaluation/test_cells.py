from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.evaluation.cells import find_cells
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


def test_an_unknown_covariate_is_named_with_those_allowed(few_careers: Careers) -> None:
    with pytest.raises(LaborLLMError, match=r"evaluation.by: 'race' is no covariate.*use education, gender"):
        find_cells(few_careers, ("race",))
