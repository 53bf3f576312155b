"""Wake-ups between the processes on a database: PostgreSQL's LISTEN and NOTIFY on a connection of its own. They may get lost; who waits for
one looks by himself as well, if more slowly.
"""

import contextlib
import logging
import os
import select
from collections.abc import Callable
from typing import Any

import psycopg2
import sqlalchemy as sa

from mlsys.storage.database import translated
from mlsys.supervision import Supervised

COMMITTED = "mlsys_committed"
SEQUENCED = "mlsys_sequenced"
QUEUED = "mlsys_queued"
_log = logging.getLogger(__name__)
_AGAIN = 1.0


class Bell:
    """``listens``: what rings from now on is heard, unless the connection breaks before that is noticed."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self._heard: dict[str, Callable[[], None]] = {}
        self.thread = Supervised(name="bell", run=self._run)
        self._wakes: tuple[int, int] | None = None
        self.listens = False

    def on(self, channel: str, listener: Callable[[], None]) -> None:
        """Before start(). It must be quick and must not raise."""
        self._heard[channel] = listener

    def ring(self, channel: str) -> None:
        """Wakes the listeners of all processes. Raises DatabaseUnavailable."""
        with translated(), self._engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_notify(:channel, '')"), {"channel": channel})

    def start(self) -> None:
        self._wakes = os.pipe()
        self.thread.start()

    def stop(self) -> None:
        self.thread.dismiss()
        if self._wakes is None:
            return
        os.write(self._wakes[1], b"x")
        self.thread.join()
        for end in self._wakes:
            os.close(end)
        self._wakes = None

    def _run(self) -> None:
        while not self.thread.stopping.is_set():
            try:
                self._listen()
            except (psycopg2.Error, sa.exc.SQLAlchemyError):
                _log.debug("the bell's connection is lost; it will be made anew", exc_info=True)
            except Exception:
                _log.exception("the bell failed; it will try again")
            finally:
                self.listens = False
            self.thread.stopping.wait(_AGAIN)

    def _listen(self) -> None:
        with contextlib.closing(self._connected()) as connection:
            with connection.cursor() as cursor:
                for channel in self._heard:
                    cursor.execute(f"LISTEN {channel}")
            self.listens = True
            for listener in self._heard.values():  # what rang while nobody listened
                listener()
            assert self._wakes is not None
            while not self.thread.stopping.is_set():
                select.select([connection, self._wakes[0]], [], [])
                connection.poll()
                for channel in {note.channel for note in connection.notifies}:
                    self._heard[channel]()
                connection.notifies.clear()

    def _connected(self) -> Any:
        """A connection that the pool does not count: it is kept for as long as the process lives."""
        fairy = self._engine.raw_connection()
        connection: Any = fairy.driver_connection
        fairy.detach()
        connection.autocommit = True
        return connection
