"""Extracts held against their codebooks: nothing is left out, and what differs is named."""

from pathlib import Path

import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.nls.verify import verify
from tests.survey.nls import examples as nls_examples
from tests.survey.nls.examples import CODEBOOK, DICTIONARY, REFERENCES, SHORT


def laid(folder: Path, **files: str) -> dict[str, Path]:
    paths = {name: folder / name.replace("_", ".") for name in files}
    for name, text in files.items():
        paths[name].write_text(text)
    return paths


def test_an_extract_that_agrees(tmp_path: Path) -> None:
    paths = laid(tmp_path, a_dct=DICTIONARY, a_cdb=CODEBOOK)
    found = verify([paths["a_dct"]])
    assert found.differences.is_empty()
    assert found.variables.select("column", "reference", "title", "outcome", "lines", "differing").rows() == [
        ("R0000100", "R0000100", "IDENTIFICATION CODE", "equal", 9, 0),
        ("R0214800", "R0214800", "SEX OF R", "equal", 10, 0),
        ("R0216701", "R0216701", "HIGHEST GRADE COMPLETED", "equal", 13, 0),
    ]
    assert set(found.lines["file"]) == {str(paths["a_dct"])}
    assert found.lines.height == 32


def test_a_codebook_of_another_extract_compares_nothing(tmp_path: Path) -> None:
    paths = laid(tmp_path, a_csv="R0000100,R0999900\n1,1\n2,1\n3,1\n", a_cdb=CODEBOOK)
    found = verify([paths["a_csv"]])
    assert set(found.lines["reference"]) == {"R0000100"}
    assert not found.compares
    assert verify([laid(tmp_path, b_dct=DICTIONARY, b_cdb=CODEBOOK)["b_dct"]]).compares


def test_one_person_moved_is_seen(tmp_path: Path) -> None:
    paths = laid(tmp_path, a_dct=DICTIONARY.replace("1 1 9", "1 1 -4"), a_cdb=CODEBOOK)
    found = verify([paths["a_dct"]])
    assert found.variables.filter(outcome="differs")["column"].to_list() == ["R0216701"]
    assert found.differences.select("what", "printed", "read").rows() == [
        ("0 TO 11", 1.0, 0.0),
        ("valid", 2.0, 1.0),
        ("-4", 0.0, 1.0),
        ("total", 2.0, 1.0),
        ("minimum", 9.0, 12.0),
        ("mean", 10.5, 12.0),
    ]


def test_two_values_exchanged_between_people_are_not_seen_but_between_columns_they_are(tmp_path: Path) -> None:
    table = nls_examples.known_table()
    text = nls_examples.texts(table)["csv"]
    path = nls_examples.written(tmp_path, text, text.bytes())
    (tmp_path / "a.cdb").write_text(nls_examples.codebook(table))
    assert verify([path]).variables["outcome"].to_list() == ["equal"] * len(REFERENCES)
    path.write_bytes(text.bytes().replace(b'"R0000500","R0214800"', b'"R0214800","R0000500"'))
    assert verify([path]).variables.filter(outcome="differs")["column"].to_list() == ["R0214800", "R0000500"]


def test_variables_without_figures_are_named_too(tmp_path: Path) -> None:
    paths = laid(tmp_path, a_csv="R0000100,R0214700,R0999900\n1,3,1\n", a_sdf=SHORT, b_csv="CASEID_1979\n1\n")
    found = verify([paths["a_csv"], paths["b_csv"]])
    assert found.variables.select("file", "column", "outcome", "lines").rows() == [
        (str(paths["a_csv"]), "R0000100", "no printed frequencies", 0),
        (str(paths["a_csv"]), "R0214700", "no printed frequencies", 0),
        (str(paths["a_csv"]), "R0999900", "not in the codebook", 0),
        (str(paths["b_csv"]), "CASEID_1979", "no codebook", 0),
    ]
    assert found.lines.is_empty()


def test_a_codebook_given_describes_what_the_own_one_does_not(tmp_path: Path) -> None:
    """The own one, a short description, has no figures; the question name finds its number in the given one."""
    paths = laid(tmp_path, a_csv="CASEID_1979,SAMPLE_SEX_1979\n1,1\n2,2\n3,-5\n", a_sdf=SHORT, book_cdb=CODEBOOK)
    found = verify([paths["book_cdb"], paths["a_csv"]])
    assert found.variables.select("reference", "outcome").rows() == [("R0000100", "equal"), ("R0214800", "equal")]


def test_codebooks_alone_are_no_extract(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match="no extract is given"):
        verify(laid(tmp_path, a_cdb=CODEBOOK).values())


ROUND_2000 = {
    "R6539800",
    *(f"R65399{choice:02}" for choice in range(36)),
    "R6963301",
    "R6963302",
    "R7007300",
    "R7007400",
}
"""One person of that round is -4 by the codebook, -5 in the extract; with the 22 variables of colleges attended."""


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("files", "variables", "differing"),
    [
        (["nlsy79/investigator_2016/NLS_79.csv"], 25, set()),
        (["nlsy79/investigator_2016/NLS_79.dct"], 25, set()),
        (["nlsy79/investigator_2016/NLS_79.dat"], 25, set()),
        (["nlsy79/investigator_2020/NLSY79_supplement1.csv"], 120, set()),
        (["nlsy79/y79_demographicsV2.dct.zip"], 104, {"R0618301", "R4417400", "R4417500", "R7006800"}),
    ],
)
def test_real_extracts(real_data: Path, files: list[str], variables: int, differing: set[str]) -> None:
    found = verify([real_data / "data" / file for file in files])
    assert found.variables.height == variables
    assert set(found.differences["reference"]) == differing
    assert set(found.differences["what"]) <= {"-4", "-5"}
    assert set(found.variables["outcome"]) == {"equal", *(["differs"] if differing else [])}


@pytest.mark.real_data
def test_the_real_school_history(real_data: Path) -> None:
    found = verify([real_data / "data" / "nlsy79" / "y79_schoolV2.dct.zip"])
    assert found.variables["outcome"].value_counts(sort=True).rows() == [("equal", 1279), ("differs", 63)]
    assert found.lines.height > 25_000
    assert set(found.differences["reference"]) >= ROUND_2000
    assert set(found.differences["reference"].str.slice(0, 3)) == {"R65", "R69", "R70"}
    assert found.differences.select((pl.col("read") - pl.col("printed")).abs().max()).item() == 1
    assert found.differences["what"].value_counts().sort("what").rows() == [("-4", 63), ("-5", 63)]


@pytest.mark.real_data
def test_real_extracts_without_codebook(real_data: Path) -> None:
    path = real_data / "data" / "nlsy97" / "y97_demographics.dct.zip"
    assert set(verify([path]).variables["outcome"]) == {"no codebook"}
    found = verify([path, path.with_name("Occupations.cdb")])
    assert found.variables["outcome"].value_counts(sort=True).rows() == [("not in the codebook", 167), ("equal", 6)]


@pytest.mark.real_data
def test_a_sample_of_people_differs_in_every_variable(real_data: Path) -> None:
    folder = real_data / "data" / "nlsy79"
    found = verify([folder / "original-8.csv", folder / "original.cdb"])
    assert found.variables["outcome"].value_counts().rows() == [("differs", 1833)]
    assert found.lines.filter(what="total", column="R0000300").select("printed", "read").rows() == [(12686, 686)]
