"""The thread that keeps data sets in order: compacts what was appended to, removes what was replaced, sweeps what was left behind."""

import logging
import math
import threading
import time

from mlsys import errors
from mlsys.registry.unit_of_work import Units
from mlsys.timetravel.compaction import Compactor

_log = logging.getLogger(__name__)
EVERY_SECONDS = 60.0
SWEEP_EVERY_SECONDS = 3600.0


class Housekeeping:
    """wake() says that there may be something to do. A failure is logged and tried again at the next round."""

    def __init__(self, *, units: Units, compactor: Compactor) -> None:
        self._units = units
        self._compactor = compactor
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._swept = -math.inf

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        self._woken.set()

    def round(self) -> None:
        """All that is due now."""
        with self._units() as unit:
            names = unit.datasets.names()
        for name in names:
            self._keep(name)
        if time.monotonic() - self._swept > SWEEP_EVERY_SECONDS:
            self._compactor.sweep()
            self._swept = time.monotonic()

    def _keep(self, name: str) -> None:
        try:
            while not self._stopping.is_set() and self._compactor.compact(name):
                pass
            self._compactor.purge(name)
        except errors.DamagedArtifact as error:  # one damaged set must not keep the others from it
            _log.error("data set %s cannot be compacted: %s", name, error.message)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self.round()
            except errors.Unavailable:  # told by health already
                _log.debug("housekeeping must wait", exc_info=True)
            except Exception:
                _log.exception("housekeeping failed; it will be tried again")
            self._woken.wait(EVERY_SECONDS)
