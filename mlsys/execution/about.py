"""What a run's log lines and its span say that they belong to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog import contextvars

from mlsys import tracing
from mlsys.records import Run
from mlsys.tracing import Tracer


@contextmanager
def told(run: Run, tracer: Tracer) -> Iterator[None]:
    """Whatever is logged inside is of this run, in a span that goes on where the run was asked for."""
    about: dict[str, Any] = {"run_id": run.id, "action": run.kind, "model_name": run.model_name, "attempt": run.attempt}
    if run.trigger["type"] == "schedule":
        about["schedule"] = run.trigger["schedule"]
    attributes = {f"mlsys.{name}": value for name, value in about.items()}
    span = tracer.span(f"run {run.kind}", kind="consumer", parent=run.trigger.get(tracing.HEADER), **attributes)
    with contextvars.bound_contextvars(**about), span:
        yield
