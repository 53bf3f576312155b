"""What this process counts and times: its requests, the runs that it concluded, its deliveries. Each process counts its own: sum over them.

Labels take few values: routes are templates, not addresses, and nothing that a client makes up becomes one.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from mlsys.events import types
from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.records import RunKind
from mlsys.scheduling import planning

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OUTCOMES: Mapping[str, str] = {
    types.RUN_SUCCEEDED: "succeeded",
    types.RUN_FAILED: "failed",
    types.RUN_CRASHED: "crashed",
    types.RUN_CANCELLED: "cancelled",
}
ATTEMPTS = ("delivered", "retrying", "failed", "gone")
_REQUEST_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 60)
_RUN_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
_ATTEMPT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)


class Instruments:
    """``signals``: of the same system; events are counted where they were committed, and so once. ``registry``: all that is told."""

    def __init__(self, *, signals: Signals) -> None:
        self.registry = registry = CollectorRegistry()
        for known_of_python in (ProcessCollector, PlatformCollector, GCCollector):
            known_of_python(registry=registry)
        self._counted: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._requests = Counter(
            "mlsys_http_requests", "HTTP requests that were answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "mlsys_http_request_duration_seconds",
            "Time from a request to its answer; long polls and Prefer: wait included.",
            ["method", "route"],
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._runs = Counter("mlsys_runs_finished", "Runs whose end this process committed.", ["kind", "outcome"], registry=registry)
        self._run_seconds = Histogram(
            "mlsys_run_duration_seconds",
            "Time that this process worked on an attempt of a run.",
            ["kind"],
            buckets=_RUN_SECONDS,
            registry=registry,
        )
        self._missed = Counter("mlsys_schedule_firings_missed", "Firings that did not run, by reason.", ["reason"], registry=registry)
        self._events = Counter("mlsys_events_committed", "Events committed by this process.", ["type"], registry=registry)
        self._attempts = Counter(
            "mlsys_webhook_attempts",
            "Attempts to deliver an event; failed: the last one, retrying: another follows, gone: the endpoint asked for no more.",
            ["outcome"],
            registry=registry,
        )
        self._attempt_seconds = Histogram(
            "mlsys_webhook_attempt_duration_seconds", "Time that an attempt took.", buckets=_ATTEMPT_SECONDS, registry=registry
        )
        self._begin_at_zero()
        signals.every.connect(self._committed, weak=False)

    def _begin_at_zero(self) -> None:
        """A series that appears with its first count looks to Prometheus as if it had not risen."""
        for kind, outcome in product(get_args(RunKind), OUTCOMES.values()):
            self._runs.labels(kind, outcome)
        for reason in planning.REASONS:
            self._missed.labels(reason)
        for outcome in ATTEMPTS:
            self._attempts.labels(outcome)

    def collect(self, *collectors: Collector) -> None:
        """Has these asked at each scrape too."""
        for collector in collectors:
            self.registry.register(collector)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """``status`` counts by its class: 2xx."""
        key = (method, route, status // 100)
        found = self._counted.get(key)
        if found is None:
            method = method if method in METHODS else "other"
            labelled = self._requests.labels(method, route, f"{key[2]}xx"), self._request_seconds.labels(method, route)
            found = labelled if method == "other" else self._counted.setdefault(key, labelled)
        found[0].inc()
        found[1].observe(seconds)

    def run(self, kind: str, seconds: float) -> None:
        self._run_seconds.labels(kind).observe(seconds)

    def attempt(self, outcome: str, seconds: float) -> None:
        """Of a webhook delivery."""
        self._attempts.labels(outcome).inc()
        self._attempt_seconds.observe(seconds)

    def _committed(self, sender: Any, *, event: Event) -> None:
        self._events.labels(event.type).inc()
        if event.type in OUTCOMES:
            self._runs.labels(event.data["kind"], OUTCOMES[event.type]).inc()
        elif event.type == types.SCHEDULE_MISSED:
            self._missed.labels(event.data["reason"]).inc(event.data["count"])
