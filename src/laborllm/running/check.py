"""What a study would read, hold in memory and take, found out without running it."""

from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.networks.sequence_settings import SequenceSettings
from laborllm.models.regression.boosting_settings import BoostingSettings
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.study import Progress, Study, needs_torch, read_careers
from laborllm.survey.careers import PARTS, Careers

Fact = tuple[str, str]


def check_study(study: Study, progress: Progress = lambda stage, done, total: None) -> list[Fact]:
    """Read every input of a study, tokenize every title, estimate memory and time.

    Raises:
        LaborLLMError: whatever would stop the run at its door.
    """
    progress("careers", 0, 1)
    careers = read_careers(study)
    progress("careers", 1, 1)
    facts = [(step.what, f"{step.people:,} people, {step.person_years:,} person-years") for step in careers.flow]
    for name in PARTS:
        part = careers.part(name)
        facts.append((name, f"{part.people:,} people, {len(part):,} person-years"))
    facts.append(("occupations on the closed list", f"{len(careers.occupations):,}"))
    cells = len(careers.part("test")) * len(careers.occupations) * 4
    facts.append(("one model's probabilities in memory", _bytes(cells)))
    for name, settings in study.models.items():
        progress(f"models/{name}", 0, 1)
        facts += _check_model(name, settings, careers)
        progress(f"models/{name}", 1, 1)
    return facts


def _check_model(name: str, settings: object, careers: Careers) -> list[Fact]:
    if isinstance(settings, SequenceSettings):
        rows = settings.training.updates * settings.training.rows_per_batch
        return [(name, f"at most {settings.training.updates:,} updates, {rows:,} person-years learned from")]
    if isinstance(settings, LogitSettings | BoostingSettings):
        return [(name, "seconds to minutes: it grows with person-years times occupations")]
    if isinstance(settings, EmbeddingLogitSettings):
        passes = "one pass a career (causal model) or a person-year (encoder)"
        return [(name, f"{passes} over {len(careers):,} person-years; `laborllm models check` tells what one takes")]
    if not isinstance(settings, LanguageModelSettings):
        return [(name, "a second or two")]
    with needs_torch(name):
        from laborllm.models.language.estimate import estimate
    found = estimate(settings, careers)
    return [
        (f"{name}: parameters", f"{found.parameters:,}"),
        (f"{name}: titles tokenized", f"{found.titles:,}, {found.tokens_per_title:.1f} tokens each on average"),
        (f"{name}: training tokens an epoch", f"{found.training_tokens:,}"),
        (f"{name}: memory (weights, gradients, optimiser, checkpoints, activations)", _bytes(found.memory)),
        (f"{name}: training, at most", _seconds(found.training_seconds)),
        (f"{name}: scoring the test people", _seconds(found.scoring_seconds)),
    ]


def _bytes(number: float) -> str:
    return f"{number / 2**30:.2f} GiB"


def _seconds(number: float) -> str:
    return f"about {number / 60:.1f} minutes (from a few résumés, on this machine)"
