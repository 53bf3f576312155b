"""Stored bytes that no row names: of freed versions, and what killed writers left. They go once nobody has touched them for a while."""

import time
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from mlsys import errors
from mlsys.records import Collected
from mlsys.registry.unit_of_work import Units
from mlsys.storage.artifacts import FolderBlobs

_FILES = 100  # a transaction
BACKUP = "A backup is being made, and stored files stay until it is done. Try again then."
POLICY = "no row names it"


class Sweeper:
    """``stores`` by name: "artifacts" holds models and predictions, "datasets" the files of data sets."""

    def __init__(self, *, units: Units, stores: Mapping[str, FolderBlobs]) -> None:
        self._units = units
        self._stores = stores

    def plan(self, found: Collected, *, seconds: float, without: Collection[str] = ()) -> None:
        """Counts what sweep() would remove once the bytes of the versions ``without`` are freed."""
        for name, store in self._stores.items():
            for _, size, young in self._unnamed(name, seconds=seconds, without=without):
                _count(found, size, young)
            found.temporary_files += sum(1 for _ in store.unfinished(seconds=seconds))

    def sweep(self, found: Collected, *, seconds: float) -> None:
        """Removes bytes untouched for so long, a hundred files a transaction, and notes each. Raises Conflict while a backup is made."""
        for name, store in self._stores.items():
            unnamed = iter(list(self._unnamed(name, seconds=seconds)))
            while batch := list(islice(unnamed, _FILES)):
                self._remove(store, batch, found, seconds)
            for path in store.unfinished(seconds=seconds):
                path.unlink(missing_ok=True)
                found.temporary_files += 1

    def _unnamed(self, name: str, *, seconds: float, without: Collection[str] = ()) -> Iterator[tuple[str, int, bool]]:
        """(sha256, size, whether it is too young). The files first: what is stored from here on is young."""
        stored, oldest = list(self._stores[name].stored_since()), time.time() - seconds
        with self._units() as unit:
            named = unit.inventory.hashes(name, without=without)
        return ((sha256, size, since > oldest) for sha256, size, since in stored if sha256 not in named)

    def _remove(self, store: FolderBlobs, batch: list[tuple[str, int, bool]], found: Collected, seconds: float) -> None:
        with self._units() as unit:
            if not unit.inventory.may_remove():
                raise errors.Conflict(BACKUP)
            for sha256, size, young in batch:
                removed = not young and store.remove_untouched(sha256, seconds=seconds)
                if removed:
                    unit.retention.removed(sha256, size, policy=POLICY)
                _count(found, size, not removed)
            unit.commit()


def _count(found: Collected, size: int, young: bool) -> None:
    if young:
        found.waiting_bytes += size
    else:
        found.files += 1
        found.bytes += size
