"""Which training people stand ahead of whom: what is drawn, what may be known, who may never be shown."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from laborllm.errors import LaborLLMError
from laborllm.models.language.examples import Examples, choose_examples, example_resumes
from laborllm.models.language.language_model_settings import ExampleSettings
from laborllm.models.language.scratch import tiny_llama, train_tokenizer
from laborllm.models.language.windows import fit_context
from laborllm.models.scoring.scorer import Scorer
from laborllm.survey.careers import Careers, split_by_person
from laborllm.text.resume import END_OF_DATA, ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer

TITLES = ("Secretaries", "Cooks", "Cooks, short order", "Unemployed", "In education")


@pytest.fixture(scope="module")
def careers(few_careers: Careers) -> Careers:
    return split_by_person(few_careers, (0.6, 0.1, 0.3), np.random.default_rng(1))


@pytest.fixture(scope="module")
def train(careers: Careers) -> Careers:
    return careers.part("train")


@pytest.fixture(scope="module")
def test(careers: Careers) -> Careers:
    return careers.part("test")


def settings(**given: Any) -> ExampleSettings:
    return ExampleSettings(**given)


def hidden_states(tokenizer: Any, written: Any, careers: Careers) -> np.ndarray:
    tokenized = fit_context(ResumeTokenizer(tokenizer, TITLES), written, 2048)
    return Scorer(tiny_llama(tokenizer, seed=1).eval()).hidden(tokenized, rows=len(careers))


def states_of(known: Careers) -> Any:
    """States under one tokenizer, whatever careers are asked for."""
    texts = [resume.text for resume in write_resumes(known, ResumeSettings())]
    tokenizer = train_tokenizer(texts, TITLES, 300)
    return lambda careers: hidden_states(tokenizer, write_resumes(careers, ResumeSettings()), careers)


def names(examples: Examples, pool: Careers, row: int) -> list[int]:
    people = examples.people[examples.set_of_row[row]]
    return pool.table["person"].gather(pool.starts[:-1][people].tolist()).to_list()


def with_other_occupation(careers: Careers, row: int) -> Careers:
    """The same careers, one row in another occupation."""
    position = careers.occupation.copy()
    position[row] = (position[row] + 1) % len(careers.occupations)
    codes = pl.Series("occupation", [careers.occupations.codes[place] for place in position])
    return replace(
        careers, table=careers.table.with_columns(codes.cast(careers.table.schema["occupation"]).alias("occupation"))
    )


def test_a_shared_set_serves_everybody_and_grows_with_its_number(train: Careers, test: Careers) -> None:
    one, three = (choose_examples(test, train, settings(count=count)) for count in (1, 3))
    assert three.shared
    assert three.people.shape == (1, 3)
    assert not three.set_of_row.any()
    assert len(set(three.people[0])) == 3
    assert one.people[0, -1] == three.people[0, -1]  # the one next to the résumé
    other = choose_examples(test, train, settings(seed=2))
    assert not np.array_equal(other.people, three.people)


@pytest.mark.parametrize("choose", ["random", "stratified", "overlap"])
def test_a_draw_depends_on_the_person_alone(train: Careers, test: Careers, choose: str) -> None:
    given = settings(choose=choose, shared=False)
    everybody = choose_examples(test, train, given)
    some = test.first_people(4)
    few = choose_examples(some, train, given)
    assert [names(few, train, row) for row in range(len(some))] == [
        names(everybody, train, row) for row in range(len(some))
    ]
    drawn = {tuple(names(everybody, train, int(row))) for row in test.starts[:-1]}
    assert len(drawn) > test.people / 2  # people have sets of their own


@pytest.mark.parametrize("shared", [True, False])
def test_stratified_examples_are_alike_where_enough_are(train: Careers, test: Careers, shared: bool) -> None:
    given = settings(choose="stratified", by=("ethnicity", "gender"), count=3, shared=shared)
    chosen = choose_examples(test, train, given)

    def cells(careers: Careers) -> list[tuple[Any, ...]]:
        return careers.table.select(given.by)[careers.starts[:-1].tolist()].rows()

    offered = cells(train)
    fewer = 0
    for person, cell in enumerate(cells(test)):
        shown = [offered[place] for place in chosen.people[chosen.set_of_row[test.starts[person]]]]
        if offered.count(cell) >= 3:
            assert shown == [cell] * 3
        else:
            assert [each[0] for each in shown] == [cell[0]] * 3
            fewer += 1
    assert chosen.less_alike == fewer
    assert len(chosen.people) == (len(set(cells(test))) if shared else test.people)


def test_too_few_alike_are_counted(train: Careers, test: Careers) -> None:
    chosen = choose_examples(test, train, settings(choose="stratified", by=("gender", "birth_year"), count=5))
    assert chosen.less_alike > 0
    gender = train.table["gender"].gather(train.starts[:-1].tolist())
    for row in test.starts[:-1]:
        people = chosen.people[chosen.set_of_row[row]]
        assert set(gender.gather(people.tolist())) == {test.table["gender"][int(row)]}


def test_overlap_is_with_the_years_before_the_choice(train: Careers, test: Careers) -> None:
    chosen = choose_examples(test, train, settings(choose="overlap", shared=False, count=2))
    codes = len(train.occupations)
    years = np.stack(
        [
            np.bincount(train.occupation[a:b], minlength=codes)
            for a, b in zip(train.starts[:-1], train.starts[1:], strict=True)
        ]
    )
    seen = 0
    for row in range(len(test)):
        first = int(test.starts[test.person_of_row[row]])
        number = row - first + 1
        choice = first + 2 ** (number.bit_length() - 1) - 1  # rows 1, 2, 4, 8, …
        if choice == first:
            continue
        before = np.bincount(test.occupation[first:choice], minlength=codes)
        cosine = years @ before / np.linalg.norm(years, axis=1) / np.linalg.norm(before)
        shown = cosine[chosen.people[chosen.set_of_row[row]]]
        assert shown == pytest.approx(np.sort(cosine)[-2:], abs=1e-6)
        seen += 1
    assert seen > 10


def test_nearest_is_by_the_states_at_rows_of_the_same_number(train: Careers, test: Careers) -> None:
    rng = np.random.default_rng(5)
    table = {(p, y): rng.normal(size=6) for p, y in [*train.table.select("person", "year").rows()]}
    table |= {(p, y): rng.normal(size=6) for p, y in test.table.select("person", "year").rows()}

    def states(careers: Careers) -> np.ndarray:
        return np.array([table[key] for key in careers.table.select("person", "year").rows()])

    chosen = choose_examples(test, train, settings(choose="nearest", shared=False, count=1), states=states)
    of_pool, of_test = states(train), states(test)
    for person in range(test.people):
        for number in range(int(np.diff(test.starts)[person])):
            choice = 2 ** ((number + 1).bit_length() - 1) - 1
            rows = np.minimum(train.starts[:-1] + choice, train.starts[1:] - 1)
            center, spread = of_pool[rows].mean(axis=0), of_pool[rows].std(axis=0)
            own = (of_test[test.starts[person] + choice] - center) / spread
            offered = (of_pool[rows] - center) / spread
            cosine = offered @ own / np.linalg.norm(offered, axis=1)
            assert chosen.people[chosen.set_of_row[test.starts[person] + number], 0] == cosine.argmax()


@pytest.mark.parametrize("choose", ["overlap", "nearest"])
def test_a_later_occupation_changes_no_earlier_choice(train: Careers, test: Careers, choose: str) -> None:
    given = settings(choose=choose, shared=False)
    states = states_of(test) if choose == "nearest" else None
    chosen = choose_examples(test, train, given, states=states)
    longest = int(np.diff(test.starts).argmax())
    first, after = int(test.starts[longest]), int(test.starts[longest + 1])
    assert after - first >= 5
    changed_later = False
    for row in range(first, after):
        other = choose_examples(with_other_occupation(test, row), train, given, states=states)
        same = [names(chosen, train, each) == names(other, train, each) for each in range(len(test))]
        assert all(same[: row + 1] + same[after:])
        changed_later |= not all(same[row + 1 : after])
    assert changed_later


def test_an_example_is_a_complete_resume_with_its_line_end(train: Careers) -> None:
    shown = example_resumes(train, ResumeSettings())
    assert [resume.text for resume in shown] == [
        resume.text + "\n" for resume in write_resumes(train, ResumeSettings())
    ]
    assert all(resume.text.endswith(f"\n{END_OF_DATA}\n") for resume in shown)
    short = example_resumes(train, ResumeSettings(last_rows=2))
    assert len(short) == train.people
    for whole, cut in zip(shown, short, strict=True):
        lines = min(3, len(whole.rows))
        assert cut.text.splitlines()[-lines - 1 :] == whole.text.splitlines()[-lines - 1 :]
        assert len(cut.rows) == lines


def test_nobody_is_an_example_of_himself(careers: Careers, train: Careers) -> None:
    with pytest.raises(LaborLLMError, match=r"person \d+ \(1 people\) is among the examples and among those"):
        choose_examples(train.first_people(1), train, settings())
    with pytest.raises(LaborLLMError, match="of the validation part is among the examples"):
        pool = replace(careers, table=careers.table.filter(pl.col("split") != "test"))
        choose_examples(careers.part("test"), pool, settings())


def test_what_cannot_be_chosen_is_said(train: Careers, test: Careers) -> None:
    with pytest.raises(LaborLLMError, match=r"examples.count is 99, but there are 24 training people"):
        choose_examples(test, train, settings(count=99))
    with pytest.raises(ValueError, match="shared"):
        settings(choose="overlap", shared=True)
    assert not settings(choose="overlap").shared
    with pytest.raises(LaborLLMError, match="needs an embedding"):
        choose_examples(test, train, settings(choose="nearest", shared=False))
