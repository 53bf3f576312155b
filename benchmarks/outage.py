"""By hand: a receiver that is down for ten minutes (or as many seconds as given) while events go on, then up. Exits 1 if any is missing.

python benchmarks/outage.py [SECONDS]. The retries are mlsys' own schedule, so after ten minutes the next attempts come half an hour later;
the script then does what an operator would: POST /webhooks/{id}/replay.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness import ROOT, Client, free_port, serving

HEADERS = {"Content-Type": "application/json"}


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    with tempfile.TemporaryDirectory(prefix="mlsys-outage-") as name:
        folder = Path(name)
        with serving(folder / "home", MLSYS_WEBHOOKS__ALLOWED_HOSTS="127.0.0.1") as server:
            return _outage(server.client(), folder / "got.jsonl", seconds)


def _outage(client: Client, log: Path, seconds: float) -> int:
    port = free_port()
    webhook = _post(client, "/webhooks", {"url": f"http://127.0.0.1:{port}/hook", "events": ["*"]})
    _post(client, "/datasets", {"name": "site", "timestamp": "time"})
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        _append(client, count)
        count += 1
        time.sleep(1)
        if count % 30 == 0:
            print(f"{time.monotonic() - begin:.0f} s down, {count} events, {_waiting(client, webhook['id'])}", flush=True)
    receiver = [sys.executable, str(ROOT / "tests" / "acceptance" / "receiver.py"), str(port), webhook["secret"], str(log)]
    with subprocess.Popen(receiver) as process:
        time.sleep(1)
        begin = time.monotonic()
        _post(client, f"/webhooks/{webhook['id']}/replay?after_sequence=0", {})
        while not (got := _got(log)).keys() >= set(range(1, count + 1)) and time.monotonic() - begin < 60:
            time.sleep(0.1)
        process.kill()
    missing = set(range(1, count + 1)) - got.keys()
    took, twice = time.monotonic() - begin, sum(got.values()) - len(got)
    print(f"{count} events, {len(missing)} missing, {twice} more than once, {took:.1f} s after they were asked for")
    return 1 if missing else 0


def _got(log: Path) -> Counter[int]:
    """How often each event has come, verified."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return Counter(line["sequence"] for line in lines if line["ok"] and line["id"] == f"evt_{line['sequence']}")


def _waiting(client: Client, id: str) -> str:
    found = json.loads(client.get(f"/webhooks/{id}"))
    return f"{found['pending']} waiting, {'enabled' if found['enabled'] else 'disabled'}"


def _append(client: Client, number: int) -> None:
    row = {"time": f"2020-01-01T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z", "value": number}
    _post(client, "/datasets/site/rows", [row])


def _post(client: Client, path: str, body: Any) -> Any:
    client.connection.request("POST", path, json.dumps(body), HEADERS)
    response = client.connection.getresponse()
    data = response.read()
    if response.status >= 300:
        raise RuntimeError(f"POST {path}: {response.status} {data[:300]!r}")
    with contextlib.suppress(ValueError):
        return json.loads(data)
    return None


if __name__ == "__main__":
    sys.exit(main())
