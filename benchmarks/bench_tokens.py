"""What an access token costs a look-up: two servers side by side, with a token and without one. Prints one table."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from hammer import Connection
from harness import ROOT, Report, Server, clock, folder, median, ms, percentile, serving

SAMPLE = {
    "source": {"type": "parquet", "path": "pv_power.parquet"},
    "timestamp": "timestamp",
    "target": "power",
    "model": {"type": "lightgbm", "params": {"num_iterations": 20, "seeds": 1}},
}
JOB = {"model_name": "real", "start_date": "2012-01-01", "end_date": "2012-12-31"}
ROUNDS, TURNS, CLIENTS, SECONDS = 1000, 5, 8, 4.0
RATIO, RATE = 1.15, 650
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def main() -> int:
    report = Report("A look-up of one run: with an access token, and without (peer)")
    limit = {"MLSYS_SERVER__REQUESTS_PER_MINUTE": "1000000"}
    models = {"real": SAMPLE}
    with folder() as homes, serving(homes / "open", models=models) as free, serving(homes / "closed", models=models, **limit) as closed:
        servers = {"free": free, "token": closed}
        paths = {name: f"/runs/{server.client().job('train', JOB)['id']}" for name, server in servers.items()}
        tokens = {"free": "", "token": _token(closed.home)}
        _alone(report, servers, paths, tokens)
        _crowd(report, servers, paths, tokens)
    return report.finish()


def _token(home: Path) -> str:
    command = [sys.executable, "-m", "mlsys", "token", "create", "bench", "--home", str(home), "--json"]
    text: str = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=home.parent).stdout)["token"]
    return text


def _alone(report: Report, servers: dict[str, Server], paths: dict[str, str], tokens: dict[str, str]) -> None:
    connections = {name: _connection(server, tokens[name]) for name, server in servers.items()}
    took: dict[str, list[float]] = {name: [] for name in servers}
    spent: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(TURNS):
        for name, connection in connections.items():
            before = _processor(servers[name])
            took[name] += [clock(partial(connection.get, paths[name])) for _ in range(ROUNDS)]
            spent[name].append((_processor(servers[name]) - before) / ROUNDS)
    mine, peer = (median(took[name]) for name in ("token", "free"))
    report.add(
        "one client, median",
        f"{ms(mine)} (p99 {ms(percentile(took['token'], 0.99))})",
        ms(peer),
        mine / peer,
        f"< {RATIO}x",
        mine / peer < RATIO,
    )
    mine, peer = (median(spent[name]) for name in ("token", "free"))
    report.add("processor time of the server", ms(mine), ms(peer), mine / peer, f"< {RATIO}x", mine / peer < RATIO)


def _connection(server: Server, token: str) -> Connection:
    os.environ["MLSYS_TOKEN"] = token
    return Connection(server.port)


def _processor(server: Server) -> float:
    """Seconds of processor that the server's own process has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def _crowd(report: Report, servers: dict[str, Server], paths: dict[str, str], tokens: dict[str, str]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(3):
        for name, server in servers.items():
            command = [sys.executable, str(ROOT / "benchmarks" / "hammer.py"), str(server.port), str(CLIENTS), str(SECONDS), paths[name]]
            found = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"MLSYS_TOKEN": tokens[name]})
            rates[name].append(json.loads(found.stdout)["rate"])
    mine, peer = (median(rates[name]) for name in ("token", "free"))
    report.add(f"{CLIENTS} clients", f"{mine:.0f}/s", f"{peer:.0f}/s", mine / peer, f">= {RATE}/s", mine >= RATE)


if __name__ == "__main__":
    sys.exit(main())
