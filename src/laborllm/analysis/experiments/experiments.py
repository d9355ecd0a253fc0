"""The experiments on where a model's gains come from (LABOR-LLM, sources of performance gains), as plans of trials.

Every experiment asks what a model loses when one thing is taken from it; all its cells predict the same person-years
of the same test people, so differences are paired.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator, Field

from laborllm.analysis.experiments.alterations import Alteration, Covariate, Titles
from laborllm.analysis.experiments.trials import Contrast, Factor, Plan, Trial
from laborllm.errors import LaborLLMError
from laborllm.models.ensemble import EnsembleSettings
from laborllm.models.language.embedding_settings import EmbeddingLogitSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.networks.sequence_settings import SequenceSettings
from laborllm.models.no_change import NoChangeSettings
from laborllm.models.oracle import OracleSettings
from laborllm.models.temperature import Tempering
from laborllm.settings import Settings
from laborllm.survey.careers import Careers

Models = Mapping[str, Tempering]


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A cell that stood twice would be taken for two."""
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands twice; give every value once")
    return values


Once = AfterValidator(_once)
Share = Annotated[float, Field(ge=0, le=1)]
Rows = Annotated[int, Field(ge=0)]


class Chosen(Settings):
    """What every experiment is told.

    Attributes:
        models: names of models of the study; those that the experiment can say something about if none is given.
    """

    models: Annotated[tuple[str, ...], Once] = ()


class TitlesExperiment(Chosen):
    """Do the words of titles matter?

    Attributes:
        ways: what stands in the place of titles; the first is what the others are compared with.
        held_out: so many occupations are kept from the training people, drawn among those of at least ten test rows;
            the rows in which they happen are told apart.
        seed: of permutations, random letters and the occupations held out.
    """

    ways: Annotated[tuple[Titles, ...], Once, Field(min_length=1)] = ("text", "numeric", "permuted", "random")
    held_out: int = Field(default=0, ge=0)
    seed: int = Field(default=1, ge=0)


class PoolingExperiment(Chosen):
    """Do people of other surveys help?

    Attributes:
        files: Parquet files of careers of other surveys, as `laborllm careers` writes them.
        shares: of their people that stand beside the survey's own.
        seed: of the draw.
    """

    files: tuple[Path, ...] = ()
    shares: Annotated[tuple[Share, ...], Once, Field(min_length=1)] = (0.0, 0.25, 0.5, 1.0)
    seed: int = Field(default=1, ge=0)


class SizeExperiment(Chosen):
    """How much do people, and larger models, add?

    Attributes:
        people: numbers of training people; half, a quarter, an eighth and all of them if not given.
        seed: of the draw; the larger sets hold the smaller.
    """

    people: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Once] = ()
    seed: int = Field(default=1, ge=0)


class HistoryExperiment(Chosen):
    """How far back must a model look?

    Attributes:
        last_rows: numbers of earlier rows that it sees; the whole history stands beside them.
    """

    last_rows: Annotated[tuple[Rows, ...], Once, Field(min_length=1)] = (0, 1, 2, 3, 5, 10)


class CovariatesExperiment(Chosen):
    """What is each covariate worth, and does it matter together with another?

    Attributes:
        covariates: those that are tried; all that are known of somebody if none is given.
        how: "permute" shuffles them among test people under the fitted model; "drop" fits anew without them.
        pairs: whether pairs are tried as well: the loss of both beyond the sum of the losses of each.
        seed: of the shuffling.
    """

    covariates: Annotated[tuple[Covariate, ...], Once] = ()
    how: Literal["permute", "drop"] = "permute"
    pairs: bool = True
    seed: int = Field(default=1, ge=0)


class PretrainingExperiment(Chosen):
    """What is learned from résumés, or from the words of the world, before the survey?"""


class PromptExperiment(Chosen):
    """What do examples and the list of titles add to an untouched language model?

    Attributes:
        examples: numbers of résumés of training people ahead of the one that is predicted.
        title_list: without and with the closed list at the head of the prompt.
    """

    examples: Annotated[tuple[Rows, ...], Once, Field(min_length=1)] = (0, 1, 3, 5)
    title_list: Annotated[tuple[bool, ...], Once, Field(min_length=1)] = (False, True)


class Experiments(Settings):
    """The section [experiments] of a study file: one table an experiment."""

    titles: TitlesExperiment = TitlesExperiment()
    pooling: PoolingExperiment = PoolingExperiment()
    size: SizeExperiment = SizeExperiment()
    history: HistoryExperiment = HistoryExperiment()
    covariates: CovariatesExperiment = CovariatesExperiment()
    pretraining: PretrainingExperiment = PretrainingExperiment()
    prompt: PromptExperiment = PromptExperiment()


NAMES = tuple(Experiments.model_fields)


def plan_of(name: str, settings: Experiments, models: Models, careers: Careers) -> Plan:
    """The plan of an experiment.

    Args:
        name: one of ``NAMES``.
        settings: the section [experiments].
        models: of the study.
        careers: of the study, split.

    Raises:
        LaborLLMError: the experiment is unknown, a model is none of the study's, or there is nothing to try.
    """
    match name:
        case "titles":
            return titles_plan(settings.titles, models, careers)
        case "pooling":
            return pooling_plan(settings.pooling, models)
        case "size":
            return size_plan(settings.size, models, careers)
        case "history":
            return history_plan(settings.history, models)
        case "covariates":
            return covariates_plan(settings.covariates, models, careers)
        case "pretraining":
            return pretraining_plan(settings.pretraining, models)
        case "prompt":
            return prompt_plan(settings.prompt, models)
    raise LaborLLMError(f"there is no experiment {name!r}; choose out of {', '.join(NAMES)}")


def titles_plan(settings: TitlesExperiment, models: Models, careers: Careers) -> Plan:
    """Titles in words, as codes, permuted, as random letters; occupations held out of training."""
    readers = {n: m for n, m in models.items() if isinstance(m, LanguageModelSettings | EmbeddingLogitSettings)}
    chosen = _chosen(settings, models, readers, "titles", "a language model")
    held_out = _held_out(settings, careers.part("test"))
    trials, contrasts = [], []
    for model in chosen:
        cells = []
        for way in settings.ways:
            same = Alteration(titles=way, seed=settings.seed)
            without = same.model_copy(update={"without": held_out})
            cells.append(Trial(model, {"titles": way}, learned=without, tested=same))
        trials += cells
        for subset in ("all", "held_out") if held_out else ("all",):
            contrasts += _against_first(cells, "{titles} instead of {first} titles", subset)
    test = careers.part("test")
    subsets = {"held_out": test.table["occupation"].cast(str).is_in(held_out).to_numpy()} if held_out else {}
    return Plan("titles", "Do the words of titles matter?", tuple(trials), tuple(contrasts), subsets)


def _held_out(settings: TitlesExperiment, test: Careers) -> tuple[str, ...]:
    """Occupations drawn among the jobs with at least ten test rows."""
    if not settings.held_out:
        return ()
    counts = np.bincount(test.occupation, minlength=len(test.occupations))
    jobs = [
        code
        for code, count, state in zip(test.occupations.codes, counts, test.occupations.is_state, strict=True)
        if count >= 10 and not state
    ]
    if len(jobs) < settings.held_out:
        raise LaborLLMError(
            f"experiments.titles.held_out is {settings.held_out}; {len(jobs)} jobs have ten test rows, hold out fewer"
        )
    drawn = np.random.default_rng(settings.seed).choice(len(jobs), settings.held_out, replace=False)
    return tuple(jobs[place] for place in sorted(drawn))


def pooling_plan(settings: PoolingExperiment, models: Models) -> Plan:
    """The survey's own people, and shares of those of other surveys beside them."""
    if not settings.files:
        raise LaborLLMError(
            "experiments.pooling.files names no file; give the careers of other surveys, written by `laborllm careers`"
        )
    trials, contrasts = [], []
    for model in _chosen(settings, models, _learners(models), "pooling", "a model that learns"):
        cells = [
            Trial(model, {"share": share}, learned=Alteration(pooled=share, seed=settings.seed))
            for share in settings.shares
        ]
        trials += cells
        contrasts += _against_first(cells, "{share} instead of {first} of the other surveys' people")
    return Plan("pooling", "Do people of other surveys help?", tuple(trials), tuple(contrasts))


def size_plan(settings: SizeExperiment, models: Models, careers: Careers) -> Plan:
    """Each model from fewer and more training people."""
    people = careers.part("train").people
    if max(settings.people, default=0) > people:
        raise LaborLLMError(
            f"experiments.size.people names {max(settings.people)}; there are {people} training people, name no more"
        )
    sizes = settings.people or tuple(sorted({max(1, people // part) for part in (8, 4, 2, 1)}))
    trials, contrasts = [], []
    for model in _chosen(settings, models, _learners(models), "size", "a model that learns"):
        for how, changes in _starts(models[model]):
            fewer = [Alteration(people=size, seed=settings.seed) for size in sorted(sizes, reverse=True)]
            cells = [Trial(model, {"training_people": a.people or 0, **how}, changes, learned=a) for a in fewer]
            trials += cells
            words = ", pre-training: {pretraining}" if how else ""
            contrasts += _against_first(cells, "{training_people} instead of {first} training people" + words)
    return Plan("size", "How much do people, and larger models, add?", tuple(trials), tuple(contrasts))


def _starts(settings: Tempering) -> list[tuple[dict[str, Factor], dict[str, tuple]]]:
    """What a model starts from: as the study says and, where that is pre-training on résumés, without it."""
    if isinstance(settings, SequenceSettings | LanguageModelSettings) and settings.pretrain:
        return [({"pretraining": "résumés"}, {}), ({"pretraining": "none"}, {"pretrain": ()})]
    return [({}, {})]


def history_plan(settings: HistoryExperiment, models: Models) -> Plan:
    """The whole history, and its last rows alone, under the same fitted model."""
    trials, contrasts = [], []
    for model in _chosen(settings, models, _learners(models), "history", "a model that learns"):
        cells = [Trial(model, {"last_rows": "all"})]
        cells += [
            Trial(model, {"last_rows": rows}, last_rows=rows) for rows in sorted(settings.last_rows, reverse=True)
        ]
        trials += cells
        contrasts += _against_first(cells, "the last {last_rows} rows instead of the whole history")
    return Plan("history", "How far back must a model look?", tuple(trials), tuple(contrasts))


def covariates_plan(settings: CovariatesExperiment, models: Models, careers: Careers) -> Plan:
    """Each covariate, and each pair, taken away."""
    known = [name for name in get_args(Covariate) if careers.table[name].n_unique() > 1]
    names = settings.covariates or tuple(known)
    if not names:
        raise LaborLLMError("experiments.covariates: these careers have no covariate that differs between people")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LaborLLMError(
            f"experiments.covariates.covariates: {unknown[0]!r} is the same for everybody; choose out of {known}"
        )
    sets: list[tuple[Covariate, ...]] = [(), *((name,) for name in names)]
    sets += list(combinations(names, 2)) if settings.pairs else []
    trials, contrasts = [], []
    for model in _chosen(settings, models, _learners(models), "covariates", "a model that learns"):
        cells = {taken: _taken(model, taken, settings) for taken in sets}
        trials += list(cells.values())
        whole = cells[()].name
        for taken in sets[1:]:
            weights = {cells[taken].name: 1.0, whole: -1.0}
            contrasts.append(Contrast(model, f"without {_words(taken)}", weights))
        for a, b in (taken for taken in sets if len(taken) == 2):
            weights = {cells[a, b].name: 1.0, cells[(a,)].name: -1.0, cells[(b,)].name: -1.0, whole: 1.0}
            contrasts.append(Contrast(model, f"{_words((a, b))}, beyond each alone", weights))
    return Plan("covariates", "What is each covariate worth?", tuple(trials), tuple(contrasts))


def _words(covariates: Sequence[str]) -> str:
    return " and ".join(name.replace("_", " ") for name in covariates)


def _taken(model: str, taken: tuple[Covariate, ...], settings: CovariatesExperiment) -> Trial:
    factors = {"without": _words(taken) or "nothing", "how": settings.how}
    if settings.how == "permute":
        return Trial(model, factors, tested=Alteration(permute=taken, seed=settings.seed))
    return Trial(model, factors, learned=Alteration(drop=taken), tested=Alteration(drop=taken))


def pretraining_plan(settings: PretrainingExperiment, models: Models) -> Plan:
    """Each pre-trained model beside the same one that starts from the survey."""
    able = {n: m for n, m in models.items() if isinstance(m, SequenceSettings | LanguageModelSettings) and m.pretrain}
    trials, contrasts = [], []
    for model in _chosen(settings, models, able, "pretraining", "a model with pretrain = [FILES]"):
        cells = [Trial(model, {"pretraining": "résumés"}), Trial(model, {"pretraining": "none"}, {"pretrain": ()})]
        trials += cells
        contrasts += _against_first(cells, "{pretraining} instead of {first} first")
    return Plan("pretraining", "What is learned before the survey?", tuple(trials), tuple(contrasts))


def prompt_plan(settings: PromptExperiment, models: Models) -> Plan:
    """Numbers of examples times the list of titles."""
    able = {
        n: m
        for n, m in models.items()
        if isinstance(m, LanguageModelSettings) and m.checkpoint is not None and m.use != "finetune"
    }
    trials, contrasts = [], []
    for model in _chosen(settings, models, able, "prompt", 'a checkpoint with use = "off_the_shelf" or "in_context"'):
        base = models[model]
        cells = []
        for listed in settings.title_list:
            for count in settings.examples:
                changes: dict = {"title_list": listed, "use": "in_context" if count else "off_the_shelf"}
                if count and isinstance(base, LanguageModelSettings):
                    changes["examples"] = base.examples.model_copy(update={"count": count})
                factors = {"examples": count, "title_list": "yes" if listed else "no"}
                cells.append(Trial(model, factors, changes))
        trials += cells
        contrasts += _against_first(cells, "{examples} examples, list: {title_list}, instead of neither")
    return Plan("prompt", "What do examples and the list add?", tuple(trials), tuple(contrasts))


def _against_first(cells: Sequence[Trial], words: str, subset: str = "all") -> list[Contrast]:
    """Every later cell less the first; ``words`` name its factors and the first cell's first factor."""
    first = cells[0]
    start = next(iter(first.factors.values()))
    return [
        Contrast(cell.model, words.format(first=start, **cell.factors), {cell.name: 1.0, first.name: -1.0}, subset)
        for cell in cells[1:]
    ]


def _learners(models: Models) -> Models:
    """Models that learn from the training people by themselves."""
    apart = OracleSettings | NoChangeSettings | EnsembleSettings
    return {name: settings for name, settings in models.items() if not isinstance(settings, apart)}


def _chosen(settings: Chosen, models: Models, able: Models, name: str, what: str) -> tuple[str, ...]:
    """The models an experiment is about.

    Raises:
        LaborLLMError: one is none of the study's or not of the kind the experiment needs, or there is none.
    """
    for model in settings.models:
        if model not in models:
            raise LaborLLMError(f"experiments.{name}.models: {model!r} is no model of the study; it has {list(models)}")
        if model not in able:
            raise LaborLLMError(f"experiments.{name}.models: {model!r} is not {what}; choose out of {list(able)}")
    chosen = settings.models or tuple(able)
    if not chosen:
        raise LaborLLMError(f"experiment {name}: the study has no model of the kind it needs, {what}; add one")
    return chosen
