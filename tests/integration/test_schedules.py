"""Schedules over HTTP: made, changed, paused, deleted, seen as of an instant; declared ones are held against the configuration."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import front
import pytest
from front import World

from mlsys import bootstrap, config, errors
from mlsys.scheduling import declaring

WEEKLY = {"name": "weekly", "kind": "train", "model_name": "quick", "cron": "0 3 * * 1", "window": {"start": "-P30D", "end": "PT0S"}}

MODELS = {"quick": front.definition(checks={"completeness": False}), "fine": front.definition(frequency="1min")}


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("schedules"), url, MODELS) as found:
        yield found
    embedded_server.drop(url)


def make(world: World, name: str, **changes: Any) -> Any:
    answer = world.client.post("/schedules", json={**WEEKLY, "name": name, **changes})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/schedules/{name}"
    return answer.json


def test_schedule__is_made_with_defaults_and_says_when_it_fires_next(world: World) -> None:
    made = make(world, "defaults")
    assert {name: made[name] for name in ("timezone", "params", "misfire", "overlap", "enabled", "declared", "last_fire_time")} == {
        "timezone": "UTC",
        "params": {},
        "misfire": "run_once",
        "overlap": "skip",
        "enabled": True,
        "declared": False,
        "last_fire_time": None,
    }
    times = [datetime.fromisoformat(text) for text in made["next_fire_times"]]
    assert [(at.weekday(), at.hour, at.minute) for at in times] == [(0, 3, 0)] * 5
    assert times[0] > datetime.now(UTC)
    assert {b - a for a, b in pairwise(times)} == {timedelta(days=7)}
    assert world.client.get("/schedules/defaults").json == made


def test_schedule__made_twice_the_same_is_there_and_another_of_that_name_is_a_conflict(world: World) -> None:
    made = make(world, "twice")
    again = world.client.post("/schedules", json=WEEKLY | {"name": "twice", "timezone": "UTC"})
    assert (again.status_code, again.json) == (200, made)
    assert world.client.post("/schedules", json=WEEKLY | {"name": "twice", "cron": "@daily"}).status_code == 409


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": "0 0 32 * *"}, "cron"),
        ({"cron": "@reboot"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"timezone": "Europe/Nowhere"}, "timezone"),
        ({"window": {"start": "PT0S", "end": "-P1D"}}, "window.end"),
        ({"window": {"start": "-P1Y", "end": "PT0S"}}, "window.start"),
        ({"window": {"start": "-P1D"}}, "window.end"),
        ({"model_name": "fine", "window": {"start": "-P7300D", "end": "PT0S"}}, "window"),
        ({"window": {"start": "-P1000000D", "end": "PT0S"}}, "window.start"),
        ({"kind": "backup"}, "kind"),
        ({"model_name": "nobody"}, "model_name"),
        ({"params": {"depth": 3}}, "params.depth"),
        ({"kind": "predict", "params": {"seed": 3}}, "params.seed"),
        ({"kind": "backfill"}, "params.step"),
        ({"kind": "backfill", "params": {"step": "PT0S"}}, "params.step"),
        ({"kind": "backtest", "params": {"refit": 0}}, "params.refit"),
        ({"kind": "backtest", "params": {"window": {"kind": 1}}}, "params.window.kind"),
        ({"kind": "backtest", "params": {"horizon": 5}}, "params.horizon"),
        ({"misfire": "never"}, "misfire"),
        ({"overlap": "both"}, "overlap"),
        ({"enabled": "yes"}, "enabled"),
        ({"name": "no spaces"}, "name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_schedule__with_a_fault_is_refused_by_the_name_of_the_field(world: World, changes: dict[str, Any], field: str) -> None:
    answer = world.client.post("/schedules", json=WEEKLY | {"name": "faulty"} | changes)
    assert list(front.errors_of(answer)) == [field]
    assert world.client.get("/schedules/faulty").status_code == 404


def test_schedule__is_replaced_as_a_whole(world: World) -> None:
    made = make(world, "changing", params={"seed": 3}, misfire="skip")
    body = {name: WEEKLY[name] for name in ("kind", "model_name", "window")} | {"cron": "@daily"}
    changed = world.client.put("/schedules/changing", json=body).json
    assert changed is not None
    assert (changed["cron"], changed["params"], changed["misfire"]) == ("@daily", {}, "run_once")
    assert changed["created_at"] == made["created_at"] < changed["updated_at"]
    assert datetime.fromisoformat(changed["next_fire_times"][0]).hour == 0
    assert world.client.put("/schedules/changing", json=body | {"name": "changing"}).json == changed, "the same again is no change"
    assert list(front.errors_of(world.client.put("/schedules/changing", json=body | {"name": "other"}))) == ["name"]
    assert world.client.put("/schedules/nothing", json=body).status_code == 404


def test_schedule__paused_has_no_next_times_until_it_is_resumed(world: World) -> None:
    made = make(world, "pausing")
    paused = world.client.post("/schedules/pausing/pause").json
    assert paused is not None
    assert (paused["enabled"], paused["next_fire_times"]) == (False, [])
    resumed = world.client.post("/schedules/pausing/resume").json
    assert resumed is not None
    assert (resumed["enabled"], resumed["next_fire_times"]) == (True, made["next_fire_times"])
    assert world.client.post("/schedules/nothing/pause").status_code == 404


def test_schedule__deleted_is_gone_from_now_on_and_can_be_made_again(world: World) -> None:
    made = make(world, "passing")
    before = datetime.now(UTC).isoformat()
    assert world.client.delete("/schedules/passing").status_code == 204
    assert world.client.get("/schedules/passing").status_code == 404
    assert world.client.delete("/schedules/passing").status_code == 404
    then = world.client.get("/schedules/passing", query_string={"as_of": before}).json
    assert then == made
    again = make(world, "passing", cron="@hourly")
    assert again["created_at"] > made["created_at"]
    assert world.client.get("/schedules/passing", query_string={"as_of": before}).json == made


def test_schedules__are_listed_page_by_page_the_newest_first(world: World) -> None:
    names = [make(world, f"listed-{number}")["name"] for number in range(4)]
    first = world.client.get("/schedules?limit=3").json
    assert first is not None
    assert [item["name"] for item in first["items"]] == names[::-1][:3]
    second = world.client.get(f"/schedules?limit=3&cursor={first['next_cursor']}").json
    assert second is not None
    assert second["items"][0]["name"] == names[0]


def test_schedule__triggered_runs_now_with_the_window_of_now(world: World) -> None:
    make(world, "at-once", window={"start": "-P3000D", "end": "PT0S"}, params={"seed": 7})
    before = datetime.now(UTC)
    run = front.ended(world.client.post("/schedules/at-once/trigger", headers=front.WAIT))
    assert (run["status"], run["trigger"]) == ("succeeded", {"type": "api", "schedule": "at-once"})
    end = datetime.fromisoformat(run["spec"]["end_date"])
    assert before <= end <= datetime.now(UTC)
    assert datetime.fromisoformat(run["spec"]["start_date"]) == end - timedelta(days=3000)
    assert run["spec"]["params"] == {"seed": 7}
    listed = world.client.get("/runs?schedule=at-once").json
    assert listed is not None
    assert [item["id"] for item in listed["items"]] == [run["id"]]
    assert world.client.get("/schedules/at-once").json["last_fire_time"] is None  # type: ignore[index]


def test_schedule__triggered_twice_under_one_key_runs_once(world: World) -> None:
    make(world, "keyed")
    key = {"Idempotency-Key": "only-once"}
    answers = [world.client.post("/schedules/keyed/trigger", headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json["id"] == answers[1].json["id"]  # type: ignore[index]
    made = [world.client.post("/schedules", json=WEEKLY | {"name": "keyed-too"}, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json == made[1].json


def test_schedules__answer_daylight_saving_once_in_spring_and_once_in_autumn(world: World) -> None:
    make(world, "amsterdam", cron="30 2 * * *", timezone="Europe/Amsterdam")
    for day, times in (
        ("2030-03-29", ["2030-03-30T01:30:00Z", "2030-03-31T01:00:00Z", "2030-04-01T00:30:00Z"]),
        ("2030-10-25", ["2030-10-26T00:30:00Z", "2030-10-27T00:30:00Z", "2030-10-28T01:30:00Z"]),
    ):
        told = world.client.get("/schedules/amsterdam", query_string={"as_of": day}).json
        assert told is not None
        assert told["next_fire_times"][:3] == times


# -- declared by the configuration -----------------------------------------------------------------------------------------------------

DAILY = {"kind": "predict", "model_name": "quick", "cron": "@daily", "window": {"start": "PT0S", "end": "P1D"}}


def declared(world: World, *names: str, **changes: Any) -> None:
    """As a start with a config.yaml of these schedules would."""
    service = world.system.services.schedules
    service._declared = {name: declaring.read(name, DAILY | changes) for name in names}
    service.reconcile()


def look(world: World, name: str) -> Any:
    return world.client.get(f"/schedules/{name}").json


def test_declaration__is_put_in_force_changed_and_removed_and_others_are_left_alone(world: World) -> None:
    own = make(world, "own")
    declared(world, "a", "b")
    first = look(world, "a")
    assert (first["declared"], first["cron"]) == (True, "@daily")
    declared(world, "a", "b")
    assert look(world, "a") == first, "an unchanged declaration is no change"
    declared(world, "a", cron="@hourly")
    assert look(world, "a")["cron"] == "@hourly"
    assert world.client.get("/schedules/b").status_code == 404
    assert look(world, "own") == own
    declared(world)
    assert world.client.get("/schedules/a").status_code == 404


def test_declaration__a_change_by_hand_stands_until_the_declaration_changes(world: World) -> None:
    declared(world, "hand")
    world.client.post("/schedules/hand/pause")
    declared(world, "hand")
    assert (look(world, "hand")["enabled"], look(world, "hand")["declared"]) == (False, False)
    declared(world, "hand", misfire="skip")
    assert (look(world, "hand")["enabled"], look(world, "hand")["misfire"]) == (True, "skip")
    world.client.delete("/schedules/hand")
    declared(world, "hand", misfire="skip")
    assert world.client.get("/schedules/hand").status_code == 404
    declared(world, "hand", misfire="run_all")
    assert look(world, "hand")["misfire"] == "run_all"


def test_configuration__with_a_faulty_schedule_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for given, field in ((DAILY | {"cron": "0 0 * *"}, "cron"), (DAILY | {"model_name": "nobody"}, "model_name"), (DAILY | {"x": 1}, "x")):
        file.write_text(json.dumps({"models": {"quick": front.definition()}, "schedules": {"s": given}}))
        with pytest.raises(errors.Invalid) as refused:
            bootstrap.build(config.load(file, environ={}))
        assert list(refused.value.fields) == [f"schedules.s.{field}"]
