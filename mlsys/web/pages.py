"""The overview at / and the API's page at /docs, and the static files of both. Pages read; they change nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, render_template

from mlsys import errors
from mlsys.records import Model, ModelVersion, Promotion, Run
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.web import chart, forecasts

MODELS, RUNS = 12, 15
DOCUMENT = "/openapi.json"


def build(*, units: Units, health: Callable[[], dict[str, Any]], version: str) -> Blueprint:
    """``health``: what /health/ answers."""
    pages = Blueprint("pages", __name__, static_folder="static", static_url_path="/static", template_folder="templates")
    pages.add_app_template_filter(number)
    pages.add_app_template_filter(instant)
    pages.add_app_template_filter(duration)

    @pages.get("/")
    def overview() -> str:
        with units() as unit:
            models, runs = unit.models.list(limit=MODELS, cursor=None), unit.runs.list(filters={}, limit=RUNS, cursor=None)
            cards = [_card(unit, model) for model in models.items]
        for card in cards:
            _add_forecast(card)
        return render_template(
            "overview.html", health=health(), version=version, cards=cards, more=models.next_cursor is not None, runs=runs.items
        )

    @pages.get("/docs")
    def docs() -> str:
        return render_template("docs.html", document=DOCUMENT)

    return pages


def _card(unit: UnitOfWork, model: Model) -> dict[str, Any]:
    """All that is shown of one model, but for its chart: files are read once the database's connection is given back."""
    promotion: Promotion | None = unit.promotions.production(model.name)
    version: ModelVersion | None = unit.versions.get(promotion.model_version_id) if promotion else None
    predicted = unit.runs.list(filters={"kind": "predict", "status": "succeeded", "model_name": model.name}, limit=1, cursor=None).items
    return {"model": model, "promotion": promotion, "version": version, "run": predicted[0] if predicted else None}


def _add_forecast(card: dict[str, Any]) -> None:
    run: Run | None = card["run"]
    if run is None:
        return
    try:
        forecast = forecasts.read(run)
    except errors.NotFound as error:
        card["missing"] = error.message
    else:
        card |= {"forecast": forecast, "chart": chart.line(forecast.times, forecast.values)}


def number(value: Any) -> str:
    """Four digits that count, thousands in groups, yes and no, nothing as a dash; text as it is."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def instant(value: datetime | None) -> str:
    """To the second, in UTC; the pages say so beside it."""
    return "-" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def duration(run: Run) -> str:
    if run.started_at is None or run.finished_at is None:
        return "-"
    seconds = (run.finished_at - run.started_at).total_seconds()
    minutes = int(seconds // 60)
    return f"{seconds:.1f} s" if minutes == 0 else f"{minutes} min {seconds % 60:.0f} s"
