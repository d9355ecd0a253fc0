"""Wide tables: the same careers as the long table they were spread from; every gap is counted, every fault named."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.own_list import write_occupations
from laborllm.survey.tables.tabular import TableSettings, read_table
from laborllm.survey.tables.wide import careers_from_wide, columns_of_years

WIDE = {"occupation": "occ{year}", "education": "educ_{yy}"}
TEXT = """person,gender,occ1985,occ1986,occ1988,educ_85,educ_86,educ_87,hair
7,male,436,,313,high school,high school,,red
3,female,,unemployed,,college,college,college,red
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def flow(careers: Careers) -> list[tuple[str, int, int, str]]:
    return [(step.what, step.people, step.person_years, step.kind) for step in careers.flow]


def error_of(*files: Path, **more: Any) -> str:
    with pytest.raises(LaborLLMError) as caught:
        read_table(TableSettings(files=files, **{"wide": WIDE, **more}))
    return str(caught.value)


def spread(careers: Careers, occupation: str, education: str) -> pl.DataFrame:
    """The long table as one row a person."""
    wide = careers.table.select("person", "gender", "ethnicity", "region", "birth_year").unique(
        "person", maintain_order=True
    )
    for year in sorted(set(careers.table["year"])):
        rows = careers.table.filter(pl.col("year") == year)
        names = {"year": year, "yy": f"{year % 100:02}"}
        columns = (
            pl.col("occupation").cast(pl.String).alias(occupation.format(**names)),
            pl.col("education").alias(education.format(**names)),
        )
        wide = wide.join(rows.select("person", *columns), on="person", how="left", maintain_order="left")
    return wide


@pytest.mark.parametrize("occupation", ["occ{year}", "occ_{yy}_main"])
@pytest.mark.parametrize("kind", [".csv", ".parquet", ".dta"])
def test_a_spread_table_gives_the_careers_back(
    occupation: str, kind: str, few_careers: Careers, tmp_path: Path, rng: np.random.Generator
) -> None:
    wide = spread(few_careers, occupation, "educ{year}").sample(fraction=1, shuffle=True, seed=1)
    wide = wide.select(str(name) for name in rng.permutation(wide.columns))
    path, listed = tmp_path / f"wide{kind}", tmp_path / "list.csv"
    write_occupations(few_careers.occupations, listed)
    match kind:
        case ".csv":
            wide.write_csv(path)
        case ".parquet":
            wide.write_parquet(path)
        case ".dta":
            pytest.importorskip("pandas")
            text = wide.with_columns(pl.col(pl.String).fill_null("")).to_pandas()
            text.to_stata(path, write_index=False)
    read = read_table(
        TableSettings(
            files=(path,),
            survey="a test survey",
            occupations=listed,
            wide={"occupation": occupation, "education": "educ{year}"},
        )
    )
    assert read.table.equals(few_careers.table)
    years = len(set(few_careers.table["year"]))
    absent = 40 * years - len(few_careers)
    assert [(step.person_years, step.kind) for step in read.flow] == [(40 * years, "kept"), (absent, "dropped")]


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_frames_of_three_libraries(library: str, few_careers: Careers) -> None:
    frame: Any = spread(few_careers, "occ{year}", "educ{year}")
    if library != "polars":
        pytest.importorskip(library)
        frame = frame.to_pandas() if library == "pandas" else frame.to_arrow()
    patterns = {"occupation": "occ{year}", "education": "educ{year}"}
    read = careers_from_wide(frame, few_careers.occupations, patterns=patterns, survey="a test survey")
    assert read.table.equals(few_careers.table)


def test_every_gap_is_in_the_flow(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.csv", TEXT)
    careers = read_table(TableSettings(files=(path,), wide=WIDE))
    assert careers.table.select("person", "year", "occupation", "education", "gender").rows() == [
        (3, 1986, "unemployed", "college", "female"),
        (7, 1985, "436", "high school", "male"),
        (7, 1988, "313", None, "male"),
    ]
    assert flow(careers) == [
        ("read from wide.csv: 3 years, 1985 to 1988", 2, 6, "kept"),
        ("noted: education (educ_{yy}) has no column for 1988", 2, 2, "noted"),
        ("noted: columns of years without an occupation column, unread: educ_87", 0, 0, "noted"),
        ("dropped: no occupation in the year", 2, 3, "dropped"),
    ]


def test_codes_with_leading_zeros_in_one_year_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.csv", "person,occ1985,occ1986,occ1987\n1,2353,0110,\n2,9333,2353,\n")
    listed = write(tmp_path / "list.csv", "code,title\n0110,Officers\n2353,Teachers\n9333,Handlers\n")
    careers = read_table(TableSettings(files=(path,), wide={"occupation": "occ{year}"}, occupations=listed))
    assert careers.table["occupation"].to_list() == ["2353", "0110", "9333", "2353"]


def test_two_digits_and_their_century() -> None:
    columns = ["id", "occ50", "occ99", "occ00", "occ49", "occ1985", "occ5", "socc85", "occ８５"]
    assert columns_of_years(columns, "occ{yy}", "x.csv") == {
        1950: "occ50",
        1999: "occ99",
        2000: "occ00",
        2049: "occ49",
    }
    assert columns_of_years(["occ.85", "occx85"], "occ.{yy}", "x.csv") == {1985: "occ.85"}


def test_a_number_that_is_no_year(tmp_path: Path) -> None:
    path = write(tmp_path / "psid.csv", "person,V1985,V7712\n1,436,436\n")
    assert error_of(path, wide={"occupation": "V{year}"}) == (
        f"{path}, column V7712: fits survey.wide's 'V{{year}}', but 7712 is outside 1900-2100; "
        f"rename the column or narrow the pattern"
    )


@pytest.mark.parametrize(
    ("wide", "columns", "message"),
    [
        ({"occupation": "occ"}, {}, "survey.wide.occupation is 'occ'; write {year} (four digits) or {yy}"),
        ({"occupation": "o{yy}{year}"}, {}, "survey.wide.occupation is 'o{yy}{year}'; write"),
        ({"occupation": "o{yy}", "region": "r{yy}"}, {}, "survey.wide names 'region'; only occupation, education"),
        ({"education": "e{yy}"}, {}, "survey.wide has no occupation"),
        ({"occupation": "o{yy}"}, {"year": "wave"}, "survey.columns maps 'year', which a wide table has once a year"),
        ({"occupation": "job{yy}"}, {}, "no column fits survey.wide.occupation = 'job{yy}'; the columns are person,"),
        ({"occupation": "occ{year}"}, {"person": "id"}, "column 'id', which survey.columns maps to person, is not"),
    ],
)
def test_patterns_without_sense(wide: dict[str, str], columns: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in error_of(write(tmp_path / "wide.csv", TEXT), wide=wide, columns=columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5,male,436,436,1,x,x,x,x\n", "column occ1988, row 3: code '1' is not on the list of"),
        ("5,male,436,436,,x,,x,x\n5,male,,313,,x,x,x,x\n", "rows 3 and 4: person 5 has two rows for 1986"),
        ("5,male,436,436,, x,x,x,x\n", "column educ_85, row 3: ' x' is blank, padded or spans lines"),
        (",male,436,436,,x,x,x,x\n", "column person, row 3: the value is missing"),
    ],
)
def test_a_fault_names_the_tables_own_column_and_row(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "wide.csv", TEXT + text)
    assert error_of(path).startswith(f"{path}, {message}")


def test_two_files_with_other_years_are_stacked(tmp_path: Path) -> None:
    first = write(tmp_path / "first.csv", TEXT)
    second = write(tmp_path / "second.csv", "person,occ1990,educ_90\n9,313,college\n8,99999,college\n")
    assert error_of(first, second).startswith(f"{second}, column occ1990, row 2: code '99999' is not on the list")
    write(second, "person,occ1990,educ_90\n9,313,college\n8,,college\n")
    careers = read_table(TableSettings(files=(first, second), wide=WIDE))
    assert careers.table["person"].to_list() == [3, 7, 7, 9]


def test_declared_missing_values_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.csv", TEXT.replace("313", "-9").replace("college", "NA"))
    careers = read_table(TableSettings(files=(path,), wide=WIDE, missing=(-9, "NA", -8)))
    assert careers.table["education"].to_list() == [None, "high school"]
    assert flow(careers)[-2:] == [
        ("dropped: occupation is a missing value (-9)", 1, 1, "dropped"),
        ("recoded: education NA is missing", 1, 1, "recoded"),
    ]


def test_a_large_wide_table_equals_the_long_one(rng: np.random.Generator, five_occupations: Occupations) -> None:
    jobs = rng.choice([*five_occupations.codes, None], (500, 30))
    wide = pl.DataFrame({"person": rng.permutation(500)}).with_columns(
        pl.Series(f"o{year}", jobs[:, year - 1970].tolist(), dtype=pl.String) for year in range(1970, 2000)
    )
    long = wide.unpivot(index="person", value_name="occupation").drop_nulls()
    long = long.with_columns(year=pl.col("variable").str.tail(4).cast(pl.Int64)).drop("variable")
    expected = careers_from_frame(long, five_occupations)
    assert careers_from_wide(wide, five_occupations, patterns={"occupation": "o{year}"}).table.equals(expected.table)


def test_stata_labels_of_yearly_education_count(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"person": [1, 2], "occ1985": [436, 313], "occ1986": [313.0, np.nan]})
    frame["educ1985"], frame["educ1986"] = [1, 2], [2, 2]
    labels = {1: "bac", 2: "licence"}
    frame.to_stata(tmp_path / "w.dta", write_index=False, value_labels={"educ1985": labels, "educ1986": labels})
    wide = {"occupation": "occ{year}", "education": "educ{year}"}
    careers = read_table(TableSettings(files=(tmp_path / "w.dta",), wide=wide))
    assert careers.table.select("person", "year", "occupation", "education").rows() == [
        (1, 1985, "436", "bac"),
        (1, 1986, "313", "licence"),
        (2, 1985, "313", "licence"),
    ]
