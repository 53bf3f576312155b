"""Traces as a collector gets them: from the caller's span over request, run and steps, and on to who receives an event."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import hooking
import pytest
from front import World
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from receivers import receiving

import mlsys
from mlsys import bootstrap, config, errors, logs
from mlsys.otel import OpenTelemetry
from mlsys.redaction import Redactor

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}


@pytest.fixture(scope="module")
def collected() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory, collected: InMemorySpanExporter) -> Iterator[World]:
    folder, url = tmp_path_factory.mktemp("traced"), embedded_server.clone()
    (folder / "data").mkdir()
    front.hourly().to_parquet(folder / "data" / "hourly.parquet")
    file = front.configure(folder, {"quick": front.definition()})
    given = {"home": str(folder / "home"), "database.url": url, "data.roots": [str(folder / "data")], **hooking.ALLOWED}
    tracer = OpenTelemetry(SimpleSpanProcessor(collected))
    system = bootstrap.build(config.load(file, environ={}, overrides=given), tracer=tracer)
    system.start()
    yield World(system=system, client=front.app_of(system).test_client(), data=folder / "data", home=folder / "home")
    system.stop()
    embedded_server.drop(url)


def spans(collected: InMemorySpanExporter, trace: str) -> dict[str, ReadableSpan]:
    """Of one trace, by name."""
    found = [span for span in collected.get_finished_spans() if f"{span.context.trace_id:032x}" == trace]
    return {span.name: span for span in found}


def parent(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def own(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def test_trace__leads_from_the_caller_to_the_steps_of_the_run(world: World, collected: InMemorySpanExporter) -> None:
    run = front.ended(world.client.post("/job/train", json=front.TRAIN, headers=front.WAIT | PARENT))
    found = hooking.until(lambda: spans(collected, TRACE) if {"run train", "POST /job/train"} <= spans(collected, TRACE).keys() else None)
    request, work = found["POST /job/train"], found["run train"]
    assert (parent(request), request.kind) == (CALLER, SpanKind.SERVER)
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert (parent(work), work.kind) == (own(request), SpanKind.CONSUMER)
    assert work.attributes is not None
    assert work.attributes["mlsys.run_id"] == run["id"]
    steps = [span for name, span in found.items() if name not in ("POST /job/train", "run train")]
    assert len(steps) >= 3
    assert {parent(span) for span in steps} == {own(work)}
    assert all(work.start_time <= span.start_time <= span.end_time <= work.end_time for span in steps)  # type: ignore[operator]
    assert run["trigger"] == {"type": "api", "traceparent": f"00-{TRACE}-{own(request)}-01"}


def test_trace__of_a_failed_run_says_so_and_no_more(world: World, collected: InMemorySpanExporter) -> None:
    trace = TRACE.replace("4bf9", "aaaa")
    given = front.TRAIN | {"start_date": "2030-01-01", "end_date": "2030-02-01"}
    front.ended(world.client.post("/job/train", json=given, headers=front.WAIT | {"traceparent": f"00-{trace}-{CALLER}-01"}))
    work = hooking.until(lambda: spans(collected, trace).get("run train"))
    assert (work.status.status_code, work.status.description) == (StatusCode.ERROR, "empty_window")
    assert not work.events, "texts of exceptions stay at home"


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\x1b[31m", "x" * 5000])
def test_trace__begins_anew_where_the_header_is_none(world: World, collected: InMemorySpanExporter, header: str) -> None:
    collected.clear()
    assert world.client.get("/runs", headers={"traceparent": header}).status_code == 200
    (span,) = (span for span in collected.get_finished_spans() if span.name == "GET /runs")
    assert span.parent is None


def test_delivery__hands_its_span_on(world: World, collected: InMemorySpanExporter) -> None:
    with receiving() as receiver:
        hook = hooking.subscribe(world.client, receiver.url, "data.appended")["id"]
        hooking.emit(world.system.services.units)
        hooking.until(lambda: receiver.got)
        span = hooking.until(lambda: [span for span in collected.get_finished_spans() if span.name == "deliver"])[-1]
    assert receiver.got[-1].headers["traceparent"].startswith(f"00-{span.context.trace_id:032x}-{own(span)}-")
    assert (span.kind, span.attributes["mlsys.webhook_id"], span.attributes["mlsys.event"]) == (SpanKind.CLIENT, hook, "data.appended")


def test_log__names_the_trace(world: World, caplog: pytest.LogCaptureFixture) -> None:
    formatter, found = logs.formatter("json", Redactor()), []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(formatter.format(record)))

    handler, logger = Kept(), logging.getLogger("mlsys.api.requestlog")
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            world.client.post("/job/train", json={}, headers=PARENT)
    finally:
        logger.removeHandler(handler)
    assert [line["trace_id"] for line in found] == [TRACE]


def test_untraced__runs_and_deliveries_bear_no_trace(tmp_path: Path) -> None:
    system = front.unstarted(tmp_path)
    assert system.services.tracer.traceparent() is None
    with system.services.tracer.span("a", parent=PARENT["traceparent"]):
        assert system.services.tracer.traceparent() is None


def test_setting__is_refused_where_the_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "mlsys.otel")
    monkeypatch.delattr(mlsys, "otel")
    with pytest.raises(errors.ConfigError, match=r"mlsys\[opentelemetry\]"):
        front.unstarted(tmp_path, **{"logging.traces": "http://127.0.0.1:1/v1/traces"})


def test_setting__a_collector_that_is_away_disturbs_nothing(tmp_path: Path) -> None:
    system = front.unstarted(tmp_path, **{"logging.traces": "http://127.0.0.1:1/v1/traces"})
    assert front.app_of(system).test_client().get("/metrics").status_code == 200
    system.services.tracer.close()
