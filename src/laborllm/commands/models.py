"""The commands `laborllm models …`: what one does with a checkpoint before and after a study."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from laborllm.errors import LaborLLMError

if TYPE_CHECKING:
    from laborllm.models.language.estimate import CheckpointNeeds
    from laborllm.survey.careers import Careers
    from laborllm.text.resume import ResumeSettings

app = typer.Typer(
    help="Checkpoints of language models: check one before a study, push one after it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
console = Console()

MADE_UP = 200
"""People of the made-up survey whose résumés are counted where there is no study."""
EVERY = 1000
"""People of an epoch where there is no study."""
METHODS = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}


@app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a Hugging Face checkpoint.")],
    survey: Annotated[Path | None, typer.Option(metavar="STUDY.toml", help="Its closed list and résumés.")] = None,
    model: Annotated[str | None, typer.Option(help="Word careers as this language model of the study does.")] = None,
    no_weights: Annotated[
        bool, typer.Option("--no-weights", help="Do not load the weights; config.json is enough.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Load a checkpoint, verify every title under its tokenizer, tell memory and time. Nothing is downloaded.

    Without a study the titles are those of occ1990dd, and the résumés are of made-up people.

    Example: `laborllm models check models/SmolLM2-135M --survey study.toml`
    """
    with _needs_torch():
        from laborllm.models.language.estimate import check_checkpoint, weight_bytes
        from laborllm.models.room import free_memory

    if model is not None and survey is None:
        raise LaborLLMError(f"--model {model} names a language model of a study; give the study with --survey")
    loaded = not no_weights
    if loaded and weight_bytes(path) > free_memory():
        loaded = False
    careers, people, titles = _careers(survey)
    text = _text(survey, model)
    needs = check_checkpoint(path, careers, people=people, text=text, titles=titles, weights=loaded)
    if as_json:
        console.print_json(json.dumps(asdict(needs)))
        return
    console.print(_facts(path, needs, survey, asked=not no_weights))
    console.print(_training(needs))
    console.print(_scoring(needs))
    console.print(f"{_bytes(needs.free)} of memory are free on this machine.", highlight=False)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A fine-tuned checkpoint with its model card.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="Everybody may read it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send a checkpoint to the Hugging Face Hub, private by default. No other command sends anything.

    Example: `laborllm models push runs/first/models/llm/checkpoint me/careers`
    """
    from laborllm.models.language.hub import WARNING, plan_upload, require_online
    from laborllm.models.language.hub import push as send

    upload = plan_upload(folder)
    require_online()
    readers = "everybody can read it" if public else "private"
    say = {"markup": False, "highlight": False, "soft_wrap": True}
    console.print(f"To {repository} ({readers}), {_bytes(upload.bytes)} from {folder}:", **say)  # type: ignore[arg-type]
    for name in upload.sent:
        console.print(f"  {name}  {(folder / name).stat().st_size:,} bytes", **say)  # type: ignore[arg-type]
    if upload.left:
        console.print(f"Not sent: {', '.join(upload.left)}", **say)  # type: ignore[arg-type]
    console.print(WARNING, **say)  # type: ignore[arg-type]
    if not yes and not typer.confirm("Send it?"):
        raise LaborLLMError("nothing was sent")
    with _hub_errors(repository):
        address = send(upload, repository, _hub(), public=public)
    console.print(f"Sent: {address}", **say)  # type: ignore[arg-type]


def _hub() -> Any:
    """The hub, imported by nothing else."""
    with _needs_torch():
        from huggingface_hub import HfApi

    return HfApi()


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """What the hub or the network says, on one line."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        yield
    except LocalTokenNotFoundError as error:
        raise LaborLLMError("nobody is logged in to the hub; run `hf auth login` first") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LaborLLMError(
            f"{repository}: the hub did not take it ({reason}); check name, log-in and network, and push again"
        ) from error


@contextmanager
def _needs_torch() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise LaborLLMError(f"{error.name} is not installed; run `pip install laborllm[llm]`") from error


def _careers(survey: Path | None) -> "tuple[Careers, int, tuple[str, ...]]":
    """Careers whose résumés are counted, people of an epoch, and further titles to verify."""
    if survey is None:
        from laborllm.survey.occupations import occ1990dd
        from laborllm.survey.simulated.simulate import simulate
        from laborllm.survey.simulated.world import SimulatedSettings

        titles = occ1990dd().titles
        jobs = sum(not state for state in occ1990dd().is_state)
        return simulate(SimulatedSettings(people=MADE_UP, occupations=jobs)), EVERY, titles
    from laborllm.study import read_careers, read_study

    train = read_careers(read_study(survey)).part("train")
    return train, train.people, ()


def _text(survey: Path | None, model: str | None) -> "ResumeSettings | None":
    """How careers are worded."""
    if survey is None:
        return None
    from laborllm.study import read_study, resume_settings

    return resume_settings(read_study(survey), model)


def _facts(path: Path, needs: "CheckpointNeeds", survey: Path | None, *, asked: bool) -> Table:
    """What the checkpoint is."""
    whose = "occ1990dd" if survey is None else str(survey)
    rows = {
        "architecture": needs.architecture,
        "parameters": f"{needs.parameters:,}",
        "vocabulary": f"{needs.vocabulary:,}",
        "context": f"{needs.context:,} tokens",
    }
    if needs.tokens is None:
        rows["titles"] = "not verified: there is no tokenizer.json"
    else:
        tokens, people = needs.tokens, "made-up people" if survey is None else "training people"
        rows[f"titles of {whose}"] = f"{tokens.titles:,}, every one verified"
        rows["tokens a title"] = f"{tokens.per_title:.1f} on average, {tokens.longest_title} at most"
        rows["tokens a résumé"] = f"{tokens.per_resume:,.0f} on average ({tokens.people:,} {people})"
        if tokens.windows > tokens.people:
            rows["careers longer than the context"] = (
                f"there are some: {tokens.windows:,} windows of at most {tokens.longest_resume:,} tokens"
            )
    if needs.times is None:
        why = f"their {_bytes(needs.training[0].weights)} are more than is free" if asked else "as asked"
        rows["weights"] = f"not loaded, {why}"
    else:
        of = f"{needs.people:,} résumés" if survey is None else f"the {needs.people:,} training people"
        rows["scored by"] = str(needs.scored_by)
        for way, took in (("full fine-tuning", needs.times.epoch_seconds), ("LoRA", needs.times.adapter_seconds)):
            told = (
                "not measured: memory does not suffice" if took is None else f"{_time(took)} for {of} on this machine"
            )
            rows[f"{way}, one epoch"] = told
        rows["scoring every title"] = f"{_time(needs.times.scoring_seconds)} for {of} on this machine"
    table = Table("what", "value", title=escape(str(path)))
    for what, value in rows.items():
        table.add_row(escape(what), escape(value))
    return table


def _training(needs: "CheckpointNeeds") -> Table:
    """Memory of fine-tuning by method and résumés at once."""
    heads = ("fine-tuning", "learned", "weights", "gradients", "moments", "résumés at once", "memory", "checkpointing")
    table = Table(*heads, title="Fine-tuning, in float32")
    for fixed in needs.training:
        parts = (fixed.weights, fixed.gradients, fixed.moments)
        first = (METHODS[fixed.method], f"{fixed.trained:,}", *map(_bytes, parts))
        for each in needs.activations:
            if each.method == ("full" if fixed.method == "full" else "lora"):
                totals = (_bytes(fixed.total + each.plain), _bytes(fixed.total + each.checkpointed))
                table.add_row(*first, str(each.resumes), *totals)
                first = ("",) * len(first)
        table.add_section()
    return table


def _scoring(needs: "CheckpointNeeds") -> Table:
    """Memory of scoring by rows at once."""
    table = Table("rows at once", "weights", "activations, about", "memory", title="Scoring, in float32")
    for each in needs.scoring:
        table.add_row(f"{each.rows:,}", _bytes(each.weights), _bytes(each.activations), _bytes(each.total))
    return table


def _bytes(number: float) -> str:
    """Bytes in the unit that shows three digits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.3g} {unit}"


def _time(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
