"""The other side of a job's process: what runs there, and how it tells and asks its parent. Knows no database."""

import contextlib
import ctypes
import logging
import resource
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlsys import errors
from mlsys.pipelines.base import DataSets, Ports, Query

if TYPE_CHECKING:
    import pyarrow as pa

_PR_SET_PDEATHSIG = 1
_parent: list[Any] = []  # of this process: the pipe, and the memory a job may take
_mouth = threading.RLock()


def begin(pipe: Connection, memory_mib: int, log_level: int = logging.WARNING) -> None:
    """Once, before the first job. Dies with its parent; imports what jobs need. Logs from ``log_level`` on go to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is for the parent to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _parent[:] = [pipe, memory_mib * 2**20]
    logging.basicConfig(handlers=[_Forwarding()], level=log_level, format="%(message)s", force=True)
    logging.captureWarnings(True)
    from mlsys.pipelines import prediction, training  # noqa: F401


def work(body: Callable[[Any, Ports], Any], spec: Any, ports: Ports) -> Any:
    """Returns the outcome, and what the ports have collected. What it raises can be read by the parent."""
    memory = _parent[1]
    try:
        if memory:
            _limit(_taken() + memory)
        return body(spec, ports), (ports.files, ports.blobs)
    except errors.MlsysError as error:
        _marked(error)
        raise
    except BaseException as error:
        raise _marked(_readable(error, memory)) from error
    finally:
        _limit(None)  # what follows, here and in the parent's hands, is not the job's
        _tell("end")


class _Forwarding(logging.Handler):
    """What libraries log here is logged by the parent, in its format and with what it knows of the run."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # without a parent there is nobody to tell
            _tell(("record", record.name, record.levelno, self.format(record)))


class Told:
    """A reporter that passes everything on."""

    def progress(self, step: str, done: int, total: int) -> None:
        _tell(("progress", step, done, total))

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        _tell(("log", message, level))


class Asked:
    """Data sets that the parent reads. ``newest_file``: as they stood then."""

    def __init__(self, newest_file: int | None = None) -> None:
        self._newest_file = newest_file

    def schema(self, name: str) -> "pa.Schema":
        return _ask(self._newest_file, "schema", name)

    def read(self, name: str, query: Query) -> "pa.Table":
        return _ask(self._newest_file, "read", name, query)

    def until(self, newest_file: int) -> "Asked":
        return Asked(newest_file)


def answered(datasets: DataSets, newest_file: int | None, name: str, *arguments: Any) -> tuple[bool, Any]:
    """In the parent: whether what was asked was done, and what came of it."""
    try:
        asked = datasets if newest_file is None else datasets.until(newest_file)
        return True, getattr(asked, name)(*arguments)
    except errors.MlsysError as error:
        return False, error


def _tell(said: Any) -> None:
    """In one piece, whichever thread says it."""
    with _mouth:
        _parent[0].send(said)


def _ask(*question: Any) -> Any:
    _tell(("ask", *question))
    done, found = _parent[0].recv()
    if not done:
        raise found
    return found


def _limit(most: int | None) -> None:
    """Private memory of this process in bytes; None: as much as it was given at its start."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard if most is None else most, hard))


def _taken() -> int:
    """Bytes of private memory of this process."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _readable(error: BaseException, memory: int) -> Exception:
    """As the parent can read it, whatever it was."""
    if isinstance(error, MemoryError) or "bad_alloc" in str(error):  # as C++ libraries say it
        limit = f" ({memory >> 20} MiB, execution.memory_mib)" if memory else ""
        return errors.OutOfMemory(f"The job needed more memory than it may take{limit}.")
    return RuntimeError(f"{type(error).__name__}: {error}")


def _marked(error: Exception) -> Exception:
    """Known to come from here."""
    error.__dict__["from_child"] = True
    return error
