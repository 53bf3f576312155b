"""Where the body of a job runs: in the thread that asked for it, or in a process of its own, kept warm.

A body is a plain function of (spec, ports). A process never opens the database: its progress, log lines and reads of data sets go to the
parent over a pipe, which does them there and sends back what was read. What it collects (files seen, blobs kept aside) comes back with
the outcome. Any ``concurrent.futures.Executor`` of one worker would do in place of the pool here.
"""

import contextlib
import ctypes
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from mlsys import errors
from mlsys.execution import child
from mlsys.pipelines.base import Ports

S = TypeVar("S")
Outcome = TypeVar("Outcome")
Body = Callable[[S, Ports], Outcome]
_LOOK_SECONDS = 1.0
_GIVE_BACK_SECONDS = 10.0  # it takes some 30 ms
_DIED = "The process that did the work died: killed, out of memory, or by a crash in native code."


class Engine(Protocol):
    def run(self, body: Body[S, Outcome], spec: S, ports: Ports) -> Outcome:
        """The outcome of the body. Raises what it raises, what ``ports.reporter`` raises, and Died."""
        ...


class Threads:
    """In place: the runner's own threads do the work.

    What a job has freed is given back to the system, now and then: the C library would keep it for the thread, tens of megabytes after a
    training, and the process would seem to grow with each job for its first hours.
    """

    def __init__(self) -> None:
        self._give_back: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda kept: 0)  # glibc's alone
        self._given_back_at = -_GIVE_BACK_SECONDS

    def run(self, body: Body[S, Outcome], spec: S, ports: Ports) -> Outcome:
        try:
            return body(spec, ports)
        finally:
            now = time.monotonic()
            if now - self._given_back_at >= _GIVE_BACK_SECONDS:
                self._given_back_at = now
                self._give_back(0)

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Processes:
    """``memory_mib``: what a job may take beyond the warm process (0: anything)."""

    def __init__(self, *, workers: int, memory_mib: int) -> None:
        self._workers = [_Worker(memory_mib) for _ in range(workers)]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def run(self, body: Body[S, Outcome], spec: S, ports: Ports) -> Outcome:
        worker = self._free.get()
        try:
            found: Outcome = worker.run(body, spec, ports)
            return found
        finally:
            self._free.put(worker)

    def start(self) -> None:
        """Warms them up, without waiting for it."""
        for worker in self._workers:
            worker.warm()

    def stop(self) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process, and the parent's end of its pipe. After a death the next job starts a new one."""

    def __init__(self, memory_mib: int) -> None:
        self._memory_mib = memory_mib
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._pipe: Connection | None = None
        self._pid: Future[int] | None = None

    def warm(self) -> None:
        with self._lock:
            if self._pool is None:
                context = get_context("spawn")
                self._pipe, end = context.Pipe()
                given = (end, self._memory_mib, logging.getLogger().getEffectiveLevel())
                self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=child.begin, initargs=given)
                self._pid = self._pool.submit(os.getpid)
                end.close()

    def end(self) -> None:
        """At once, whatever it does."""
        with self._lock:
            pool, pipe, pid = self._pool, self._pipe, self._pid
            self._pool = self._pipe = self._pid = None
        if pool is None or pipe is None or pid is None:
            return
        pipe.close()
        with contextlib.suppress(BrokenProcessPool, ProcessLookupError):
            os.kill(pid.result(), signal.SIGKILL)
        pool.shutdown(wait=True, cancel_futures=True)

    def run(self, body: Any, spec: Any, ports: Ports) -> Any:
        self.warm()
        if self._pool is None or self._pipe is None:
            raise errors.Unavailable("The server is stopping.")
        given = replace(ports, reporter=child.Told(), datasets=None if ports.datasets is None else child.Asked())
        try:
            job = self._pool.submit(child.work, body, spec, given)
            self._serve(self._pipe, job, ports)
            outcome, collected = job.result()
        except BrokenProcessPool:
            self.end()
            raise errors.Died(_DIED) from None
        except BaseException as error:
            if isinstance(error, errors.OutOfMemory) or not getattr(error, "from_child", False):
                self.end()  # native code gives back nothing after a failed allocation; or the job is not wanted any more
            raise
        for mine, theirs in zip((ports.files, ports.blobs), collected, strict=True):
            if hasattr(mine, "absorb"):
                mine.absorb(theirs)
        return outcome

    def _serve(self, pipe: Connection, job: "Future[Any]", ports: Ports) -> None:
        """Does what the process asks for, until it has ended. While it is silent the reporter is asked whether it is still wanted."""
        last: tuple[str, int, int] = ("begin", 0, 1)
        while True:
            try:
                said = pipe.recv() if pipe.poll(_LOOK_SECONDS) else None
            except (EOFError, OSError):
                return  # the future knows why
            match said:
                case None:
                    if job.done():
                        return
                    ports.reporter.progress(*last)
                case "end":
                    return
                case ("progress", *rest):
                    last = tuple(rest)
                    ports.reporter.progress(*last)
                case ("log", message, level):
                    ports.reporter.log(message, level=level)
                case ("record", name, level, message):
                    logging.getLogger(name).log(level, "%s", message)
                case ("ask", *question) if ports.datasets is not None:
                    pipe.send(child.answered(ports.datasets, *question))
