"""Every figure that the real codebooks print is in an entry, word for word."""

from pathlib import Path

import pytest

from laborllm.survey.nls.codebook import Codebook, read_codebook
from laborllm.survey.nls.codebook_blocks import ValueCount
from tests.survey.nls import examples as nls_examples

CHOICES = """R45234.01    [Q3-1A~000002]                     Survey Year: 1994
  PRIMARY VARIABLE

 
             MONTHS ENROLLED - FEB 93
 
     132       1 SELECTED
     590       0 NOT SELECTED
  -------
     722
 
Refusal(-1)            0
Don't Know(-2)         4   (Go To R45300.00)
TOTAL =========>     726   VALID SKIP(-4)    8165     NON-INTERVIEW(-5)    3795
 
Min:              0        Max:              2        Mean:                 .37
 
Lead In: None.
Default Next Question: R45260.00
"""


@pytest.mark.parametrize(("maximum", "number"), [("2", 2), ("1", 1)])
def test_a_selected_choice_bears_its_number(tmp_path: Path, maximum: str, number: int) -> None:
    """The codebook prints 1, its maximum is what the extract holds."""
    path = tmp_path / "a.cdb"
    path.write_text(CHOICES.replace("Max:              2", f"Max:              {maximum}"))
    entry = read_codebook(path)["R4523401"]
    assert entry.values == (ValueCount(number, number, "SELECTED", 132), ValueCount(0, 0, "NOT SELECTED", 590))
    assert entry.missing is not None
    assert entry.missing[-2] == 4


def test_a_range_of_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.cdb"
    nobody = "Min:        Max:        Mean:                   0"
    lines = [nobody if line.startswith("Min:") else line for line in CHOICES.split("\n")]
    path.write_text("\n".join(lines))
    entry = read_codebook(path)["R4523401"]
    assert (entry.minimum, entry.maximum, entry.mean) == (None, None, None)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "variables", "people"),
    [
        ("nlsy79/original.cdb", 1852, 12686),
        ("nlsy79/y79_schoolV2.cdb", 1342, 12686),
        ("nlsy79/y79_demographicsV2.cdb", 104, 12686),
        ("nlsy79/investigator_2016/NLS_79.cdb", 25, 12686),
        ("nlsy79/investigator_2020/NLSY79_supplement1.cdb", 120, 12686),
        ("nlsy97/Occupations.cdb", 171, 8984),
    ],
)
def test_no_printed_figure_is_left_over(real_data: Path, file: str, variables: int, people: int) -> None:
    path = real_data / "data" / file
    book: Codebook = read_codebook(path)
    assert (len(book), book.people) == (variables, people)
    printed = nls_examples.printed_blocks(nls_examples.text_of(path.read_bytes()))
    for words, entry in zip(printed, book.values(), strict=True):
        read = nls_examples.read_words(entry)
        if entry.mean is None:  # of a range of nobody the codebook prints "Min: Max: Mean: 0"
            words = words[: words.index("Min")] if "Min" in words else words
        assert sorted(words) == sorted(read), entry.reference
    assert all(entry.title and entry.primary and entry.default_next is not None for entry in book.values())
