"""What a server holds, read from /proc while it works: memory, handles, connections, threads; and whether any of it grows.

Counts are of the server's own process, but for ``memory of all`` (with PostgreSQL, each shared page divided among those who share it) and
``database sessions``.
"""

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from harness import Server

MIB = 2**20
SLOT = 30.0  # seconds
HOLDINGS = ("RSS", "PSS", "memory of all", "handles", "sockets", "threads", "database sessions")
MEMORY = frozenset({"RSS", "PSS", "memory of all"})
"""In bytes; the others are counts."""
SHARED = frozenset({"PSS", "memory of all"})
"""Of these what neighbours do is a part: the same libraries in another process make the share of this one smaller."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``at``: seconds since the watch began; ``held``: in the order of HOLDINGS."""

    at: float
    held: tuple[int, ...]


@dataclass(kw_only=True)
class Watch:
    """Looks every ``seconds`` in a thread of its own, between enter and exit."""

    server: Server
    seconds: float = 2.0
    samples: list[Sample] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        self.begun = time.monotonic()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def grown(self, name: str, *, after: float) -> tuple[float, float]:
        """(median, growth over the time looked at) of the least that is held in each half minute since ``after`` seconds.

        What a training takes while it runs comes and goes; what is never given back raises the least. The slope is the median of
        those between all pairs (Theil and Sen).
        """
        place = HOLDINGS.index(name)
        least: dict[int, float] = {}
        for sample in self.samples:
            if sample.at >= after:
                slot = int(sample.at // SLOT)
                least[slot] = min(least.get(slot, np.inf), sample.held[place])
        at, held = np.array(list(least)), np.array(list(least.values()))
        first, second = np.triu_indices(len(at), 1)
        slope = float(np.median((held[second] - held[first]) / (at[second] - at[first]))) if len(first) else 0.0
        return float(np.median(held)), slope * float(at[-1] - at[0])

    def _look_on(self) -> None:
        while not self._over.wait(self.seconds):
            with contextlib.suppress(OSError):  # a process that ended while it was looked at
                self.samples.append(Sample(at=time.monotonic() - self.begun, held=held(self.server)))


def held(server: Server) -> tuple[int, ...]:
    pid, tree = server.process.pid, server.processes()
    handles = [_target(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    return (
        _status(pid, "VmRSS") * 1024,
        _pss(pid),
        sum(_pss(each) for each in tree),
        len(handles),
        sum(handle.startswith("socket:") for handle in handles),
        _status(pid, "Threads"),
        sum(_is_session(each) for each in tree),
    )


def _target(link: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return ""


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _pss(pid: int) -> int:
    """Bytes; 0 for one that has just ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return 0


def _is_session(pid: int) -> bool:
    """PostgreSQL tells in its title who it serves: ``postgres: user database client state``."""
    with contextlib.suppress(OSError):
        title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
        return title.startswith("postgres: ") and "[local]" in title
    return False
