"""One attempt to deliver an event: signed as of now, sent, and what its answer means. No database; it never raises."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from structlog import contextvars

from mlsys import errors, tracing
from mlsys.clock import Clock
from mlsys.crashing import crash_point
from mlsys.registry.deliveries import Attempted, Claimed, State
from mlsys.tracing import Tracer
from mlsys.webhooks import retries, signing
from mlsys.webhooks.outbound import Outbound
from mlsys.webhooks.retries import Schedule
from mlsys.webhooks.sealing import Sealer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of an attempt. ``gone``: the endpoint asked for no more; ``given_up``: that was the last attempt."""

    claimed: Claimed
    attempted: Attempted
    gone: bool
    given_up: bool


class Attempter:
    """``attempted`` is told of each attempt: its outcome (delivered, retrying, failed, gone), and the seconds it took."""

    def __init__(
        self,
        *,
        clock: Clock,
        outbound: Outbound,
        sealer: Sealer,
        schedule: Schedule,
        tracer: Tracer,
        attempted: Callable[[str, float], None],
    ) -> None:
        self._tracer = tracer
        self._attempted = attempted
        self._clock = clock
        self._outbound = outbound
        self._sealer = sealer
        self._schedule = schedule

    @property
    def most(self) -> int:
        """Attempts that are made before a delivery is given up."""
        return self._schedule.attempts

    def close(self) -> None:
        """Lets go of connections that are kept; it may be asked again afterwards."""
        self._outbound.close()

    def attempt(self, claimed: Claimed) -> Answer:
        about: dict[str, Any] = {"webhook_id": claimed.webhook_id, "sequence": claimed.sequence}
        told: dict[str, Any] = {f"mlsys.{name}": value for name, value in about.items()} | {"mlsys.event": claimed.type}
        with contextvars.bound_contextvars(action="deliver", **about), self._tracer.span("deliver", kind="client", **told):
            return self._attempt(claimed)

    def _attempt(self, claimed: Claimed) -> Answer:
        now, begin = self._clock.now(), time.monotonic()
        status, error, retry_after = None, None, None
        try:
            message = signing.message(sequence=claimed.sequence, type=claimed.type, timestamp=claimed.timestamp, data=claimed.data)
            headers = signing.headers(message, self._sealer.open_all(claimed.secrets), now)
            if (parent := self._tracer.traceparent()) is not None:
                headers = {**headers, tracing.HEADER: parent}
            reply = self._outbound.post(claimed.url, message.body, headers)
            crash_point("delivery sent")
            status, error, retry_after = reply.status, retries.failure(reply.status), reply.headers.get("retry-after")
        except errors.MlsysError as caught:
            error = str(caught)
        except Exception:
            _log.exception("webhook %s: an attempt failed", claimed.webhook_id)
            error = "Something unexpected went wrong; the log of mlsys has the details."
        self._tracer.tell(**{"http.response.status_code": status})
        if error is not None:
            self._tracer.fail(error)
        latency = round((time.monotonic() - begin) * 1000, 1)
        _log.debug("webhook %s: event %s: %s", claimed.webhook_id, claimed.sequence, error or f"delivered ({status})")
        return self._answer(claimed, now, status, error, latency, retry_after)

    def _answer(
        self, claimed: Claimed, now: datetime, status: int | None, error: str | None, latency_ms: float, retry_after: str | None
    ) -> Answer:
        gone = status == retries.GONE
        next = None if error is None or gone else self._schedule.next(claimed.tries + 1, self._clock.now(), retry_after)
        given_up = error is not None and not gone and next is None
        state: State = "delivered" if error is None else "failed" if given_up else "pending"
        attempted = Attempted(id=claimed.id, at=now, status=status, latency_ms=latency_ms, error=error, state=state, next_attempt_at=next)
        self._attempted("gone" if gone else "retrying" if state == "pending" else state, latency_ms / 1000)
        return Answer(claimed=claimed, attempted=attempted, gone=gone, given_up=given_up)
