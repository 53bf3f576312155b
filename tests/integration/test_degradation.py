"""``accuracy.degraded`` through the front: n days in a row beyond the limit, once an episode, whoever looks and how often."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pytest
import serving
import sqlalchemy as sa
from front import World

from mlsys import errors
from mlsys.monitoring import degradation
from mlsys.monitoring.degradation import Judged

LIMIT = {"metric": "mae", "limit": 3.0, "days": 2}
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("told", "again", "restarted", "noticed", "hardly", "broken", "last", "freed"), LIMIT),
    "ratio": {"ratio": 3, "days": 3},
    "skilled": {"metric": "skill", "limit": -1.0, "days": 1},
    "lossy": {"metric": "pinball", "ratio": 3, "days": 2},
    "covered": {"metric": "coverage", "ratio": 0.5, "days": 2},
    "calm": {},
}
BANDED = {"model": {"type": "lightgbm", "params": front.QUICK, "quantiles": [0.1, 0.5, 0.9]}}
MODELS = {
    name: front.definition(
        source={"type": "parquet", "path": f"{name}.parquet"}, accuracy=settings, **(BANDED if name in ("lossy", "covered") else {})
    )
    for name, settings in SETTINGS.items()
}
DAYS = [f"2020-03-{day}" for day in range(10, 21)]


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A model and a file of its own for each test."""
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("degradation"), url, MODELS) as found:
        yield found
    embedded_server.drop(url)


def spoil(world: World, name: str, *days: str, by: float = 20.0) -> None:
    """The target of those days turns out otherwise than could be foreseen; all others are as they were."""
    rows = front.hourly()
    rows.loc[rows["time"].dt.strftime("%Y-%m-%d").isin(days), "power"] += by
    rows.to_parquet(world.data / f"{name}.parquet")


def issue(world: World, name: str) -> str:
    """Trained on all up to February; DAYS forecast from the data as it was foreseen."""
    spoil(world, name)
    version: str = front.train(world.client, model_name=name, promote="never", end_date="2020-02-29")["result"]["model_version_id"]
    world.client.post("/model/promote", json={"model_name": name, "model_version_id": version})
    front.predict(world.client, model_name=name, start_date=DAYS[0], end_date=DAYS[-1])
    return version


def raised(world: World, name: str) -> list[Any]:
    query = sa.text("SELECT data FROM events WHERE type = 'accuracy.degraded' AND data ->> 'model_name' = :name ORDER BY id")
    with world.system.engine.connect() as connection:
        return list(connection.scalars(query, {"name": name}))


def look(world: World) -> None:
    world.system.watch.round()


def test_degradation__is_told_once_with_its_numbers(world: World) -> None:
    version = issue(world, "told")
    look(world)
    assert raised(world, "told") == []
    spoil(world, "told", "2020-03-14", "2020-03-15", "2020-03-16")
    look(world)
    look(world)
    (event,) = raised(world, "told")
    assert {name: event[name] for name in ("model_name", "model_version_id", "metric", "limit", "days", "first_day", "last_day")} == {
        "model_name": "told",
        "model_version_id": version,
        "metric": "mae",
        "limit": 3.0,
        "days": 2,
        "first_day": "2020-03-14",
        "last_day": "2020-03-15",
    }
    days = {one["day"]: one for one in world.client.get("/models/told/accuracy").json["by_day"]}  # type: ignore[index]
    for value in event["values"]:
        assert value["value"] == days[value["day"]]["mae"] > 3.0
        assert (value["rows"], value["run_ids"]) == (24, days[value["day"]]["run_ids"])


def test_degradation__lasts_until_a_day_is_within_the_limit_and_may_come_again(world: World) -> None:
    issue(world, "again")
    spoil(world, "again", *DAYS[2:5])
    look(world)
    assert world.client.get("/models/again/accuracy").json["degraded"] is None  # type: ignore[index]
    assert [(one["first_day"], one["last_day"]) for one in raised(world, "again")] == [(DAYS[2], DAYS[3])]
    spoil(world, "again", *DAYS[2:5], *DAYS[9:11])
    look(world)
    assert [(one["first_day"], one["last_day"]) for one in raised(world, "again")] == [(DAYS[2], DAYS[3]), (DAYS[9], DAYS[10])]
    degraded = world.client.get("/models/again/accuracy").json["degraded"]  # type: ignore[index]
    assert (degraded["first_day"], degraded["last_day"], degraded["detail"]["metric"]) == (DAYS[9], DAYS[10], "mae")


def test_degradation__is_not_told_again_by_a_restart_or_by_another_process(world: World, tmp_path: Path) -> None:
    issue(world, "restarted")
    spoil(world, "restarted", *DAYS[-3:])
    other = front.unstarted(
        tmp_path, MODELS, **{"database.url": world.system.config.database.url, "data.roots": [str(world.data)], "home": str(world.home)}
    )
    other.start()
    try:
        threads = [threading.Thread(target=system.watch.round) for system in (world.system, other) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(raised(world, "restarted")) == 1
    finally:
        other.stop()
    look(world)
    assert len(raised(world, "restarted")) == 1


def test_degradation__ends_when_nobody_sets_a_limit_any_more(world: World, tmp_path: Path) -> None:
    issue(world, "freed")
    spoil(world, "freed", *DAYS[-3:])
    look(world)
    assert world.client.get("/models/freed/accuracy").json["degraded"] is not None  # type: ignore[index]
    free = MODELS | {"freed": {**MODELS["freed"], "accuracy": {}}}
    settings = {"database.url": world.system.config.database.url, "data.roots": [str(world.data)], "home": str(world.home)}
    other = front.unstarted(tmp_path, free, **settings)
    other.start()
    try:
        other.watch.round()
        other.watch.round()
        assert world.client.get("/models/freed/accuracy").json["degraded"] is None  # type: ignore[index]
        with world.system.services.units() as unit:
            states = [(one.state, str(one.last_day)) for one in unit.episodes.list("freed")]
        assert states == [("degraded", DAYS[-2]), ("recovered", DAYS[-2])]
    finally:
        other.stop()
    assert len(raised(world, "freed")) == 1


def test_degradation__is_noticed_when_forecasts_are_stored(world: World) -> None:
    """Nobody asks: the process itself looks."""
    issue(world, "noticed")
    spoil(world, "noticed", *DAYS[-3:])
    front.predict(world.client, model_name="noticed", start_date=DAYS[0], end_date=DAYS[0])
    assert serving.until(lambda: raised(world, "noticed"), 20)[0]["last_day"] == DAYS[-2]


def test_degradation__beside_what_the_version_scored_itself(world: World) -> None:
    version = issue(world, "ratio")
    own = world.client.get(f"/models/ratio/versions/{version}").json["metrics"]["mae"]  # type: ignore[index]
    spoil(world, "ratio", *DAYS[-3:], by=10 * own)
    look(world)
    (event,) = raised(world, "ratio")
    assert {value["bound"] for value in event["values"]} == {3 * own}
    assert (event["days"], event["limit"], event["ratio"]) == (3, None, 3)


@pytest.mark.parametrize(("name", "share"), [("lossy", 3), ("covered", 0.5)])
def test_degradation__of_quantiles_beside_what_the_version_scored_itself(world: World, name: str, share: float) -> None:
    version, metric = issue(world, name), SETTINGS[name]["metric"]
    own = world.client.get(f"/models/{name}/versions/{version}").json["metrics"][metric]  # type: ignore[index]
    look(world)
    assert raised(world, name) == []
    spoil(world, name, *DAYS[-2:])
    look(world)
    (event,) = raised(world, name)
    assert {value["bound"] for value in event["values"]} == {share * own}
    days = {one["day"]: one for one in world.client.get(f"/models/{name}/accuracy").json["by_day"]}  # type: ignore[index]
    assert [value["value"] for value in event["values"]] == [days[day][metric] for day in DAYS[-2:]]


def test_degradation__of_skill_is_below_the_limit(world: World) -> None:
    issue(world, "skilled")
    look(world)
    before = raised(world, "skilled")
    spoil(world, "skilled", *DAYS[-2:])  # the naive forecast follows on the second day, the model does not
    look(world)
    assert [one["last_day"] for one in raised(world, "skilled")][len(before) :] == [DAYS[-1]]


def test_degradation__no_limit_no_event(world: World) -> None:
    issue(world, "calm")
    spoil(world, "calm", *DAYS)
    look(world)
    assert raised(world, "calm") == []
    assert "calm" not in degradation.Degradation(units=world.system.services.units, accuracy=world.system.services.accuracy).watched()


def test_degradation__a_day_that_is_hardly_measured_is_not_judged(world: World) -> None:
    issue(world, "hardly")
    rows = front.hourly()
    bad = rows["time"].dt.strftime("%Y-%m-%d").isin(DAYS[-2:])
    rows.loc[bad, "power"] += 20
    rows.loc[bad & (rows["time"].dt.hour > 12), "power"] = float("nan")
    rows.to_parquet(world.data / "hardly.parquet")
    look(world)
    assert raised(world, "hardly") == []


def test_degradation__one_models_missing_data_keeps_no_other_from_it(world: World) -> None:
    issue(world, "broken")
    (world.data / "broken.parquet").write_bytes(b"no parquet")
    try:
        issue(world, "last")
        spoil(world, "last", *DAYS[-3:])
        look(world)  # by name
        refused = world.client.get("/models/broken/accuracy").json["reason"]  # type: ignore[index]
    finally:
        spoil(world, "broken")
    assert "cannot be read" in refused
    assert len(raised(world, "last")) == 1


@pytest.mark.parametrize(
    ("accuracy", "field"),
    [
        ({"limits": 3}, "accuracy.limits"),
        ({"metric": "r2"}, "accuracy.metric"),
        ({"days": 0}, "accuracy.days"),
        ({"limit": "low"}, "accuracy.limit"),
        ({"ratio": -1}, "accuracy.ratio"),
        ({"metric": "pinball", "ratio": 2}, "accuracy.metric"),
        ({"metric": "coverage", "limit": 0.7}, "accuracy.metric"),
        ([3], "accuracy"),
    ],
)
def test_settings__that_make_no_sense_are_refused(accuracy: Any, field: str, tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid) as caught:
        front.unstarted(tmp_path, {"quick": front.definition(accuracy=accuracy)})
    assert list(caught.value.fields) == [f"models.quick.{field}"]


def judged(day: int, crossed: bool) -> Judged:
    return Judged(
        day=pd.Timestamp(2020, 3, day).date(), value=1.0, bound=1.0, crossed=crossed, rows=24, model_version_ids=("v",), run_ids=("r",)
    )


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ("...", ""),
        ("x.xx.", ""),
        ("xxx", "D3"),
        ("xxxxxx", "D3"),
        ("xxx.x.xxx", "D3 R4 D9"),
        (".xxx.xxxx", "D4 R5 D8"),
    ],
)
def test_changes__n_in_a_row_degrade_and_one_recovers(days: str, found: str) -> None:
    judgements = [judged(number, mark == "x") for number, mark in enumerate(days, 1)]
    changes = degradation.changes(judgements, None, needed=3)
    assert " ".join(f"{change.state[0].upper()}{change.days[-1].day.day}" for change in changes) == found
