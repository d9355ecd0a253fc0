"""Plans, and what they find: what the simulator has built in is recovered, what it lacks is not."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from laborllm.analysis.experiments.alterations import altered, realised_after
from laborllm.analysis.experiments.experiments import Experiments, plan_of
from laborllm.analysis.experiments.trials import Contrast, Findings, Plan, Trial, find
from laborllm.errors import LaborLLMError
from laborllm.evaluation.uncertainty import draw_weights
from laborllm.models.baselines import TransitionFrequencies, TransitionSettings
from laborllm.models.language.language_model_settings import LanguageModelSettings
from laborllm.models.networks.sequence_settings import CareerSettings
from laborllm.models.no_change import NoChangeSettings
from laborllm.models.oracle import OracleSettings
from laborllm.models.probabilities import Model
from laborllm.models.regression.logit import MultinomialLogit
from laborllm.models.regression.logit_settings import LogitSettings
from laborllm.survey.careers import Careers, split_by_person
from laborllm.survey.door import careers_from_frame
from laborllm.survey.occupations import Occupations
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import Mechanisms, SimulatedSettings

LOGIT = {"logit": LogitSettings()}
FEW = 3.5
"""Standard errors: by chance beyond in one comparison of 2,000."""


def simulated(mechanisms: Mechanisms, people: int = 1500) -> Careers:
    survey = simulate(SimulatedSettings(people=people, occupations=15, last_year=1992, mechanisms=mechanisms))
    return split_by_person(survey, [0.6, 0.1, 0.3], np.random.default_rng(0))


def found(plan: Plan, models: Mapping[str, Model], careers: Careers) -> Findings:
    """A plan carried out by hand; ``models`` are fitted once, so nothing may be learned anew."""
    train, validation, test = (careers.part(part) for part in ("train", "validation", "test"))
    for model in models.values():
        model.fit(train, validation)
    nats = {
        trial.name: -realised_after(models[trial.model], altered(test, trial.tested), trial.last_rows)
        for trial in plan.trials
    }
    weights = draw_weights(test.people, 400, np.random.default_rng(1))
    return find(plan, nats, test.person_of_row, weights, confidence=0.95)


def contrast(findings: Findings, what: str) -> dict:
    return findings.contrasts.row(by_predicate=pl.col("what") == what, named=True)


def test_with_memory_off_history_gains_nothing_and_with_it_on_it_does() -> None:
    settings = Experiments.model_validate({"history": {"last_rows": [1, 2]}})
    words = "the last 1 rows instead of the whole history"
    lost = {}
    for memory, mechanisms in (("off", Mechanisms.first_order()), ("on", Mechanisms())):
        careers = simulated(mechanisms)
        plan = plan_of("history", settings, LOGIT, careers)
        lost[memory] = contrast(found(plan, {"logit": MultinomialLogit()}, careers), words)
    assert abs(lost["off"]["nats"]) < 0.02
    assert lost["on"]["ci_low"] > 0.1


def test_a_covariate_without_effect_is_worth_nothing() -> None:
    careers = simulated(Mechanisms(region=False))
    settings = Experiments.model_validate({"covariates": {"covariates": ["region", "gender"], "pairs": False}})
    plan = plan_of("covariates", settings, LOGIT, careers)
    findings = found(plan, {"logit": MultinomialLogit()}, careers)
    region, gender = (contrast(findings, f"without {name}") for name in ("region", "gender"))
    assert abs(region["nats"]) < min(0.01, FEW * region["std_error"])
    assert gender["ci_low"] > 0.05


def crossed(people: int, rng: np.random.Generator) -> Careers:
    """Four jobs; which half of the list is likely depends on gender XOR ethnicity, on neither alone."""
    jobs = Occupations(codes=("1", "2", "3", "4"), titles=("Cooks", "Clerks", "Guards", "Nurses"), groups=("a",) * 4)
    woman, white = rng.random((2, people)) < 0.5
    half = np.where(woman ^ white, 0, 2)
    job = np.where(rng.random((people, 6)) < 0.8, half[:, None], 2 - half[:, None]) + rng.integers(2, size=(people, 6))
    frame = pl.DataFrame(
        {
            "person": np.repeat(np.arange(people), 6),
            "year": np.tile(np.arange(1990, 1996), people),
            "occupation": (job + 1).ravel(),
            "gender": np.repeat(np.where(woman, "female", "male"), 6),
            "ethnicity": np.repeat(np.where(white, "white", "other"), 6),
            "region": np.repeat(np.where(rng.random(people) < 0.5, "south", "west"), 6),
        }
    )
    return split_by_person(careers_from_frame(frame, jobs), [0.6, 0.1, 0.3], rng)


def test_an_interaction_appears_where_it_is_planted() -> None:
    careers = crossed(1500, np.random.default_rng(2))
    names = ("gender", "ethnicity", "region")
    settings = Experiments.model_validate({"covariates": {"covariates": names}})
    cells = TransitionSettings(by=names)
    plan = plan_of("covariates", settings, {"cells": cells}, careers)
    findings = found(plan, {"cells": TransitionFrequencies(cells)}, careers)
    planted = contrast(findings, "gender and ethnicity, beyond each alone")
    assert planted["ci_high"] < -0.05  # without one, the other is worth nothing: losing both costs less than the sum
    for pair in ("gender and region", "ethnicity and region"):
        absent = contrast(findings, f"{pair}, beyond each alone")
        assert abs(absent["nats"]) < FEW * absent["std_error"]


def test_contrasts_are_differences_of_means_with_clustered_errors() -> None:
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(40), rng.integers(1, 9, size=40))
    a, b = Trial("m", {"x": 1}), Trial("m", {"x": 2})
    nats = {trial.name: rng.gamma(2, size=len(person)) + rng.normal(size=40)[person] for trial in (a, b)}
    plan = Plan("x", "?", (a, b), (Contrast("m", "b less a", {b.name: 1.0, a.name: -1.0}),))
    weights = draw_weights(40, 3000, rng)
    findings = find(plan, nats, person, weights, confidence=0.95)
    row = findings.contrasts.row(0, named=True)
    difference = nats[b.name] - nats[a.name]
    assert row["nats"] == pytest.approx(difference.mean())
    rows_of = [np.flatnonzero(person == p) for p in range(40)]
    again = [difference[np.concatenate([rows_of[p] for p in rng.integers(40, size=40)])].mean() for _ in range(3000)]
    assert row["std_error"] == pytest.approx(np.std(again), rel=0.06)
    assert findings.cells["perplexity"][0] == pytest.approx(np.exp(nats[a.name].mean()))


def test_plans_name_their_models() -> None:
    careers = simulated(Mechanisms(), people=60)
    models = {"stay": NoChangeSettings(kind="no_change"), "truth": OracleSettings(kind="oracle"), **LOGIT}
    models |= {"career": CareerSettings(), "llm": LanguageModelSettings(kind="language_model", scratch="tiny")}
    plan = plan_of("size", Experiments(), models, careers)
    assert list(dict.fromkeys(trial.model for trial in plan.trials)) == ["logit", "career", "llm"]
    titles = plan_of("titles", Experiments(), models, careers)
    assert {trial.model for trial in titles.trials} == {"llm"}
    assert len({trial.name for trial in titles.trials}) == len(titles.trials) == 4
    for name, words in {
        "pooling": "names no file",
        "pretraining": "has no model of the kind it needs",
        "prompt": "has no model of the kind it needs",
        "weather": "choose out of titles, pooling",
    }.items():
        with pytest.raises(LaborLLMError, match=words):
            plan_of(name, Experiments(), models, careers)
    with pytest.raises(LaborLLMError, match=r"'truth' is not a model that learns; choose out of \['logit'"):
        plan_of("size", Experiments.model_validate({"size": {"models": ["truth"]}}), models, careers)
    with pytest.raises(LaborLLMError, match="'other' is no model of the study"):
        plan_of("size", Experiments.model_validate({"size": {"models": ["other"]}}), models, careers)


def test_occupations_held_out_are_kept_from_training_and_told_apart() -> None:
    careers = simulated(Mechanisms(), people=300)
    models = {"llm": LanguageModelSettings(kind="language_model", scratch="tiny")}
    settings = Experiments.model_validate({"titles": {"held_out": 2, "ways": ["text", "numeric"]}})
    plan = plan_of("titles", settings, models, careers)
    gone = plan.trials[0].learned.without
    assert len(gone) == 2
    assert plan.trials[0].tested.without == ()
    test = careers.part("test")
    assert plan.subsets["held_out"].sum() == test.table["occupation"].cast(pl.String).is_in(gone).sum() >= 20
    assert {one.subset for one in plan.contrasts} == {"all", "held_out"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"pooling": {"shares": [0.0, 0.0]}}, "0.0 stands twice"),  # a cell less itself would be no contrast
        ({"covariates": {"covariates": ["gender", "gender"]}}, "'gender' stands twice"),
        ({"history": {"last_rows": [1, 1]}}, "1 stands twice"),
        ({"history": {"last_rows": [-1]}}, "greater than or equal to 0"),
        ({"size": {"people": [0]}}, "greater than or equal to 1"),
        ({"pooling": {"shares": [1.5]}}, "less than or equal to 1"),
        ({"titles": {"ways": []}}, "at least 1 item"),
    ],
)
def test_what_no_cell_can_be_made_of_is_refused(section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Experiments.model_validate(section)


def test_more_people_than_there_are_is_said_before_any_fit() -> None:
    settings = Experiments.model_validate({"size": {"people": [10, 400]}})
    with pytest.raises(LaborLLMError, match="people names 400; there are 232 training people, name no more"):
        plan_of("size", settings, LOGIT, simulated(Mechanisms(), people=400))


def test_cells_have_file_names_of_their_own_whatever_letters_models_have() -> None:
    names = {Trial(model, {"last_rows": 1}).name for model in ("modèle", "modéle", "模型一", "模型二")}
    assert len(names) == 4
