"""What all notifications share: which events they tell of, and that what comes together is one message."""

from abc import abstractmethod
from collections.abc import Sequence

from mlsys import errors
from mlsys.events import types
from mlsys.events.sinks import EventSink
from mlsys.events.types import SequencedEvent
from mlsys.publishing.notifications import texts

USUAL = (
    *(types.MODEL_REJECTED, types.MODEL_NOT_JUDGED, types.RUN_FAILED, types.RUN_CRASHED),
    *(types.ACCURACY_DEGRADED, types.SCHEDULE_MISSED, types.WEBHOOK_DISABLED),
)


class Notification(EventSink):
    """``events``: patterns of what to tell of; default: what may need a person. ``model_name``: only about this model.

    Events that come together, after an outage say, are one message, so that nobody gets hundreds. Of a run that crashed people hear once,
    when it is not tried again: until then there is nothing to do.
    """

    def __init__(self, *, base_url: str, events: Sequence[str] = USUAL, model_name: str | None = None) -> None:
        if wrong := types.no_event(events):
            raise errors.Invalid({"events": wrong})
        self._base_url = base_url
        self._patterns = tuple(events)
        self._model_name = model_name

    def send(self, events: Sequence[SequencedEvent]) -> None:
        chosen = [event for event in events if self._chosen(event)]
        if chosen:
            self.deliver(*texts.message(chosen, base_url=self._base_url))

    @abstractmethod
    def deliver(self, subject: str, text: str) -> None:
        """Brings one message to its readers; raises anything when it could not, and then it comes again."""

    def _chosen(self, event: SequencedEvent) -> bool:
        about = self._model_name is None or event.data.get("model_name") == self._model_name
        passing = event.type == types.RUN_CRASHED and not event.data.get("final", True)  # an event from before there was this key
        return about and not passing and any(types.matches(pattern, event.type) for pattern in self._patterns)
