"""How long `mlsys serve`, `mlsys demo` and `mlsys --help` take, and what the idle server holds, its database included. Prints one table."""

import contextlib
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from harness import ROOT, Report, Server, alternate, folder, median, serving

STARTS, HELPS, IDLE = 5, 10, 10.0


def main() -> int:
    report = Report("Start and idle memory")
    with folder() as home:
        cold = [_start(home / f"cold{i}") for i in range(STARTS)]
        warm = [_start(home / "cold0") for _ in range(STARTS)]
        report.add(
            f"serve, warm home, to the first healthy answer (median of {STARTS})",
            f"{median(warm):.2f} s",
            "",
            None,
            "<= 3 s",
            median(warm) <= 3,
        )
        report.add(f"serve, new home (initdb, migrations; median of {STARTS})", f"{median(cold):.2f} s")
        with serving(home / "cold0") as server:
            time.sleep(IDLE)
            _memory(report, server)
    _demo(report)
    _help(report)
    return report.finish()


def _start(home: Path) -> float:
    with serving(home) as server:
        return server.started


def _memory(report: Report, server: Server) -> None:
    pids = server.processes()
    sizes = {kind: sum(_size(pid, kind) for pid in pids) for kind in ("Pss", "Rss")}
    report.add(
        f"idle memory after {IDLE:.0f} s, PSS of {len(pids)} processes",
        f"{sizes['Pss']:.0f} MB",
        "",
        None,
        "<= 350 MB",
        sizes["Pss"] <= 350,
    )
    report.add("  of these the Python process", f"{_size(pids[0], 'Pss'):.0f} MB")
    report.add("  RSS, shared pages counted in each process", f"{sizes['Rss']:.0f} MB")


def _size(pid: int, kind: str) -> float:
    """Megabytes of one process; 0 for one that has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _demo(report: Report) -> None:
    """From the command in an empty folder to the line that says so; then it is let finish."""
    with folder() as home:
        began, took = time.monotonic(), 0.0
        command = [sys.executable, "-m", "mlsys", "demo", "--port", "0", "--exit", "--home", str(home)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
            for line in demo.stdout or ():
                took = took or ("The forecast stands" in line) * (time.monotonic() - began)
    ok = demo.returncode == 0 and 0 < took <= 60
    report.add("mlsys demo, from the command to the first forecast", f"{took:.1f} s", "", None, "<= 60 s", ok)


def _help(report: Report) -> None:
    commands = {"mlsys": [sys.executable, "-m", "mlsys", "--help"], "peer": [sys.executable, "-c", "pass"]}
    run = partial(subprocess.run, cwd=ROOT, check=True, capture_output=True)
    calls = {name: partial(run, command) for name, command in commands.items()}
    found = {name: median(values) for name, values in alternate(calls, times=HELPS, warm=2).items()}
    mine, peer = found["mlsys"], found["peer"]
    report.add(
        f"mlsys --help (peer: python -c pass; median of {HELPS})", f"{mine:.3f} s", f"{peer:.3f} s", mine / peer, "<= 0.3 s", mine <= 0.3
    )


if __name__ == "__main__":
    sys.exit(main())
