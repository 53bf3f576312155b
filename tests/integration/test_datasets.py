"""Append-only data sets through the front door, on both kinds of server."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import front
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

SOLAR = {"name": "plant", "timestamp": "time", "columns": {"power": "number", "wind": "number"}}
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[front.World]:
    with front.started(tmp_path, database_url, {"quick": front.definition()}) as found:
        yield found


def make(world: front.World, **changes: Any) -> Any:
    answer = world.client.post("/datasets", json=SOLAR | changes)
    assert answer.status_code in (200, 201), answer.text
    return answer.json


def append(world: front.World, rows: Any, *, name: str = "plant", status: int = 201) -> Any:
    answer = world.client.post(f"/datasets/{name}/rows", json=rows)
    assert answer.status_code == status, answer.text
    return answer.json


def rows(world: front.World, name: str = "plant", **query: Any) -> list[dict[str, Any]]:
    answer = world.client.get(f"/datasets/{name}/rows", query_string=query)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    found: list[dict[str, Any]] = answer.json["items"]
    return found


def row(hour: int, power: float | None, **more: Any) -> dict[str, Any]:
    return {"time": f"2020-01-01T{hour:02}:00:00Z", "power": power, "wind": 1.0, **more}


def events(world: front.World) -> list[tuple[str, dict[str, Any]]]:
    with world.system.engine.connect() as connection:
        query = sa.text("SELECT type, data FROM events WHERE type LIKE 'data.%' ORDER BY id")
        return [(kind, data) for kind, data in connection.execute(query)]


def test_dataset__declared_appended_and_read(world: front.World) -> None:
    made = make(world)
    assert made["columns"] == [
        {"name": "time", "type": "timestamp"}, {"name": "power", "type": "number"}, {"name": "wind", "type": "number"}
    ]  # fmt: skip
    told = append(world, [row(1, 2.5), row(0, None)])
    assert told["rows"] == 2
    assert told["revised"] == 0
    found = rows(world)
    assert [(each["time"], each["power"]) for each in found] == [("2020-01-01T00:00:00Z", None), ("2020-01-01T01:00:00Z", 2.5)]
    assert {each["created_at"] for each in found} == {told["created_at"]}
    state = world.client.get("/datasets/plant").json
    assert state is not None
    assert (state["rows"], state["files"], state["start"]) == (2, 1, "2020-01-01T00:00:00Z")
    assert world.client.get("/datasets").json["items"] == [state]  # type: ignore[index]


def test_dataset__declared_again_is_the_same_and_otherwise_a_conflict(world: front.World) -> None:
    make(world)
    assert world.client.post("/datasets", json=SOLAR).status_code == 200
    answer = world.client.post("/datasets", json=SOLAR | {"columns": {"power": "text", "wind": "number"}})
    assert answer.status_code == 409


def test_correction__wins_from_its_arrival_on_and_not_before(world: front.World) -> None:
    make(world)
    first = append(world, [row(0, 1.0), row(1, 2.0)])
    second = append(world, [row(1, 20.0)])
    assert [each["power"] for each in rows(world)] == [1.0, 20.0]
    assert [each["power"] for each in rows(world, known_at=first["created_at"])] == [1.0, 2.0]
    before = datetime.fromisoformat(first["created_at"]) - timedelta(microseconds=1)
    assert rows(world, known_at=before.isoformat()) == []
    (_, appended), (kind, revised) = events(world)
    assert appended["rows"] == 2
    assert kind == "data.revised"
    assert revised["affected"] | {"runs": None} == {
        "start": "2020-01-01T01:00:00Z", "end": "2020-01-01T01:00:00Z", "rows": 1, "runs": None,
        "models": [], "model_versions": [], "more": False,
    }  # fmt: skip
    assert second["revised"] == 1


BODIES = {
    "application/json": lambda df: df.assign(time=df.time.map(lambda t: t.isoformat())).to_json(orient="records").encode(),
    "application/x-ndjson": lambda df: df.assign(time=df.time.map(lambda t: t.isoformat())).to_json(orient="records", lines=True).encode(),
    "text/csv": lambda df: df.to_csv(index=False).encode(),
    PARQUET: lambda df: df.to_parquet(),
}


@pytest.mark.parametrize("kind", BODIES)
def test_append__every_type_of_body_gives_the_same_rows(world: front.World, kind: str) -> None:
    make(world, columns=None)
    sent = front.hourly(5).sample(frac=1, random_state=1)
    answer = world.client.post("/datasets/plant/rows", data=BODIES[kind](sent), content_type=kind)
    assert answer.status_code == 201, answer.text
    found = world.client.get("/datasets/plant/rows", headers={"Accept": PARQUET})
    table = pq.read_table(io.BytesIO(found.data)).to_pandas().drop(columns="created_at")
    pd.testing.assert_frame_equal(table, front.hourly(5), check_dtype=False, rtol=1e-9)


REFUSED = {
    "extra": ([row(0, 1.0, fog=1)], "fog"),
    "missing": ([{"time": "2020-01-01T00:00:00Z", "power": 1.0}], "wind"),
    "type": ([row(0, 1.0), row(1, "much")], "power"),  # type: ignore[arg-type]
    "timestamp": ([row(0, 1.0) | {"time": "yesterday"}], "time"),
    "no timestamp": ([row(0, 1.0) | {"time": None}], "time"),
    "twice": ([row(0, 1.0), row(1, 1.0), row(0, 2.0)], "time"),
    "some created": ([row(0, 1.0, created_at="2020-01-02T00:00:00Z"), row(1, 1.0)], "created_at"),
    "future": ([row(0, 1.0, created_at="2199-01-02T00:00:00Z")], "created_at"),
    "none": ([], "rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_append__refusal_names_the_column_and_keeps_nothing(world: front.World, case: str) -> None:
    make(world)
    body, column = REFUSED[case]
    answer = world.client.post("/datasets/plant/rows", json=body)
    assert list(front.errors_of(answer)) == [column], answer.text
    assert rows(world) == []
    assert events(world) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"[{", "application/json", 400),
        (b"[1, 2]", "application/json", 400),
        (b"PAR1 no", PARQUET, 400),
        (b"", "text/csv", 400),
        (b"time,power,wind\n2020-01-01T00:00:00Z,1\n", "text/csv", 422),
        (b"time,power,wind\n2020-01-01T00:00:00Z,abc,1\n", "text/csv", 422),
        (b"time,power,wind\n2020-01-01T00:00:00Z,inf,1\n", "text/csv", 422),
        (b"x", "application/xml", 415),
    ],
)
def test_append__body_that_cannot_be_read(world: front.World, body: bytes, kind: str, status: int) -> None:
    make(world)
    answer = world.client.post("/datasets/plant/rows", data=body, content_type=kind)
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"


def test_append__unknown_data_set(world: front.World) -> None:
    assert world.client.post("/datasets/nobody/rows", json=[row(0, 1.0)]).status_code == 404


def test_import__rows_keep_the_created_at_they_bring(world: front.World) -> None:
    make(world)
    versions = [row(h, float(10 * day + h), created_at=f"2020-01-{day:02}T00:00:00Z") for h in range(3) for day in (5, 3, 4)]
    append(world, versions)
    assert [each["power"] for each in rows(world)] == [50.0, 51.0, 52.0]
    assert [each["power"] for each in rows(world, known_at="2020-01-04T12:00:00Z")] == [40.0, 41.0, 42.0]
    assert [each["power"] for each in rows(world, known_at="2020-01-03")] == [30.0, 31.0, 32.0]
    assert rows(world, known_at="2020-01-02") == []


def test_pages__hold_each_row_once_and_one_moment(world: front.World) -> None:
    make(world, series_key=["site"])
    append(world, [row(h, float(h), site=site) for h in range(5) for site in ("a", "b'\"", "ü")])
    seen, cursor = [], None
    while True:
        answer = world.client.get("/datasets/plant/rows", query_string={"limit": 4} | ({"cursor": cursor} if cursor else {}))
        assert answer.json is not None
        seen += answer.json["items"]
        append(world, [row(3, -1.0, site="a")])  # comes between two pages: is in none
        cursor = answer.json["next_cursor"]
        if cursor is None:
            break
    assert [(each["time"][11:13], each["site"]) for each in seen] == [(f"{h:02}", site) for h in range(5) for site in ("a", "b'\"", "ü")]
    assert all(each["power"] >= 0 for each in seen)
    assert front.errors_of(world.client.get("/datasets/plant/rows?cursor=abc")) == {
        "cursor": ["This is not a cursor that an earlier page gave as next_cursor."]
    }


def test_whole__as_csv(world: front.World) -> None:
    make(world)
    append(world, [row(0, 1.5), row(1, None)])
    answer = world.client.get("/datasets/plant/rows?start_date=2020-01-01&end_date=2020-01-01", headers={"Accept": "text/csv"})
    found = pd.read_csv(io.BytesIO(answer.data))
    assert found.time.tolist() == ["2020-01-01T00:00:00.000000Z", "2020-01-01T01:00:00.000000Z"]
    assert found.power.fillna(-1).tolist() == [1.5, -1]


def test_compaction__changes_no_answer_and_waits_for_readers(world: front.World) -> None:
    make(world)
    told = [append(world, [row(h, float(n)) for h in range(n % 4, n % 4 + 3)]) for n in range(12)]
    service, keeper = world.system.data, world.system.data.housekeeping
    asked = [each["created_at"] for each in told]
    before = [rows(world, known_at=at) for at in asked]
    with service.reader.snapshot("plant") as snapshot:
        keeper.round()
        assert all(one.path.exists() for one in snapshot.stored)
    keeper.round()
    state = world.client.get("/datasets/plant").json
    assert state is not None
    assert state["rows"] == 36
    assert len(list(_files(world))) == state["files"] < 12
    assert [rows(world, known_at=at) for at in asked] == before
    append(world, [row(0, 99.0)])
    assert rows(world)[0]["power"] == 99.0
    assert [rows(world, known_at=at) for at in asked] == before


def test_altered_file__is_found_and_named(world: front.World) -> None:
    make(world)
    told = append(world, [row(0, 1.0)])
    path = next(_files(world))
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")
    answer = world.client.get("/datasets/plant/rows")
    assert answer.status_code == 409
    assert told["sha256"][:12] in answer.text
    path.unlink()
    assert world.client.get("/datasets/plant/rows").status_code == 409


def test_train_and_predict__from_a_data_set_as_known_then(world: front.World) -> None:
    make(world, columns=None)
    hourly = front.hourly()
    send(world, hourly.assign(created_at=hourly.time + pd.Timedelta(days=1)))
    run = front.train(world.client, dataset="plant", promote="never")
    assert run["status"] == "succeeded", run["error"]
    worse = hourly.assign(power=hourly.power * 2, created_at=pd.Timestamp("2020-05-01", tz="UTC"))
    send(world, worse[:200])
    again = front.train(world.client, dataset="plant", time_travel_date="2020-04-30")
    later = front.train(world.client, dataset="plant", time_travel_date="2020-05-01")
    assert again["result"]["data"] == run["result"]["data"]
    assert later["result"]["data"]["rows"] == run["result"]["data"]["rows"]
    assert later["result"]["data"]["sha256"] != run["result"]["data"]["sha256"]
    told = events(world)[-1]
    assert told[0] == "data.revised"
    assert told[1]["affected"]["runs"] == [run["id"]]
    assert told[1]["affected"]["model_versions"] == [run["result"]["model_version_id"]]
    early = front.train(world.client, dataset="plant", end_date="2020-02-19", time_travel_date="2020-02-20T00:00:00Z")
    assert early["result"]["data"]["end"] == "2020-02-19T00:00:00Z"
    error = front.train(world.client, dataset="plant", time_travel_date="2019-06-01T00:00:00Z")["error"]
    assert error["kind"] == "empty_window"
    assert (
        "1800 rows of it are there, but as they stand now they became known between 2020-01-10T08:00:00Z and 2020-05-01T00:00:00Z"
        in error["message"]
    )
    predicted = front.predict(world.client, dataset="plant", model_version_id=run["result"]["model_version_id"])
    assert predicted["status"] == "succeeded", predicted["error"]


def test_model__trained_on_one_kind_of_source_predicts_from_another(world: front.World) -> None:
    make(world, columns=None)
    hourly = front.hourly()
    send(world, hourly.assign(created_at=hourly.time))
    sources = ({"file_path": "hourly.parquet"}, {"dataset": "plant"})
    for taught in sources:
        version = front.train(world.client, **taught, promote="never")["result"]["model_version_id"]
        for asked in (*sources, {"dataset": "plant", "data_at": "2020-03-18"}):
            run = front.predict(world.client, **asked, model_version_id=version)
            assert run["status"] == "succeeded", run["error"]
    refused = world.client.post("/job/predict", json=front.PREDICT | {"model_version_id": version, "data_at": "2020-03-18"})
    assert "created_at" in str(front.errors_of(refused))


def test_job__data_set_that_does_not_fit(world: front.World) -> None:
    make(world, timestamp="moment", name="other")
    for name in ("other", "nobody"):
        assert list(front.errors_of(world.client.post("/job/train", json=front.TRAIN | {"dataset": name}))) == ["dataset"]
    both = world.client.post("/job/train", json=front.TRAIN | {"dataset": "other", "file_path": "hourly.parquet"})
    assert list(front.errors_of(both)) == ["dataset"]


def send(world: front.World, frame: pd.DataFrame) -> Any:
    answer = world.client.post("/datasets/plant/rows", data=frame.to_parquet(), content_type=PARQUET)
    assert answer.status_code == 201, answer.text
    return answer.json


def _files(world: front.World) -> Iterator[Path]:
    return (path for path in (world.home / "artifacts" / "datasets").glob("??/*") if path.is_file())


def test_train__with_each_row_cut_at_its_own_issue_time(database_url: str, tmp_path: Path) -> None:
    """Winds told a day ahead are wrong, corrected at the hour: only a model that is cut at the issue time is trained on the wrong ones."""
    source = {"type": "dataset", "name": "plant"}
    models = {name: front.definition(source=source, issue=issue) for name, issue in (("blind", None), ("honest", "D-1T12:00"))}
    with front.started(tmp_path, database_url, models) as world:
        make(world, columns=None)
        hourly = front.hourly()
        early = hourly.assign(wind=0.25 * hourly.wind, created_at=hourly.time - pd.Timedelta(days=2))
        late = hourly.assign(created_at=hourly.time)
        send(world, pd.concat([early, late]))
        read = {}
        for name in models:
            run = front.train(world.client, model_name=name, promote="never")
            assert run["status"] == "succeeded", run["error"]
            read[name] = run["result"]["data"]
        assert read["blind"]["rows"] == read["honest"]["rows"]
        assert read["blind"]["sha256"] != read["honest"]["sha256"]
        send(world, hourly.assign(wind=100.0, created_at=pd.Timestamp.now(tz="UTC") - pd.Timedelta(days=1)))
        again = front.train(world.client, model_name="honest", promote="never")
        assert again["result"]["data"] == read["honest"]  # what became known after the issue times is not seen


def test_upload__has_a_limit_of_its_own(database_url: str, tmp_path: Path) -> None:
    with front.started(tmp_path, database_url, {}, **{"server.max_body_bytes": 2000, "server.max_upload_bytes": 12_000}) as world:
        make(world)
        body = [row(h % 24, float(h)) | {"time": f"2020-01-{1 + h // 24:02}T{h % 24:02}:00:00Z"} for h in range(100)]
        append(world, body)
        answer = world.client.post("/datasets/plant/rows", json=[*body, *body, *body])
        assert answer.status_code == 413
        assert "max_upload_bytes" in answer.text
        assert world.client.post("/datasets", json=SOLAR | {"timezone": "x" * 3000}).status_code == 413


def test_rows__slow_readers_of_whole_tables_leave_threads_for_the_others(world: front.World) -> None:
    make(world)
    append(world, [{"time": "2020-01-01T00:00:00Z", "power": 1, "wind": 2}])
    table = {"Accept": "text/csv"}
    with ExitStack() as held:
        for _ in range(4):  # half of server.threads: these have begun, and are not read to their end
            answer = world.client.get("/datasets/plant/rows", headers=table, buffered=False)
            assert answer.status_code == 200
            held.callback(answer.close)
        refused = world.client.get("/datasets/plant/rows", headers=table)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert len(rows(world)) == 1, "a page of JSON holds nobody up"
    assert world.client.get("/datasets/plant/rows", headers=table).status_code == 200
