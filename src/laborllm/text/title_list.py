"""The closed list in words, for the head of a prompt: what a language model may answer with."""

from laborllm.survey.occupations import Occupations
from laborllm.text.resume import ResumeSettings, resume_titles

LIST_BEGINS = "<The job titles on record, one per line>"
LIST_ENDS = "<END OF LIST>"


def write_title_list(occupations: Occupations, settings: ResumeSettings) -> str:
    """The titles exactly as résumés word them, one a line, in the order of the closed list.

    Numeric titles come with what they stand for ("job_12: Cooks"): without it the list would say nothing. The
    controls "permuted" and "random" show their words alone.

    Args:
        occupations: the closed list.
        settings: the wording of the résumés.

    Examples:
        >>> pair = Occupations(codes=("436", "313"), titles=("Cooks", "Secretaries"), groups=("food", "cleric"))
        >>> print(write_title_list(pair, ResumeSettings(titles="numeric")), end="")
        <The job titles on record, one per line>
        job_0: Cooks
        job_1: Secretaries
        <END OF LIST>
    """
    answers = resume_titles(occupations, settings)
    if settings.titles == "numeric":
        answers = tuple(f"{code}: {title}" for code, title in zip(answers, occupations.titles, strict=True))
    return "\n".join([LIST_BEGINS, *answers, LIST_ENDS]) + "\n"
