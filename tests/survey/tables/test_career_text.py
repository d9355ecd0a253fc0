"""CAREER's text format: written and read again it is the same; what is misaligned is refused with file and line."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from laborllm.errors import LaborLLMError
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text, write_career_text

FILES = {
    "train.job": "o1 education o2\nunemployed\n",
    "train.year": "1990 1991 1993\n1992\n",
    "train.education": "some_college some_college bachelors\nhigh_school\n",
    "train.gender": "female\nmale\n",
    "valid.job": "o2 o2\n",
    "valid.year": "1985 1986\n",
    "valid.education": "graduate graduate\n",
    "valid.gender": "male male\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "text", FILES)


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def read(folder: Path, **settings: Any) -> Careers:
    return read_career_text(CareerTextSettings(folder=folder, **settings))


def error_of(folder: Path, **settings: Any) -> str:
    with pytest.raises(LaborLLMError) as caught:
        read(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_files(first: Path, second: Path) -> bool:
    names = sorted(path.name for path in first.iterdir() if path.suffix not in (".csv", ".npz"))
    assert names == sorted(path.name for path in second.iterdir() if path.suffix not in (".csv", ".npz"))
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_lines_become_careers(folder: Path) -> None:
    careers = read(folder, survey="theirs")
    assert careers.occupations.codes == careers.occupations.titles == ("education", "o1", "o2", "unemployed")
    columns = ("person", "year", "occupation", "education", "gender", "split")
    assert careers.table.select(columns).rows() == [
        (1, 1990, "o1", "some_college", "female", "train"),
        (1, 1991, "education", "some_college", "female", "train"),
        (1, 1993, "o2", "bachelors", "female", "train"),
        (2, 1992, "unemployed", "high_school", "male", "train"),
        (3, 1985, "o2", "graduate", "male", "validation"),
        (3, 1986, "o2", "graduate", "male", "validation"),
    ]
    assert careers.table["region"].null_count() == 6
    assert careers.table["survey"].unique().to_list() == ["theirs"]
    assert [(step.what, step.people, step.person_years) for step in careers.flow] == [
        ("read from train.*", 2, 4),
        ("read from valid.*", 1, 2),
    ]


def test_a_list_gives_titles_and_marks_states(folder: Path) -> None:
    titles = folder / "titles.csv"
    titles.write_text(
        "code,title,state\no1,Cook,\no2,Clerk,\no3,Nurse,\neducation,At school,in_education\nunemployed,Out of work,\n"
    )
    careers = read(folder, titles=titles, spaces=True)
    assert careers.occupations.titles == ("Cook", "Clerk", "Nurse", "At school", "Out of work")
    assert careers.table["occupation"].to_list()[:2] == ["o1", "in_education"]
    assert careers.occupations.is_state == (False, False, False, True, True)
    assert careers.table["education"].to_list()[0] == "some college"
    assert careers.flow[-1].what == "recoded: occupation education is the state in_education"
    titles.write_text("code,title\no1,Cook\n")
    assert error_of(folder, titles=titles).startswith(
        f"{folder}/train.job, line 1: code 'education' is not on the list"
    )


def test_what_is_written_is_read_again(few_careers: Careers, tmp_path: Path, rng: np.random.Generator) -> None:
    careers = split_by_person(few_careers, (0.5, 0.2, 0.3), rng)
    write_career_text(careers, tmp_path / "out")
    again = read(tmp_path / "out", titles=tmp_path / "out" / "occupations.csv", spaces=True, survey="a test survey")
    assert again.occupations == careers.occupations
    by_part = careers.table.with_columns(pl.col("split").to_physical().alias("part")).sort("part", "person", "year")
    renumbered = by_part.with_columns(person=pl.struct("part", "person").rank("dense").cast(pl.Int64)).drop("part")
    assert again.table.equals(renumbered)
    write_career_text(again, tmp_path / "twice")
    assert same_files(tmp_path / "out", tmp_path / "twice")


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "people", "jobs"), [("survey", 2_800, 29_060), ("resume", 8_800, 92_135)])
def test_the_reference_folders_are_written_byte_by_byte(
    name: str, people: int, jobs: int, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "data" / "career_reference" / name
    careers = read(folder)
    assert (careers.people, len(careers), len(careers.occupations)) == (people, jobs, 60)
    write_career_text(careers, tmp_path / "out")
    assert same_files(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "train.year",
            "1990 1991\n1992\n",
            ".year, line 1: has 2 tokens, train.job has 3 (1 such lines); give as many",
        ),
        ("train.year", "1990 1991 1993\n", ".year: has 1 lines, train.job has 2; give one a person"),
        ("train.year", "1990 1991 1993\n1992\n\n", ".year, line 3: holds no token (1 such lines)"),
        ("train.year", "1990 1991 93\n1992\n", ".year, line 1: '93' is no calendar year of 1900-2100"),
        ("train.year", "1990 1991 2993\n1992\n", ".year, line 1: '2993' is no calendar year"),
        (
            "train.year",
            "1990 1991 1991\n1992\n",
            ".year, line 1: 1991 follows 1991 (1 such lines); the years of a line",
        ),
        ("train.education", "a b\nc\n", ".education, line 1: has 2 tokens, train.job has 3"),
        ("train.education", "a\nc\n", ".education, line 1: has 1 tokens, train.job has 3"),
        (
            "train.gender",
            "female female\nmale\n",
            ".gender, line 1: has 2 tokens, train.job has 3 (1 such lines); give one,",
        ),
        ("train.gender", "f f m\nmale\n", ".gender, line 1: has both 'f' and 'm' (1 such lines); gender must be one"),
        ("train.gender", "f\0\nmale\n", ".gender, line 1: holds a null byte"),
        ("train.job", "", ".job, line 1: holds no token"),
        ("train.birth_year", "1960\n2000\n", ".birth_year, line 2: impossible years: person 2 is born in 2000"),
    ],
)
def test_misalignment_is_one_line(name: str, text: str, message: str, folder: Path) -> None:
    write(folder, {name: text})
    if name == "train.birth_year":
        write(folder, {"valid.birth_year": "1960\n"})
    assert error_of(folder).startswith(f"{folder}/train{message}")


def test_missing_files(folder: Path) -> None:
    write(folder, {"valid.location": "south\n"})
    assert error_of(folder).startswith(f"{folder}/train.location: no such file, but there is valid.location; ")
    (folder / "valid.location").unlink()
    (folder / "valid.gender").unlink()
    assert error_of(folder).startswith(f"{folder}/valid.gender: no such file; every part has the same variables")
    (folder / "train.year").unlink()
    assert error_of(folder).startswith(f"{folder}/train.year: no such file")
    assert error_of(folder / "none").startswith(f"{folder}/none: no such folder")


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "train.gender").write_bytes("f\xe9minin\nmale\n".encode("latin-1"))
    assert error_of(folder).startswith(f"{folder}/train.gender: cannot be read (")


def test_ends_of_lines_and_blanks_do_not_matter(folder: Path) -> None:
    expected = read(folder).table
    write(folder, {name: text.replace("\n", "\r\n").replace(" ", "  ") for name, text in FILES.items()})
    assert read(folder).table.equals(expected)
    write(folder, {name: text.removesuffix("\n") for name, text in FILES.items()})
    assert read(folder).table.equals(expected)


def test_writing_refuses_what_it_cannot_hold(few_careers: Careers, tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(LaborLLMError, match="not split yet"):
        write_career_text(few_careers, tmp_path / "out")
    careers = split_by_person(few_careers, (0.5, 0.2, 0.3), rng)
    (tmp_path / "full").mkdir()
    kept = tmp_path / "full" / "mine.txt"
    kept.write_text("mine")
    with pytest.raises(LaborLLMError, match="is there already and holds something; choose a new or an empty folder"):
        write_career_text(careers, tmp_path / "full")
    assert kept.read_text() == "mine"
    words = careers.table.with_columns(education=pl.col("education").replace("some college", "high_school"))
    with pytest.raises(LaborLLMError, match="'high school' and 'high_school' would both be written as 'high_school'"):
        write_career_text(Careers(words, careers.occupations), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def meant(files: dict[str, bytes]) -> list[tuple[Any, ...]]:
    """The jobs that the bytes of a folder say, one by one; ValueError where they say nothing."""
    rows: list[tuple[Any, ...]] = []
    person = 0
    for part, split in (("train", "train"), ("valid", "validation")):
        columns = []
        for name in ("job", "year", "education", "gender"):
            text = files[f"{part}.{name}"].decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
            if "\0" in text:
                raise ValueError(text)
            columns.append([line.replace("\t", " ").split(" ") for line in text.removesuffix("\n").split("\n")])
        for tokens in zip(*columns, strict=True):
            jobs, years, levels, gender = ([token for token in line if token] for line in tokens)
            numbers = [int(year) for year in years if year.isascii() and year.isdigit() and len(year) == 4]
            rises = all(first < second for first, second in pairwise(numbers))
            if not jobs or len(numbers) < len(years) or not rises or len(set(gender)) != 1:
                raise ValueError(tokens)
            if len(gender) not in (1, len(jobs)) or not all(1900 <= year <= 2100 for year in numbers):
                raise ValueError(tokens)
            person += 1
            gender *= len(jobs) if len(gender) == 1 else 1
            rows += [(person, *row, split) for row in zip(numbers, jobs, levels, gender, strict=True)]
    return rows


@pytest.mark.parametrize("trials", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_folders_are_read_as_they_say_or_refused(trials: int, folder: Path, rng: np.random.Generator) -> None:
    columns = ("person", "year", "occupation", "education", "gender", "split")
    read_so_far = 0
    for trial in range(trials):
        files = {name: text.encode() for name, text in FILES.items()}
        for _ in range(trial % 3):
            name = str(rng.choice(list(files)))
            place = int(rng.integers(len(files[name]) + 1))
            piece = bytes(
                rng.choice([b" ", b"  ", b"\n", b"\r\n", b"\r", b"\t", b"\0", b"\xff", b"9", b"x", b"\xc3\xa9", b""])
            )
            files[name] = files[name][:place] + piece + files[name][place + int(rng.integers(2)) :]
        for name, data in files.items():
            (folder / name).write_bytes(data)
        try:
            found = read(folder).table.select(columns).rows()
        except LaborLLMError as error:
            found = []
            message = str(error)
        if found:
            assert found == meant(files)
            read_so_far += 1
        else:
            assert message.startswith(str(folder))
            assert "\n" not in message
    assert trials / 3 < read_so_far < trials
