"""Findings beyond perplexity, each only where its table is there: drops, weights, representativeness, gains, time."""

from collections.abc import Sequence

import polars as pl

from laborllm.report.folder import RunFolder, group_words
from laborllm.report.gains import gains_findings
from laborllm.report.numbers import Estimate, fixed, percent, perplexity_decimals, whole
from laborllm.report.representativeness import quantity_label, read_gaps
from laborllm.report.sample import flow_steps

SPREAD = ("std_error", "ci_low", "ci_high")
SIZE = ("person_years", "people")
LARGEST_DROPS = 3


def drop_findings(run: RunFolder) -> list[str]:
    """What was dropped on the way to the sample, the largest steps by name."""
    drops = [step for step in flow_steps(run) if step.get("kind") == "dropped" and step.get("person_years")]
    if not drops:
        return []
    drops.sort(key=lambda step: -int(step["person_years"]))
    named = [
        f"{str(step.get('what', '')).removeprefix('dropped: ')} ({whole(step['person_years'])} person-years, "
        f"{whole(step.get('people'))} people)"
        for step in drops[:LARGEST_DROPS]
    ]
    if len(drops) == 1:
        return [f"Dropped on the way to the sample: {named[0]}."]
    return [f"Most was dropped on the way to the sample in {len(named)} of {len(drops)} steps: {'; '.join(named)}."]


def weight_findings(run: RunFolder) -> list[str]:
    """Whether survey weights change which model is best."""
    weighted = run.weighted_cells.get(("occupation", "perplexity", "all", "all"), {})
    rivals = [model for model in run.rivals if model in weighted]
    if not rivals:
        return []
    order = sorted(rivals, key=lambda model: weighted[model].value)
    best = weighted[order[0]]
    size = fixed(best.value, perplexity_decimals(best.value)) + _ci(run, best, perplexity_decimals(best.value))
    if len(rivals) == 1:
        return [f"With survey weights the perplexity of {order[0]} is {size}."]
    if order == rivals:
        return [f"Survey weights leave the order of the {len(rivals)} models as it is; {order[0]} then has {size}."]
    if order[0] == rivals[0]:
        return [f"With survey weights {order[0]} is still first, with {size}, but the order of the others changes."]
    ahead = run.differences("perplexity", weighted=True).get((rivals[0], order[0]))
    lead = f"With survey weights {order[0]} has the lowest perplexity, {size}"
    if ahead is None or not ahead.excludes_zero:
        return [f"{lead}, but is not clearly ahead of {rivals[0]}, which comes first without them."]
    gap = fixed(ahead.value, 2) + _ci(run, ahead, 2)
    return [f"{lead}, {gap} lower than that of {rivals[0]}, which comes first without them."]


def representativeness_findings(run: RunFolder) -> list[str]:
    """Where the best model's average predictions stand out from what happened, beyond chance over all comparisons."""
    table = read_gaps(run)
    if not run.rivals:
        return []
    best = run.rivals[0]
    table = table.filter(pl.col("model") == best, pl.col("weighting") == "unweighted", pl.col("flagged").is_not_null())
    if not table.height:
        return []
    flagged = table.filter(pl.col("flagged") == 1).sort(pl.col("difference").abs(), descending=True)
    looked = (
        f"Is it right on average? The mean predictions of {best} were set beside what happened in "
        f"{whole(table.height)} cases of a group and a rate"
    )
    if not flagged.height:
        return [f"{looked}, and none differs beyond chance."]
    groups = flagged["group"].unique(maintain_order=True).to_list()
    where = "; ".join(_gap(run, row) for row in flagged.head(2).iter_rows(named=True))
    return [
        f"{looked}; {whole(flagged.height)} differ beyond chance, in "
        f"{len(groups)} {'group' if len(groups) == 1 else 'groups'} of people, all comparisons taken together. The "
        f"largest: {where}."
    ]


def _gap(run: RunFolder, row: dict) -> str:
    gap = Estimate(row["difference"], row["std_error"], row["ci_low"], row["ci_high"])
    share = fixed(100 * gap.value, 1) + _ci(run, gap, 1, scale=100)
    return (
        f"“{quantity_label(row['quantity'])}” of {group_words(row['group'])}, predicted {percent(row['predicted'])} "
        f"and observed {percent(row['observed'])}, {share} percentage points"
    )


def forecast_findings(run: RunFolder) -> list[str]:
    """How the best forecasting model fades with the horizon, when it sees nothing after the year it learned up to."""
    words = ("model", "way", "horizon", "task", "metric")
    table = run.other_csv("forecast", words, ("estimate", *SPREAD, *SIZE))
    table = table.filter(way="path", task="occupation", metric="perplexity")
    models = [model for model in run.rivals if model in set(table["model"].to_list())]
    if not models:
        return []
    by_horizon = table.filter(model=models[0]).filter(pl.col("horizon").str.contains(r"^\d+$"))
    by_horizon = by_horizon.sort(pl.col("horizon").cast(pl.Int64))
    if by_horizon.height < 2:
        return []
    (first, near), (last, far) = _at(by_horizon, 0), _at(by_horizon, -1)
    apart = near.interval is not None and far.interval is not None and near.interval[1] < far.interval[0]
    verb = "rises" if apart else "goes, with intervals that overlap,"
    ends = [
        fixed(e.value, perplexity_decimals(e.value)) + _ci(run, e, perplexity_decimals(e.value)) for e in (near, far)
    ]
    years = "year" if first == "1" else "years"
    return [
        f"Out of time: from the history up to the last year that {models[0]} learned from, its perplexity {verb} from "
        f"{ends[0]} {first} {years} ahead to {ends[1]} {last} years ahead."
    ]


def _at(table: pl.DataFrame, place: int) -> tuple[str, Estimate]:
    row = table.row(place, named=True)
    return row["horizon"], Estimate(row["estimate"], row["std_error"], row["ci_low"], row["ci_high"])


def _ci(run: RunFolder, estimate: Estimate, decimals: int, *, scale: float = 1.0) -> str:
    if estimate.interval is None:
        return ""
    low, high = (fixed(scale * end, decimals) for end in estimate.interval)
    return f" ({run.ci} {low} to {high})"


def wider_details(run: RunFolder) -> Sequence[str]:
    """All of these findings."""
    found = [*representativeness_findings(run), *gains_findings(run)[:1], *forecast_findings(run)]
    return [*weight_findings(run), *found, *drop_findings(run)]
