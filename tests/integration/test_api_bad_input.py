"""Bad input is refused at the request, by field: nothing is opened, no run appears. Bad data fails the run, and no version appears."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import front
import numpy as np
import pandas as pd
import pytest
from front import PREDICT, TRAIN, World


def count(world: World, what: str = "runs") -> int:
    with world.system.services.units() as unit:
        return len(unit.runs.list(filters={}, limit=10_000, cursor=None).items) if what == "runs" else _versions(world)


def _versions(world: World) -> int:
    with world.system.services.units() as unit:
        return sum(model.versions for model in unit.models.list(limit=200, cursor=None).items)


@pytest.fixture
def untouched(world: World) -> Iterator[None]:
    """No run may appear in this test."""
    before = count(world)
    yield
    assert count(world) == before


PLACES: dict[str, Callable[[Path, Path], str]] = {
    "above": lambda data, elsewhere: "../elsewhere/secret.parquet",
    "above and back": lambda data, elsewhere: f"../../{elsewhere.parent.name}/elsewhere/secret.parquet",
    "absolute": lambda data, elsewhere: str(elsewhere / "secret.parquet"),
    "link": lambda data, elsewhere: "link.parquet",
    "linked folder": lambda data, elsewhere: "linked/secret.parquet",
    "folder with a link": lambda data, elsewhere: "mixed",
    "root": lambda data, elsewhere: ".",
    "root by name": lambda data, elsewhere: str(data),
    "missing": lambda data, elsewhere: "nothing.parquet",
    "device": lambda data, elsewhere: "/dev/zero",
    "process": lambda data, elsewhere: "/proc/self/environ",
    "pipe": lambda data, elsewhere: "pipe.parquet",
    "url": lambda data, elsewhere: "http://127.0.0.1:1/x.parquet",
    "file url": lambda data, elsewhere: f"file://{data}/hourly.parquet",
    "s3": lambda data, elsewhere: "s3://bucket/x.parquet",
    "empty": lambda data, elsewhere: "",
    "spaces": lambda data, elsewhere: "   ",
    "nul": lambda data, elsewhere: "hourly.parquet\0",
    "long": lambda data, elsewhere: "x" * 4096,
    "too long": lambda data, elsewhere: "x" * 100_000,
    "deep": lambda data, elsewhere: "a/" * 2000 + "x",
    "home": lambda data, elsewhere: "~/x.parquet",
    "lines": lambda data, elsewhere: "a\nb.parquet",
}


@pytest.fixture(scope="module")
def elsewhere(world: World) -> Path:
    """Files outside the data root, and ways that lead to them."""
    folder = world.data.parent / "elsewhere"
    folder.mkdir()
    front.hourly().to_parquet(folder / "secret.parquet")
    (world.data / "link.parquet").symlink_to(folder / "secret.parquet")
    (world.data / "linked").symlink_to(folder)
    (world.data / "mixed").mkdir()
    (world.data / "mixed" / "a.parquet").symlink_to(folder / "secret.parquet")
    os.mkfifo(world.data / "pipe.parquet")
    return folder


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("path", "body"), [("/job/train", TRAIN), ("/job/predict", PREDICT)])
def test_file_path__that_leads_anywhere_else_is_refused_unopened(
    world: World, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], place: str
) -> None:
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda name, *rest, **more: (opened.append(str(name)), real(name, *rest, **more))[1])
    answer = world.client.post(path, json=body | {"file_path": PLACES[place](world.data, elsewhere)})
    found = front.errors_of(answer)
    assert list(found) == ["file_path"], found
    assert str(elsewhere) not in answer.text.replace(PLACES[place](world.data, elsewhere), "")
    assert [name for name in opened if "secret" in name or "pipe" in name or "dev" in name or "proc" in name] == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model_name": "unknown"}, "model_name"),
    ({"model_name": ""}, "model_name"),
    ({"model_name": 7}, "model_name"),
    ({"model_name": None}, "model_name"),
    ({"model_name": "x" * 201}, "model_name"),
    ({"model_name": ["quick"]}, "model_name"),
    ({"start_date": "soon"}, "start_date"),
    ({"start_date": "2020-02-30"}, "start_date"),
    ({"start_date": 20200101}, "start_date"),
    ({"start_date": None}, "start_date"),
    ({"start_date": "2020-01-01T00:00:00"}, "start_date"),
    ({"start_date": "0001-01-01"}, "start_date"),
    ({"end_date": "9999-12-31"}, "end_date"),
    ({"end_date": "2019-12-31"}, "end_date"),
    ({"end_date": {"day": 1}}, "end_date"),
    ({"file_path": 7}, "file_path"),
    ({"file_path": ["hourly.parquet"]}, "file_path"),
    ({"file_path": None}, "file_path"),
    ({"colour": "red"}, "colour"),
    ({"dataset": "x"}, "dataset"),
    ({"time_travel": "maybe"}, "time_travel"),
    ({"time_travel": 1}, "time_travel"),
    ({"time_travel_date": "never"}, "time_travel_date"),
]
WRONG_TRAIN: list[tuple[dict[str, Any], str]] = [
    ({"params": 7}, "params"),
    ({"params": "seed=1"}, "params"),
    ({"params": []}, "params"),
    ({"params": {"seeed": 1}}, "params.seeed"),
    ({"params": {"": 1}}, "params."),
    ({"params": {"seed": "1"}}, "params.seed"),
    ({"params": {"seed": True}}, "params.seed"),
    ({"params": {"seed": 10**400}}, "params.seed"),
    ({"params": {"seed": {"a": 1}}}, "params.seed"),
    ({"params": {"num_iterations": 0}}, "params.num_iterations"),
    ({"params": {"num_iterations": 10**9}}, "params.num_iterations"),
    ({"params": {"num_iterations": 1.5}}, "params.num_iterations"),
    ({"params": {"learning_rate": 0}}, "params.learning_rate"),
    ({"params": {"learning_rate": 10**400}}, "params.learning_rate"),
    ({"params": {"learning_rate": "0.1 output_model=/tmp/x"}}, "params.learning_rate"),
    ({"params": {"output_model": "/tmp/x"}}, "params.output_model"),
    ({"params": {"seed 1 output_model": "/tmp/x"}}, "params.seed 1 output_model"),
    ({"promote": "always"}, "promote"),
    ({"promote": True}, "promote"),
    ({"model_version_id": "x"}, "model_version_id"),
]
WRONG_PREDICT: list[tuple[dict[str, Any], str]] = [
    ({"params": {}}, "params"),
    ({"promote": "never"}, "promote"),
    ({"model_version_id": "nothing"}, "model_version_id"),
    ({"model_version_id": "", "model_name": "quick"}, "model_version_id"),
    ({"model_at": "x"}, "model_at"),
    ({"model_at": "2020-01-01", "model_version_id": "x"}, "model_at"),
    ({"model_at": "2020-01-01", "time_travel_date": "2020-01-01"}, "model_at"),
    ({"data_at": "2020-01-01", "time_travel_date": "2020-01-01"}, "data_at"),
]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("path", "body", "changes", "field"),
    [("/job/train", TRAIN, *wrong) for wrong in WRONG + WRONG_TRAIN]
    + [("/job/predict", PREDICT, *wrong) for wrong in WRONG + WRONG_PREDICT],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_body__a_wrong_field_is_named(world: World, path: str, body: dict[str, Any], changes: dict[str, Any], field: str) -> None:
    assert list(front.errors_of(world.client.post(path, json=body | changes))) == [field]


@pytest.mark.usefixtures("untouched")
def test_body__everything_that_is_missing_is_named_at_once(world: World) -> None:
    for path in ("/job/train", "/job/predict"):
        assert sorted(front.errors_of(world.client.post(path, json={}))) == ["end_date", "model_name", "start_date"]
        assert sorted(front.errors_of(world.client.post(path))) == ["end_date", "model_name", "start_date"]
    assert sorted(front.errors_of(world.client.post("/model/promote", json={}))) == ["model_name", "model_version_id"]
    for ask in (world.client.get, world.client.post):
        assert list(front.errors_of(ask("/model/demote"))) == ["model_name"]


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("data", [b"[]", b"[1]", b"null", b"true", b"7", b'"text"', b"[{}]"])
@pytest.mark.parametrize("path", ["/job/train", "/job/predict", "/model/promote", "/model/demote"])
def test_body__that_is_no_object_is_invalid(world: World, path: str, data: bytes) -> None:
    found = front.errors_of(world.client.post(path, data=data, content_type="application/json"))
    assert "body" in found, found


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_body__numbers_that_are_none_are_named(world: World, number: str) -> None:
    body = f'{{"model_name": "quick", "start_date": "2020-01-01", "end_date": "2020-03-15", "params": {{"learning_rate": {number}}}}}'
    assert list(front.errors_of(world.client.post("/job/train", data=body, content_type="application/json"))) == ["params.learning_rate"]


@pytest.mark.parametrize(
    "path",
    [
        "/runs?colour=red",
        "/runs/x?a=1",
        "/runs/x/logs?a=1",
        "/models?a=1",
        "/models/quick?a=1",
        "/models/quick/production?a=1",
        "/health/?a=1",
        "/models/quick/versions?a=1",
        "/models/quick/versions/x?a=1",
        "/models/quick/promotions?a=1",
        "/migrate/?a=1",
        "/model/demote?model_name=quick&a=1",
    ],
)
def test_query__unknown_fields_are_refused(world: World, path: str) -> None:
    assert list(front.errors_of(world.client.get(path))) in (["a"], ["colour"])


@pytest.mark.parametrize("path", ["/job/train?model_name=quick", "/job/predict?x=1", "/model/promote?model_name=quick"])
def test_query__is_refused_where_only_a_body_is_read(world: World, path: str) -> None:
    assert front.errors_of(world.client.post(path, json=TRAIN)) != {}


def test_query__a_field_given_twice_is_refused(world: World) -> None:
    assert list(front.errors_of(world.client.get("/runs?model_name=quick&model_name=idle"))) == ["model_name"]
    assert list(front.errors_of(world.client.get("/model/demote?model_name=quick&model_name=idle"))) == ["model_name"]
    answer = world.client.post("/model/demote?model_name=quick", json={"model_name": "idle"})
    assert list(front.errors_of(answer)) == ["model_name"]


def test_query__text_that_cannot_be_stored_is_refused(world: World) -> None:
    assert list(front.errors_of(world.client.get("/runs?model_name=%00"))) == ["model_name"]
    assert list(front.errors_of(world.client.get("/model/demote?model_name=a%00"))) == ["model_name"]


def _without(column: str) -> pd.DataFrame:
    return front.hourly().drop(columns=column)


FAULTS: dict[str, tuple[Callable[[], pd.DataFrame], str, str]] = {
    "no target": (lambda: _without("power"), "missing_column", "power"),
    "no timestamp": (lambda: _without("time"), "missing_column", "time"),
    "target all NaN": (lambda: front.hourly().assign(power=np.nan), "no_target", "power"),
    "twins": (lambda: pd.concat([front.hourly(), front.hourly().iloc[100:101]]), "duplicate_timestamps", "2020"),
    "text for numbers": (lambda: front.hourly().assign(power="much"), "wrong_type", "power"),
    "no rows": (lambda: front.hourly().iloc[:0], "empty_window", "2020-01-01"),
    "other years": (lambda: front.hourly().assign(time=lambda f: f["time"] + pd.Timedelta(days=5000)), "empty_window", "2020-01-01"),
    "three rows": (lambda: front.hourly().iloc[:3], "too_few_rows", "rows"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_train__on_bad_data_fails_with_the_reason_and_makes_no_version(world: World, fault: str) -> None:
    make, kind, word = FAULTS[fault]
    make().to_parquet(world.data / "faulty.parquet")
    before, threads = _versions(world), threading.active_count()
    run = front.train(world.client, file_path="faulty.parquet")
    assert run["status"] == "failed"
    assert run["error"]["kind"] == kind, run["error"]
    assert word in run["error"]["message"]
    assert run["result"] is None
    assert _versions(world) == before
    assert threading.active_count() <= threads + 2
    lines = world.client.get(f"/runs/{run['id']}/logs").json
    assert lines is not None
    assert (lines["items"][0]["level"], run["error"]["message"] in lines["items"][0]["message"]) == ("error", True)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", b"PAR1" + b"\xff" * 4000 + b"PAR1"])
def test_train__on_a_broken_file_fails_with_the_reason(world: World, data: bytes) -> None:
    (world.data / "broken.parquet").write_bytes(data)
    run = front.train(world.client, file_path="broken.parquet")
    assert run["status"] == "failed"
    assert run["error"]["kind"] != "internal", run["error"]
    assert "broken.parquet" in run["error"]["message"]
    assert str(world.data) not in run["error"]["message"]


def test_train__on_a_file_that_goes_before_the_run_fails_with_the_reason(world: World) -> None:
    front.hourly().to_parquet(world.data / "brief.parquet")
    world.system.runner._pool.submit(lambda: threading.Event().wait(0.3))
    world.system.runner._pool.submit(lambda: threading.Event().wait(0.3))
    answer = world.client.post("/job/train", json=TRAIN | {"file_path": "brief.parquet"})
    (world.data / "brief.parquet").unlink()
    assert answer.json is not None
    run = world.system.services.waiter.wait(answer.json["id"], seconds=20)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["kind"] == "invalid"
    assert "file_path: No such file" in run.error["message"]
