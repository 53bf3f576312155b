"""/metrics as Prometheus reads it: names by its conventions, few label values, an answer also without the database."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import front
import hooking
import pytest
from flask.testing import FlaskClient
from front import World
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from receivers import receiving

SCHEDULE = {"name": "often", "kind": "train", "model_name": "quick", "cron": "@daily", "window": {"start": "-P30D", "end": "PT0S"}}
UNITS = ("seconds", "bytes", "ratio", "info", "total")
FOREIGN = ("process_", "python_")


def scrape(client: FlaskClient, **headers: str) -> str:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def value(client: FlaskClient, name: str, **labels: str) -> float | None:
    """Of the series with these labels among others; None: there is none."""
    for family in text_string_to_metric_families(scrape(client)):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


def rises(client: FlaskClient, name: str, do: Callable[[], Any], **labels: str) -> None:
    before = value(client, name, **labels) or 0
    do()
    hooking.until(lambda: (value(client, name, **labels) or 0) > before)


def test_names__follow_the_conventions(world: World) -> None:
    front.train(world.client)
    families = list(text_string_to_metric_families(scrape(world.client)))
    for family in families:
        assert family.documentation.strip(), family.name
        if family.name.startswith(FOREIGN):
            continue
        assert re.fullmatch(r"mlsys_[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.type in ("counter", "gauge", "histogram"), (family.name, family.type)
        assert not re.search(r"_(milliseconds|ms|minutes|hours|percent|kb|mib)(_|$)", family.name), f"{family.name}: base units"
        assert not re.search(r"_(total|count|sum|bucket)$", family.name) or family.type == "counter", family.name
        assert family.type != "histogram" or family.name.endswith("_seconds"), family.name
        for sample in family.samples:
            assert (sample.name.endswith("_total")) == (family.type == "counter"), sample.name
            assert not set(sample.labels) & {"id", "run_id", "path", "url", "client"}, sample
    assert len({family.name for family in families}) == len(families)
    assert sum(family.name.startswith("mlsys_") for family in families) > 30


def test_scrape__is_openmetrics_for_who_asks(world: World) -> None:
    answer = world.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert {"mlsys_runs_finished", "mlsys_leader"} <= {family.name for family in openmetrics(answer.text)}


def test_runs__count_by_kind_and_outcome(world: World) -> None:
    client = world.client
    rises(client, "mlsys_runs_finished_total", lambda: front.train(client), kind="train", outcome="succeeded")
    rises(client, "mlsys_runs_finished_total", lambda: front.predict(client), kind="predict", outcome="succeeded")
    bad = {"start_date": "2030-01-01", "end_date": "2030-02-01"}
    rises(client, "mlsys_runs_finished_total", lambda: front.train(client, **bad), kind="train", outcome="failed")
    assert (value(client, "mlsys_run_duration_seconds_count", kind="train") or 0) >= 2
    assert (value(client, "mlsys_events_committed_total", type="run.queued") or 0) >= 3


def test_requests__count_by_route_and_never_by_what_clients_make_up(world: World) -> None:
    client = world.client
    seen = {"method": "GET", "route": "/runs/{id}", "status": "4xx"}
    rises(client, "mlsys_http_requests_total", lambda: [client.get(f"/runs/nothing{n}") for n in range(20)], **seen)
    assert (value(client, "mlsys_http_request_duration_seconds_count", method="GET", route="/runs/{id}") or 0) >= 20
    before = scrape(client).count("mlsys_http_requests_total{")
    for n in range(30):
        client.get(f"/no/such/{n}")
        client.open("/runs", method=f"MADE{n}")
        client.open(f"/nothing{n}", method="DELETE", headers={"Host": "127.0.0.1"})
    lines = [line for line in scrape(client).splitlines() if line.startswith("mlsys_http_requests_total{")]
    assert len(lines) <= before + 4, lines
    assert not re.search(r"MADE|such|nothing", "".join(lines))


def test_state__is_that_of_the_database(world: World) -> None:
    client = world.client
    with receiving() as receiver:
        hooking.subscribe(client, receiver.url, "data.*")
        rises(client, "mlsys_webhook_attempts_total", lambda: hooking.emit(hooking.units_of(world.system), 3), outcome="delivered")
    assert client.post("/schedules", json=SCHEDULE).status_code == 201
    version = client.get("/models/quick/production").json["model_version_id"]  # type: ignore[index]
    wanted: dict[tuple[str, ...], Callable[[float], bool]] = {
        ("mlsys_database_up",): lambda found: found == 1,
        ("mlsys_leader",): lambda found: found == 1,
        ("mlsys_leader_lease_remaining_seconds",): lambda found: 0 < found <= 5,
        ("mlsys_runs_queued",): lambda found: found == 0,
        ("mlsys_schedules_active",): lambda found: found == 1,
        ("mlsys_event_log_sequence",): lambda found: found >= 3,
        ("mlsys_webhooks", "state", "enabled"): lambda found: found == 1,
        ("mlsys_model_production_info", "model_version_id", version): lambda found: found == 1,
        ("mlsys_build_info", "version", world.system.services.version): lambda found: found == 1,
        ("mlsys_database_pool_connections",): lambda found: found == 10,
        ("mlsys_database_pool_connections_in_use",): lambda found: found <= 10,
        ("mlsys_disk_free_bytes", "folder", "artifacts"): lambda found: found > 0,
        ("process_open_fds",): lambda found: found > 3,
    }
    for (name, *label), fits in wanted.items():
        labels = dict([label]) if label else {}
        hooking.until(lambda name=name, labels=labels, fits=fits: fits(value(client, name, **labels) or 0))  # a reading is up to 5 s old


def test_accuracy__is_that_of_the_last_finished_day(world: World) -> None:
    front.train(world.client)
    front.predict(world.client)
    world.system.watch._latest.renew(every_seconds=0)
    days = world.client.get("/models/quick/accuracy").json["by_day"]  # type: ignore[index]
    last = days[-1]
    assert value(world.client, "mlsys_model_accuracy_mae", model_name="quick") == pytest.approx(last["mae"])
    assert value(world.client, "mlsys_model_accuracy_skill_ratio", model_name="quick") == pytest.approx(last["skill"])
    assert value(world.client, "mlsys_model_accuracy_day_timestamp_seconds", model_name="quick") == 1584403200  # 2020-03-17, UTC
    assert value(world.client, "mlsys_model_accuracy_degraded", model_name="quick") == 0


def test_scrape__answers_while_the_database_does_not(tmp_path: Path) -> None:
    system = front.unstarted(tmp_path)
    client = front.app_of(system).test_client()
    assert value(client, "mlsys_database_up") == 0
    assert value(client, "mlsys_runs_queued") is None, "what is not known is not told"
    assert value(client, "mlsys_leader") == 0
    assert (value(client, "mlsys_http_requests_total", route="/metrics", status="2xx") or 0) >= 2
