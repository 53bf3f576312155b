"""The thread that keeps data sets in order: compacts what was appended to, removes what was replaced."""

import logging

from mlsys import errors
from mlsys.registry.unit_of_work import Units
from mlsys.timetravel.compaction import Compactor
from mlsys.worker import Worker

_log = logging.getLogger(__name__)
EVERY_SECONDS = 60.0


class Housekeeping:
    """wake() says that there may be something to do. A failure is logged and tried again at the next round."""

    def __init__(self, *, units: Units, compactor: Compactor) -> None:
        self._units = units
        self._compactor = compactor
        self._worker = Worker(name="housekeeping", round=self.round, every=EVERY_SECONDS)
        self.thread = self._worker.thread
        self.start, self.stop, self.wake = self._worker.start, self._worker.stop, self._worker.wake

    def round(self) -> bool:
        """All that is due now. False: that was all."""
        with self._units() as unit:
            names = unit.datasets.names()
        for name in names:
            self._keep(name)
        return False

    def _keep(self, name: str) -> None:
        try:
            while not self._worker.stopping and self._compactor.compact(name):
                pass
            self._compactor.purge(name)
        except errors.DamagedArtifact as error:  # one damaged set must not keep the others from it
            _log.error("data set %s cannot be compacted: %s", name, error.message)
