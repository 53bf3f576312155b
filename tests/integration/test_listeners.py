"""Listeners of users, found by entry point: told after the commit, and one that raises, hangs or cannot be imported harms nobody."""

import threading
import time
from pathlib import Path
from typing import Any

import front
import plugins
import pytest
from serving import until

from mlsys.clock import SystemClock
from mlsys.events.signals import Signals
from mlsys.events.types import Event
from mlsys.publishing.listeners import Listeners

MODULE = """
heard = []

def listen(event):
    heard.append(event.type)

def angry(event):
    raise ValueError("no")
"""


def test_listener__is_found_and_told_and_one_that_raises_is_counted(
    tmp_path: Path, embedded_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"good": "plant_listener:listen", "angry": "plant_listener:angry", "broken": "plant_listener:absent"}
    site = plugins.install(tmp_path / "site", "mlsys.listeners", **points)
    (site / "plant_listener.py").write_text(MODULE)
    monkeypatch.syspath_prepend(site)
    url = embedded_server.clone()
    with front.started(tmp_path / "world", url, {"quick": front.definition()}) as world:
        run = front.train(world.client)
        assert run["status"] == "succeeded"
        import plant_listener  # type: ignore[import-not-found]

        until(lambda: len(plant_listener.heard) == 6)
        assert plant_listener.heard[-1] == "run.succeeded"
        until(lambda: world.system.listeners.failures["angry"] == 6)
        assert world.system.listeners.health() == {"status": "ok", "failures": {"good": 0, "angry": 6}, "dropped": 0}
    embedded_server.drop(url)


def test_listener__that_hangs_delays_nobody() -> None:
    signals, hanging, held = Signals(), threading.Event(), threading.Event()

    def hang(event: Event) -> None:
        held.set()
        hanging.wait(20)

    listeners = Listeners(signals=signals, listeners={"hang": hang})
    listeners.start()
    started = time.monotonic()
    signals.announce(Event(type="run.queued", timestamp=SystemClock().now(), data={}) for _ in range(10_005))
    assert held.wait(10)
    assert listeners.dropped in (4, 5)
    listeners.stop()
    assert time.monotonic() - started < 15
    hanging.set()
