"""The thread that judges accuracy: after forecasts were stored or data arrived, and on a timer, since files change without telling."""

import logging
from typing import Any

from mlsys import errors
from mlsys.events import types
from mlsys.events.signals import Signals
from mlsys.monitoring.degradation import Degradation
from mlsys.monitoring.latest import Latest
from mlsys.worker import Worker

_log = logging.getLogger(__name__)
EVERY_SECONDS = 300.0
APART_SECONDS = 1.0  # many arrivals at once are one occasion


class Watch:
    """A failure is logged and tried again at the next round."""

    def __init__(self, *, degradation: Degradation, latest: Latest, signals: Signals) -> None:
        self._degradation = degradation
        self._latest = latest
        self._worker = Worker(name="accuracy", round=self.round, every=EVERY_SECONDS, apart=APART_SECONDS)
        self.thread = self._worker.thread
        self.start, self.stop = self._worker.start, self._worker.stop
        for type in (types.PREDICTION_CREATED, types.DATA_APPENDED, types.DATA_REVISED):
            signals.of(type).connect(self._wake, weak=False)

    def round(self) -> bool:
        """Judges every model that has a limit, closes what nothing is judged by, renews what is told of all. False: that was all."""
        for name in self._degradation.close_unlimited():
            _log.info("the accuracy of %s has no limit any more: its episode is closed", name)
        for name in self._degradation.watched():
            try:
                found = self._degradation.judge(name)
            except errors.MlsysError as error:  # one model's data must not keep the others from it
                _log.warning("the accuracy of %s cannot be judged: %s", name, error)
                continue
            for change in found:
                _log.warning("the accuracy of %s has %s (%s)", name, change.state, change.days[-1].day)
        self._latest.renew()
        return False

    def _wake(self, sender: Any, *, event: Any) -> None:
        self._worker.wake()
