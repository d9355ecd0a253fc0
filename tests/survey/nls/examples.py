"""Small NLS files made from a known table, and plain readings of such files that share nothing with the package."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laborllm.survey.nls.codebook import Entry
from laborllm.survey.nls.codebook_blocks import CHOICE

REFERENCES = ("R0000100", "R0000500", "R0214800", "R0618301", "R0897100", "T5684500")
QUESTIONS = ("CASEID_1979", "Q1_3_A_Y_1979", "SAMPLE_SEX_1979", "HGC_1981", "WEIGHT_XRND", "TNFW_TRUNC_2016")
LABELS = ("ID# (1-12686) 79", "DATE OF BIRTH - YR 79", "SEX OF R 79", "HIGHEST GRADE 81", "WEIGHT", "NET WEALTH 2016")
_LINE = "-" * 80

DICTIONARY = """infile dictionary {
  R0000100 "ID# (1-12686) 79"
  R0214800 "SEX OF R 79"
  R0216701 "HIGHEST GRADE COMPLTD (REV) 79"
}
3 2 12
1 1 9
2 -5 -5
"""

CODEBOOK = """R00001.00    [CASEID]                                       Survey Year: 1979
  PRIMARY VARIABLE


             IDENTIFICATION CODE

ACTUAL NUMBER

Refusal(-1)            0
Don't Know(-2)         0
TOTAL =========>       3   VALID SKIP(-4)       0     NON-INTERVIEW(-5)       0

Min:              1        Max:              3        Mean:                   2

Lead In: None.
Default Next Question: R02148.00
--------------------------------------------------------------------------------
R02148.00    [SAMPLE_SEX]                                   Survey Year: 1979
  PRIMARY VARIABLE


             SEX
             OF R

ORIGINAL QUESTION NAME: S01Q02

IS R MALE
OR FEMALE?

UNIVERSE: All those
asked

       1       1 MALE
       1       2 FEMALE, WHOSE LABEL
                 RUNS ON
  -------
       2

Refusal(-1)            0
Don't Know(-2)         0
Invalid Skip(-3)       0
TOTAL =========>       2   VALID SKIP(-4)       0     NON-INTERVIEW(-5)       1

Lead In: R00001.00[Default]
Default Next Question: R02167.01
--------------------------------------------------------------------------------
R02167.01    [HGCREV79]                                     Survey Year: 1979
  PRIMARY VARIABLE


             HIGHEST GRADE COMPLETED

       1           0 TO 11: 0-11 SCHOOL
       1          12
  -------
       2

Refusal(-1)            0
Don't Know(-2)         0
TOTAL =========>       2   VALID SKIP(-4)       0     NON-INTERVIEW(-5)       1

Min:              9        Max:             12        Mean:                10.5

Lead In: R02148.00[Default] R02147.00[1:1]
         R00005.00[Default]
Default Next Question: End of Survey.
"""

SHORT = """

Reference
Number     Year    Variable Description                    Question Name
-------------------------------------------------------------------------
R00001.00  1979    IDENTIFICATION CODE                     CASEID
R02147.00  78SCRN  R'S RACIAL/ETHNIC COHORT FROM SCREENER  SAMPLE_RACE
"""


def known_table(people: int = 40, seed: int = 0) -> np.ndarray:
    """Shape (people, REFERENCES): ids in order, then values as a survey has them, with missing codes."""
    rng = np.random.default_rng(seed)
    columns = [
        np.arange(1, people + 1),
        rng.integers(57, 65, people),
        rng.integers(1, 3, people),
        rng.choice([-5, -4, -3, -2, -1, 9, 10, 11, 12, 95], people),
        rng.integers(10_000, 999_999, people),
        rng.choice([-715_175, -5, -4, 0, 1, 5_526_252, 99_999_999_999], people),
    ]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Text:
    """A file as text: its lines before the rows, and the rows.

    Attributes:
        suffix: ".csv", ".dct" or ".dat".
        head: lines of the header or dictionary.
        rows: lines of values.
        beside: suffix -> text of files that lie beside it.
    """

    suffix: str
    head: tuple[str, ...]
    rows: tuple[str, ...]
    beside: dict[str, str]

    @property
    def separator(self) -> str:
        return "," if self.suffix == ".csv" else " "

    def bytes(self, newline: str = "\n", last: bool = True) -> bytes:
        text = newline.join([*self.head, *self.rows])
        return (text + newline * last).encode()


def written(folder: Path, text: Text, data: bytes, stem: str = "a") -> Path:
    """The file and those beside it, in a folder that holds nothing else then."""
    for old in folder.iterdir():
        old.unlink()
    for suffix, other in text.beside.items():
        (folder / f"{stem}{suffix}").write_text(other)
    path = folder / f"{stem}{text.suffix}"
    path.write_bytes(data)
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def texts(table: np.ndarray) -> dict[str, Text]:
    """The same table in every format."""
    plain = tuple(" ".join(map(str, row)) for row in table.tolist())
    commas = tuple(row.replace(" ", ",") for row in plain)
    quoted = ",".join(f'"{reference}"' for reference in REFERENCES)
    free = ["data list file pcdat free /", *(f"  {reference} (F5)" for reference in REFERENCES), "."]
    words = ["variable labels", *(f'  {r}  "{label}"' for r, label in zip(REFERENCES, LABELS, strict=True)), "."]
    widths = [max(len(str(value)) for value in column) + 1 for column in table.T.tolist()]
    ends = np.cumsum(widths).tolist()
    fixed = ["data list file=pcdat fixed /"]
    fixed += [f"  {r} {end - width + 1}-{end} (F)" for r, width, end in zip(REFERENCES, widths, ends, strict=True)]
    padded = tuple("".join(f"{v:{w}}" for v, w in zip(row, widths, strict=True)) for row in table.tolist())
    return {
        "csv": Text(".csv", (quoted,), commas, {}),
        "questions": Text(".csv", (",".join(QUESTIONS),), commas, {}),
        "dct": Text(".dct", dictionary(), plain, {}),
        "dat_sps": Text(".dat", (), plain, {".sps": "\n".join([*free, *words, ""])}),
        "dat_fixed": Text(".dat", (), padded, {".sps": "\n".join([*fixed, ".", *words, ""])}),
        "dat_sdf": Text(".dat", (), plain, {".sdf": short_description()}),
    }


def dictionary() -> tuple[str, ...]:
    lines = [f'  {reference} "{label}"' for reference, label in zip(REFERENCES, LABELS, strict=True)]
    return ("infile dictionary {", *lines, "}")


def short_description() -> str:
    lines = ["", "", "Reference", "Number     Year    Variable Description      Question Name", "-" * 70]
    for reference, question, label in zip(REFERENCES, QUESTIONS, LABELS, strict=True):
        name, _, year = question.rpartition("_")
        lines.append(f"{reference[:6]}.{reference[6:]}  {year:8}{label:34}  {name}      ")
    return "\n".join(lines) + "\n"


def codebook(table: np.ndarray) -> str:
    """A codebook whose figures are those of the table."""
    blocks = [_block(place, column) for place, column in enumerate(table.T)]
    return f"\n{_LINE}\n".join("\n".join(block) for block in blocks) + "\n"


def _block(place: int, column: np.ndarray) -> list[str]:
    reference, (name, _, year) = REFERENCES[place], QUESTIONS[place].rpartition("_")
    counts = {code: int((column == code).sum()) for code in (-1, -2, -3, -4, -5)}
    valid = column[~np.isin(column, list(counts))]
    lines = [f"{reference[:6]}.{reference[6:]}    [{name}]{'':30}Survey Year: {year}", "  PRIMARY VARIABLE", "", " "]
    lines += [f"{'':13}{LABELS[place]}", " ", "UNIVERSE: All", " "]
    if place:
        for value, count in zip(*np.unique(valid, return_counts=True), strict=True):
            lines += [f"{count:8}{value:14} A LABEL OF SOME WORDS", f"{'':26}that runs on"]
        lines += ["  -------", f"{len(valid):8}", " "]
    lines += [f"Refusal(-1){counts[-1]:13}", f"Don't Know(-2){counts[-2]:10}", f"Invalid Skip(-3){counts[-3]:8}"]
    total = len(column) - counts[-4] - counts[-5]
    lines += [f"TOTAL =========>{total:8}   VALID SKIP(-4){counts[-4]:8}     NON-INTERVIEW(-5){counts[-5]:8}", " "]
    hundredths = (200 * abs(int(valid.sum())) + len(valid)) // (2 * len(valid))
    mean = (-1 if valid.sum() < 0 else 1) * hundredths / 100
    lines += [f"Min:{valid.min():15}        Max:{valid.max():15}        Mean:{_number(mean):>20}", " "]
    return [*lines, "Lead In: None.", "Default Next Question: R00001.49"]


def plain_reading(data: bytes, separator: str, head: int) -> tuple[list[str], list[list[int]]] | None:
    """Names and rows of a ``.csv`` (head 1) or ``.dct`` (head 0: up to the brace), read as simply as can be.

    None where a line is no row of whole numbers, or the header has marks that no header has.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip(" \t")]
    if head:
        names = [name.strip(' "') for name in lines[0].split(",")]
        lines = lines[1:]
    else:
        close = [line.strip() for line in lines].index("}") if "}" in [line.strip() for line in lines] else None
        if close is None:
            return None
        names = [line.split()[0] for line in lines[1:close]]
        lines = lines[close + 1 :]
    rows = []
    for line in lines:
        values = (
            re.split(r"[ \t]+", line.strip(" \t")) if separator == " " else [v.strip(" \t") for v in line.split(",")]
        )
        values = [value[1:-1].strip(" \t") if re.fullmatch(r'".*"', value) else value for value in values]
        if len(values) != len(names) or not all(re.fullmatch(r"-?[0-9]{1,18}", value) for value in values):
            return None
        rows.append([int(value) for value in values])
    return names, rows


def text_of(data: bytes) -> str:
    """UTF-8, or else Latin-1."""
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def printed_blocks(text: str) -> list[list[str]]:
    """For every block of a codebook, the words of its paragraphs of figures, colons and asides left out."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    blocks: list[list[str]] = []
    for line in lines:
        if re.match(r"[A-Z]\d{5}\.\d\d .*Survey Year: ", line):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    return [_figure_words(block) for block in blocks]


def _figure_words(block: list[str]) -> list[str]:
    words: list[str] = []
    paragraphs = re.split(r"\n(?:[ \t]*\n)+", "\n".join(block))
    for paragraph in paragraphs:
        lines = paragraph.split("\n")
        if any(line.strip() == "-------" for line in lines) or any(
            line.startswith(("TOTAL", "Min:")) for line in lines
        ):
            words += _plain_words(paragraph)
    return words


def _plain_words(text: str) -> list[str]:
    """Words without colons, rules, arrows, asides and zeros before a number."""
    words = re.sub(r"\(Go To [^)]*\)|:|={3,}>|-{7}|(?<![0-9.A-Za-z])0+(?=[0-9])", " ", text).split()
    return [word for word in words if word]


def read_words(entry: Entry) -> list[str]:
    """The same words, as a codebook's entry has them."""
    words: list[str] = []
    for line in entry.values:
        low = 1 if CHOICE.fullmatch(entry.question) and line.label == "SELECTED" else line.low
        words += [str(line.count), str(low), *([] if line.low == line.high else ["TO", str(line.high)])]
        words += _plain_words(line.label)
    if entry.valid is not None:
        words.append(str(entry.valid))
    for code, name in ((-1, "Refusal"), (-2, "Don't Know"), (-3, "Invalid Skip")):
        if code in (entry.missing or {}):
            words += [*f"{name}({code})".split(), str(entry.missing[code])]
    words += ["TOTAL", str(entry.total), "VALID", "SKIP(-4)", str(entry.missing[-4])]
    words += ["NON-INTERVIEW(-5)", str(entry.missing[-5])]
    if entry.mean is not None:
        words += ["Min", _number(entry.minimum), "Max", _number(entry.maximum), "Mean", _number(entry.mean)]
    return words


def _number(value: float) -> str:
    """As the codebook prints it: 6343.5, .2, 7."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.2f}".rstrip("0").rstrip("."))
