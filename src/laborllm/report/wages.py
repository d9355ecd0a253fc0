"""The tables, the figure and the words of wage equations."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from laborllm.analysis.wages.wage_terms import WageRows
from laborllm.analysis.wages.wages import HISTORY, MINCER, OCCUPATION, WageFindings
from laborllm.report.drawing import Plot, dot, drawing, looks_of, rows, settled
from laborllm.report.essay import Essay, Section, write_essay
from laborllm.report.numbers import Estimate, fixed, interval, standard_error, whole
from laborllm.report.tables import Cell, Table, number_cell, whole_cell

QUESTION = "How much of wages do representations of careers explain?"
WORDS = (
    "Every specification holds the classic regressors: levels of schooling, potential experience and its square, "
    "gender, ethnicity, region and year effects. Those with the row's occupation or a representation are ridge "
    "regressions that leave the classic regressors unpenalised; the validation people choose the penalty.",
    "R² is out of sample: one less the squared residuals of the test people over their squared deviations from the "
    "training mean. A representation tells of the history before the row; the row's occupation stands beside it. "
    "These are predictions: no coefficient is a return that somebody would earn by a change.",
)


def write_wages_page(findings: WageFindings, wages: WageRows, path: Path, *, ci: str, facts: Mapping[str, str]) -> Path:
    """Write the page of wage equations, with its tables and figure beside it.

    Args:
        findings: what they found.
        wages: the rows they were run on.
        path: of the page.
        ci: the name of the intervals, e.g. "95% CI".
        facts: label -> value: how to repeat it.
    """
    first = findings.table.row(0, named=True)
    lead = (
        f"Log hourly wages of {whole(len(wages.rows))} person-years; tried on {whole(first['rows'])} of "
        f"{whole(first['people'])} test people. Intervals come from resampling test people; fits are held fixed."
    )
    sections = [
        Section("explained", "What is explained", WORDS, [r_squared_rows(findings, ci)], [gain_plot(findings, ci)]),
        Section("coefficients", "Coefficients of the small specifications", (), [coefficient_rows(findings, ci)]),
    ]
    return write_essay(Essay("laborllm wages", QUESTION, lead, sentences(findings), sections, facts), path)


def r_squared_rows(findings: WageFindings, ci: str) -> Table:
    """Every specification: R², what it gains over Mincer, its penalty."""
    shown = []
    for row in findings.table.iter_rows(named=True):
        gained = _gain(row)
        shown.append(
            (
                Cell(row["specification"]),
                whole_cell(row["regressors"]),
                number_cell(_level(row)),
                Cell("–") if row["specification"] == MINCER else number_cell(gained, strong=gained.excludes_zero),
                Cell(fixed(row["rmse"], 3)),
                Cell("none" if row["penalty"] is None else f"{row['penalty']:g}"),
            )
        )
    return Table(
        name="wages_r_squared",
        title="Out-of-sample R² of log wages",
        caption="Gain: over Mincer, paired by person; bold: its interval excludes zero.",
        head=("Specification", "Regressors", "R²", "Gain", "Root mean squared error", "Penalty"),
        rows=tuple(shown),
        frame=findings.table,
        brackets=ci,
    )


def coefficient_rows(findings: WageFindings, ci: str) -> Table:
    """Least squares on the training rows."""
    shown = []
    for row in findings.coefficients.iter_rows(named=True):
        estimate = Estimate(row["estimate"], row["std_error"], row["ci_low"], row["ci_high"])
        cells = Cell(fixed(estimate.value, 4)), Cell(standard_error(estimate, 4)), Cell(interval(estimate, 4))
        shown.append((Cell(row["specification"]), Cell(row["term"]), *cells))
    return Table(
        name="wages_coefficients",
        title="Coefficients",
        caption="Log points; least squares on the training people, standard errors clustered by person.",
        head=("Specification", "Term", "Estimate", "Std. error", ci),
        rows=tuple(shown),
        frame=findings.coefficients,
        words=2,
        ordered=True,
    )


def gain_plot(findings: WageFindings, ci: str) -> Plot:
    """What every specification gains over Mincer, as dots with intervals."""
    frame = findings.table[1:]
    names = frame["specification"].to_list()
    looks = looks_of(names, (HISTORY, OCCUPATION))
    with drawing():
        figure = Figure(figsize=(6.2, 1.0 + 0.32 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        rows(axes, names)
        for place, row in enumerate(frame.iter_rows(named=True)):
            dot(axes, place, _gain(row), looks[row["specification"]])
        axes.axvline(0, linewidth=1, color="0.6", zorder=1)
        axes.set_xlabel("Gain in out-of-sample R² over Mincer")
        return settled(
            Plot(
                name="wages_gain",
                title="Gain over Mincer",
                caption=f"Paired by person; bars are {ci}.",
                alt=f"Dot plot of {len(names)} specifications. {' '.join(sentences(findings))}",
                frame=frame,
                figure=figure,
            )
        )


def sentences(findings: WageFindings) -> list[str]:
    """The paragraph of findings, written from the numbers."""
    table = findings.table.to_dicts()
    written = [f"Mincer's equation explains {_percent(_level(table[0]))} of the variance of log wages."]
    best = max(table[1:], key=lambda row: row["r_squared"])
    written.append(f"Most explains {best['specification']}: {_percent(_level(best))}, {_more(best)}.")
    unsure = [row["specification"] for row in table[1:] if not _gain(row).excludes_zero]
    if unsure:
        written.append(f"No clear gain, the interval holds zero: {', '.join(unsure)}.")
    return written


def _more(row: dict) -> str:
    return f"{fixed(100 * row['gain'], 1)} points more {interval(_gain(row), 1, scale=100)}"


def _percent(estimate: Estimate) -> str:
    return f"{fixed(100 * estimate.value, 1)}% {interval(estimate, 1, scale=100)}"


def _level(row: dict) -> Estimate:
    return Estimate(row["r_squared"], row["std_error"], row["ci_low"], row["ci_high"], row["rows"], row["people"])


def _gain(row: dict) -> Estimate:
    error, low, high = (row[f"gain_{name}"] for name in ("std_error", "ci_low", "ci_high"))
    return Estimate(row["gain"], error, low, high, row["rows"], row["people"])
