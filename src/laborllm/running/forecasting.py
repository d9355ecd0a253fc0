"""The stages of a study that forecast out of time: learn the rows up to a year, predict those after it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laborllm.evaluation.forecasts import (
    Forecast,
    ForecastSettings,
    careers_to_forecast,
    careers_until,
    evaluate_forecasts,
    forecast,
)
from laborllm.files import write_tables
from laborllm.study import Progress, Study, build_model
from laborllm.survey.careers import Careers


class ForecastStages:
    """What the section [forecast] asks for.

    Attributes:
        models: the models that forecast, in the order of the study.
        settings_of_models: all that a model's forecast depends on beside the model itself.
    """

    def __init__(self, study: Study, settings: ForecastSettings, out: Path, progress: Progress) -> None:
        self.study, self.settings, self.out, self.progress = study, settings, out, progress
        chosen = settings.models or tuple(study.models)
        self.models = [name for name in study.models if name in chosen]
        self.settings_of_models: dict[str, Any] = settings.model_dump(exclude={"models"})

    def require_rows(self, careers: Careers) -> None:
        """Every part has rows up to the year, the test people rows after it: said before any model is fitted.

        Raises:
            LaborLLMError: one has not.
        """
        for part in ("train", "validation"):
            careers_until(careers.part(part), self.settings.until)
        careers_to_forecast(careers.part("test"), self.settings.until)

    def forecast(self, name: str) -> None:
        """Fit a model on the rows up to the year alone, forecast the test people; its weights are not kept.

        The first process does this by itself: paths are drawn step by step, which several processes cannot share.
        """
        careers = Careers.read(self.out / "careers.parquet")
        train, validation = (careers_until(careers.part(part), self.settings.until) for part in ("train", "validation"))
        test = careers_to_forecast(careers.part("test"), self.settings.until)
        folder = self.out / "forecast" / "models"
        model = build_model(name, self.study, folder=folder / name, progress=self.progress)
        model.fit(train, validation)
        found = forecast(
            model, test, self.settings, progress=lambda done, total: self.progress(f"forecast/{name}", done, total)
        )
        found.write(self.out / "forecast" / name)
        shutil.rmtree(folder, ignore_errors=True)

    def evaluate(self) -> Sequence[str]:
        """Write forecast.csv and forecast_comparisons.csv; what a reader must know of them is returned."""
        test = careers_to_forecast(Careers.read(self.out / "careers.parquet").part("test"), self.settings.until)
        forecasts = {name: Forecast.read(self.out / "forecast" / name) for name in self.models}
        found = evaluate_forecasts(forecasts, test, self.settings, self.study.evaluation)
        write_tables(self.out, {"forecast": found.forecast, "forecast_comparisons": found.comparisons})
        return found.notes
