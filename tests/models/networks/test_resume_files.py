"""Files of résumés: read in blocks of whole people, never whole; what cannot be read is one line."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.models.networks import resume_files
from laborllm.models.networks.resume_files import blocks, count, read_block
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import METADATA


@pytest.fixture
def path(few_careers: Careers, tmp_path: Path) -> Path:
    """A file of many small row groups."""
    target = tmp_path / "resumes.parquet"
    few_careers.table.write_parquet(target, metadata={METADATA: few_careers.occupations.to_json()}, row_group_size=20)
    return target


def test_a_large_file_is_read_in_blocks_of_whole_people(
    few_careers: Careers, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_files, "ROWS_PER_BLOCK", 50)
    found = blocks(path)
    assert len(found) > 3
    longest = int(np.diff(few_careers.starts).max())
    parts = []
    for block in found:
        both = [read_block(block, few_careers.occupations, held_out) for held_out in (False, True)]
        rows = pl.concat([each.table for each in both])
        assert rows.height == block[2] < 50 + longest
        parts.append(rows.sort("person", "year"))
    assert pl.concat(parts).equals(few_careers.table.sort("person", "year"))
    assert sum(part["person"].n_unique() for part in parts) == few_careers.people


def test_a_person_longer_than_the_search_keeps_its_block(
    few_careers: Careers, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume_files, "ROWS_PER_BLOCK", 3)
    monkeypatch.setattr(resume_files, "LONGEST", 3)
    found = blocks(path)
    assert sum(rows for _, _, rows in found) == len(few_careers)
    assert {first for _, first, _ in found} <= set(few_careers.starts.tolist())


def test_every_twentieth_person_is_held_out(few_careers: Careers, path: Path) -> None:
    (block,) = blocks(path)
    held_out = read_block(block, few_careers.occupations, held_out=True)
    everybody = few_careers.table["person"].unique(maintain_order=True)
    assert held_out.table["person"].unique(maintain_order=True).equals(everybody.gather_every(20, 19))


def test_what_is_not_on_the_list_is_left_out_and_counted(few_careers: Careers, path: Path) -> None:
    fewer = few_careers.occupations.restrict({"313", "436"})
    on_list = int(few_careers.table["occupation"].cast(pl.String).is_in(["313", "436"]).sum())
    assert count(path, fewer) == (len(few_careers), on_list)
    (block,) = blocks(path)
    assert sum(len(read_block(block, fewer, held_out)) for held_out in (False, True)) == on_list
    others = few_careers.occupations.restrict({"433"})
    few_careers.table.filter(pl.col("occupation").cast(pl.String) == "313").write_parquet(
        path, metadata={METADATA: few_careers.occupations.to_json()}
    )
    assert len(read_block(blocks(path)[0], others, held_out=False)) == 0
    with pytest.raises(LaborLLMError, match=r"resumes\.parquet: shares no occupation with the survey's list"):
        count(path, others)


def test_a_file_that_ends_early_or_has_no_list_is_one_line(few_careers: Careers, path: Path) -> None:
    whole = path.read_bytes()
    for kept in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(LaborLLMError, match=r"resumes\.parquet: cannot be read as Parquet"):
            blocks(path)
    few_careers.table.write_parquet(path)
    with pytest.raises(LaborLLMError, match=r"resumes\.parquet: holds no list of occupations"):
        blocks(path)


def test_a_page_that_cannot_be_read_is_one_line(few_careers: Careers, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(bytes(data))
    with pytest.raises(LaborLLMError, match=r"resumes\.parquet: cannot be read to its end"):
        read_block((path, 0, len(few_careers)), few_careers.occupations, held_out=False)
