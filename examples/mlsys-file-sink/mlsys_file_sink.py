"""An event sink of one's own (config.yaml: ``events.sinks``, ``{type: file, path: events.jsonl}``), and a listener, without a setting."""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mlsys.events.sinks import EventSink
from mlsys.events.types import Event, SequencedEvent


class FileSink(EventSink):
    """Each event as a line of JSON. Events may come again, so what the file holds already is left out."""

    def __init__(self, *, path: str) -> None:
        self.path = Path(path)

    def send(self, events: Sequence[SequencedEvent]) -> None:
        written = self._last()
        with self.path.open("a") as file:
            file.writelines(json.dumps(event.envelope()) + "\n" for event in events if event.sequence > written)
            file.flush()
            os.fsync(file.fileno())  # once send() returns, nobody else keeps these events for us

    def _last(self) -> int:
        """The last whole line; one that a crash cut off is cut away."""
        if not self.path.exists():
            return 0
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        os.truncate(self.path, len(whole))
        return int(json.loads(whole.splitlines()[-1])["sequence"]) if whole else 0


def failures(event: Event) -> None:
    """A listener is called for each event of this process, at once. It may miss some in a crash; a sink does not."""
    if event.type in ("run.failed", "run.crashed"):
        logging.getLogger("mlsys_file_sink").warning("%s: run %s", event.type, event.data["run_id"])
