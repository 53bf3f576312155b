"""/docs in a real browser with no way out: the operations appear, nothing is asked of another address, and the console stays empty."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pytest

from mlsys.api import server as http
from mlsys.application import make_app

pytestmark = pytest.mark.needs_parts
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=20000"),
)


@pytest.fixture
def url(embedded_server: Any, tmp_path: Path) -> Iterator[str]:
    with front.started(tmp_path, embedded_server.clone(), {"quick": front.definition()}) as world:
        front.train(world.client)
        front.predict(world.client)
        server = http.bind(
            make_app(world.system.services), host="127.0.0.1", port=0, threads=4, max_body_bytes=1 << 20, max_upload_bytes=1 << 20
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.effective_port}"
        server.close()
        server.task_dispatcher.shutdown()


@pytest.mark.parametrize(("path", "shown"), [("/docs", 'data-path="/job/train"'), ("/", "<polyline")])
def test_page__renders_alone_and_in_silence(url: str, path: str, shown: str, tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (Debian package: chromium)")
    log = tmp_path / "net.json"
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom", url + path]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert shown in found.stdout
    assert not re.findall(r"CONSOLE.*", found.stderr)
    asked = _asked_by_the_page(json.loads(log.read_text()), url)
    assert any(address.startswith(f"{url}/static/") for address in asked)  # the log saw it; the icon comes after, or too late
    assert all(address.startswith(f"{url}/") for address in asked)


def _asked_by_the_page(log: Any, origin: str) -> set[str]:
    """Addresses that the page asked for, or that were asked for in its name; not those of the browser's own business."""
    starts = [event["params"] for event in log["events"] if "url" in event.get("params", {})]
    return {params["url"] for params in starts if params.get("initiator") == origin}
