"""What the registries name: promotion entries as they lie, and every stored file that a row refers to. For verification and replay."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mlsys.events import types
from mlsys.storage import tables

_v, _f, _k = tables.model_versions.c, tables.dataset_files.c, tables.predictions.c
_FREED = sa.exists().where(tables.freed_blobs.c.model_version_id == _v.model_version_id)
_MANY = 5000
REMOVALS = 0x6D6C7379_00000002
"""Advisory lock ("mlsy" 2): shared by backups, which want every blob to stay; taken for a moment by whoever removes some."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """A stored file and what names it, in words. ``size`` in bytes."""

    owner: str
    sha256: str
    size: int


class InventoryRepository:
    def __init__(self, *, connection: sa.Connection) -> None:
        self._connection = connection

    def promotions(self) -> Iterator[Any]:
        """All entries of all logs, each as promotions.digest() takes it, by model and in order."""
        query = sa.select(tables.promotions).order_by(tables.promotions.c.model_name, tables.promotions.c.sequence)
        return iter(self._connection.execution_options(yield_per=_MANY).execute(query).mappings())

    def promotion_events(self) -> list[tuple[str, int, str]]:
        """(model, sequence, hash) of every promotion that the event log tells of."""
        data = tables.events.c.data
        query = sa.select(data["model_name"].astext, sa.cast(data["sequence"].astext, sa.BigInteger), data["hash"].astext)
        rows = self._connection.execute(query.where(tables.events.c.type.in_([types.MODEL_PROMOTED, types.MODEL_DEMOTED])))
        return [(row[0], row[1], row[2]) for row in rows]

    def may_remove(self) -> bool:
        """Whether stored files may be removed in this transaction: not while a backup is being made."""
        return bool(self._connection.execute(sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": REMOVALS}).scalar_one())

    def hashes(self, store: str, *, without: Collection[str] = ()) -> set[str]:
        """Of all files of a store, "artifacts" or "datasets", that a row names; as if the versions ``without`` had been freed."""
        named = self.data_files() if store == "datasets" else [*self.artifacts(without=without), *self.predictions()]
        return {one.sha256 for one in named}

    def artifacts(self, *, without: Collection[str] = ()) -> list[Named]:
        """Two for each version, unless they were freed: the model, and its twin for comparisons."""
        query = sa.select(_v.model_version_id, _v.model_name, _v.artifact, _v.twin).where(~_FREED).order_by(_v.seq)
        rows = self._connection.execute(query.where(_v.model_version_id.not_in(without)) if without else query)
        return [
            Named(owner=f"{word} of version {id} of model {model}", sha256=blob["sha256"], size=blob["size"])
            for id, model, artifact, twin in rows
            for word, blob in (("artifact", artifact), ("twin", twin))
        ]

    def data_files(self) -> list[Named]:
        """Files of data sets that were not removed after a compaction."""
        freed = sa.exists().where(tables.dataset_freed.c.file == _f.id)
        rows = self._connection.execute(sa.select(_f.dataset, _f.sha256, _f.size).where(~freed).order_by(_f.id))
        return [Named(owner=f"data set {name}", sha256=sha256, size=size) for name, sha256, size in rows]

    def predictions(self, run_id: str | None = None) -> list[Named]:
        """Kept rows of all runs, or of one, oldest first."""
        query = sa.select(_k.run_id, _k.sha256, _k.size).order_by(_k.id)
        rows = self._connection.execute(query if run_id is None else query.where(_k.run_id == run_id))
        return [Named(owner=f"prediction of run {run}", sha256=sha256, size=size) for run, sha256, size in rows]
