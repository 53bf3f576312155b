"""Many small files into one, without changing any answer; and the removal of what was replaced, once nobody reads it any more.

A compacted file keeps every row, superseded ones too, each with its created_at and the id of the file it arrived in.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlsys import errors
from mlsys.records import DataFile
from mlsys.registry.unit_of_work import Units
from mlsys.storage.artifacts import FolderBlobs
from mlsys.timetravel import asof, files
from mlsys.timetravel.engine import Engine
from mlsys.timetravel.reader import Reader

if TYPE_CHECKING:
    from mlsys.timetravel.writing import Written

FEWEST = 8  # files of like size are worth it
SMALLEST = 1000
LARGEST = 4_000_000


class Compactor:
    """Any number of processes may do this at once: who comes late finds the files replaced and lets his own work go."""

    def __init__(self, *, units: Units, blobs: FolderBlobs, engine: Engine, reader: Reader, fewest: int = FEWEST) -> None:
        self._units = units
        self._blobs = blobs
        self._engine = engine
        self._reader = reader
        self._fewest = fewest

    def compact(self, name: str) -> int:
        """Merges one group of files of like size; returns how many. 0: nothing was due."""
        with self._reader.snapshot(name) as snapshot:
            group = due([one.file for one in snapshot.stored], fewest=self._fewest)
            if not group:
                return 0
            from mlsys.timetravel import writing

            ids = {file.id for file in group}
            chosen = [one for one in snapshot.stored if one.file.id in ids]
            columns = [column.name for column in files.columns_of(snapshot.dataset)]
            query = asof.versions(snapshot.dataset, columns, chosen)
            written = writing.rewrite(query, snapshot.dataset, given=True, compacted=True, blobs=self._blobs, engine=self._engine)
            if written.rows != sum(file.rows for file in group):
                raise errors.DamagedArtifact(f"Files of {name!r} do not hold as many rows as they should; they were left as they are.")
            return self._commit(name, group, written)

    def purge(self, name: str) -> int:
        """Removes replaced files that nobody reads any more, oldest generation first; returns how many. None while a backup is made."""
        removed = 0
        while True:
            with self._units() as unit:
                waiting = unit.datasets.replaced(name)
                if not waiting or not unit.inventory.may_remove():
                    return removed
                generation = waiting[0][0]
                if not unit.datasets.unread(name, unit.datasets.generation_before(name, generation)):
                    return removed
                for _, file, sha256 in (each for each in waiting if each[0] == generation):
                    self._blobs.remove(sha256)
                    unit.datasets.freed(file)
                    removed += 1
                unit.commit()

    def _commit(self, name: str, group: Sequence[DataFile], written: "Written") -> int:
        with self._units() as unit:
            unit.datasets.lock(name)
            present = {file.id for file in unit.datasets.files(name)}
            if not {file.id for file in group} <= present:
                self._blobs.remove(written.blob.sha256)
                return 0
            stamp = unit.datasets.stamp(name)
            file = unit.datasets.add(
                name,
                sha256=written.blob.sha256,
                size=written.blob.size,
                rows=written.rows,
                first_timestamp=written.first,
                last_timestamp=written.last,
                first_created_at=min(each.first_created_at for each in group),
                last_created_at=max(each.last_created_at for each in group),
                stamped_at=None,
                kind="compacted",
                added_at=stamp,
            )
            unit.datasets.replace(name, [each.id for each in group], by=file)
            unit.commit()
        return len(group)


def due(present: Sequence[DataFile], *, fewest: int = FEWEST) -> list[DataFile]:
    """The oldest ``fewest`` or more files of like size, up to LARGEST rows together; none when there are not that many.

    Like with like, so that a row is written again only as often as the logarithm of their number.
    """
    tiers: dict[int, list[DataFile]] = {}
    for file in sorted(present, key=lambda each: each.id):
        tiers.setdefault(int(math.log(max(file.rows, SMALLEST) / SMALLEST, FEWEST)), []).append(file)
    for _, group in sorted(tiers.items()):
        taken: list[DataFile] = []
        for file in group:
            if sum(each.rows for each in taken) + file.rows <= LARGEST:
                taken.append(file)
        if len(taken) >= fewest:
            return taken
    return []
