"""The threads that send, and whose turn it is: one endpoint that is slow or dead must not take the threads of the others.

There are two lanes. An endpoint that answers quickly may have three quarters of the threads. One that has been slow, or has not shown yet
that it is quick, has one thread at a time, and all those together three quarters too: a quarter is always left for the other lane. What a
slow endpoint has in hand beyond that is given back. No database here, no HTTP.
"""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from mlsys.supervision import Supervised

_SLOW_SECONDS = 1.0
_UNKNOWN, _SLOW = 4, 1  # how many an endpoint may have in hand
_REMEMBERED = 256  # quick endpoints; those not heard of for longest are unknown again


class Item(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def webhook_id(self) -> str: ...


T = TypeVar("T", bound=Item)
Queues = OrderedDict[str, deque[T]]


class Lanes(Generic[T]):
    """``send`` is called in one of ``threads`` threads; it must not raise, and must be quick once it has its answer."""

    usual_room = _UNKNOWN
    """How many an endpoint may take in hand of which rooms() says nothing."""

    def __init__(self, *, threads: int, send: Callable[[T], None]) -> None:
        self._send = send
        self._count = threads
        self._share = max(1, threads * 3 // 4)
        self._quick_lane: Queues[T] = OrderedDict()
        self._careful_lane: Queues[T] = OrderedDict()
        self._quick: OrderedDict[str, None] = OrderedDict()
        self._slow: set[str] = set()
        self._flying: dict[int, T] = {}
        self._flying_at: Counter[str] = Counter()
        self._careful = 0  # threads that the careful lane has
        self._turn = False
        self._unwanted: list[int] = []
        self._changed = threading.Condition()
        self._stopping = False
        self.threads = tuple(Supervised(name=f"webhook {n}", run=self._work) for n in range(threads))

    def start(self) -> None:
        self._stopping = False
        for thread in self.threads:
            thread.start()

    def stop(self, *, grace_seconds: float) -> None:
        """Begins nothing more, and waits a while for what is on its way."""
        deadline = time.monotonic() + grace_seconds
        for thread in self.threads:
            thread.dismiss()
        with self._changed:
            self._stopping = True
            for lane in (self._quick_lane, self._careful_lane):
                self._unwanted += [item.id for queue in lane.values() for item in queue]
                lane.clear()
            self._changed.notify_all()
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def put(self, items: Iterable[T]) -> None:
        with self._changed:
            for item in items:
                lane = self._quick_lane if item.webhook_id in self._quick else self._careful_lane
                lane.setdefault(item.webhook_id, deque()).append(item)
                self._changed.notify()

    def rooms(self) -> tuple[int, Mapping[str, int]]:
        """How many more may be taken in hand in all; and of which endpoint, where that is not ``usual_room``."""
        with self._changed:
            held = self._flying_at + Counter({name: len(queue) for name, queue in self._queued()})
            rooms = {name: max(0, self._depth(name) - held[name]) for name in held.keys() | self._slow | self._quick.keys()}
            return max(0, 32 * self._count - held.total()), rooms

    def stocked(self) -> bool:
        """Whether there is enough in hand to keep all threads busy for a while."""
        with self._changed:
            return sum(len(queue) for _, queue in self._queued()) >= self._count

    def in_hand(self) -> Sequence[int]:
        """What has been put and not been dealt with."""
        with self._changed:
            return [*self._flying, *(item.id for _, queue in self._queued() for item in queue)]

    def unwanted(self) -> Sequence[int]:
        """What was put and shall be given back, told once."""
        with self._changed:
            found, self._unwanted = self._unwanted, []
            return found

    def drop(self, webhook_id: str) -> None:
        """Gives back what waits for an endpoint."""
        with self._changed:
            self._give_back(webhook_id)

    def _queued(self) -> Iterable[tuple[str, deque[T]]]:
        return [*self._quick_lane.items(), *self._careful_lane.items()]

    def _depth(self, name: str) -> int:
        return 16 * self._count if name in self._quick else _SLOW if name in self._slow else _UNKNOWN

    def _work(self) -> None:
        while (item := self._next()) is not None:
            begin = time.monotonic()
            try:
                self._send(item)
            finally:  # also if this thread dies of it: the item is in nobody's hand then, and comes again
                self._landed(item, quick=time.monotonic() - begin < _SLOW_SECONDS)

    def _next(self) -> T | None:
        with self._changed:
            while not self._stopping:
                item = self._take()
                if item is not None:
                    self._changed.notify()  # there may be more than one wake-up has told of
                    return item
                self._changed.wait()
            return None

    def _take(self) -> T | None:
        """The lanes in turn, and in a lane the endpoints in turn."""
        self._turn = not self._turn
        for quick in (self._turn, not self._turn):
            if not quick and self._careful >= self._share:
                continue
            lane, most = (self._quick_lane, self._share) if quick else (self._careful_lane, 1)
            name = next((name for name in lane if self._flying_at[name] < most), None)
            if name is not None:
                return self._taken(lane, name, careful=not quick)
        return None

    def _taken(self, lane: Queues[T], name: str, *, careful: bool) -> T:
        item = lane[name].popleft()
        lane.move_to_end(name)
        if not lane[name]:
            del lane[name]
        self._flying[item.id] = item
        self._flying_at[name] += 1
        self._careful += name not in self._quick
        return item

    def _landed(self, item: T, *, quick: bool) -> None:
        name = item.webhook_id
        with self._changed:
            self._careful -= name not in self._quick
            del self._flying[item.id]
            self._flying_at[name] -= 1
            if not self._flying_at[name]:
                del self._flying_at[name]
            if quick:
                self._praise(name)
            else:
                self._demote(name)

    def _praise(self, name: str) -> None:
        """Into the quick lane, or it stays there."""
        if name not in self._quick:
            self._careful -= self._flying_at.get(name, 0)
            self._slow.discard(name)
            if name in self._careful_lane:
                self._quick_lane[name] = self._careful_lane.pop(name)
        self._quick[name] = None
        self._quick.move_to_end(name)
        oldest = next(iter(self._quick))
        if len(self._quick) > _REMEMBERED and oldest not in self._quick_lane and not self._flying_at.get(oldest):
            del self._quick[oldest]

    def _demote(self, name: str) -> None:
        """Out of the quick lane; what waits for it is given back."""
        if name in self._quick:
            self._careful += self._flying_at.get(name, 0)
            del self._quick[name]
        self._slow.add(name)
        self._give_back(name)

    def _give_back(self, name: str) -> None:
        for lane in (self._quick_lane, self._careful_lane):
            self._unwanted += [item.id for item in lane.pop(name, ())]
