"""What the database says at the time of a scrape. Every process tells the same: take the maximum over them, not the sum.

A database that does not answer makes ``mlsys_database_up`` 0 and leaves the rest out; the scrape itself still succeeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mlsys.metrics.reading import Reading
from mlsys.monitoring.latest import DayFigures
from mlsys.registry.figures import Figures, ModelFigures, SinkFigures
from mlsys.registry.unit_of_work import Units

_SCALARS: Mapping[str, tuple[str, str]] = {
    "runs_queued": ("mlsys_runs_queued", "Runs that wait in the queue."),
    "runs_running": ("mlsys_runs_running", "Runs that are worked on, by any process."),
    "queued_seconds": ("mlsys_runs_queued_oldest_age_seconds", "How long the oldest run has waited that could have begun."),
    "running_seconds": ("mlsys_runs_running_oldest_age_seconds", "How long the oldest run at work has been running."),
    "schedules_active": ("mlsys_schedules_active", "Schedules that will fire."),
    "overdue_seconds": ("mlsys_schedules_overdue_seconds", "How long the oldest firing is overdue."),
    "event_sequence": ("mlsys_event_log_sequence", "Number of the newest event."),
    "unsequenced": ("mlsys_event_log_unsequenced", "Committed events without a number."),
    "unsequenced_seconds": ("mlsys_event_log_unsequenced_oldest_age_seconds", "How long the oldest event has been without a number."),
    "lease_seconds": ("mlsys_leader_lease_remaining_seconds", "What is left of the leader's lease; negative: nobody leads."),
    "deliveries_pending": ("mlsys_webhook_deliveries_pending", "Deliveries on their way or waiting for another try."),
    "deliveries_retrying": ("mlsys_webhook_deliveries_retrying", "Deliveries that have failed at least once and are tried again."),
    "delivery_seconds": ("mlsys_webhook_deliveries_oldest_age_seconds", "How long the oldest delivery has been pending."),
}


class State(Collector):
    """``sinks``: names of the cursors there are; ``accuracy``: each model's last finished day, as far as this process has looked."""

    def __init__(self, *, units: Units, sinks: Sequence[str], accuracy: Callable[[], Mapping[str, DayFigures]]) -> None:
        self._units = units
        self._sinks = sinks
        self._accuracy = accuracy
        self._reading = Reading(self._read)

    def _read(self) -> Figures:
        with self._units() as unit:
            return unit.figures.read(sinks=self._sinks)

    def describe(self) -> list[Metric]:
        """Nothing is read where the registry only asks for names."""
        return []

    def collect(self) -> Iterator[Metric]:
        found = self._reading.get()
        up = "1: the database answers and its schema is the one that is needed."
        yield GaugeMetricFamily("mlsys_database_up", up, 0 if found is None else 1)
        if found is not None:
            for field, (name, text) in _SCALARS.items():
                yield GaugeMetricFamily(name, text, getattr(found, field))
            yield _by("mlsys_webhooks", "Webhooks by state.", "state", found.webhooks)
            yield from _sinks(found.sinks)
            yield from _models(found.models)
        yield from _accuracies(self._accuracy())


def _sinks(sinks: Sequence[SinkFigures]) -> Iterator[Metric]:
    yield _by("mlsys_event_sink_behind", "Events that a sink has not taken.", "sink", {one.sink: one.behind for one in sinks})
    ages = {one.sink: one.oldest_seconds for one in sinks}
    yield _by("mlsys_event_sink_oldest_undelivered_age_seconds", "How long a sink has not taken the next event.", "sink", ages)


def _models(models: Sequence[ModelFigures]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "mlsys_model_production_info", "The version in production.", labels=["model_name", "model_version_id", "version"]
    )
    for one in models:
        info.add_metric([one.model_name, one.model_version_id, str(one.version)], 1)
    yield info
    since = {one.model_name: one.promoted_at.timestamp() for one in models}
    yield _by("mlsys_model_promoted_timestamp_seconds", "When the version in production became it.", "model_name", since)
    degraded = {one.model_name: float(one.degraded) for one in models}
    yield _by("mlsys_model_accuracy_degraded", "1: an episode of degraded accuracy lasts.", "model_name", degraded)


def _accuracies(days: Mapping[str, DayFigures]) -> Iterator[Metric]:
    """Figures that a day does not have (no quantiles, no baseline) are left out."""
    for figure, name, text in (
        ("mae", "mlsys_model_accuracy_mae", "Mean absolute error of the last finished day, in the target's unit."),
        ("skill", "mlsys_model_accuracy_skill_ratio", "Skill of that day against seasonal naive; 0: no better."),
        ("coverage", "mlsys_model_accuracy_coverage_ratio", "Share of that day's actuals inside the quantiles."),
    ):
        yield _by(name, text, "model_name", {model: getattr(day, figure) for model, day in days.items()})
    begun = {model: day.begin.timestamp() for model, day in days.items()}
    yield _by("mlsys_model_accuracy_day_timestamp_seconds", "When that day began.", "model_name", begun)


def _by(name: str, text: str, label: str, values: Mapping[str, float | None]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], value)
    return family
