"""Training on several ranks: the same losses as on one, with whole models or parts, with adapters, after a kill."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.models.test_ranks import start_ranks

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from laborllm.models.language.adapters import add_adapters
from laborllm.models.language.finetune import finetune, occupation_perplexity
from laborllm.models.language.language_model_settings import LoraSettings, TrainingSettings
from laborllm.models.ranks import Ranks
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.survey.simulated.world import SimulatedSettings
from laborllm.survey.sources import read_survey
from laborllm.text.resume import ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer

class Killed(Exception):
    pass

careers = read_survey(SimulatedSettings(source="simulated", people=40, occupations=9))
written = write_resumes(careers, ResumeSettings(last_rows=6))
tokenizer = train_tokenizer([resume.text for resume in written], careers.occupations.titles, 1024)
tokenized = ResumeTokenizer(tokenizer, careers.occupations.titles).encode(written)
SETTINGS = dict(learning_rate=2e-3, batch=13, evaluations=2, weight_decay=0.1, loss="all_tokens")

def train(name, ranks, *, lora=False, dies_at=None, **other):
    model = tiny_llama(tokenizer, seed=1).to(ranks.device)
    if lora:
        model = add_adapters(model, LoraSettings(dropout=0), seed=1)
    seen = []
    def validation(given):
        if len(seen) == dies_at:
            raise Killed
        seen.append(occupation_perplexity(given, tokenized, len(careers), ranks=ranks))
        return seen[-1]
    folder = Path(sys.argv[0]).parent / name
    settings = TrainingSettings(**SETTINGS | dict(epochs=1.5) | other)
    try:
        history = finetune(model, tokenized, validation, settings=settings, folder=folder, seed=1, ranks=ranks)
    except Killed:
        return
    last = occupation_perplexity(model, tokenized, len(careers))
    weights = sum(float(weight.detach().double().square().sum()) for weight in model.parameters())
    if ranks.first:
        print(json.dumps([name, history.legs, last, weights]))
    assert ranks.sum(weights) == ranks.size * weights

with Ranks.of_environment() as ranks:
    for call in json.loads(sys.argv[1]):
        train(call.pop("name"), ranks, **call)
"""

WAYS = {
    "whole": {},
    "titles": {"loss": "occupations"},
    "adapters": {"lora": True},
    "bfloat16": {"precision": "bfloat16"},
}


def run(folder: Path, calls: list[dict[str, object]], size: int) -> dict[str, list[object]]:
    """What each call of ``train`` prints: name -> history, perplexity, squared norm of the weights."""
    program = PROGRAM.replace("sys.argv[1]", repr(json.dumps(calls)))
    ended = start_ranks(program, folder, size=size)
    assert [code for code, _ in ended] == [0] * size, ended
    lines = [json.loads(line) for line in ended[0][1].splitlines() if line.startswith("[")]
    return {name: rest for name, *rest in lines}


def differences(one: list[object], other: list[object]) -> dict[str, float]:
    """Largest relative differences of training losses and of perplexities."""
    legs, others = one[0], other[0]
    assert len(legs) == len(others) > 2
    return {
        key: max(abs(a[key] / b[key] - 1) for a, b in zip(legs, others, strict=True))
        for key in ("training_loss", "validation_perplexity")
    }


@pytest.mark.slow
def test_several_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    alone = run(tmp_path, [{"name": name, **way} for name, way in WAYS.items()], size=1)
    calls = [
        {"name": f"{name} {sharded}", "sharded": sharded, **way} for name, way in WAYS.items() for sharded in (0, 1)
    ]
    for size in (2, 3):
        together = run(tmp_path, calls, size=size)
        for name in together:
            way = name.split()[0]
            allowed = 1e-2 if way == "bfloat16" else 1e-5
            found = differences(alone[way], together[name])
            assert max(found.values()) < allowed, (name, size, found)
            assert together[name][1] == pytest.approx(alone[way][1], rel=allowed)
            assert together[name][2] == pytest.approx(alone[way][2], rel=allowed)


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_after_a_kill(tmp_path: Path) -> None:
    undisturbed = run(tmp_path, [{"name": "undisturbed"}, {"name": "of one", "dies_at": 1}], size=1)["undisturbed"]
    calls = [
        {"name": "of one", "sharded": True},
        {"name": "of two", "dies_at": 1},
        {"name": "of two in parts", "dies_at": 1, "sharded": True},
    ]
    went_on = run(tmp_path, calls, size=2)
    went_on |= run(tmp_path, [{"name": "of two"}, {"name": "of two in parts"}], size=1)
    assert set(went_on) == {"of one", "of two", "of two in parts"}
    for name, found in went_on.items():
        assert max(differences(undisturbed, found).values()) < 1e-6, name
        assert found[1] == pytest.approx(undisturbed[1], rel=1e-6)
