"""A run asked for again: from its stored spec and the fields that change, back to a request. No database here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlsys import errors
from mlsys.execution.requests import PredictRequest, TrainRequest
from mlsys.records import Json, Run

_MODEL = ("model_version_id", "model_at", "time_travel_date")


def check(run: Run, asked: Json) -> None:
    """Raises Conflict for a run that goes on, Invalid for a field that its kind of run does not have."""
    if not run.finished:
        raise errors.Conflict(f"The run {run.id} is {run.status}; it can be repeated once it has ended.")
    if asked and run.kind not in ("train", "predict"):
        raise errors.Invalid(dict.fromkeys(asked, f"A run of kind {run.kind} is repeated as it was; leave this field out."))
    if asked.get("model_name", run.model_name) != run.model_name:
        raise errors.Invalid({"model_name": f"The run is of {run.model_name!r}; for another model use /job/{run.kind}."})


def training(run: Run, asked: Json) -> TrainRequest:
    """``asked``: the fields that change. Hyper-parameters not named among ``params`` stay as they were."""
    old = run.spec
    usual = "never" if "time_travel_date" in asked else old["promote"]
    return TrainRequest(
        **_common(run, asked),
        params={**old["params"], **asked.get("params", {})},
        promote=asked.get("promote", usual),
        time_travel_date=asked.get("time_travel_date", _kept_cut(run, asked)),
    )


def prediction(run: Run, asked: Json) -> PredictRequest:
    """By the same version as before, unless a field asks for another."""
    named = {name: asked[name] for name in _MODEL if name in asked}
    stays = not named and asked.get("time_travel") is not False
    known = {"data_at": asked.get("data_at", _kept_cut(run, asked))} if "time_travel_date" not in asked else {}
    return PredictRequest(
        **_common(run, asked), **known, **(named or ({"model_version_id": run.spec.get("model_version_id")} if stays else {}))
    )


def turns_time(asked: Json) -> bool:
    """Whether a field says whose model or which knowledge to use."""
    return bool(asked.keys() & {*_MODEL, "data_at", "time_travel"})


def _common(run: Run, asked: Json) -> dict[str, Any]:
    old = run.spec
    start, end = (asked.get(name) or datetime.fromisoformat(old[name]) for name in ("start_date", "end_date"))
    source: Mapping[str, Any] = asked if {"file_path", "dataset"} & asked.keys() else old
    return {
        "model_name": run.model_name,
        "start_date": start,
        "end_date": end,
        "file_path": source.get("file_path"),
        "dataset": source.get("dataset"),
    }


def _kept_cut(run: Run, asked: Json) -> datetime | None:
    """The instant whose knowledge the run was kept to, unless the caller wants none."""
    known_at = run.spec["known_at"]
    return None if known_at is None or asked.get("time_travel") is False else datetime.fromisoformat(known_at)
