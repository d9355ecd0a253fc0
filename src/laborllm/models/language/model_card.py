"""The model card of a fine-tuned checkpoint: what it is, from whom it learned, what it may be used for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # of transformers

from laborllm.survey.careers import Careers

UNKNOWN = "unknown: check before you share"
LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
FIRST_WORDS = 120
"""Characters of a licence's file that are shown."""
HEAD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- laborllm
- occupations
- careers
---
"""
LIMITS = """\
## Intended use

Research on occupations: probabilities of a worker's next occupation, given the career so far, over the closed list of
the data above and in the wording above. Give it text as `laborllm` writes it; `laborllm` scores every title exactly.

## Limits

- It describes the people of the data. Other populations, years, lists of occupations or wordings are not covered by the
  figures above.
- It repeats what the data hold of gender, ethnicity and region. It is not made for decisions about single people.
- Probabilities are no causal effects.

## Before you share it

**The weights may reveal microdata.** A fine-tuned model can hold single careers of the people it learned from. The
survey's terms of use may forbid sharing it, and so may the licence of the base model. Check both first.
"""


@dataclass(frozen=True)
class Card:
    """What a model card says; it holds no ids and no person's data.

    Attributes:
        architecture: name of the model's class.
        parameters: number of weights.
        base: name of the checkpoint it was fine-tuned from; None for one from random weights.
        licence: of the base.
        method: "full", "lora" or "qlora".
        survey: name of the data.
        people: in train and validation.
        person_years: in train and validation.
        occupations: entries of the closed list.
        split: hash of who is in which part (``split_hash``).
        text: settings of the wording.
        training: settings of the training.
        metrics: what was measured, by name, in words that say on whom: "raw validation perplexity", …
    """

    architecture: str
    parameters: int
    base: str | None
    licence: str
    method: str
    survey: str
    people: Mapping[str, int]
    person_years: Mapping[str, int]
    occupations: int
    split: str
    text: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, float]


def model_card(card: Card) -> str:
    """The text of README.md beside a fine-tuned checkpoint."""
    origin = "random weights" if card.base is None else f"`{card.base}`"
    licence = "none, there is no base model" if card.base is None else card.licence
    facts = {
        "architecture": card.architecture,
        "parameters": f"{card.parameters:,}",
        "base model": origin,
        "licence of the base model": licence,
        "fine-tuning": {"full": "every weight"}.get(card.method, f"adapters ({card.method}), merged"),
        "made with": f"laborllm {metadata.version('laborllm')}",
    }
    data = {
        "data": card.survey,
        "closed list": f"{card.occupations:,} occupations",
        **{part: f"{card.people[part]:,} people, {card.person_years[part]:,} person-years" for part in card.people},
        "hash of the split": f"`{card.split}`",
    }
    metrics = {name: f"{value:.6g}" for name, value in card.metrics.items()}
    return "\n".join(
        [
            HEAD + "# A language model of careers",
            "",
            f"A causal language model, trained from {origin} on careers written as résumés: one line a year, the "
            "occupation last.",
            "",
            _table(facts),
            _section("Data", _table(data)),
            _section("Metrics", _table(metrics) if metrics else "None were given.\n"),
            _section("Wording", _settings(card.text)),
            _section("Training", _settings(card.training)),
            LIMITS,
        ]
    )


def base_licence(checkpoint: Path) -> str:
    """The licence of a checkpoint, from the head of its own README.md or from its licence's file.

    Returns:
        Its name or its file's first line; ``UNKNOWN`` where neither tells.
    """
    head = _front_matter(checkpoint / "README.md")
    named = [str(head[key]) for key in ("license", "license_name", "license_link") if head.get(key)]
    if named:
        return _one_line(", ".join(named))
    for name in LICENCES:
        lines = [line.strip() for line in _text(checkpoint / name).splitlines() if line.strip()]
        if lines:
            return _one_line(f"{lines[0]} (first line of {name})")
    return UNKNOWN


def split_hash(train: Careers, validation: Careers) -> str:
    """Who was learned from and who chose the weights: 16 hexadecimal digits of a SHA-256 that name nobody.

    Models learned from the same people where it is the same.
    """
    digest = hashlib.sha256()
    for part in (train, validation):
        people = part.table["person"].unique().sort()
        digest.update(json.dumps(people.to_list(), default=str).encode())
    return digest.hexdigest()[:16]


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {_one_line(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])


def _settings(values: Mapping[str, Any]) -> str:
    """Settings as JSON, so that they can be given again."""
    return f"```json\n{json.dumps(dict(values), indent=1, ensure_ascii=False, default=str)}\n```\n"


def _one_line(text: str) -> str:
    """Text that cannot break a table."""
    return " ".join(text.replace("|", "/").split())[:FIRST_WORDS]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _front_matter(file: Path) -> dict[str, Any]:
    """The settings at the head of a README, between two lines of dashes."""
    parts = _text(file).split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return head if isinstance(head, dict) else {}
