"""Runs held where a test wants them: in the hands of a dead process, or in the middle of a job."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from front import TRAIN, World

from mlsys.records import Run


def history(world: World, id: str) -> list[tuple[str, int]]:
    with world.system.services.units() as unit:
        return [(change.status, change.attempt) for change in reversed(unit.runs.history(id, limit=50, cursor=None).items)]


def run_of(world: World, id: str) -> Run:
    with world.system.services.units() as unit:
        return unit.runs.get(id)


def held_by_a_dead_process(world: World, *, attempts: int = 1) -> str:
    """A run that is in the hands of an owner that holds no lock, for the given time."""
    until(lambda: not world.system.runner._busy)
    world.system.runner._begin = lambda: None  # type: ignore[method-assign]
    answer = world.client.post("/job/train", json=TRAIN)
    assert answer.json is not None
    id: str = answer.json["id"]
    for attempt in range(1, attempts + 1):
        with world.system.services.units() as unit:
            unit.runs.claim(owner=1, among=[id])
            if attempt < attempts:
                unit.runs.crash(id, attempt=attempt, reason="test")
                unit.runs.requeue(id, expected="crashed")
            unit.commit()
    return id


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


class Gate:
    """Where a job waits, as a long one would, telling of itself unless ``quiet``; then it works, or raises ``error``."""

    def __init__(self) -> None:
        self.entered, self.open, self.quiet = threading.Event(), threading.Event(), threading.Event()
        self.error: BaseException | None = None


def hold(world: World, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    real = world.system.runner._handlers["train"]

    def slow(run: Run, reporter: Any) -> Any:
        gate.entered.set()
        while not gate.open.wait(0.05):
            if not gate.quiet.is_set():
                reporter.progress("fit", 0, 1)
                reporter._last = ("", 0.0)
        if gate.error is not None:
            raise gate.error
        return real(run, reporter)

    monkeypatch.setitem(world.system.runner._handlers, "train", slow)  # type: ignore[arg-type]
    return gate
