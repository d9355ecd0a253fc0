"""A table once, written three ways: CSV with every digit, Markdown, and LaTeX in the style of a journal."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from laborllm.files import whole_file
from laborllm.report.numbers import (
    Estimate,
    fixed,
    interval,
    percent,
    perplexity,
    perplexity_decimals,
    standard_error,
    whole,
)

LONG = 18
"""Rows above which a table scrolls inside the page."""
TEX_COLUMNS = 7
"""Columns above which a LaTeX table is shrunk to the width of the page."""
NUMBER = re.compile(r"[\[(]?([-+]?(?:\d+(?:\.\d+)?|∞))(?:%|(?=[\s)\]]|$))")
"""A number at the head of an entry, alone or before a remark; intervals are sorted by their lower end."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: the entry.
        interval: its interval in brackets, under or beside it.
        error: its standard error in parentheses; LaTeX sets it under the entry.
        badge: a word that marks the row, e.g. "floor".
        strong: whether it is to catch the eye (best value, interval that excludes zero).
        value: the number behind the text, by which the page sorts; None where the text itself tells it.
        link: a page that tells more, relative to the run folder; empty where there is none.
    """

    text: str
    interval: str = ""
    error: str = ""
    badge: str = ""
    strong: bool = False
    value: float | None = None
    link: str = ""

    @property
    def number(self) -> float | None:
        """What the page sorts by; None for words and where nothing stands.

        Examples:
            >>> [Cell(text).number for text in ("12,686", "−0.25 (0.1)", "62.3%", "Cooks, short order")]
            [12686.0, -0.25, 62.3, None]
        """
        if self.value is not None:
            return None if math.isnan(self.value) else self.value
        found = NUMBER.match(self.text.replace("−", "-").replace(",", ""))
        return float(found[1].replace("∞", "inf")) if found else None


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: of its files, tables/NAME.csv, .md and .tex.
        title: what it shows.
        caption: one line that tells how to read it.
        head: column heads.
        rows: entries, one tuple per row, each as long as the head.
        frame: the numbers with every digit, for the CSV file.
        brackets: what the intervals in brackets are, e.g. "95% CI"; empty where there are none.
        words: number of leading columns that hold words and are set flush left.
        ordered: whether the order of the rows is itself what the table tells, so that the page does not sort it.
    """

    name: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    frame: pl.DataFrame
    brackets: str = ""
    words: int = 1
    ordered: bool = False

    @property
    def sortable(self) -> bool:
        """Whether the page lets a reader sort it."""
        return not self.ordered and len(self.rows) > 2

    @property
    def note(self) -> str:
        """The caption, and what stands in brackets."""
        return f"{self.caption} {self.brackets} in brackets." if self.brackets else self.caption

    @property
    def long(self) -> bool:
        """Whether the table scrolls inside the page."""
        return len(self.rows) > LONG


def text_rows(rows: Sequence[Sequence[str]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of plain words as cells."""
    return tuple(tuple(Cell(text) for text in row) for row in rows)


def whole_cell(count: int | None) -> Cell:
    """A count with thousands separators."""
    return Cell(whole(count), value=None if count is None else float(count))


def perplexity_cell(estimate: Estimate | None, *, strong: bool = False) -> Cell:
    """A perplexity with its interval and standard error."""
    if estimate is None:
        return Cell("–")
    decimals = perplexity_decimals(estimate.value)
    return Cell(
        perplexity(estimate.value),
        interval(estimate, decimals),
        standard_error(estimate, max(decimals, 2)),
        strong=strong,
        value=estimate.value,
    )


def percent_cell(estimate: Estimate | None, *, decimals: int = 1, strong: bool = False) -> Cell:
    """A share as per cent with its interval and standard error, both in per cent."""
    if estimate is None:
        return Cell("–")
    return Cell(
        percent(estimate.value, decimals),
        interval(estimate, decimals, scale=100),
        standard_error(estimate, decimals + 1, scale=100),
        strong=strong,
        value=estimate.value,
    )


def number_cell(estimate: Estimate | None, *, decimals: int = 3, strong: bool = False) -> Cell:
    """A number with its interval and standard error."""
    if estimate is None:
        return Cell("–")
    text = fixed(estimate.value, decimals)
    error = standard_error(estimate, decimals)
    return Cell(text, interval(estimate, decimals), error, strong=strong, value=estimate.value)


def write_table(table: Table, folder: Path) -> None:
    """Write tables/NAME.csv, .md and .tex under a run folder."""
    with whole_file(folder / f"{table.name}.csv") as temporary:
        table.frame.write_csv(temporary)
    for suffix, text in (("md", as_markdown(table)), ("tex", as_tex(table))):
        with whole_file(folder / f"{table.name}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")


def as_markdown(table: Table) -> str:
    """A Markdown table with its title and caption."""
    rules = ["---" if place < table.words else "---:" for place in range(len(table.head))]
    lines = [_markdown_line(table.head), _markdown_line(rules)]
    lines += [_markdown_line([_markdown_cell(cell) for cell in row]) for row in table.rows]
    return f"**{table.title}**\n\n" + "\n".join(lines) + f"\n\n{table.note}\n"


def _markdown_line(entries: Sequence[str]) -> str:
    return "| " + " | ".join(entry.replace("|", "\\|").replace("\n", " ") for entry in entries) + " |"


def _markdown_cell(cell: Cell) -> str:
    badge = f"({cell.badge})" if cell.badge else ""
    text = f"**{cell.text}**" if cell.strong else cell.text
    return " ".join(part for part in (text, badge, cell.interval) if part)


def as_tex(table: Table) -> str:
    """A LaTeX table (needs booktabs); standard errors stand in parentheses under the estimates."""
    align = "".join("l" if place < table.words else "r" for place in range(len(table.head)))
    body = [line for row in table.rows for line in _tex_lines(row)]
    wide = len(table.head) > TEX_COLUMNS
    return "\n".join(
        [
            f"% needs \\usepackage{{booktabs{',graphicx' if wide else ''}}}",
            "\\begin{table}[htbp]",
            "\\centering",
            f"\\caption{{{tex_escape(table.title)}}}",
            f"\\label{{tab:{table.name}}}",
            ("\\resizebox{\\textwidth}{!}{" if wide else "") + f"\\begin{{tabular}}{{{align}}}",
            "\\toprule",
            " & ".join(tex_escape(head) for head in table.head) + " \\\\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}" + ("}" if wide else ""),
            f"\\par\\medskip\\footnotesize\\raggedright {tex_escape(_tex_note(table))}",
            "\\end{table}",
            "",
        ]
    )


def _tex_note(table: Table) -> str:
    errors = any(cell.error for row in table.rows for cell in row)
    return table.caption + (" Standard errors, clustered by person, in parentheses." if errors else "")


def _tex_lines(row: Sequence[Cell]) -> list[str]:
    """The row and, where it has standard errors, a second line that holds them."""
    entries = [_tex_cell(cell) for cell in row]
    lines = [" & ".join(entries) + " \\\\"]
    if any(cell.error for cell in row):
        lines.append(" & ".join(tex_escape(cell.error) for cell in row) + " \\\\")
    return lines


def _tex_cell(cell: Cell) -> str:
    text = tex_escape(cell.text)
    if cell.strong:
        text = f"\\textbf{{{text}}}"
    if cell.badge:
        text += f" ({tex_escape(cell.badge)})"
    return text if cell.error or not cell.interval else f"{text} {tex_escape(cell.interval)}"


TEX = {
    "\\": "\\textbackslash{}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "−": "$-$",
    "–": "--",
    "∞": "$\\infty$",
    "×": "$\\times$",
    "→": "$\\rightarrow$",
    "≥": "$\\geq$",
    "≤": "$\\leq$",
    "\n": " ",
}


def tex_escape(text: str) -> str:
    """Text that LaTeX sets as it stands.

    Examples:
        >>> print(tex_escape("R&D_1: −5 %"))
        R\\&D\\_1: $-$5 \\%
    """
    return "".join(TEX.get(character, character) for character in text)
