"""Bundles of the NLS Investigator: every file of one says the same, and the codebook counts right."""

import csv
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.codebook import compare_frequencies, read_codebook
from laborllm.survey.nls.extracts import read_extract
from laborllm.survey.simulated.bundles import Description, write_bundle

PEOPLE = 300
LONG_WORDS = "Executive, administrative, and self-employed managerial occupations of every kind in all industries"
DESCRIPTIONS = (
    Description("R0000100", "CASEID", "1979", "IDENTIFICATION CODE"),
    Description("R0214800", "SAMPLE_SEX", "1979", "SEX", {1: "MALE", 2: "FEMALE"}),
    Description("R0046400", "CPSOCC70", "1979", "OCCUPATION (CENSUS 3 DIGIT, 70 CODES)"),
    Description("R0216701", "HGCREV79", "1979", "GRADE", {0: "NONE", 12: "12TH GRADE", 95: "UNGRADED"}),
    Description("T5684500", "TNFW_TRUNC", "2016", "NET WEALTH"),
    Description("R0000200", "Q1-3_A~Y", "XRND", "A TITLE " * 12, {1: LONG_WORDS, 2: "SHORT"}),
    Description("R0000300", "NOBODY", "78SCRN", "NOBODY ANSWERS", {1: "YES"}),
)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    missing = rng.choice([-1, -2, -3, -4, -5, 0], (len(DESCRIPTIONS), PEOPLE), p=[0.01, 0.01, 0.02, 0.1, 0.1, 0.76])
    values = [
        np.arange(1, PEOPLE + 1),
        rng.integers(1, 3, PEOPLE),
        rng.integers(1, 996, PEOPLE),
        rng.integers(0, 21, PEOPLE),
        rng.integers(-900_000, 5_000_000, PEOPLE),
        rng.integers(1, 3, PEOPLE),
        np.full(PEOPLE, -4),
    ]
    columns = [
        np.where((missing[place] < 0) & (place > 0), missing[place], values[place]) for place in range(len(values))
    ]
    return pl.DataFrame(dict(zip([each.reference for each in DESCRIPTIONS], columns, strict=True)))


@pytest.fixture(scope="module")
def paths(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundle")
    return write_bundle(table, DESCRIPTIONS, folder, name="made_up", cohort="NLSY79")


@pytest.mark.parametrize("suffix", ["csv", "dct"])
def test_an_extract_is_read_as_written(table: pl.DataFrame, paths: dict[str, Path], suffix: str) -> None:
    extract = read_extract(paths[suffix])
    assert extract.table.rename({"person": "R0000100"}).equals(table.cast(pl.Int64))
    assert [variable.question for variable in extract.variables] == [each.question for each in DESCRIPTIONS[1:]]


def test_the_codebook_counts_what_the_extract_holds(table: pl.DataFrame, paths: dict[str, Path]) -> None:
    codebook = read_codebook(paths["cdb"])
    references = {column: column for column in table.columns}
    assert compare_frequencies(table, codebook, references).is_empty()
    assert sum(line.count for line in codebook["R0046400"].values) == codebook["R0046400"].valid
    moved = table.with_columns(R0046400=pl.when(pl.col("R0046400") > 900).then(1).otherwise(pl.col("R0046400")))
    assert not compare_frequencies(moved, codebook, references).is_empty()


def test_the_codebook_says_what_was_described(paths: dict[str, Path]) -> None:
    codebook = read_codebook(paths["cdb"])
    for each in DESCRIPTIONS:
        entry = codebook[each.reference]
        assert (entry.question, entry.year, entry.title) == (each.question, each.year, each.title.strip())
    words = {line.low: line.label for line in codebook["R0000200"].values}
    assert words == {1: LONG_WORDS, 2: "SHORT"}
    assert [(line.low, line.count) for line in codebook["R0000300"].values] == [(1, 0)]
    assert codebook["R0000300"].mean is None


def test_the_short_description_says_the_same(paths: dict[str, Path]) -> None:
    short = read_codebook(paths["sdf"])
    for each in DESCRIPTIONS:
        entry = short[each.reference]
        assert (entry.question, entry.year, entry.title) == (each.question, each.year, each.title.strip())


def test_the_data_file_has_the_columns_of_its_set_up(table: pl.DataFrame, paths: dict[str, Path]) -> None:
    names = re.findall(r"^  (\w+) \(F(\d+)\)$", paths["sps"].read_text(), re.MULTILINE)
    assert [name for name, _ in names] == table.columns
    rows = [line.split(" ") for line in paths["dat"].read_text().splitlines()]
    assert np.array_equal(np.array(rows).astype(np.int64), table.to_numpy())
    longest = np.char.str_len(np.array(rows)).max(axis=0)
    assert [int(width) for _, width in names] == longest.tolist()


def test_the_tagset_names_every_variable_once(table: pl.DataFrame, paths: dict[str, Path]) -> None:
    assert paths["NLSY79"].read_text().split() == table.columns


def test_lines_end_and_align_as_in_real_bundles(paths: dict[str, Path]) -> None:
    assert paths["csv"].read_bytes().startswith(b'"R0000100","R0214800",')
    assert all(paths[suffix].read_bytes().count(b"\r\n") >= PEOPLE - 1 for suffix in ("csv", "dct", "dat"))
    assert b"\r" not in paths["sdf"].read_bytes() + paths["NLSY79"].read_bytes()
    lines = paths["cdb"].read_text().splitlines()
    assert {len(line) for line in lines if line.startswith(("Min:", "TOTAL"))} == {79}
    assert {line.index("Survey Year:") for line in lines if "Survey Year:" in line} == {60}
    assert max(map(len, lines)) <= 80


@pytest.mark.real_data
def test_lines_match_those_of_a_real_bundle(real_data: Path, tmp_path: Path) -> None:
    """Same numbers, same labels: our codebook prints the frequencies of the survey's own, line by line."""
    folder = real_data / "data" / "nlsy79" / "investigator_2016"
    with (folder / "NLS_79.csv").open() as stream:
        header = next(csv.reader(stream))
    table = pl.read_csv(folder / "NLS_79.csv")
    codebook = read_codebook(folder / "NLS_79.cdb")
    described = [
        Description(name, entry.question, entry.year, entry.title, {v.low: v.label for v in entry.values})
        for name, entry in ((name, codebook[name]) for name in header)
    ]
    ours = write_bundle(table, described, tmp_path, name="again", cohort="NLSY79")
    assert ours["csv"].read_bytes() == (folder / "NLS_79.csv").read_bytes()
    assert ours["dat"].read_bytes() == (folder / "NLS_79.dat").read_bytes()
    assert ours["NLSY79"].read_bytes() == (folder / "NLS_79.NLSY79").read_bytes()
    assert ours["sdf"].read_bytes() == (folder / "NLS_79.sdf").read_bytes()
    jump = re.compile(r" +\(Go To.*")
    theirs = [jump.sub("", line) for line in (folder / "NLS_79.cdb").read_text().splitlines()]
    for start in ("Refusal", "Don't Know", "Invalid Skip", "TOTAL", "Min:"):
        found = [line for line in ours["cdb"].read_text().splitlines() if line.startswith(start)]
        assert found == [line for line in theirs if line.startswith(start)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.clear(), "the table has no row"),
        (lambda table: table.drop("R0214800"), "R0046400 is described as R0214800"),
        (lambda table: table.with_columns(R0214800=pl.lit(None, pl.Int64)), "column R0214800: Int64 with 300 missing"),
        (lambda table: table.with_columns(R0214800=pl.lit(1.5)), "column R0214800: Float64 with 0 missing"),
    ],
)
def test_a_table_that_is_no_extract_is_refused(table: pl.DataFrame, tmp_path: Path, change, message: str) -> None:
    with pytest.raises(LaborLLMError, match=re.escape(message)):
        write_bundle(change(table), DESCRIPTIONS, tmp_path, name="made_up", cohort="NLSY79")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (Description("R2148", "SAMPLE_SEX", "1979", "SEX"), "'R2148' is no reference number"),
        (Description("R0214800", "SAMPLE_SEX", "1979", 'SEX "S"'), "quoted or spans lines"),
    ],
)
def test_a_description_that_no_file_can_bear_is_refused(tmp_path: Path, description: Description, message: str) -> None:
    table = pl.DataFrame({"R0000100": [1], description.reference: [1]})
    with pytest.raises(LaborLLMError, match=re.escape(message)):
        write_bundle(table, [DESCRIPTIONS[0], description], tmp_path, name="made_up", cohort="NLSY79")


def test_the_id_comes_first(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="put the id R0000100 first"):
        write_bundle(pl.DataFrame({"R0214800": [1]}), DESCRIPTIONS[1:2], tmp_path, name="made_up", cohort="NLSY79")
