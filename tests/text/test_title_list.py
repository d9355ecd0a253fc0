"""The closed list at the head of a prompt."""

import pytest

from laborllm.survey.occupations import Occupations
from laborllm.text.resume import ResumeSettings, resume_titles
from laborllm.text.title_list import LIST_BEGINS, LIST_ENDS, write_title_list


@pytest.mark.parametrize("titles", ["text", "permuted", "random"])
def test_every_title_stands_on_its_line_as_resumes_word_it(five_occupations: Occupations, titles: str) -> None:
    settings = ResumeSettings(titles=titles, seed=3)
    begins, *lines, ends, nothing = write_title_list(five_occupations, settings).split("\n")
    assert tuple(lines) == resume_titles(five_occupations, settings)
    assert (begins, ends, nothing) == (LIST_BEGINS, LIST_ENDS, "")


def test_numeric_titles_come_with_their_meaning(five_occupations: Occupations) -> None:
    lines = write_title_list(five_occupations, ResumeSettings(titles="numeric")).splitlines()[1:-1]
    assert lines[2] == "job_2: Cooks, short order"
    assert [line.split(": ")[0] for line in lines] == list(
        resume_titles(five_occupations, ResumeSettings(titles="numeric"))
    )
