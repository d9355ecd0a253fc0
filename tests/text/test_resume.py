"""Résumés: the template, its variants, and the place of every title."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from laborllm.survey.careers import COVARIATES, Careers
from laborllm.text.resume import (
    END_OF_DATA,
    Resume,
    ResumeSettings,
    permute_covariates,
    resume_titles,
    shorten,
    write_resumes,
)


def pieces(resume: Resume) -> list[str]:
    return [resume.text[cut:end] for cut, end in zip(resume.cuts, resume.ends, strict=True)]


def test_the_template(few_careers: Careers) -> None:
    first = write_resumes(few_careers, ResumeSettings())[1]
    assert first.text.splitlines()[:4] == [
        "<A worker from the a test survey dataset>",
        "The following information is available about the work history of a female white US worker residing in the "
        "south region.",
        "The worker was born in 1962.",
        "The worker has the following records of work experience, one entry per line, including year, education level, "
        "and the job title:",
    ]
    assert first.text.splitlines()[4] == "1986 (high school): Cooks"
    assert first.text.endswith("\n" + END_OF_DATA)


@pytest.mark.parametrize("last_rows", [None, 1, 3])
@pytest.mark.parametrize("titles", ["text", "numeric", "permuted", "random"])
def test_every_title_stands_at_its_span(few_careers: Careers, titles: str, last_rows: int | None) -> None:
    settings = ResumeSettings(titles=titles, last_rows=last_rows)
    words = resume_titles(few_careers.occupations, settings)
    resumes = write_resumes(few_careers, settings)
    for resume in resumes:
        assert pieces(resume) == [f" {words[few_careers.occupation[row]]}\n" for row in resume.rows]
    scored = [row for resume in resumes for row in resume.rows[resume.first_scored :]]
    assert sorted(scored) == list(range(len(few_careers)))


@pytest.mark.parametrize("last_rows", [None, 1, 3])
def test_only_the_end_of_a_career_is_marked(few_careers: Careers, last_rows: int | None) -> None:
    for resume in write_resumes(few_careers, ResumeSettings(last_rows=last_rows)):
        ends = resume.rows[-1] + 1 in few_careers.starts
        assert resume.text.endswith(END_OF_DATA) == ends
        assert resume.text.count(END_OF_DATA) == ends


def test_history_is_cut_to_the_last_rows(few_careers: Careers) -> None:
    for resume in write_resumes(few_careers, ResumeSettings(last_rows=2)):
        assert len(resume.rows) - max(resume.first_scored, 1) <= 2
        for row in resume.rows[resume.first_scored :]:
            earlier = row - few_careers.starts[few_careers.person_of_row[row]]
            assert row - resume.rows[0] == min(2, earlier) or resume.first_scored == 0


@pytest.mark.parametrize("lines", [1, 2, 3, 5])
def test_shorter_windows_score_every_line_once(few_careers: Careers, lines: int) -> None:
    for resume in write_resumes(few_careers, ResumeSettings()):
        windows = shorten(resume, lines)
        assert [row for window in windows for row in window.rows[window.first_scored :]] == list(resume.rows)
        header = resume.text.split("and the job title:\n")[0]
        for window in windows:
            assert len(window.rows) <= max(lines, 1)
            assert window.text.startswith(header)
            assert pieces(window) == [pieces(resume)[row - resume.rows[0]] for row in window.rows]
        assert sum(END_OF_DATA in window.text for window in windows) == 1


def test_dropping_covariates_one_at_a_time_and_together(few_careers: Careers) -> None:
    signs = {
        "gender": "female",
        "ethnicity": "white",
        "region": "south",
        "birth_year": "born",
        "education": "school",
    }
    for name, sign in signs.items():
        text = write_resumes(few_careers, ResumeSettings(drop=(name,)))[1].text
        assert sign not in text
        assert all(other in text for other in signs.values() if other != sign)
    bare = write_resumes(few_careers, ResumeSettings(drop=COVARIATES))[1].text
    assert "work history of a US worker." in bare
    assert "\n1986: Cooks\n" in bare


def test_missing_covariates_leave_no_gap(few_careers: Careers) -> None:
    without = replace(few_careers, table=few_careers.table.with_columns(pl.lit(None).alias("gender")))
    assert "work history of a white US worker residing" in write_resumes(without, ResumeSettings())[1].text


def test_permuted_covariates_keep_their_marginals(few_careers: Careers, rng: np.random.Generator) -> None:
    shuffled = permute_covariates(few_careers, ("gender", "region"), rng)
    assert not shuffled.table.equals(few_careers.table)
    people = lambda careers: careers.table.unique("person", maintain_order=True)  # noqa: E731
    for name in ("gender", "region"):
        assert people(shuffled)[name].sort().equals(people(few_careers)[name].sort())
    pairs = people(shuffled).select("gender", "region").rows()
    assert sorted(map(str, pairs)) == sorted(map(str, people(few_careers).select("gender", "region").rows()))
    assert shuffled.table["ethnicity"].equals(few_careers.table["ethnicity"])
    education = permute_covariates(few_careers, ("education",), rng).table["education"]
    assert education.sort().equals(few_careers.table["education"].sort())


def test_control_titles(few_careers: Careers) -> None:
    listed = few_careers.occupations
    permuted = resume_titles(listed, ResumeSettings(titles="permuted", seed=3))
    assert sorted(permuted) == sorted(listed.titles)
    assert permuted != listed.titles
    drawn = resume_titles(listed, ResumeSettings(titles="random"))
    assert [len(word) for word in drawn] == [len(title) for title in listed.titles]
    assert len(set(drawn)) == len(drawn)
    assert drawn == resume_titles(listed, ResumeSettings(titles="random"))
