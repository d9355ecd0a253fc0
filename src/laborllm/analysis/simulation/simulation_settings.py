"""What is simulated, as the section [simulate] of a study file says it."""

from typing import Literal

from pydantic import Field, model_validator

from laborllm.analysis.experiments.alterations import Covariate
from laborllm.settings import Settings


class Counterfactual(Settings):
    """The section [simulate.counterfactual.NAME]: one thing about the same workers is otherwise.

    Attributes:
        set: covariate -> value, in every row of the people who had another value; a birth year is a number.
        layoff: a calendar year; people with a job in that row and the one before are unemployed in it instead, and the
            rows after it are drawn.
    """

    set: dict[Covariate, str | int] = Field(default_factory=dict)
    layoff: int | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> "Counterfactual":
        if bool(self.set) == (self.layoff is not None):
            raise ValueError('give either set = { gender = "male" } or the like, or layoff = YEAR')
        return self


class SimulateSettings(Settings):
    """The section [simulate] of a study file.

    Attributes:
        models: names of the models; all that give the whole list if empty.
        people: so many test people, drawn at random; all if not given.
        start: what is given of a career: its "first" row, all of it to the "last" row, or the rows up to a year.
        until: the last calendar year drawn; the survey's last if not given.
        years: at most so many calendar years after each person's last given row.
        paths: drawn for each person.
        education: in rows that are drawn: as the survey has it ("observed"), as in the last given row ("carried"), or
            drawn once a person from how it rises among training people of the same age ("modelled").
        seed: of the draws.
        counterfactual: name -> what is otherwise.
    """

    models: tuple[str, ...] = ()
    people: int | None = Field(default=None, ge=1)
    start: Literal["first", "last"] | int = "first"
    until: int | None = None
    years: int | None = Field(default=None, ge=1)
    paths: int = Field(default=100, ge=2, le=30_000)
    education: Literal["observed", "carried", "modelled"] = "observed"
    seed: int = Field(default=1, ge=0)
    counterfactual: dict[str, Counterfactual] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ends(self) -> "SimulateSettings":
        if self.start == "last" and self.until is None and self.years is None:
            raise ValueError('start = "last" has no row of the survey to stop at; give until = YEAR or years = NUMBER')
        for name in self.counterfactual:
            if len(name) > 64 or not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(
                    f"counterfactual.{name[:20]!r}: use at most 64 letters, digits, - and _; it becomes a file name"
                )
        return self
