"""Surveys made up: what a reader finds in the files is what was simulated, in every form that the files come in."""

import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import COVARIATES, Careers
from laborllm.survey.nls.codebook import compare_frequencies, read_codebook
from laborllm.survey.nls.extracts import read_extract
from laborllm.survey.nls.nlsy79 import NLSY79Settings, read_nlsy79
from laborllm.survey.nls.nlsy97 import NLSY97Settings, read_nlsy97
from laborllm.survey.occupations import STATES, crosswalk
from laborllm.survey.psid.psid import PSIDSettings, psid_variables, read_psid
from laborllm.survey.simulated.likeness import censuses
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate
from laborllm.survey.simulated.surveys import write_survey

Written = tuple[Path, Careers]
PEOPLE = 500
READERS: dict[str, Callable[[Sequence[Path]], Careers]] = {
    "nlsy79": lambda files: read_nlsy79(NLSY79Settings(files=tuple(files), wage=True)),
    "nlsy97": lambda files: read_nlsy97(NLSY97Settings(files=tuple(files), wage=True)),
    "psid": lambda files: read_psid(PSIDSettings(files=tuple(files), wage=True, labor_income=True)),
}


def written(folder: Path, like: str, people: int = PEOPLE, **settings: int) -> Written:
    return folder, write_survey(SimulatedSettings(like=like, people=people, seed=5, **settings), folder)


@pytest.fixture(scope="module")
def nlsy79(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(tmp_path_factory.mktemp("nlsy79"), "nlsy79")


@pytest.fixture(scope="module")
def nlsy97(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(tmp_path_factory.mktemp("nlsy97"), "nlsy97")


@pytest.fixture(scope="module")
def psid(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(tmp_path_factory.mktemp("psid"), "psid")


@pytest.fixture(params=["nlsy79", "nlsy97", "psid"])
def survey(request: pytest.FixtureRequest) -> tuple[str, Path, Careers]:
    return request.param, *request.getfixturevalue(request.param)


def files_of(like: str, folder: Path, kind: str = "", into: Path | None = None) -> list[Path]:
    """The files to read: in one kind alone, copied or zipped into another folder where that is needed."""
    if like != "psid" and kind != "zip":
        return [folder / f"{like}.{kind or 'csv'}"]
    if not kind:
        return sorted(folder.glob("*.txt"))
    assert into is not None
    texts = [folder / f"{like}.dct"] if like != "psid" else sorted(folder.glob("*.txt"))
    for text in texts:
        if kind == "zip":
            with zipfile.ZipFile(into / f"{text.stem}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for file in [text] if like != "psid" else sorted(folder.glob(f"{text.stem}.*")):
                    archive.write(file, file.name)
        else:
            shutil.copy(text, into)
            shutil.copy(text.with_suffix(f".{kind}"), into)
    return sorted(into.glob("*.zip" if kind == "zip" else "*.txt"))


def assert_same(read: Careers, simulated: Careers) -> None:
    """All columns, weight and wage among them, row by row; the closed lists may differ in what nobody does."""
    words = pl.col("occupation").cast(pl.String)
    ours, theirs = simulated.table.with_columns(words), read.table.with_columns(words)
    assert set(ours.columns) == set(theirs.columns) >= {*COVARIATES, "wage"}
    assert_frame_equal(theirs.select(ours.columns), ours, check_exact=True)


KINDS = [*((like, kind) for like in ("nlsy79", "nlsy97") for kind in ("csv", "dct", "dat", "zip"))]
KINDS += [("psid", kind) for kind in ("sps", "do", "sas", "zip")]


@pytest.mark.parametrize(("like", "kind"), KINDS)
def test_every_kind_of_file_is_read_as_simulated(
    like: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder, careers = request.getfixturevalue(like)
    assert_same(READERS[like](files_of(like, folder, kind, tmp_path)), careers)


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """Writes each survey once."""
    return cache(lambda like: written(tmp_path_factory.mktemp(like), like, people=10_000))


@pytest.mark.slow
@pytest.mark.parametrize(("like", "kind"), KINDS)
def test_ten_thousand_people_are_read_as_simulated(
    like: str, kind: str, ten_thousand: Callable[[str], Written], tmp_path: Path
) -> None:
    folder, careers = ten_thousand(like)
    assert len(careers) > 100_000
    assert_same(READERS[like](files_of(like, folder, kind, tmp_path)), careers)


@pytest.mark.slow
@pytest.mark.parametrize("like", ["nlsy79", "nlsy97"])
def test_the_codebook_of_ten_thousand_counts_right(like: str, ten_thousand: Callable[[str], Written]) -> None:
    assert_counted(ten_thousand(like)[0], like)


@pytest.mark.parametrize(
    ("like", "years"),
    [
        ("nlsy79", (1981, 1983)),
        ("nlsy79", (2000, 2010)),
        ("nlsy79", (2008, 2022)),
        ("nlsy97", (1997, 1998)),
        ("nlsy97", (2011, 2015)),
        ("psid", (1981, 1982)),
        ("psid", (1996, 2005)),
    ],
)
def test_part_of_the_rounds_is_read_as_simulated(like: str, years: tuple[int, int], tmp_path: Path) -> None:
    folder, careers = written(tmp_path, like, people=120, first_year=years[0], last_year=years[1], occupations=200)
    rounds = [year for year in censuses(like) if years[0] <= year <= years[1]]
    assert sorted(set(careers.table["year"])) == rounds
    assert_same(READERS[like](files_of(like, folder)), careers)


@pytest.mark.parametrize("like", ["nlsy79", "nlsy97"])
def test_the_codebook_prints_the_frequencies_of_the_files(like: str, request: pytest.FixtureRequest) -> None:
    folder, _ = request.getfixturevalue(like)
    assert_counted(folder, like)
    assert (folder / f"{like}.{like.upper()}").read_text().split() == list(read_codebook(folder / f"{like}.cdb"))


def assert_counted(folder: Path, like: str) -> None:
    """Every figure that the codebook prints of every variable is that of the extract."""
    extract, codebook = read_extract(folder / f"{like}.dct"), read_codebook(folder / f"{like}.cdb")
    columns = {variable.column: variable.reference or "" for variable in extract.variables}
    assert len(columns) == len(codebook) - 1 > 200
    assert compare_frequencies(extract.table, codebook, columns).is_empty()


def test_an_extract_in_two_files_is_read_as_simulated(nlsy79: Written, tmp_path: Path) -> None:
    folder, careers = nlsy79
    table = pl.read_csv(folder / "nlsy79.csv")
    table.select(table.columns[:1] + table.columns[1::2]).write_csv(tmp_path / "first.csv")
    table.select(table.columns[:1] + table.columns[2::2]).sample(fraction=1, shuffle=True, seed=1).write_csv(
        tmp_path / "second.csv"
    )
    assert_same(READERS["nlsy79"]([tmp_path / "first.csv", tmp_path / "second.csv"]), careers)


def test_the_files_hold_what_a_reader_must_see_through(survey: tuple[str, Path, Careers]) -> None:
    like, folder, careers = survey
    told = "\n".join(step.what for step in READERS[like](files_of(like, folder)).flow)
    expected = {
        "nlsy79": [
            "no interview",
            "Not working",
            "education carried forward",
            "weeks worked in the past",
            "Census 2002",
        ],
        "nlsy97": ["no interview", "younger than 16", "week before is taken", "job 01 in its place", "mixed race"],
        "psid": ["institution", "moved out", "died", "neither head", "last, or second, job", "reports differ", "600"],
    }
    assert [words for words in expected[like] if words not in told] == []
    states = set(STATES) & set(careers.table["occupation"].cast(pl.String))
    assert states >= {"unemployed", "not_in_labor_force", "in_education"}
    assert careers.table["education"].n_unique() == 5


@pytest.mark.parametrize(("name", "census"), [("R0945300", 1980), ("R0945000", 1970), ("T5256900", 2002)])
def test_the_whole_width_of_the_crosswalk_is_used(nlsy79: Written, name: str, census: int) -> None:
    """The codes of a round are codes of jobs that people have, and several of them stand for one job."""
    folder, careers = nlsy79
    jobs = set(careers.occupations.codes) - set(STATES)
    codes = pl.read_csv(folder / "nlsy79.csv")[name]
    used = {code: crosswalk(census)[code] for code in codes.filter(codes >= 0).unique()}
    assert set(used.values()) <= jobs
    several = [job for job in jobs if sum(job == other for other in used.values()) > 1]
    possible = [job for job in set(used.values()) if list(crosswalk(census).values()).count(job) > 1]
    assert len(several) > len(possible) / 2


def test_heads_and_spouses_change_families_as_in_the_survey(psid: Written) -> None:
    """Every person in a wave's family has a sequence number of their own, and every family one head."""
    folder, careers = psid
    names = {(row[0], row[1]): row[2] for row in psid_variables().rows.select("concept", "year", "reference").rows()}
    waves = sorted(censuses("psid"))
    individual, families = fixed_width(folder / "IND2021ER"), {}
    numbers = []
    for year in waves:
        families[year] = fixed_width(folder / f"FAM{year}{'ER' if year >= 1994 else ''}")
        interview = individual[names["interview", str(year)]]
        sequence, relation = (individual[names[word, str(year)]] for word in ("sequence", "relation"))
        listed = interview > 0
        here = listed & (sequence <= 20)
        assert (listed == (sequence > 0)).all()
        assert len(set(zip(interview[here], sequence[here], strict=True))) == here.sum()
        heads = here & (relation == (1 if year < 1983 else 10))
        assert sorted(interview[heads]) == sorted(families[year][names["family_interview", str(year)]])
        assert set(interview[listed]) == set(interview[heads])
        numbers.append(interview)
    both = (numbers[5] > 0) & (numbers[6] > 0)
    assert (numbers[5] != numbers[6])[both].mean() > 0.9
    assert len(set(careers.table["person"] // 1000)) < careers.people


def test_an_extract_with_people_and_families_side_by_side_is_read_as_simulated(psid: Written, tmp_path: Path) -> None:
    """The Data Center's form: one row a person, the variables of the person's family of each wave beside it."""
    folder, careers = psid
    names = {(row[0], row[1]): row[2] for row in psid_variables().rows.select("concept", "year", "reference").rows()}
    table = pl.DataFrame(fixed_width(folder / "IND2021ER"))
    for year in censuses("psid"):
        family = pl.DataFrame(fixed_width(folder / f"FAM{year}{'ER' if year >= 1994 else ''}"))
        mine, theirs = names["interview", str(year)], names["family_interview", str(year)]
        table = table.join(family.drop(family.columns[0]), left_on=mine, right_on=theirs, how="left")
    whole = [pl.col(c).cast(pl.Int64) for c in table.columns if (table[c].fill_null(0) % 1 == 0).all()]
    table.with_columns(whole).write_csv(tmp_path / "J123456.csv")
    assert_same(READERS["psid"]([tmp_path / "J123456.csv"]), careers)


def fixed_width(stem: Path) -> dict[str, np.ndarray]:
    """A wave file cut by its SPSS set-up alone, without any of the package's readers."""
    setup = stem.with_suffix(".sps").read_text()
    places = re.findall(r"(\w+)\s+(\d+) - (\d+)", setup[setup.index("DATA LIST") : setup.index("EXECUTE")])
    lines = np.array(stem.with_suffix(".txt").read_text().splitlines())
    cells = lines.view("U1").reshape(len(lines), -1)
    return {
        name: np.ascontiguousarray(cells[:, int(first) - 1 : int(last)])
        .view(f"U{int(last) - int(first) + 1}")
        .ravel()
        .astype(np.float64)
        for name, first, last in places
    }


def test_what_the_survey_cannot_tell_is_counted(nlsy79: Written) -> None:
    _, careers = nlsy79
    simulated = simulate(SimulatedSettings(like="nlsy79", people=PEOPLE, seed=5))
    before = simulated.table["occupation"].cast(pl.String)
    after = careers.table["occupation"].cast(pl.String)
    changed = before != after
    assert set(after.filter(changed)) == {"not_working"}
    assert set(before.filter(changed)) <= {"unemployed", "not_in_labor_force", "in_education"}
    assert careers.table.filter(changed)["year"].min() == 2000
    step = next(step for step in careers.flow if step.what.startswith("recoded: occupation"))
    assert (step.person_years, step.kind) == (changed.sum(), "recoded")
    assert simulated.table.drop("occupation", "survey").equals(
        careers.table.select(simulated.table.columns).drop("occupation", "survey")
    )


def test_same_settings_same_files_to_the_last_bit(survey: tuple[str, Path, Careers], tmp_path: Path) -> None:
    like, folder, careers = survey
    _, again = written(tmp_path, like)
    assert again.table.equals(careers.table)
    names = sorted(file.name for file in folder.iterdir())
    assert names == sorted(file.name for file in tmp_path.iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_careers_lie_beside_the_files(survey: tuple[str, Path, Careers]) -> None:
    _, folder, careers = survey
    read = Careers.read(folder / "careers.parquet")
    assert read.table.equals(careers.table)
    assert read.flow == careers.flow


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SimulatedSettings(), "survey.like is not set; choose a survey to write as: nlsy79, nlsy97, psid"),
        (SimulatedSettings(like="psid", population="resume"), "only 'survey' is written"),
    ],
)
def test_what_is_no_survey_is_refused(settings: SimulatedSettings, message: str, tmp_path: Path) -> None:
    with pytest.raises(LaborLLMError, match=re.escape(message)):
        write_survey(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_an_earlier_run_are_not_mixed_with_new_ones(tmp_path: Path) -> None:
    written(tmp_path, "psid", people=20, first_year=2019)
    with pytest.raises(LaborLLMError, match=r"is not empty, it holds FAM2019ER.do; name a new folder"):
        written(tmp_path, "psid", people=20, first_year=2021)
    with pytest.raises(LaborLLMError, match="is a file; name a new folder"):
        written(tmp_path / "FAM2019ER.do", "psid", people=20)


@pytest.mark.parametrize("like", READERS)
def test_one_person_is_enough(like: str, tmp_path: Path) -> None:
    folder, careers = written(tmp_path, like, people=1)
    assert careers.people == 1
    assert_same(READERS[like](files_of(like, folder)), careers)
