"""The sources that a study may name: their settings, how each is read, which files it reads, what a report says."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from laborllm.settings import Settings
from laborllm.survey.careers import Careers
from laborllm.survey.nls.nlsy79 import NLSY79Settings, read_nlsy79
from laborllm.survey.nls.nlsy97 import NLSY97Settings, read_nlsy97
from laborllm.survey.psid.psid import PSIDSettings, read_psid
from laborllm.survey.simulated.simulate import simulate
from laborllm.survey.simulated.world import SimulatedSettings
from laborllm.survey.tables.career_text import CareerTextSettings, read_career_text
from laborllm.survey.tables.job_histories import JobHistoriesSettings, read_job_histories
from laborllm.survey.tables.tabular import TableSettings, read_table

SurveySettings = Annotated[
    NLSY79Settings
    | NLSY97Settings
    | PSIDSettings
    | TableSettings
    | CareerTextSettings
    | JobHistoriesSettings
    | SimulatedSettings,
    Field(discriminator="source"),
]
SOURCES = ("nlsy79", "nlsy97", "psid", "table", "career_text", "job_histories", "simulated")
"""What ``survey.source`` may be."""
_DATA = Path(__file__).with_name("data")
TAGSETS = {
    "nlsy79": _DATA / "tagsets" / "careers.NLSY79",
    "nlsy97": _DATA / "tagsets" / "careers.NLSY97",
    "psid": _DATA / "psid_cart.txt",
}
"""The variables that make careers, as each survey's own web page loads them."""
DESCRIBING = {".cdb", ".sdf", ".sps", ".dct", ".do", ".sas"}
"""Codebooks and set-ups, which lie beside a survey's file under its name."""


def read_survey(settings: SurveySettings) -> Careers:
    """The careers that the settings of a source name; errors as those of its reader."""
    match settings:
        case NLSY79Settings():
            return read_nlsy79(settings)
        case NLSY97Settings():
            return read_nlsy97(settings)
        case PSIDSettings():
            return read_psid(settings)
        case TableSettings():
            return read_table(settings)
        case CareerTextSettings():
            return read_career_text(settings)
        case JobHistoriesSettings():
            return read_job_histories(settings)
        case SimulatedSettings():
            return simulate(settings)


def files_of(settings: SurveySettings) -> list[Path]:
    """The files that a source reads: those named or in a named folder, and codebooks and set-ups beside them."""
    found: list[Path] = []
    for path in paths_in(settings):
        found += sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    if isinstance(settings, NLSY79Settings | NLSY97Settings | PSIDSettings):
        found += [beside for file in settings.files for beside in _describing(file)]
    return list(dict.fromkeys(found))


def paths_in(settings: Settings) -> list[Path]:
    """Every path among the values of settings, in their order."""
    return [path for name in type(settings).model_fields for path in _paths(getattr(settings, name))]


def describe(settings: SurveySettings) -> tuple[str, str]:
    """Title of the population and one sentence on it, for a report."""
    match settings:
        case NLSY79Settings():
            survey = "National Longitudinal Survey of Youth 1979 (US Bureau of Labor Statistics)"
            return "NLSY79", f"{survey}: {_kept(settings)}."
        case NLSY97Settings():
            survey = "National Longitudinal Survey of Youth 1997 (US Bureau of Labor Statistics)"
            return "NLSY97", f"{survey}: {_kept(settings)}."
        case PSIDSettings():
            return "PSID", f"Panel Study of Income Dynamics, reference persons and spouses: {_kept(settings)}."
        case TableSettings() | JobHistoriesSettings():
            names = ", ".join(file.name for file in settings.files)
            if isinstance(settings, TableSettings):
                return settings.survey, f"A person-year table: {names}."
            nobody = "Unless the set is a probability sample, it represents nobody but itself."
            return settings.survey, f"Job histories, one job a year (that of most days): {names}. {nobody}"
        case CareerTextSettings():
            return settings.survey, f"Careers as text files in {settings.folder.name}."
        case SimulatedSettings():
            return (
                "Simulated population",
                f"A made-up population of {settings.people:,} people over {settings.occupations} jobs of the real list "
                f"of occupations and the states outside employment, {settings.first_year} to {settings.last_year}. Its "
                "true transition probabilities are known; it says nothing about any real labor market.",
            )


def _kept(settings: NLSY79Settings | NLSY97Settings | PSIDSettings) -> str:
    return "coded jobs and states outside employment" if settings.states else "coded jobs alone"


def _paths(value: Any) -> list[Path]:
    match value:
        case Path():
            return [value]
        case tuple():
            return [path for each in value for path in _paths(each)]
        case Settings():
            return paths_in(value)
        case _:
            return []


def _describing(file: Path) -> list[Path]:
    """Codebooks and set-ups that bear a file's name and lie in its folder."""
    if not file.parent.is_dir():
        return []
    name = _name(file)
    return sorted(
        other
        for other in file.parent.iterdir()
        if other != file and other.suffix.lower() in DESCRIBING and _name(other) == name
    )


def _name(file: Path) -> str:
    """A file's name without any suffix, in small letters."""
    return file.name.partition(".")[0].casefold()
