"""Paired differences between models: how they are written, and the table of all pairs."""

import polars as pl

from laborllm.report.folder import RunFolder
from laborllm.report.numbers import Estimate, difference_decimals, fixed, interval, standard_error
from laborllm.report.tables import Cell, Table


def pairs_of(run: RunFolder) -> list[tuple[str, str, str, Estimate]]:
    """(a, b, metric, a − b) for every pair, the better model first; raw perplexity where one has nothing else."""
    normalised, raw = run.differences("perplexity"), run.differences("perplexity_raw")
    pairs = []
    for place, a in enumerate(run.models):
        for b in run.models[place + 1 :]:
            for metric, found in (("perplexity", normalised), ("perplexity_raw", raw)):
                if (a, b) in found:
                    pairs.append((a, b, metric, found[a, b]))
                    break
    return pairs


def differences_table(run: RunFolder) -> Table | None:
    """Paired differences in perplexity of all pairs of models."""
    pairs = pairs_of(run)
    if not pairs:
        return None
    banded = any(estimate.band.interval for *_, estimate in pairs)
    names = ["model_a", "model_b", "metric", "difference", "std_error", "ci_low", "ci_high", "person_years", "people"]
    names += ["band_low", "band_high"] if banded else []
    bands = [(estimate.band_low, estimate.band_high) if banded else () for *_, estimate in pairs]
    frame = [(a, b, metric, *e.numbers, *ends) for (a, b, metric, e), ends in zip(pairs, bands, strict=True)]
    band = (f"Simultaneous {run.ci}",) if banded else ()
    return Table(
        name="differences",
        title="Paired differences in perplexity between all pairs of models",
        caption="Each row is the first model's perplexity minus the second's on the same people; negative: the first "
        f"is better; bold: the {run.ci} excludes zero."
        + (" Simultaneous intervals hold for all pairs at once: go by them when you read more than one." * banded),
        head=(
            "First model",
            "Second model",
            "Measure",
            "Difference",
            "Std. error",
            run.ci,
            "Excludes zero",
            *band,
        ),
        rows=tuple(_pair_row(*pair, banded=banded) for pair in pairs),
        frame=pl.DataFrame(frame, schema=names, orient="row", infer_schema_length=None),
        words=3,
    )


def _pair_row(a: str, b: str, metric: str, difference: Estimate, *, banded: bool) -> tuple[Cell, ...]:
    measure = Cell("perplexity" if metric == "perplexity" else "raw perplexity")
    return (Cell(a), Cell(b), measure, *difference_cells(difference, banded=banded))


def difference_cells(difference: Estimate, *, banded: bool) -> tuple[Cell, ...]:
    """A difference, its standard error, interval, whether that excludes zero, and the simultaneous interval."""
    decimals = difference_decimals(difference)
    error = standard_error(difference, decimals) or "–"
    band = (Cell(interval(difference.band, decimals) or "–"),) if banded else ()
    return (
        Cell(fixed(difference.value, decimals), strong=difference.excludes_zero, value=difference.value),
        Cell(error, value=difference.std_error),
        Cell(interval(difference, decimals) or "–", value=difference.low),
        Cell("–" if difference.interval is None else "yes" if difference.excludes_zero else "no"),
        *band,
    )


def difference_cell(difference: Estimate | None) -> Cell:
    """A difference with its interval under it, bold where that excludes zero."""
    if difference is None:
        return Cell("–")
    decimals = difference_decimals(difference)
    text, strong = fixed(difference.value, decimals), difference.excludes_zero
    return Cell(
        text, interval(difference, decimals), standard_error(difference, decimals), "", strong, difference.value
    )
