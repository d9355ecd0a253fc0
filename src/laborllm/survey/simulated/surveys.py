"""The simulated population in the real formats: what a survey would give of people whose careers are known.

A reader that reads the files must find exactly the careers that ``write_survey`` returns. Files bear the survey's own
variable numbers and codes, and all that a reader must see through: rounds without interview, values left out or
invalid, jobs that are not the main one, people who are listed without being there. Nobody's answers are in them.
"""

from pathlib import Path

import numpy as np

from laborllm.errors import LaborLLMError
from laborllm.files import whole_folder
from laborllm.survey.careers import Careers
from laborllm.survey.simulated.as_nlsy79 import write_nlsy79
from laborllm.survey.simulated.as_nlsy97 import write_nlsy97
from laborllm.survey.simulated.as_psid import write_psid
from laborllm.survey.simulated.panel import Panel
from laborllm.survey.simulated.simulate import SimulatedSettings, simulate, simulated_population
from laborllm.survey.simulated.telling import careers_as_told

SURVEYS = {"nlsy79": "NLSY79", "nlsy97": "NLSY97", "psid": "PSID"}


def write_survey(settings: SimulatedSettings, folder: Path) -> Careers:
    """Write a simulated population as a survey writes its files.

    The NLSY79 and the NLSY97 are one bundle of the NLS Investigator each, ``nlsy79.csv`` or ``nlsy97.csv`` with
    ``.dct``, ``.dat``, ``.sps``, ``.cdb``, ``.sdf`` and tagset. The PSID is the cross-year individual file and one
    family file a wave, each a ``.txt`` with its set-ups ``.sps``, ``.do`` and ``.sas``. Beside them ``careers.parquet``
    holds the careers that are returned.

    Args:
        settings: with ``like``, the survey; same settings, same files, to the last bit.
        folder: a new or empty folder: files of an earlier run would be read along. It is whole or absent.

    Returns:
        The careers that the survey's reader reads from these files with its default settings, with wages and, of the
        PSID, labor income, which readers read when asked. Where the survey does not tell a value (a state by its name
        in some rounds), it is as the reader must find it, and the flow counts these.

    Raises:
        LaborLLMError: ``like`` is None, the population is one of résumés, there are more people than the survey has
            ids for, nobody is left, or the folder is not empty or cannot be written.
    """
    if settings.like is None:
        raise LaborLLMError(f"survey.like is not set; choose a survey to write as: {', '.join(SURVEYS)}")
    if settings.population != "survey":
        raise LaborLLMError("survey.population is 'resume'; only 'survey' is written as a survey's files")
    _require_empty(folder)
    careers = simulate(settings)
    panel = Panel.of(careers, simulated_population(settings))
    rng = np.random.default_rng([settings.seed, 3])  # apart from the streams of the world and of both populations
    with whole_folder(folder) as temporary:
        match settings.like:
            case "nlsy79":
                telling = write_nlsy79(panel, temporary, rng)
            case "nlsy97":
                telling = write_nlsy97(panel, temporary, rng)
            case "psid":
                telling = write_psid(panel, temporary, rng)
        told = careers_as_told(careers, panel, telling, survey=SURVEYS[settings.like])
        told.write(temporary / "careers.parquet")
    return told


def _require_empty(folder: Path) -> None:
    if folder.is_file():
        raise LaborLLMError(f"{folder}: is a file; name a new folder")
    if folder.is_dir() and (found := sorted(folder.iterdir())):
        raise LaborLLMError(f"{folder}: is not empty, it holds {found[0].name}; name a new folder")
