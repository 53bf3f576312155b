"""Brings events to webhooks. One thread talks to the database, in rounds: it makes the rows of new events and claims what is due, then
notes what came of attempts; others send (lanes.py). Every process does this, the leader and the standbys.

Nothing is lost with the process: a claim names it, so whatever it held is free again once it is gone, and an attempt that was made but not
noted is made once more.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from structlog import contextvars

from mlsys import errors
from mlsys.clock import Clock, rfc3339
from mlsys.crashing import crash_point
from mlsys.events import types
from mlsys.registry.deliveries import Claimed
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.supervision import Supervised
from mlsys.webhooks.attempts import Answer, Attempter
from mlsys.webhooks.lanes import Lanes
from mlsys.webhooks.sealing import Sealer

_log = logging.getLogger(__name__)
_POLL = 1.0
_ADVANCE = 0.1  # for an endpoint that had as much under way as it may
_GATHER = 0.02
_AGAIN = 0.5
_SWEEP = 5.0
_STEP, _MOST = 100, 1000  # events that an endpoint's rows are made of at once, and rows it may have under way
_BATCH = 512
_GRACE = 5.0  # for attempts on their way when the process stops
_SILENT = 30.0


class _Every:
    """Due at first, and each time so many seconds have passed since it was."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


class Dispatcher:
    """``owner`` names this process, ``alive`` tells which of all are."""

    def __init__(
        self,
        *,
        units: Units,
        clock: Clock,
        sealer: Sealer,
        attempter: Attempter,
        owner: int,
        alive: Callable[[], Sequence[int]],
        threads: int,
    ) -> None:
        self._units = units
        self._clock = clock
        self._sealer = sealer
        self._attempter = attempter
        self._owner = owner
        self._alive = alive
        self._lanes: Lanes[Claimed] = Lanes(threads=threads, send=self._send)
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._unnoted: list[Answer] = []
        self._last = ""
        self._news = threading.Event()
        self._woken = threading.Event()
        self._thread = Supervised(name="webhooks", run=self._run)
        self.threads = (self._thread, *self._lanes.threads)
        self._sweeping, self._advancing = _Every(_SWEEP), _Every(_ADVANCE)
        self._done = time.monotonic()

    def start(self) -> None:
        """Raises ConfigError when the key of the secrets cannot be used."""
        _log.debug("secrets of webhooks are sealed by key %s", self._sealer.key_id)
        self._lanes.start()
        self._thread.start()

    def stop(self) -> None:
        """Waits a while for what is on its way, notes it, and gives back the rest."""
        self._thread.dismiss()
        self.wake()
        self._thread.join()
        self._lanes.stop(grace_seconds=_GRACE)
        try:
            self._note()
        except errors.Unavailable:
            _log.warning("some webhook deliveries could not be noted; they will be sent once more")
        self._attempter.close()

    def wake(self) -> None:
        """There are new events, or an endpoint has changed."""
        self._news.set()
        self._woken.set()

    def health(self) -> dict[str, Any]:
        """``disabled``: ids of webhooks that were given up; ``unreadable``: how many have a secret that this process cannot decrypt.

        Without the database, which is asked for itself, this part just waits.
        """
        try:
            with self._units() as unit:
                enabled, others = unit.webhooks.count()
                disabled = unit.webhooks.disabled()
                unreadable = unit.webhooks.sealed_elsewhere(self._sealer.key_id) if enabled or others else 0
                pending, retrying, oldest = unit.delivery_log.waiting()
        except errors.Unavailable as error:
            return {"status": "degraded", "error": type(error).__name__}
        lives = all(thread.alive for thread in self.threads)
        silent = time.monotonic() - self._done > _SILENT
        found: dict[str, Any] = {
            "status": "down" if not lives else "degraded" if silent or disabled or unreadable else "ok",
            "enabled": enabled,
            "paused": others - len(disabled),
            "disabled": disabled,
            "pending": pending,
            "retrying": retrying,
            "oldest_pending_seconds": None if oldest is None else round(oldest, 1),
        }
        return found | ({"unreadable": unreadable} if unreadable else {})

    def _run(self) -> None:
        while not self._thread.stopping.is_set():
            self._woken.clear()
            if self._lanes.stocked():
                self._news.wait(_GATHER)  # gathers answers: a transaction for a handful costs as much as one for many
            try:
                more = self._round()
                self._done = time.monotonic()
            except errors.Unavailable as error:
                _log.debug("webhooks wait: %s", error.message)  # health tells of the database
                more = self._thread.stopping.wait(_AGAIN)
            except Exception:
                _log.exception("webhooks: a round failed, the next will try again")
                more = self._thread.stopping.wait(_AGAIN)
            if not more:
                self._woken.wait(_POLL)

    def _round(self) -> bool:
        """Whether there may be more to do at once."""
        if self._sweeping.due():
            self._sweep()
        going = self._claim()
        self._note()
        return going or not self._answers.empty()

    def _sweep(self) -> None:
        """Frees what processes that are gone had claimed, and what this one has without knowing (the answer to a commit was lost)."""
        alive = self._alive()
        held = self._lanes.in_hand()  # before the answers: what is answered in between is in both
        self._collect()
        with self._units() as unit:
            unit.deliveries.free(owner=self._owner, held=[*held, *(answer.claimed.id for answer in self._unnoted)], alive=alive)
            unit.commit()

    def _claim(self) -> bool:
        """Makes rows of new events and takes in hand what is due; whether there was any. First, so that the threads have work meanwhile."""
        advancing = self._advancing.due() or self._news.is_set()
        self._news.clear()
        with self._units() as unit:
            unit.deliveries.may_be_lost()
            moved = advancing and unit.deliveries.advance(step=_STEP, most=_MOST)
            limit, rooms = self._lanes.rooms()
            claimed = unit.deliveries.claim(
                owner=self._owner,
                key_id=self._sealer.key_id,
                room=self._lanes.usual_room,
                rooms=rooms,
                after=self._last,
                limit=min(limit, _BATCH),
            )
            unit.commit()
        if claimed:
            crash_point("delivery claimed")
            self._last = claimed[-1].webhook_id
            self._lanes.put(claimed)
        if moved:
            self._news.set()
        return moved or bool(claimed)

    def _note(self) -> None:
        """What came of attempts, and what shall not be attempted here."""
        self._collect()
        unwanted = self._lanes.unwanted()
        if not self._unnoted and not unwanted:
            return
        with self._units() as unit:
            if unwanted:
                unit.deliveries.hand_back(unwanted, owner=self._owner)
            if self._unnoted:
                self._record(unit)
            unit.commit()
        crash_point("delivery noted")
        self._unnoted.clear()

    def _collect(self) -> None:
        while not self._answers.empty():
            self._unnoted.append(self._answers.get())

    def _record(self, unit: UnitOfWork) -> None:
        last = [answer for answer in self._unnoted if answer.gone or answer.given_up]
        for id in sorted({answer.claimed.webhook_id for answer in last}):
            unit.webhooks.lock(id)  # before any delivery, as those who change a webhook do
        unit.deliveries.record([answer.attempted for answer in self._unnoted], owner=self._owner)
        for answer in last:
            with contextvars.bound_contextvars(action="deliver", webhook_id=answer.claimed.webhook_id):
                self._stop(unit, answer)

    def _stop(self, unit: UnitOfWork, answer: Answer) -> None:
        """Disables an endpoint that asked for it, or to which nothing has come through since this delivery was first tried.

        Where others came through meanwhile it is this one event that the receiver does not take: that one has failed, and no more.
        """
        claimed, attempted = answer.claimed, answer.attempted
        if not answer.gone and unit.delivery_log.succeeded_since(claimed.webhook_id, claimed.first_attempt_at or attempted.at):
            _log.warning("webhook %s: event %s was given up; others arrive", claimed.webhook_id, claimed.sequence)
            return
        unit.deliveries.again(claimed.id)  # once the endpoint is enabled again
        found = unit.webhooks.find(claimed.webhook_id)
        if found is None or not found.webhook.enabled:
            return
        why = "it answered 410 Gone" if answer.gone else f"all {self._attempter.most} attempts failed; the last: {attempted.error}"
        told = {"reason": f"Event {claimed.sequence} could not be delivered: {why}.", "at": rfc3339(attempted.at)}
        unit.webhooks.define(replace(found.webhook, enabled=False, disabled=told))
        # without the URL, which may hold a token: others hear of this
        data = {"webhook_id": claimed.webhook_id, "description": found.webhook.description, "sequence": claimed.sequence, **told}
        unit.events.append(types.WEBHOOK_DISABLED, data)
        self._lanes.drop(claimed.webhook_id)
        _log.warning("webhook %s is disabled: %s", claimed.webhook_id, told["reason"])

    def _send(self, claimed: Claimed) -> None:
        """One attempt, in a thread of the lanes."""
        self._answers.put(self._attempter.attempt(claimed))
        self._woken.set()
