"""Sends events to a Redis stream. Needs the extra: pip install mlsys[redis]."""

import json
from collections.abc import Sequence
from typing import Any

from mlsys import errors
from mlsys.events.sinks import EventSink
from mlsys.events.types import SequencedEvent

_SECONDS = 10


class Redis(EventSink):
    """``stream``: key of the stream, for XREAD or a consumer group. ``max_length``: about how many entries it keeps; null: all.

    The id of an entry is ``SEQUENCE-0``, so one that is sent again is known to be there and added once. Its fields: type, timestamp,
    sequence, and data as JSON. Whether Redis itself keeps what it took is a matter of its own settings (appendonly).
    """

    def __init__(self, *, url: str, stream: str = "mlsys:events", max_length: int | None = None) -> None:
        try:
            import redis
        except ImportError:
            raise errors.ConfigError("The event sink 'redis' needs a library: pip install 'mlsys[redis]'.") from None
        if max_length is not None and max_length < 1:
            raise errors.Invalid({"max_length": "Keep at least 1 entry, or null for all."})
        try:
            self._client: Any = redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
        except ValueError as error:
            raise errors.Invalid({"url": f"{error} For example redis://localhost:6379/0."}) from None
        self._stream = stream
        self._max_length = max_length

    def send(self, events: Sequence[SequencedEvent]) -> None:
        """What is not there yet, in one transaction."""
        top = self._top()
        if top > events[-1].sequence:
            told = f"The stream {self._stream} ends with the id {top}, past event {events[-1].sequence}"
            raise errors.Conflict(f"{told}: it is another log's. Choose another stream.")
        with self._client.pipeline(transaction=True) as pipeline:
            for event in events:
                if event.sequence > top:
                    pipeline.xadd(self._stream, _fields(event), id=f"{event.sequence}-0", maxlen=self._max_length, approximate=True)
            pipeline.execute()

    def close(self) -> None:
        self._client.close()

    def _top(self) -> int:
        """The sequence of the last entry that was ever added; 0 for no stream."""
        if not self._client.exists(self._stream):
            return 0
        last = self._client.xinfo_stream(self._stream)["last-generated-id"]
        return int(last.decode().partition("-")[0])


def _fields(event: SequencedEvent) -> dict[str, Any]:
    return {**event.envelope(), "data": json.dumps(event.data)}
