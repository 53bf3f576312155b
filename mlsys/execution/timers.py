"""Calls that come later, by a thread of their own that keeps no process from ending."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def after(seconds: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


@contextmanager
def within(seconds: float | None, expire: Callable[[float], None]) -> Iterator[None]:
    """Calls ``expire(seconds)`` unless what is inside has ended by then (None: it may take any time). What is inside goes on."""
    timer = None if seconds is None else after(seconds, lambda: expire(seconds))
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
