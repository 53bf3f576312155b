"""How an explanation looks in a terminal."""

from collections.abc import Mapping
from typing import Any

from mlsys.cli import tables


def show(found: Mapping[str, Any]) -> None:
    rows = [(one["source"], one["permutation"], one["gain_share"]) for one in found["importances"]]
    title = f"{found['model_name']}, version {found['version']} ({found['model_version_id']})"
    tables.show_table(title, ("source", "error grows by", "share of gain"), rows, empty="Nothing to show.")
    about = found["permutation"]
    if about:
        shown = [tables.shown(about[name]) for name in ("mae", "rows", "start", "end")]
        tables.say("MAE {} on {} rows from {} to {}; it grows by that much where a source is shuffled".format(*shown))
    if found["note"]:
        tables.say(found["note"])
    if found["prediction"]:
        _show_forecast(found["prediction"])


def _show_forecast(forecast: Mapping[str, Any]) -> None:
    rows = [(one["source"], one["contribution"], _largest(one["features"])) for one in forecast["contributions"]]
    of = "".join(f", {name} {value}" for name, value in forecast["series"].items())
    tables.say("")
    tables.show_table(
        f"Forecast of {tables.shown(forecast['timestamp'])}{of}", ("source", "adds", "most of it"), rows, empty=forecast["note"]
    )
    base, raw, prediction = (tables.shown(forecast[name]) for name in ("base", "raw_prediction", "prediction"))
    tables.say(f"from {base} without knowing any to {raw}; forecast {prediction}, issued {tables.shown(forecast['issued_at'])}")


def _largest(parts: Any) -> str:
    return f"{parts[0]['feature']} = {tables.shown(parts[0]['value'])}"
