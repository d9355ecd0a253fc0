"""The commands `laborllm survey …`, as a user meets them in a fresh folder."""

import os
import re
from pathlib import Path

import pytest

from tests.test_cli import laborllm

COMMANDS = ("verify", "find", "tagset", "simulate")
SURVEYS = ("nlsy79", "nlsy97", "psid")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a made-up NLSY79."""
    folder = tmp_path_factory.mktemp("surveys")
    done = laborllm("survey", "simulate", "--like", "nlsy79", "--people", "60", "--out", "nlsy79", folder=folder)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ people, [\d,]+ person-years: nlsy79", done.stdout)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, tmp_path: Path) -> None:
    done = laborllm("survey", command, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert f"laborllm survey {command}" in done.stdout


def test_what_is_as_printed_passes(made_up: Path) -> None:
    done = laborllm("survey", "verify", "nlsy79/nlsy79.csv", "--csv", "lines.csv", folder=made_up)
    assert done.returncode == 0, done.stderr
    assert re.search(r"(\d+) variables: \1 equal", done.stdout)
    header, *lines = (made_up / "lines.csv").read_text().splitlines()
    assert header == "file,column,reference,title,what,printed,read"
    assert len(lines) > 1000
    assert ": printed" not in done.stdout


def test_every_figure_is_printed_on_request(made_up: Path) -> None:
    done = laborllm("survey", "verify", "nlsy79/nlsy79.csv", "--lines", "--csv", "all.csv", folder=made_up)
    assert done.returncode == 0, done.stderr
    figures = re.findall(r"^nlsy79/nlsy79.csv, (.+): printed (\S+), read (\S+)$", done.stdout, re.MULTILINE)
    assert len(figures) == len((made_up / "all.csv").read_text().splitlines()) - 1
    assert all(printed == read for _, printed, read in figures)
    assert ("R0000100, total", "60", "60") in figures


def test_an_extract_is_not_written_over(made_up: Path) -> None:
    for name in ("nlsy79.csv", "nlsy79.cdb"):
        before = (made_up / "nlsy79" / name).read_bytes()
        done = laborllm("survey", "verify", "nlsy79/nlsy79.csv", "--csv", f"nlsy79/{name}", folder=made_up)
        assert done.returncode == 1
        assert f"nlsy79/{name}: is one of the files to verify; choose another" in done.stderr
        assert (made_up / "nlsy79" / name).read_bytes() == before


def test_nothing_to_compare_is_no_success(made_up: Path) -> None:
    (made_up / "bare.csv").write_text("R0000100,R0214800\n1,1\n")
    done = laborllm("survey", "verify", "bare.csv", folder=made_up)
    assert done.returncode == 1
    assert "2 variables: 2 no codebook" in done.stdout
    assert "no figure was compared; name the codebook" in done.stderr


def test_a_figure_that_cannot_be_read_is_named(made_up: Path) -> None:
    """Nobody has a valid value where the codebook prints a mean; the file's name is no UTF-8."""
    header, *rows = (made_up / "nlsy79" / "nlsy79.csv").read_text().splitlines()
    place = header.split(",").index('"R0216100"')
    emptied = [",".join([*row.split(",")[:place], "-4", *row.split(",")[place + 1 :]]) for row in rows]
    file = made_up / os.fsdecode(b"emptied\xff.csv")
    file.write_text("\n".join([header, *emptied, ""]))
    done = laborllm("survey", "verify", file.name, "nlsy79/nlsy79.cdb", folder=made_up)
    assert done.returncode == 1
    assert re.search(r"emptied.*, R0216100, mean: printed [\d.]+, read nothing", done.stdout), done.stderr


def test_a_difference_is_named_and_ends_with_exit_code_1(made_up: Path) -> None:
    text = (made_up / "nlsy79" / "nlsy79.csv").read_text()
    header, first, *rest = text.splitlines(keepends=True)
    place = header.strip().split(",").index('"R0214800"')
    values = first.split(",")
    values[place] = "2" if values[place] == "1" else "1"
    (made_up / "nlsy79" / "changed.csv").write_text("".join([header, ",".join(values), *rest]))
    done = laborllm("survey", "verify", "nlsy79/changed.csv", "nlsy79/nlsy79.cdb", folder=made_up)
    assert done.returncode == 1
    assert "1 differs" in done.stdout
    assert re.search(r"nlsy79/changed.csv, R0214800, 1: printed \d+, read \d+", done.stdout)


def test_a_codebook_is_searched(made_up: Path) -> None:
    done = laborllm("survey", "find", "nlsy79/nlsy79.cdb", "sample_sex", folder=made_up)
    assert done.returncode == 0, done.stderr
    assert "R0214800" in done.stdout
    assert "R0214700" not in done.stdout


@pytest.mark.parametrize("survey", SURVEYS)
def test_the_variables_to_draw_are_written_once(survey: str, tmp_path: Path) -> None:
    done = laborllm("survey", "tagset", survey, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    assert re.match(r"[A-Z]+\d+", file.read_text())
    again = laborllm("survey", "tagset", survey, folder=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_a_folder_with_files_is_left_alone(made_up: Path) -> None:
    before = sorted((made_up / "nlsy79").iterdir())
    done = laborllm("survey", "simulate", "--out", "nlsy79", folder=made_up)
    assert done.returncode == 1
    assert "choose a new or empty folder" in done.stderr
    assert sorted((made_up / "nlsy79").iterdir()) == before


@pytest.mark.parametrize("survey", SURVEYS)
def test_made_up_files_run_a_study(survey: str, tmp_path: Path) -> None:
    done = laborllm("survey", "simulate", "--like", survey, "--people", "150", "--out", survey, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    files = "psid" if survey == "psid" else f"{survey}/{survey}.dct"
    study = f'[survey]\nsource = "{survey}"\nfiles = ["{files}"]\n[models.transition]\nkind = "transition"\n'
    (tmp_path / "study.toml").write_text(study)
    done = laborllm("careers", "study.toml", "--out", "careers.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "careers.csv").read_text().startswith("person,year,occupation,")
