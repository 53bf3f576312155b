"""A small, quick world for tests through the front: hourly data, models that learn in no time, an application to call."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from mlsys import bootstrap, config
from mlsys.api.app import create_app
from mlsys.clock import Clock
from mlsys.system import System

WAIT = {"Prefer": "wait=60"}
TRAIN = {"model_name": "quick", "start_date": "2020-01-01", "end_date": "2020-03-15"}
PREDICT = {"model_name": "quick", "start_date": "2020-03-16", "end_date": "2020-03-17"}
QUICK = {"num_iterations": 10, "seeds": 1}


def hourly(days: int = 80) -> pd.DataFrame:
    """Columns time, power, wind: a daily shape that follows the wind, from 2020-01-01."""
    time = pd.date_range("2020-01-01", periods=24 * days, freq="h", tz="UTC")
    chance = np.random.default_rng(0)
    wind = chance.normal(0, 1, len(time))
    power = 10 + 4 * np.sin(np.asarray(time.hour) * np.pi / 12) + 2 * wind + chance.normal(0, 0.1, len(time))
    return pd.DataFrame({"time": time, "power": power, "wind": wind})


def definition(**changes: Any) -> dict[str, Any]:
    """A model of hourly(), stored as ``hourly.parquet``, that fits in a tenth of a second."""
    usual: dict[str, Any] = {"source": {"type": "parquet", "path": "hourly.parquet"}, "timestamp": "time", "target": "power"}
    return usual | {"frequency": "1h", "model": {"type": "lightgbm", "params": QUICK}} | changes


def configure(folder: Path, models: Mapping[str, Any]) -> Path:
    """A config.yaml of these models."""
    file = folder / "config.yaml"
    file.write_text(json.dumps({"models": dict(models)}))  # JSON is YAML
    return file


def unstarted(folder: Path, models: Mapping[str, Any] | None = None, clock: Clock | None = None, **overrides: Any) -> System:
    """A system whose database exists in name only, believed to be at head: for what is decided before any query."""
    file = configure(folder, models or {})
    given = {
        "home": str(folder / "home"),
        "database.url": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
        "execution.grace_seconds": 1,
        "auth.required": "never",
    }
    system = bootstrap.build(config.load(file, environ={}, overrides=given | overrides), clock=clock)
    system.services.schema.at_head = True
    return system


@dataclass(frozen=True, kw_only=True)
class World:
    """A started system, its folders, and a client of its application."""

    system: System
    client: FlaskClient
    data: Path
    home: Path


@contextmanager
def started(folder: Path, url: str, models: Mapping[str, Any], **overrides: Any) -> Iterator[World]:
    """A system on a database of its own, with hourly() in its data folder."""
    data, home = folder / "data", folder / "home"
    data.mkdir(parents=True)
    hourly().to_parquet(data / "hourly.parquet")
    system = unstarted(folder, models, **{"database.url": url, "data.roots": [str(data)], "auth.required": "auto", **overrides})
    system.start()
    try:
        yield World(system=system, client=app_of(system).test_client(), data=data, home=home)
    finally:
        system.stop()


def app_of(system: System) -> Flask:
    return create_app(system.services)


def train(client: FlaskClient, **changes: Any) -> Any:
    """The ended run of a training."""
    return ended(client.post("/job/train", json=TRAIN | changes, headers=WAIT))


def predict(client: FlaskClient, **changes: Any) -> Any:
    return ended(client.post("/job/predict", json=PREDICT | changes, headers=WAIT))


def ended(answer: TestResponse) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json


def errors_of(answer: TestResponse, status: int = 422) -> dict[str, list[str]]:
    """The ``errors`` of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    found: dict[str, list[str]] = answer.json.get("errors", {})
    return found
