"""Jobs in the server's own threads: what they have freed does not stay with the process."""

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from mlsys.execution.engines import Threads

PIECES, SIZE = 40_000, 4000  # 160 MB in pieces that come from the heap, not from pages of their own


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_job__gives_its_memory_back_though_what_it_made_last_stays() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library cannot give memory back (glibc can)")
    used: list[int] = []

    def body(spec: Any, ports: Any) -> bytearray:
        pieces = [bytearray(SIZE) for _ in range(PIECES)]
        used.append(resident())
        return pieces[-1]  # at the top of the heap: by itself the library returns nothing below it

    before = resident()
    last = Threads().run(body, None, None)  # type: ignore[arg-type]
    after = resident()
    assert len(last) == SIZE
    assert used[0] - before > PIECES * SIZE / 2
    assert after - before < (used[0] - before) / 4
