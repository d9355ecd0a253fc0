"""Careers from the PSID: a few people whose families part, join, answer and do not, in every layout; then the index."""

import csv
import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers
from laborllm.survey.occupations import crosswalk
from laborllm.survey.psid import psid
from laborllm.survey.psid.codes import CENSUS
from laborllm.survey.psid.psid import PSIDSettings, cart, psid_variables, read_psid
from tests.survey.psid.examples import (
    FAMILIES,
    INDIVIDUALS,
    WAVES,
    A,
    B,
    C,
    D,
    E,
    extract_columns,
    family_columns,
    individual_columns,
    mutated,
    name,
    write_csv,
    write_fixed,
    write_waves,
)

OUT, STUDENT, UNEMPLOYED = "not_in_labor_force", "in_education", "unemployed"
CAREERS = [
    (A, 1982, crosswalk(1970)[401]),
    (A, 1983, UNEMPLOYED),
    (A, 1985, crosswalk(1970)[401]),  # on leave, with a coded present job
    (B, 1982, OUT),
    (B, 1983, crosswalk(1970)[395]),
    (B, 2005, OUT),  # retired, with a coded last job
    (C, 1983, STUDENT),
    (C, 1999, UNEMPLOYED),  # keeps house first, looks for work second
    (C, 2005, crosswalk(2000)[402]),  # a student who works now
    (D, 1985, OUT),  # of the family whose other head, C, is in an institution
    (D, 1999, crosswalk(1970)[245]),  # keeps house, works for money now
    (D, 2005, crosswalk(2000)[313]),  # on leave
    (D, 2017, crosswalk(2010)[4020]),
    (E, 1999, "905"),  # the survey's own code 600; the family's other head, A, has died
]


def read(*files: Path, **settings: Any) -> Careers:
    return read_psid(PSIDSettings(files=files, **settings))


def rows(careers: Careers, *columns: str) -> list[tuple[Any, ...]]:
    return careers.table.with_columns(pl.col("occupation").cast(pl.String)).select(columns).rows()


def flow(careers: Careers) -> dict[str, tuple[int, int, str]]:
    return {step.what: (step.people, step.person_years, step.kind) for step in careers.flow}


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_waves(tmp_path_factory.mktemp("psid"), ".sps")


def replaced(tmp_path: Path, **values: dict[str, list[object]]) -> list[Path]:
    """The files with other values in some variables: FAM1985={"V1": [...]}."""
    tables = {"IND2021ER": individual_columns()} | {f"FAM{year}": family_columns(year) for year in WAVES}
    return [write_fixed(tmp_path, stem, columns | values.get(stem, {})) for stem, columns in tables.items()]


@pytest.mark.parametrize("kind", [".sps", ".sas", ".do", ".zip"])
def test_careers_of_packaged_waves(tmp_path: Path, kind: str) -> None:
    careers = read(*write_waves(tmp_path, kind))
    assert rows(careers, "person", "year", "occupation") == CAREERS


@pytest.mark.parametrize("kind", ["fixed", "csv"])
def test_careers_of_a_data_center_extract(tmp_path: Path, waves: list[Path], kind: str) -> None:
    columns = extract_columns()
    path = write_csv(tmp_path / "J1.csv", columns)
    if kind == "fixed":
        path = write_fixed(tmp_path, "J298716", columns, ".job")
    careers, packaged = read(path, wage=True), read(*waves, wage=True)
    assert_frame_equal(careers.table, packaged.table)
    assert careers.flow == packaged.flow


def test_the_flow_accounts_for_every_person_year(waves: list[Path]) -> None:
    steps = flow(read(*waves))
    missing = "in 6 of 29 waves; not 1981, 1984, 1986, 1987, 1988, ..."
    assert steps == {
        "read: people of families that answered, in waves with an occupation": (5, 21, "kept"),
        f"missing waves: occupation of the head {missing}": (5, 115, "noted"),
        f"missing waves: occupation of the spouse {missing}": (5, 115, "noted"),
        "dropped: in an institution (sequence 51-59)": (1, 1, "dropped"),
        "dropped: moved out (sequence 71-80)": (1, 1, "dropped"),
        "dropped: died (sequence 81-89)": (1, 1, "dropped"),
        "dropped: neither head (reference person) nor spouse of the family": (2, 2, "dropped"),
        "dropped: occupation unknown (999, 9999)": (2, 2, "dropped"),
        "recoded: no present job to Unemployed": (2, 2, "recoded"),
        "recoded: no present job to Not in labor force": (2, 3, "recoded"),
        "recoded: no present job to In education": (1, 1, "recoded"),
        "recoded: last, or second, job of people counted by their state not read": (1, 1, "recoded"),
        "recoded: the survey's 1970 code 600 to Military": (1, 1, "recoded"),
        "recoded: education carried forward from an earlier wave": (4, 8, "recoded"),
        "recoded: ethnicity one value a person, reports differ": (2, 6, "recoded"),
        "left missing: education": (1, 1, "recoded"),
        "left missing: region": (1, 3, "recoded"),
        "left missing: birth_year": (1, 1, "recoded"),
        "noted: weight 0, no member of the weighted sample": (5, 12, "noted"),
        "kept: person-years with an occupation": (5, 14, "kept"),
    }
    dropped = sum(count for _, count, kind in steps.values() if kind == "dropped")
    assert 21 - dropped == 14


def test_fixed_covariates(waves: list[Path]) -> None:
    names = ("person", "gender", "ethnicity", "region", "birth_year", "survey")
    assert sorted(set(rows(read(*waves), *names))) == [
        (A, "male", "black or african american", "south", 1941, "PSID"),
        (B, "female", "white", "south", 1942, "PSID"),
        (C, "male", "hispanic", None, 1960, "PSID"),
        (D, "female", "other", "west", 1961, "PSID"),
        (E, "female", "hispanic", "northeast", None, "PSID"),
    ]


def test_education_weight_and_wage_vary(waves: list[Path]) -> None:
    careers = read(*waves, wage=True)
    varying = {row[:2]: row[2:] for row in rows(careers, "person", "year", "education", "weight", "wage")}
    assert varying[A, 1982] == ("high school", 12.0, 12.5)
    assert varying[A, 1985] == ("high school", 0.0, None)  # 99 is unknown
    assert varying[B, 2005] == ("college", 7.125, None)
    assert (varying[C, 1983][0], varying[C, 1999][0]) == ("less than high school", "graduate degree")
    assert varying[D, 2005] == ("some college", 0.0, 20.25)
    assert varying[E, 1999][0] is None
    assert "weight" not in read(*waves, weight=False).table.columns
    steps = flow(careers)
    assert steps["noted: wage is of the calendar year before the interview"] == (2, 2, "noted")
    assert steps["left missing: wage of a job"] == (5, 6, "recoded")


def test_wages_in_dollars_of_one_year(tmp_path: Path, waves: list[Path]) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("year,price_index\n1981,50\n2004,100\n2010,200\n")
    careers = read(*waves, wage=True, wage_dollars=2010, prices=prices)
    assert [wage for (wage,) in rows(careers, "wage") if wage is not None] == [50.0, 40.5]
    tight = read(*waves, wage=True, wage_bounds=(15, 30))
    assert [wage for (wage,) in rows(tight, "wage") if wage is not None] == [20.25]
    assert flow(tight)["left missing: wage below 15 dollars an hour"] == (1, 1, "recoded")


def test_labor_income_of_rows_with_a_job_and_without(waves: list[Path]) -> None:
    careers = read(*waves, labor_income=True)
    assert "labor_income" not in read(*waves).table.columns
    assert rows(careers, "person", "year", "occupation") == CAREERS
    incomes = {row[:2]: row[2] for row in rows(careers, "person", "year", "labor_income") if row[2] != 0}
    assert incomes == {
        (A, 1982): 21000.0,
        (A, 1983): 99999.0,  # of an unemployed head, whose variable has six digits
        (B, 1982): 900.0,
        (B, 1983): 99999.0,  # the top code of spouses in that wave
        (C, 2005): None,  # below zero
        (D, 1999): None,  # above the top code of spouses in that wave
        (D, 2005): 40500.0,
    }
    steps = {what: counts for what, counts in flow(careers).items() if "labor_income" in what}
    assert steps == {
        "left missing: labor_income below zero, which it cannot be": (1, 1, "recoded"),
        "left missing: labor_income above the top code of its wave": (1, 1, "recoded"),
        "noted: labor_income is of the calendar year before the interview": (5, 12, "noted"),
        "noted: labor_income without farm and unincorporated business income, 1994 on": (4, 5, "noted"),
        "noted: labor_income at the top code of its wave, or above it": (1, 1, "noted"),
    }


def test_labor_income_in_dollars_of_one_year(tmp_path: Path, waves: list[Path]) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("year,price_index\n" + "".join(f"{year - 1},{50 if year < 1990 else 100}\n" for year in WAVES))
    both = read(*waves, wage=True, labor_income=True, wage_dollars=2004, prices=prices)
    alone = read(*waves, labor_income=True, wage_dollars=2004, prices=prices)
    assert alone.table.equals(both.table.drop("wage"))
    found = {row[:2]: row[2:] for row in rows(both, "person", "year", "wage", "labor_income")}
    assert found[A, 1982] == (25.0, 42000.0)
    assert found[D, 2005] == (20.25, 40500.0)
    assert found[B, 1983][1] == 2 * 99999
    assert flow(both)["recoded: labor_income to dollars of 2004 (prices.csv)"] == (5, 12, "recoded")


def test_files_without_labor_income_say_so(tmp_path: Path) -> None:
    columns = family_columns(1982)
    for role in ("head", "spouse"):
        del columns[name(f"{role}_labor_income", 1982)]
    files = write_fixed(tmp_path, "IND2021ER", individual_columns()), write_fixed(tmp_path, "FAM1982", columns)
    careers = read(*files, labor_income=True)
    assert rows(careers, "person", "labor_income") == [(A, None), (B, None)]
    assert flow(careers)["left missing: labor_income has no value in the files"] == (2, 2, "recoded")


def test_labor_income_of_1997_has_cents(tmp_path: Path) -> None:
    people = {"ER30001": [1, 1], "ER30002": [1, 2], name("interview", 1997): [7, 7]}
    people |= {name("sequence", 1997): [1, 2], name("relation", 1997): [10, 20]}
    family = {name("family_interview", 1997): [7], name("head_labor_income", 1997): ["  1234.56"]}
    family |= {name("spouse_labor_income", 1997): [999999]}
    family |= {name(f"{role}_occupation_1970", 1997): [401] for role in ("head", "spouse")}
    files = write_fixed(tmp_path, "IND2021ER", people), write_fixed(tmp_path, "FAM1997ER", family)
    careers = read(*files, labor_income=True)
    assert rows(careers, "person", "labor_income") == [(1001, 1234.56), (1002, None)]
    unclear = "left missing: labor_income all nines in a wave of 1993-1997: not calculated, or the top code"
    assert flow(careers)[unclear] == (1, 1, "recoded")


def test_present_jobs_alone(waves: list[Path]) -> None:
    careers = read(*waves, states=False)
    assert rows(careers, "person", "year", "occupation") == [row for row in CAREERS if row[2].isdigit()]
    assert not any(careers.occupations.is_state)
    assert flow(careers)["dropped: without a present job, states are not asked for"] == (4, 6, "dropped")


def test_the_precedence_is_the_studys(waves: list[Path]) -> None:
    careers = read(*waves, precedence=("in_education", "not_in_labor_force", "unemployed", "job"))
    found = {row[:2]: row[2] for row in rows(careers, "person", "year", "occupation")}
    expected = {row[:2]: row[2] for row in CAREERS}
    changed = {(A, 1985): UNEMPLOYED, (C, 1999): OUT, (C, 2005): STUDENT, (D, 1999): OUT, (D, 2005): UNEMPLOYED}
    assert found == expected | changed
    fewer = read(*waves, precedence=("job", "unemployed"))
    assert {row[2] for row in rows(fewer, "person", "year", "occupation") if not row[2].isdigit()} == {UNEMPLOYED}
    without = "dropped: employment status unknown, or one that survey.precedence leaves out"
    assert flow(fewer)[without] == (3, 4, "dropped")


@pytest.mark.parametrize(
    ("year", "status", "state"),
    [
        *((1982, code, UNEMPLOYED) for code in (2, 3)),
        *((1982, code, OUT) for code in (4, 5, 6, 8)),
        (1982, 7, STUDENT),
        *((1982, code, None) for code in (0, 1, 9)),
        *((2005, code, None) for code in (0, 98, 99)),
    ],
)
def test_states_of_each_status(tmp_path: Path, year: int, status: int, state: str | None) -> None:
    job = "head_occupation_1970" if year < 2003 else "head_occupation_2000"
    count = len(FAMILIES[year])
    others = {name(f"head_{word}", year): [0] * count for word in ("works_now",) if year > 1993}
    values = {name("head_status", year): [status] * count, name(job, year): [0] * count, **others}
    careers = read(*replaced(tmp_path, **{f"FAM{year}": values}))
    head = A if year == 1982 else B
    assert {row[:2]: row[2] for row in rows(careers, "person", "year", "occupation")}.get((head, year)) == state
    working = "dropped: at work, without a coded occupation (0 or blank)"
    assert (working in flow(careers)) == (status == 1)


def test_codes_that_map_nowhere_are_counted(tmp_path: Path) -> None:
    values = {name("head_occupation_1970", 1982): [777]}
    steps = flow(read(*replaced(tmp_path, FAM1982=values)))
    assert steps["dropped: code maps to no occupation (Census 1970: 777 1 times)"] == (1, 1, "dropped")


def test_a_family_that_the_wave_lacks(tmp_path: Path, waves: list[Path]) -> None:
    columns = {variable: values[1:] for variable, values in family_columns(1985).items()}
    files = [waves[0], *(path for path in waves[1:] if "1985" not in path.name)]
    careers = read(*files, write_fixed(tmp_path, "FAM1985", columns))
    assert (A, 1985) not in [row[:2] for row in rows(careers, "person", "year")]
    assert flow(careers)["dropped: the family has no row in the wave's family file"] == (1, 1, "dropped")


def test_two_heads_of_one_family(tmp_path: Path) -> None:
    sequence = name("sequence", 1999)
    values = [1 if INDIVIDUALS[person].get(1999, (0,))[0] == 801 else 0 for person in INDIVIDUALS]
    careers = read(*replaced(tmp_path, IND2021ER={sequence: values}))
    assert 1999 not in [year for (year,) in rows(careers, "year")]
    assert flow(careers)["dropped: two people are head, or spouse, of one family"] == (2, 2, "dropped")
    other = "dropped: not in the family at the interview (any other sequence number)"
    assert flow(careers)[other] == (2, 2, "dropped")


def test_a_birth_after_the_first_row_is_set_aside(tmp_path: Path) -> None:
    values = {name("year_born", 1985): [1985, 1942, 1960, 1961, 0]}
    careers = read(*replaced(tmp_path, IND2021ER=values))
    assert rows(careers, "person", "birth_year")[0] == (A, None)
    late = "left missing: birth year reported after the person's first row"
    assert flow(careers)[late] == (1, 3, "recoded")


def test_1968_has_no_sequence_numbers(tmp_path: Path) -> None:
    people = {"ER30001": [1, 1, 1, 2], "ER30002": [1, 2, 3, 170], "ER30003": [1, 2, 3, 0]}
    family = {name("family_interview", 1968): [1], name("head_status", 1968): [1]}
    family |= {name("head_occupation_1970_retrospective", 1968): [401], name("region", 1968): [2]}
    files = write_fixed(tmp_path, "IND2021ER", people), write_fixed(tmp_path, "FAM1968", family)
    careers = read(*files, retrospective=True)
    assert rows(careers, "person", "year", "occupation", "region") == [
        (1001, 1968, crosswalk(1970)[401], "northcentral")
    ]
    steps = flow(careers)
    without = "dropped: the files have no occupation of the spouse (or head) in this wave"
    assert steps[without] == (1, 1, "dropped")
    assert steps["left missing: gender, for which the files have no variable"] == (1, 1, "recoded")
    with pytest.raises(
        LaborLLMError, match=r"IND2021ER.txt: no occupation among the variables; add family files of 1981"
    ):
        read(*files)


@pytest.mark.parametrize(("status", "kept"), [(1, True), (2, False)])
def test_a_retrospective_job_counts_at_work_alone(tmp_path: Path, status: int, kept: bool) -> None:
    people = {"ER30001": [1], "ER30002": [1], "ER30003": [1]}
    job = name("head_occupation_1970_retrospective", 1968)
    family = {name("family_interview", 1968): [1], name("head_status", 1968): [status], job: [401]}
    files = write_fixed(tmp_path, "IND2021ER", people), write_fixed(tmp_path, "FAM1968", family)
    expected = crosswalk(1970)[401] if kept else UNEMPLOYED
    assert rows(read(*files, retrospective=True), "occupation") == [(expected,)]


def test_a_new_wave_needs_rows_of_variables_alone(tmp_path: Path, waves: list[Path]) -> None:
    extra = tmp_path / "extra.csv"
    concepts = ("interview", "sequence", "relation", "family_interview", "head_status", "head_occupation_2010")
    extra.write_text("concept,year,reference\n" + "".join(f"{c},2023,ER9{place}\n" for place, c in enumerate(concepts)))
    people = {"ER30001": [10], "ER30002": [3], "ER90": [5], "ER91": [1], "ER92": [10]}
    family = {"ER93": [5], "ER94": [1], "ER95": [4020]}
    more = write_fixed(tmp_path, "IND2023ER", people), write_fixed(tmp_path, "FAM2023", family)
    careers = read(*waves, *more, variables=extra)
    assert rows(careers, "person", "year", "occupation") == sorted([*CAREERS, (C, 2023, crosswalk(2010)[4020])])


def test_files_that_do_not_fit(tmp_path: Path, waves: list[Path]) -> None:
    with pytest.raises(
        LaborLLMError, match=r"FAM1982.txt: no file holds people \(ER30001 and ER30002\); add the cross-"
    ):
        read(*waves[1:])
    wealth = write_fixed(tmp_path, "WLTH2001", {"S500": [1], "S501": [2]})
    with pytest.raises(LaborLLMError, match=r"WLTH2001.txt: holds neither people .* but S500, S501; leave it out"):
        read(*waves, wealth)
    other = family_columns(1985)
    other[name("head_occupation_1970", 1985)] = [402, 999, 0]
    again = write_fixed(tmp_path, "FAM1985", other)
    message = r"FAM1985.txt, head_occupation_1970, interview 701: 402, but .*FAM1985.txt says 401 \(1 such rows\)"
    with pytest.raises(LaborLLMError, match=message):
        read(*waves, again)
    assert read(*waves, waves[2]).table.equals(read(*waves).table)
    assert read(waves[0], *reversed(waves[1:])).table.equals(read(*waves).table)


def test_people_and_families_that_stand_twice(tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=r"IND2021ER.txt, rows 1 and 2: person 10001 stands twice"):
        read(*replaced(tmp_path, IND2021ER={"ER30002": [1, 1, 3, 170, 171]}))
    interview = name("family_interview", 1985)
    with pytest.raises(LaborLLMError, match=r"FAM1985.txt, variable V\d+, family 701: has both \d+ and \d+"):
        read(*replaced(tmp_path, FAM1985={interview: [701, 701, 703]}))


@pytest.mark.parametrize(
    ("stem", "values", "message"),
    [
        ("IND2021ER", {"ER30002": [0, 2, 3, 170, 171]}, r"variable ER30002, row 1: 0 is no id"),
        ("IND2021ER", {"ER30001": ["", 10, 10, 10, 10]}, r"variable ER30001, row 1: None is no id"),
        ("FAM1982", {"V8380": ["40.5"]}, r"variable V8380, row 1: 40.5 is no whole number below 10\^9"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, stem: str, values: dict[str, list[object]], message: str) -> None:
    with pytest.raises(LaborLLMError, match=f"{stem}.txt, {message}"):
        read(*replaced(tmp_path, **{stem: values}))


def test_a_wave_without_its_individual_variables(tmp_path: Path, waves: list[Path]) -> None:
    columns = individual_columns()
    del columns[name("sequence", 1985)]
    people = write_fixed(tmp_path, "IND2021ER", columns)
    message = (
        r"has family variables of 1985, but the files with people lack sequence of that wave; .* or draw ER30464 too"
    )
    with pytest.raises(LaborLLMError, match=message):
        read(people, *waves[1:])
    columns = extract_columns()
    for concept in ("interview", "family_interview"):
        del columns[name(concept, 1985)]
    with pytest.raises(LaborLLMError, match=r"of 1985 but no interview number of that wave"):
        read(write_fixed(tmp_path, "J1", columns))


def test_nothing_left(tmp_path: Path) -> None:
    people = {"ER30001": [1], "ER30002": [1], name("interview", 1982): [1]}
    people |= {name("sequence", 1982): [1], name("relation", 1982): [1]}
    family = {name("family_interview", 1982): [1], name("head_occupation_1970", 1982): [999]}
    files = write_fixed(tmp_path, "IND2021ER", people), write_fixed(tmp_path, "FAM1982", family)
    with pytest.raises(LaborLLMError, match=r"IND2021ER.txt: no person-year has a usable occupation"):
        read(*files)


def test_a_file_of_ids_alone_is_told(tmp_path: Path, waves: list[Path]) -> None:
    ids = write_fixed(tmp_path, "IDS", {"ER30001": [10], "ER30002": [1]})
    assert "not read: no variable of a career in IDS.txt" in flow(read(*waves, ids))


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    extract, waves = write_csv(tmp_path / "J1.csv", extract_columns()), write_waves(tmp_path, ".do")
    refused = 0
    for turn in range(24):
        files = [extract] if turn % 3 == 0 else waves
        victim = files[int(rng.integers(len(files)))]
        victim = victim.with_suffix(".do") if turn % 3 == 1 else victim
        whole = victim.read_bytes()
        victim.write_bytes(mutated(whole, rng))
        try:
            assert len(read(*files))
        except LaborLLMError:
            refused += 1
        victim.write_bytes(whole)
    assert 8 < refused < 24


def test_settings_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    wages = ({"wage_dollars": 2010}, {"wage": True, "prices": "p.csv"}, {"wage": True, "wage_bounds": [3, 1]})
    for wrong in (
        *wages,
        {"files": []},
        {"state": True},
        {"precedence": ["unemployed"]},
        {"precedence": ["job", "job"]},
    ):
        with pytest.raises(ValidationError):
            PSIDSettings.model_validate({"files": [tmp_path]} | wrong)


def test_the_cart_is_that_of_the_table() -> None:
    shipped = Path(psid.__file__).parents[1] / "data" / "psid_cart.txt"
    assert shipped.read_text() == cart(psid_variables())


def test_the_table_names_each_variable_once() -> None:
    table = psid_variables().rows
    twice = table.filter(pl.col("reference").is_duplicated()).select("concept", "reference").rows()
    assert twice == [("id_1968", "ER30001"), ("interview", "ER30001")]
    assert not table.select(pl.struct("concept", "year").is_duplicated().any()).item()
    occupations = {concept for concept in table["concept"] if "occupation" in concept}
    assert occupations == {f"{role}_occupation_{kind}" for role in ("head", "spouse") for kind in CENSUS}


SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture(scope="module")
def index(real_data: Path) -> list[dict[str, str]]:
    """The survey's own index of variables: a dict of the columns per row."""
    with zipfile.ZipFile(real_data / "data" / "psid" / "psid_cross_year_index.xlsx") as archive:
        shared = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        words = ["".join(part.text or "" for part in item.iter(f"{SHEET}t")) for item in shared.iter(f"{SHEET}si")]
        sheet = next(member for member in archive.namelist() if member.startswith("xl/worksheets/sheet"))
        rows: list[dict[str, str]] = []
        for row in ElementTree.fromstring(archive.read(sheet)).iter(f"{SHEET}row"):
            cells = {}
            for cell in row.iter(f"{SHEET}c"):
                value = cell.find(f"{SHEET}v")
                if value is not None and value.text is not None:
                    column = re.sub(r"\d", "", cell.attrib["r"])
                    cells[column] = words[int(value.text)] if cell.get("t") == "s" else value.text
            rows.append(cells)
    header = rows[0]
    return [{header[column]: text for column, text in row.items()} for row in rows[1:]]


# Words of the index's TEXT that each concept's variable must have, and words that it must not have.
TEXTS = {
    "id_1968": ("id (interview) number", "father"),
    "person_number": ("person number", "-"),
    "sex": ("Sex", "-"),
    "interview": ("id (interview) number", "father"),
    "sequence": ("sequence number", "-"),
    "relation": ("relationship to head/reference person", "-"),
    "grades": ("grades completed", "cross year"),
    "year_born": ("from birthdate", "month"),
    "weight": ("Longitudinal", "latino"),
    "family_interview": ("family interview number", "sequential"),
    "region": ("03>region", "grew"),
    "status": ("Employment Status", "prior"),
    "status_2": ("2nd mention", "additional"),
    "status_3": ("3rd mention", "additional"),
    "works_now": ("employed now, whether", "labor force"),
    "occupation_1970_retrospective": ("present main job", "last year"),
    "occupation_1970": ("present main job", "retrospective"),
    "occupation_2000": ("present or last main job, 3-digit 2000", "self-employed"),
    "occupation_2010": ("present or last main job, 4-digit 2010", "self-employed"),
    "race": ("03>race", "combined"),
    "hispanic": ("03>hispanicity", "-"),
    "wage": ("average (annual labor income divided by annual work hours)", "-"),
    "labor_income": ("04>total", "05>"),
}


@pytest.mark.real_data
def test_every_variable_is_in_the_surveys_index(index: list[dict[str, str]]) -> None:
    columns = {column for row in index for column in row}
    years = sorted(column for column in columns if re.fullmatch(r"Y\d{4}", column))
    assert (years[0], years[-1], len(years)) == ("Y1968", "Y2021", 42)
    place = {(row[year], year[1:]): row for row in index for year in years if year in row}
    for concept, year, reference in psid_variables().rows.select("concept", "year", "reference").iter_rows():
        role = next((role for role in ("head", "spouse") if concept.startswith(f"{role}_")), None)
        wave = {"ER30001": "1968", "ER30002": "1968", "ER32000": "2021"}.get(reference, year)
        row = place[reference, wave]
        has, has_not = TEXTS[concept.removeprefix(f"{role}_")]
        words = re.sub(r"\s+", " ", row["TEXT"])
        assert has in words, (concept, year, words)
        assert has_not == "-" or has_not not in words, (concept, year, words)
        assert row.get("HEAD_WIFE", "") == {"head": "HEAD", "spouse": "WIFE", None: ""}[role]


@pytest.mark.real_data
def test_occupations_of_heads_as_the_note_beside_the_index_lists_them(real_data: Path) -> None:
    note = (real_data / "data" / "README.md").read_text()
    listed = dict(re.findall(r"(\d{4}) (V\d+|ER\d+)", note[note.index("Head's main occupation") :]))
    rows = psid_variables().rows.filter(pl.col("concept") == "head_occupation_1970")
    assert dict(rows.select("year", "reference").iter_rows()) == listed
    assert len(listed) == 19


def test_the_shipped_table_is_plain_csv() -> None:
    path = Path(psid.__file__).parents[1] / "data" / "psid_variables.csv"
    with path.open(newline="") as lines:
        table = list(csv.reader(lines))
    assert table[0] == ["concept", "year", "reference", "questions"]
    assert all(re.fullmatch(r"V\d+(_A)?|ER\d+[A-Z]?", row[2]) and not row[3] for row in table[1:])


def test_a_folder_stands_for_the_data_files_in_it(tmp_path: Path) -> None:
    from laborllm.survey.simulated.surveys import write_survey
    from laborllm.survey.simulated.world import SimulatedSettings

    write_survey(SimulatedSettings(like="psid", people=40), tmp_path / "files")
    named = read_psid(PSIDSettings(files=tuple(sorted((tmp_path / "files").glob("*.txt")))))
    assert read_psid(PSIDSettings(files=(tmp_path / "files",))).table.equals(named.table)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LaborLLMError, match=r"empty: holds no \.txt, \.zip, \.csv file"):
        read_psid(PSIDSettings(files=(tmp_path / "empty",)))
