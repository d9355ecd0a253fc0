"""What stands ahead of a résumé that is to be predicted: instructions, the closed list, examples.

Off the shelf a base model sees nothing, or the list of titles; in context it sees complete résumés of training people
behind the list. A chat model sees the same as a user's message, and the résumé begins its answer. The pieces are
tokenized as they stand in context, and each join is checked: the tokens are those of the whole text.

Room: the context keeps the head of the prompt, the résumé's header, ``LINES_KEPT`` of its lines (all of them where
they are fewer) and the longest title. Examples that fit besides are shown, complete, those next to the résumé first;
the others are left out, and how many is said. Then the résumé takes what is left, in windows if need be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jinja2 import TemplateError

from laborllm.errors import LaborLLMError
from laborllm.models.language.examples import Examples
from laborllm.models.language.windows import fit_context, longest_title, tokens_of_lines
from laborllm.survey.careers import Careers
from laborllm.text.resume import END_OF_DATA, Resume, ResumeSettings, write_resumes
from laborllm.text.titles import ResumeTokenizer, TokenizedResume

INSTRUCTIONS = (
    "Write down the career of a worker: first what is known of the worker, then one line for each year, which ends in "
    "a colon and the job title."
)
REQUEST = "Now write down the career of the next worker, in the same form."
LINES_KEPT = 10
"""Lines of a résumé for which room is kept before examples take theirs."""
TAIL = 48
"""Characters at the end of a text on which the tokens of what follows may depend."""
ENDING = END_OF_DATA + "\n"
"""The end of every example."""
PLACE = "@@@@"
"""Marks the place of a message in a chat template."""
NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Frame:
    """The parts of a prompt that are the same for everybody.

    Attributes:
        head: stands ahead of the examples; it ends in a line end, or is empty.
        tail: stands between the examples and the résumé.
        start: whether the tokenizer's start token comes first; a chat template says it itself.
    """

    head: str = ""
    tail: str = ""
    start: bool = True


def make_frame(tokenizer: Any, title_list: str = "", *, chat: bool = False) -> Frame:
    """The frame of a prompt.

    Args:
        tokenizer: of the checkpoint; its chat template serves if ``chat``.
        title_list: the closed list in words, or nothing.
        chat: everything but the résumé is a user's message, and the résumé begins the model's answer.

    Raises:
        LaborLLMError: the tokenizer has no chat template, or it takes no plain message from a user.
    """
    if not chat:
        return Frame(head=title_list)
    if not getattr(tokenizer, "chat_template", None):
        raise LaborLLMError(
            "chat = true: the checkpoint's tokenizer has no chat template; take chat out, or choose an instruct model"
        )
    try:
        said = tokenizer.apply_chat_template(
            [{"role": "user", "content": PLACE}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except (TemplateError, ValueError) as error:
        raise LaborLLMError(f"chat = true: the checkpoint's chat template fails ({error}); take chat out") from error
    if said.count(PLACE) != 1:
        raise LaborLLMError("chat = true: the checkpoint's chat template takes no plain message; take chat out")
    before, after = said.split(PLACE)
    return Frame(head=f"{before}{INSTRUCTIONS}\n{title_list}", tail=REQUEST + after, start=False)


@dataclass(frozen=True)
class PromptedResume(TokenizedResume):
    """A résumé as tokens, behind a prompt that it shares with others.

    Attributes:
        prompt: the prompt's tokens, start token included, shape (prompt_tokens,); where there are some, the résumé
            bears no start token.
    """

    prompt: np.ndarray = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class Prompted:
    """Careers behind prompts.

    Attributes:
        resumes: they score every row of the careers once; résumés that share a prompt share its array.
        facts: examples asked for and shown, people with fewer, tokens ahead of a résumé.
    """

    resumes: list[PromptedResume]
    facts: dict[str, int | float]


def prompt_careers(
    careers: Careers,
    tokenizer: ResumeTokenizer,
    text: ResumeSettings,
    *,
    context: int,
    frame: Frame,
    examples: Examples | None = None,
    shown: Sequence[Resume] = (),
) -> Prompted:
    """Tokens of careers behind their prompts.

    A set of examples for many people becomes part of the shared prompt, which is encoded once. A set of one person's
    own stands in that person's text, behind the shared head.

    Args:
        careers: what is to be predicted.
        tokenizer: makes the tokens.
        text: the wording of the careers.
        context: number of tokens that the model sees at once.
        frame: the head and the tail of the prompt.
        examples: who stands ahead of whom; nobody if not given.
        shown: the résumé of each person of the pool, ``example_resumes(pool, text)``.

    Raises:
        LaborLLMError: the prompt leaves no room for a header and a line, no example fits, or a token spans a join.
    """
    chosen = examples or Examples.none(careers)
    ahead = _Ahead(tokenizer, frame, shown)
    pieces: dict[int, list[Resume]] = {}
    for resume in write_resumes(careers, text):
        for number, piece in cut_by_set(resume, chosen.set_of_row):
            pieces.setdefault(number, []).append(piece)
    prompted: list[PromptedResume] = []
    fitting = np.zeros(len(chosen.people), dtype=np.int64)  # (sets,)
    tokens = 0
    for number, some in pieces.items():
        kept = ahead.fitting(some, chosen.people[number].tolist(), context)
        fitting[number] = len(kept)
        tokens = max(tokens, len(ahead.tokens(kept)))
        prompted += ahead.behind(some, kept, context, shared=chosen.shared)
    asked = chosen.people.shape[1]
    if asked and not fitting.any():
        raise LaborLLMError(_no_room(ahead, chosen, context))
    facts = _facts(careers, chosen, fitting) if asked else {}
    return Prompted(prompted, facts | ({"tokens ahead of a résumé, at most": tokens} if tokens else {}))


def cut_by_set(resume: Resume, set_of_row: np.ndarray) -> list[tuple[int, Resume]]:
    """A résumé once for each set of examples behind which lines of it are scored, without the lines after those."""
    scored = set_of_row[resume.rows.start + resume.first_scored : resume.rows.stop]
    edges = [0, *(np.flatnonzero(np.diff(scored)) + 1).tolist(), len(scored)]
    lines = [edge + resume.first_scored for edge in edges]
    return [
        (int(scored[edge]), _up_to(resume, first, after))
        for edge, first, after in zip(edges[:-1], lines[:-1], lines[1:], strict=True)
    ]


def _up_to(resume: Resume, first_scored: int, after: int) -> Resume:
    """The lines before ``after``, scored from ``first_scored`` on."""
    whole = after == len(resume.rows)
    return Resume(
        text=resume.text if whole else resume.text[: int(resume.ends[after - 1])],
        rows=resume.rows[:after],
        cuts=resume.cuts[:after],
        ends=resume.ends[:after],
        occupation=resume.occupation[:after],
        first_scored=first_scored,
    )


@dataclass(frozen=True)
class _Behind:
    """Makes tokens of résumés as they stand behind a text, without those of the text.

    Attributes:
        tokenizer: makes the tokens.
        lead: the end of that text; where it is empty, résumés bear the start token.
    """

    tokenizer: ResumeTokenizer
    lead: str

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        return self.tokenizer.sequences

    @cached_property
    def ahead(self) -> np.ndarray:
        """Tokens of the lead, shape (tokens,)."""
        return _plain(self.tokenizer, self.lead)

    def encode(self, resumes: Sequence[Resume]) -> list[TokenizedResume]:
        if not self.lead:
            return self.tokenizer.encode(resumes)
        shift = len(self.lead)
        joined = [
            Resume(self.lead + one.text, one.rows, one.cuts + shift, one.ends + shift, one.occupation, one.first_scored)
            for one in resumes
        ]
        return [self._without_lead(tokenized) for tokenized in self.tokenizer.encode(joined)]

    def _without_lead(self, whole: TokenizedResume) -> TokenizedResume:
        start = len(self.tokenizer.start)
        count = start + len(self.ahead)
        if not np.array_equal(whole.tokens[start:count], self.ahead):
            raise LaborLLMError(_spans(self.lead))
        cuts, ends = whole.cuts - count, whole.ends - count
        return TokenizedResume(whole.tokens[count:], whole.rows, cuts, ends, whole.first_scored)


class _Ahead:
    """Tokens ahead of résumés.

    Args:
        tokenizer: makes the tokens.
        frame: the head and the tail.
        shown: the résumé of each person of the pool.
    """

    def __init__(self, tokenizer: ResumeTokenizer, frame: Frame, shown: Sequence[Resume]) -> None:
        self.tokenizer, self.frame, self.shown = tokenizer, frame, shown
        start = tokenizer.start if frame.start and frame.head else []
        self.head = np.concatenate([np.array(start, dtype=np.int64), _plain(tokenizer, frame.head)])
        self.example = lru_cache(maxsize=1024)(self._example)
        self._checked = -1

    def tokens(self, kept: Sequence[int]) -> np.ndarray:
        """Tokens of the head, of some examples and of the tail, shape (tokens,)."""
        return np.concatenate([self.head, self._own(kept)])

    def _own(self, kept: Sequence[int]) -> np.ndarray:
        """Tokens of some examples and of the tail, shape (tokens,)."""
        parts = [self.example(person, place == 0) for place, person in enumerate(kept)]
        if self.frame.tail:
            lead = ENDING if kept else _end_of(self.frame.head)
            count = len(_plain(self.tokenizer, lead))
            parts.append(_plain(self.tokenizer, lead + self.frame.tail)[count:])
        return np.concatenate([NOTHING, *parts])

    def _example(self, person: int, first: bool) -> np.ndarray:
        """Tokens of an example: the first one stands behind the head, any other behind an example."""
        lead = _end_of(self.frame.head) if first else ENDING
        return _Behind(self.tokenizer, lead).encode([self.shown[person]])[0].tokens

    def _encoder(self, kept: Sequence[int]) -> _Behind:
        """Makes tokens of résumés behind some examples."""
        return _Behind(self.tokenizer, _end_of(self.frame.tail or (ENDING if kept else self.frame.head)))

    def fitting(self, resumes: Sequence[Resume], people: Sequence[int], context: int) -> tuple[int, ...]:
        """The people whose examples fit ahead of all the given résumés, those next to the résumé first."""
        if not people:
            return ()
        needed = max(tokens_of_lines(one, LINES_KEPT) for one in self._encoder(people).encode(resumes))
        room = context - needed - longest_title(self.tokenizer)
        kept: tuple[int, ...] = ()
        for person in reversed(people):
            if len(self.tokens((person, *kept))) <= room:
                kept = (person, *kept)
        return kept

    def behind(
        self, resumes: Sequence[Resume], kept: Sequence[int], context: int, *, shared: bool
    ) -> list[PromptedResume]:
        """Résumés behind some examples, in windows where they are too long."""
        encoder = self._encoder(kept)
        if len(kept) > self._checked:
            self._require_whole(encoder, resumes[0], kept)
        own = NOTHING if shared else self._own(kept)
        prompt = self.tokens(kept) if shared else self.head
        fitting = fit_context(encoder, resumes, context, ahead=len(prompt) + len(own))
        return [
            PromptedResume(
                tokens=np.concatenate([own, one.tokens]),
                rows=one.rows,
                cuts=one.cuts + len(own),
                ends=one.ends + len(own),
                first_scored=one.first_scored,
                prompt=prompt,
            )
            for one in fitting
        ]

    def _require_whole(self, encoder: _Behind, resume: Resume, kept: Sequence[int]) -> None:
        """The pieces' tokens must be those of the whole text."""
        text = self.frame.head + "".join(self.shown[person].text for person in kept) + self.frame.tail
        start = self.tokenizer.start if self.frame.start else []
        whole = [*start, *_plain(self.tokenizer, text + resume.text).tolist()]
        pieces = [*self.tokens(kept).tolist(), *encoder.encode([resume])[0].tokens.tolist()]
        if whole != pieces:
            raise LaborLLMError(_spans(text))
        self._checked = len(kept)


def _plain(tokenizer: ResumeTokenizer, text: str) -> np.ndarray:
    """Tokens of a text without a start token, shape (tokens,)."""
    coded = tokenizer.tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return np.array(coded["input_ids"], dtype=np.int64)


def _end_of(text: str) -> str:
    """Whole lines at the end of a text on which the tokens of what follows may depend."""
    return text[text.rfind("\n", 0, max(0, len(text) - TAIL)) + 1 :]


def _spans(text: str) -> str:
    return (
        f"a token spans the end of {text[-24:]!r} and the beginning of the résumé behind it; choose another tokenizer, "
        "or leave out title_list, chat and examples"
    )


def _facts(careers: Careers, chosen: Examples, fitting: np.ndarray) -> dict[str, int | float]:
    asked = chosen.people.shape[1]
    of_row = fitting[chosen.set_of_row]  # (person_years,)
    facts: dict[str, int | float] = {
        "examples asked for": asked,
        "examples shown, mean over person-years": round(float(of_row.mean()), 2),
        "people shown fewer examples than asked for": len(np.unique(careers.person_of_row[of_row < asked])),
    }
    if chosen.less_alike:
        facts["people whose examples are alike in fewer covariates"] = chosen.less_alike
    return facts


def _no_room(ahead: _Ahead, chosen: Examples, context: int) -> str:
    shortest = min(len(ahead.example(person, False)) for person in np.unique(chosen.people).tolist())
    head = len(ahead.tokens(()))
    return (
        f"no example fits: the shortest takes {shortest} tokens, the rest of the prompt {head}, a title at most "
        f"{longest_title(ahead.tokenizer)}, and the model's context is {context}; choose a checkpoint with a longer "
        "context, or shorten the text with text.last_rows or text.drop"
    )
