"""What of single people, and of single models, the report shows."""

from pydantic import Field

from laborllm.settings import Settings


class ReportSettings(Settings):
    """Section [report].

    Example résumés and the worker explorer show single careers, year by year: unless the population is simulated, they
    are records of real respondents, and the survey's terms of use decide who may see them.

    Attributes:
        examples: whether any single career is shown, as an example résumé or in the worker explorer.
        workers: test people in the worker explorer; 0 leaves it out.
        model_pages: whether every model gets a page of its own.
    """

    examples: bool = True
    workers: int = Field(default=60, ge=0, le=2000)
    model_pages: bool = True
