"""The model card: complete, harmless, and readable by the hub's own parser."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

yaml = pytest.importorskip("yaml")

from laborllm.models.language.model_card import UNKNOWN, Card, base_licence, model_card, split_hash
from laborllm.survey.careers import Careers, split_by_person

CARD = Card(
    architecture="LlamaForCausalLM",
    parameters=1_234_567,
    base="base-1B",
    licence="apache-2.0",
    method="lora",
    survey="NLSY79",
    people={"train": 70, "validation": 10},
    person_years={"train": 700, "validation": 100},
    occupations=335,
    split="0123456789abcdef",
    text={"titles": "text", "drop": ()},
    training={"epochs": 3.0, "learning_rate": 1e-5},
    metrics={"raw validation perplexity": 8.12345678},
)


def test_everything_is_said() -> None:
    text = model_card(CARD)
    for words in ("1,234,567", "`base-1B`", "apache-2.0", "NLSY79", "70 people, 700 person-years", "0123456789abcdef"):
        assert words in text
    for words in ("10 people, 100 person-years", "8.12346", '"learning_rate": 1e-05', "adapters (lora)", "laborllm "):
        assert words in text
    for words in ("## Intended use", "## Limits", "may reveal microdata", "terms of use may forbid sharing"):
        assert words in text
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "transformers"


def test_from_random_weights_there_is_no_licence() -> None:
    text = model_card(replace(CARD, base=None, licence=UNKNOWN, method="full"))
    assert "random weights" in text
    assert "none, there is no base model" in text
    assert "every weight" in text


def test_a_value_cannot_break_the_table() -> None:
    text = model_card(replace(CARD, survey="mine | yours\n# heading"))
    assert "| data | mine / yours # heading |" in text


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("README.md", "---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("README.md", "---\nlicense: other\nlicense_name: own\n---\n", "other, own"),
        ("README.md", "---\n: [\n---\n", UNKNOWN),
        ("README.md", "# A model\n\n---\nlicense: mit\n---\n", UNKNOWN),
        ("LICENSE", "\n  MIT License\n\nCopyright", "MIT License (first line of LICENSE)"),
        ("config.json", "{}", UNKNOWN),
    ],
)
def test_the_licence_of_the_base(file: str, content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content)
    assert base_licence(tmp_path) == expected


def test_the_hash_of_a_split_knows_people_not_rows(few_careers: Careers) -> None:
    one, other = (split_by_person(few_careers, (0.6, 0.2, 0.2), np.random.default_rng(seed)) for seed in (1, 2))
    parts, others = ([split.part("train"), split.part("validation")] for split in (one, other))
    assert split_hash(*parts) == split_hash(*parts)
    assert split_hash(*parts) != split_hash(*others)
    assert split_hash(*parts) != split_hash(*reversed(parts))
    last = np.append(np.diff(parts[0].person_of_row) > 0, True)  # (person_years,): each person's last row
    fewer = replace(parts[0], table=parts[0].table.filter(last))
    assert len(fewer) < len(parts[0])
    assert split_hash(fewer, parts[1]) == split_hash(*parts)
    assert len(split_hash(*parts)) == 16
