"""The port through which events leave: whoever wants every event implements EventSink. No sink and no database is known here.

The event log gives each committed event its number (publishing/sequencer.py), and a relay (publishing/relay.py) hands the numbered events
to one sink, in order. So a sink of one's own needs nothing but ``send``::

    class Printed(EventSink):
        def send(self, events: Sequence[SequencedEvent]) -> None:
            for event in events:
                print(event.sequence, event.type, event.envelope())

- **In order**: sequences rise, within a call and from call to call, without a gap. Only the leader's relay calls, one call at a time.
- **At least once**: the events count as sent when ``send`` returns. If it raises, or the process dies before that is noted, the same ones
  come again, perhaps cut into other batches. So what ``send`` does must bear repetition: key it by ``event.sequence``.
- **Resumed**: how far a sink is, is a row of event_cursors under the sink's name. A sink that is new begins with the next event.
- A sink that raises is called again after a pause that doubles up to a minute. It delays no other sink; /health/ tells of it.

A package of yours names the class as an entry point of the group ``mlsys.sinks``; config.yaml chooses it (``events.sinks``) and gives the
arguments of its constructor. Reading by oneself works too: ``unit.event_log.after(sequence)`` gives the numbered
events after one, in order, and ``Publisher.growth`` wakes whoever waits for more, in every process.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from mlsys.events.types import SequencedEvent


@dataclass(frozen=True, kw_only=True)
class SinkPorts:
    """What a sink may ask for, by naming it among the arguments of its constructor; its other arguments are options of config.yaml.

    ``engine``: mlsys' own database. ``post``: (url, body, headers) -> HTTP status, to public addresses and webhooks.allowed_hosts only;
    raises Invalid, RefusedAddress and Unanswered. ``base_url``: where people reach this server.
    """

    engine: sa.Engine
    post: Callable[[str, bytes, Mapping[str, str]], int]
    base_url: str


class EventSink(ABC):
    @abstractmethod
    def send(self, events: Sequence[SequencedEvent]) -> None:
        """Takes these events over, all of them; raises anything when it could not, and then gets them again."""

    def close(self) -> None:  # noqa: B027 (most sinks hold nothing)
        """Lets go of what it holds. It may be asked to send again afterwards."""
