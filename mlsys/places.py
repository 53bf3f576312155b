"""Places for what takes long: when all are taken the next caller is told to come again, and others are served meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mlsys import errors

_COME_AGAIN_SECONDS = 5


class Places:
    """``full``: what a caller is told for whom none is free."""

    def __init__(self, limit: int, *, full: str) -> None:
        self._free = threading.BoundedSemaphore(limit)
        self._full = full

    @contextmanager
    def one(self) -> Iterator[None]:
        """To be held meanwhile. Raises Unavailable when none is free."""
        if not self._free.acquire(blocking=False):
            raise errors.Unavailable(self._full, retry_after=_COME_AGAIN_SECONDS)
        try:
            yield
        finally:
            self._free.release()
