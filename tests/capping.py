"""A memory limit on one process by the kernel, which kills it when it takes more: a control group, where we may make one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def capped(pid: int, *, mib: int) -> Iterator[Path | None]:
    """The file that counts kills for memory; None where no control group can be made (then nothing is limited)."""
    old = ROOT / "memory"
    group = (old if old.exists() else ROOT) / f"mlsys-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old.exists() else "memory.max")).write_text(str(mib * 2**20))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group / ("memory.oom_control" if old.exists() else "memory.events")
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def kills(counter: Path) -> int:
    return next(int(line.split()[1]) for line in counter.read_text().splitlines() if line.startswith("oom_kill "))
