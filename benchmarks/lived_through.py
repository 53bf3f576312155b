"""The first users' whole data lived through with the shipped model, travelled back to, and replayed: does the past say again what it said?

A table with a line for each claim; exits with 1 when one does not hold. Two kinds of process take turns on one home: one that lives through
the dates with a clock of its own, and the command line afterwards, whose caches are cold. Takes some two minutes.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import harness
import pandas as pd
import yaml
from flask.testing import FlaskClient

from mlsys import bootstrap, config
from mlsys.api.app import create_app
from mlsys.pipelines import environment
from mlsys.testing import FrozenClock

START = "2017-01-01"
DATES = tuple(datetime(*day, tzinfo=UTC) for day in ((2018, 1, 10), (2018, 4, 1), (2018, 7, 1)))
WEEK = pd.Timestamp("2017-12-04", tz="UTC"), pd.Timestamp("2017-12-11", tz="UTC")
CORRECTED = {"2018-01-20": 1.1, "2018-05-01": 0.9, "2018-07-10": 1.3}
"""When corrections of WEEK arrived, and what the power was multiplied with."""
WHENS = ["issued_at", "created_at", "run_id"]
TIME = "start_of_quarter"


@dataclass(kw_only=True)
class Story:
    """What was done on each date, and the claims as they were found."""

    client: FlaskClient
    report: harness.Report
    told: dict[datetime, dict[str, Any]] = field(default_factory=dict)

    def claim(self, what: str, found: str, ok: bool) -> None:
        self.report.add(what, found, ok=ok)

    def job(self, kind: str, body: Mapping[str, Any]) -> Any:
        answer = self.client.post(f"/job/{kind}", json={"model_name": "solar", **body}, headers={"Prefer": "wait=60"})
        run: Any = answer.json
        if answer.status_code != 200 or run["status"] != "succeeded":
            raise RuntimeError(f"{kind} {body}: {answer.status_code} {answer.text[:500]}")
        print(f"  {kind} {run['id']}: {run['result']['data']['rows']} rows", file=sys.stderr)
        return run

    def append(self, rows: pd.DataFrame) -> None:
        answer = self.client.post("/datasets/plant/rows", data=rows.to_parquet(index=False), content_type="application/vnd.apache.parquet")
        if answer.status_code != 201:
            raise RuntimeError(answer.text)


def arrivals() -> pd.DataFrame:
    """Weather known two days ahead (power still empty), the measurement a day after each row, one week corrected three times."""
    rows = pd.read_parquet(harness.SOLAR).reset_index()
    ahead = rows.assign(power=None, created_at=rows[TIME] - pd.Timedelta("2D")).astype({"power": "float64"})
    measured = rows.assign(created_at=rows[TIME] + pd.Timedelta("1D"))
    week = rows[(rows[TIME] >= WEEK[0]) & (rows[TIME] < WEEK[1])]
    later = [week.assign(power=week["power"] * by, created_at=pd.Timestamp(day, tz="UTC")) for day, by in CORRECTED.items()]
    return pd.concat([ahead, measured, *later], ignore_index=True)


def shipped() -> dict[str, Any]:
    """The model of the shipped config.yaml, on a data set."""
    definition: dict[str, Any] = yaml.safe_load((harness.ROOT / "config.yaml").read_text())["models"]["forecast_model"]
    return definition | {"source": {"type": "dataset", "name": "plant"}}


def training(date: datetime) -> dict[str, Any]:
    return {"start_date": START, "end_date": (date - pd.Timedelta("2D")).date().isoformat()}


def predicting(date: datetime) -> dict[str, Any]:
    tomorrow = (date + pd.Timedelta("1D")).date().isoformat()
    return {"start_date": tomorrow, "end_date": tomorrow}


def live_through(story: Story, clock: FrozenClock) -> None:
    history, before = arrivals(), datetime(2000, 1, 1, tzinfo=UTC)
    for number, date in enumerate(DATES):
        clock.instant = date
        story.append(history[(history["created_at"] > before) & (history["created_at"] <= date)])
        with patch.object(environment, "describe", partial(described, environment.describe, {"lightgbm": "0.0.1"} if number == 0 else {})):
            trained = story.job("train", training(date))
        predicted = story.job("predict", predicting(date))
        story.told[date] = {"train": trained, "predict": predicted, "rows": written(predicted)}
        before = date
    clock.instant = datetime(2018, 8, 1, tzinfo=UTC)
    story.append(history[history["created_at"] > before])


def described(true: Callable[..., dict[str, Any]], other: Mapping[str, str], **given: Any) -> dict[str, Any]:
    """The environment as a run recorded it that was done with other libraries."""
    return true(**given) | other


def written(run: Any) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(Path(run["result"]["output"]["uri"].removeprefix("file://")).read_bytes()))


def travel_back(story: Story) -> None:
    for date, told in story.told.items():
        then = {"time_travel": True, "time_travel_date": date.isoformat()}
        trained, predicted = story.job("train", training(date) | then), story.job("predict", predicting(date) | then)
        same = written(predicted).drop(columns=WHENS).equals(told["rows"].drop(columns=WHENS))
        largest = f"{len(told['rows'])} rows, up to {told['rows']['prediction'].max():.1f}"
        story.claim(f"{date:%Y-%m-%d}: time travel predicts what was said live, bit for bit", largest, same)
        data = trained["result"]["data"]
        story.claim(
            f"{date:%Y-%m-%d}: training as known then reads the same rows", data["sha256"][:12], data == told["train"]["result"]["data"]
        )
        story.claim(
            f"{date:%Y-%m-%d}: and gives the same model",
            version(story, trained)[:12],
            version(story, trained) == version(story, told["train"]),
        )
        now = story.job("predict", predicting(date) | {"model_at": date.isoformat()})
        other = not written(now)["prediction"].equals(told["rows"]["prediction"])
        story.claim(
            f"{date:%Y-%m-%d}: from what is known now it says something else",
            f"{now['result']['data']['rows']} rows",
            other,
        )


def version(story: Story, run: Any) -> str:
    answer: Any = story.client.get(f"/models/solar/versions/{run['result']['model_version_id']}").json
    return str(answer["artifact"]["sha256"])


def mlsys(folder: Path, *words: str) -> tuple[int, Any]:
    """A command of a process of its own, which has read nothing yet."""
    command = [sys.executable, "-m", "mlsys", *words, "--home", str(folder / "home"), "--config", str(folder / "config.yaml"), "--json"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLSYS_")}
    done = subprocess.run(command, cwd=harness.ROOT, env=kept, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def replay_all(story: Story, folder: Path) -> None:
    code, found = mlsys(folder, "replay", "--audit", "10")
    verdicts = [run["result"]["verdict"] for run in found["items"]]
    story.claim(
        "ten runs replayed by a process with cold caches", ", ".join(sorted(set(verdicts))), (code, verdicts) == (0, ["identical"] * 10)
    )
    first = story.told[DATES[0]]["train"]["id"]
    _, again = mlsys(folder, "replay", first)
    why = [(one["cause"], one.get("name")) for one in again["result"]["why"]]
    ok = again["result"]["verdict"] == "identical" and ("library_changed", "lightgbm") in why
    story.claim("a run recorded with another LightGBM: identical, and why it might not be", str(why), ok)
    code, verified = mlsys(folder, "verify")
    story.claim("mlsys verify: chains, models, data files, predictions", str(verified["checked"]), code == 0)


def alter_one_file(story: Story, folder: Path) -> None:
    path = max((folder / "home" / "artifacts" / "datasets").glob("??/*"), key=lambda file: file.stat().st_size)
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(spoilt)
    _, found = mlsys(folder, "replay", story.told[DATES[-1]]["train"]["id"])
    told = found["result"]
    ok = told["verdict"] == "cannot_replay" and "damaged" in told["reason"] and "plant" in told["reason"]
    story.claim("one bit of one data file altered: found by the replay", told.get("reason", told["verdict"]), ok)
    code, verified = mlsys(folder, "verify")
    named = [fault["name"] for fault in verified["faults"]]
    story.claim("and named by mlsys verify", ", ".join(named), code == 1 and path.parent.name + path.name in named)


def main() -> int:
    report = harness.Report("Two years of the solar data lived through with the shipped model")
    with harness.folder() as folder:
        (folder / "config.yaml").write_text(json.dumps({"models": {"solar": shipped()}}))  # JSON is YAML
        clock = FrozenClock(DATES[0])
        system = bootstrap.build(config.load(folder / "config.yaml", environ={}, overrides={"home": str(folder / "home")}), clock=clock)
        system.start()
        try:
            story = Story(client=create_app(system.services).test_client(), report=report)
            story.client.post("/datasets", json={"name": "plant", "timestamp": TIME})
            live_through(story, clock)
            travel_back(story)
        finally:
            system.stop()
        replay_all(story, folder)
        alter_one_file(story, folder)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
