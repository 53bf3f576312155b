"""Data sets: definitions and the manifest of their files. Two advisory locks order appends and readers; no row of data is looked at here.

Every listing takes the data set's lock shared and every change takes it alone, and the stamp is taken under it: so no row whose
created_at lies before a listing can appear after it, and what was known at D never changes once D has passed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from mlsys import errors
from mlsys.clock import Clock
from mlsys.records import DataColumn, DataFile, Dataset, DatasetState, Window
from mlsys.registry.pages import Page, page
from mlsys.storage import tables

_d, _f, _r, _x = tables.datasets.c, tables.dataset_files.c, tables.dataset_replacements.c, tables.dataset_freed.c
_FILE = tuple(DataFile.__dataclass_fields__)
_LIVE = ~sa.exists().where(_r.file == _f.id)
_LOCK = "pg_advisory_xact_lock{kind}(hashtextextended('dataset:' || :name, 0))"
_STAMP = sa.text(
    # never twice the same, never backwards, whatever the clock does
    "SELECT greatest(clock_timestamp(), max(added_at) + interval '1 microsecond') FROM dataset_files WHERE dataset = :name"
)
_STANDING = sa.text(
    """
SELECT (SELECT definition FROM datasets WHERE name = :name ORDER BY seq DESC LIMIT 1),
       greatest(clock_timestamp(), (SELECT max(added_at) FROM dataset_files WHERE dataset = :name)),
       (SELECT coalesce(max(replaced_by), 0) FROM dataset_replacements WHERE dataset = :name),
       coalesce((SELECT id FROM dataset_files WHERE dataset = :name ORDER BY added_at DESC LIMIT 1), 0)
"""
)
_first = sa.select(sa.func.min(_d.seq).label("first_seq"), sa.func.min(_d.created_at).label("defined_at"), _d.name).group_by(_d.name)
_FIRST = _first.subquery("first")
_LATEST = sa.select(_d.name, _d.definition).ext(distinct_on(_d.name)).order_by(_d.name, _d.seq.desc()).subquery("latest")
_live = sa.select(
    _f.dataset,
    sa.func.sum(_f.rows).label("rows"),
    sa.func.count().label("files"),
    sa.func.sum(_f.size).label("size"),
    sa.func.min(_f.first_timestamp).label("start"),
    sa.func.max(_f.last_timestamp).label("end"),
)
_HELD = _live.where(_LIVE).group_by(_f.dataset).subquery("held")
_LAST = sa.select(sa.func.max(_f.added_at)).where(_f.dataset == _LATEST.c.name, _f.kind == "appended").scalar_subquery()
_STATE = (
    sa.select(_LATEST, _FIRST.c.defined_at, _FIRST.c.first_seq, *(column for column in _HELD.c if column.name != "dataset"))
    .add_columns(_LAST.label("last_append_at"))
    .join(_FIRST, _FIRST.c.name == _LATEST.c.name)
    .outerjoin(_HELD, _HELD.c.dataset == _LATEST.c.name)
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A data set at the time ``at``: that of the database, which stamps rows, and never before the last stamp.

    ``generation``: number of the last replacement (0: none); who lists files now reads none that this or an earlier one took out.
    ``newest``: id of the file that was added last (0: none); whatever arrives later has a higher one.
    """

    dataset: Dataset
    at: datetime
    generation: int
    newest: int


class DatasetRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def lock(self, name: str, *, shared: bool = False) -> None:
        """Alone for whoever changes the manifest, shared for whoever lists it; held to the end of the transaction."""
        statement = f"SELECT {_LOCK.format(kind='_shared' if shared else '')}"
        self._connection.execute(sa.text(statement), {"name": name})

    def define(self, dataset: Dataset) -> None:
        """Appends a definition; the newest one of a name counts. The caller holds the lock and has looked at the present one."""
        values = {"name": dataset.name, "definition": json.dumps(_data(dataset)), "at": self._clock.now()}
        text = "INSERT INTO datasets (name, definition, created_at) VALUES (:name, CAST(:definition AS jsonb), :at)"
        self._connection.execute(sa.text(text), values)

    def find(self, name: str) -> Dataset | None:
        query = sa.select(_d.definition).where(_d.name == name).order_by(_d.seq.desc()).limit(1)
        found = self._connection.execute(query).scalar_one_or_none()
        return None if found is None else _dataset(name, found)

    def get(self, name: str) -> Dataset:
        found = self.find(name)
        if found is None:
            raise unknown(name)
        return found

    def state(self, name: str) -> DatasetState:
        row = self._connection.execute(_STATE.where(_LATEST.c.name == name)).mappings().one_or_none()
        if row is None:
            raise unknown(name)
        return _state(row)

    def list(self, *, limit: int, cursor: str | None) -> Page[DatasetState]:
        rows, following = page(self._connection, _STATE, by=_FIRST.c.first_seq, limit=limit, cursor=cursor)
        return Page(items=[_state(row) for row in rows], next_cursor=following)

    def names(self) -> Sequence[str]:
        return list(self._connection.scalars(sa.select(_d.name).distinct().order_by(_d.name)))

    def standing(self, name: str) -> Standing:
        """How the data set stands now. The caller holds the lock, shared will do. Raises NotFound."""
        definition, now, generation, newest = self._connection.execute(_STANDING, {"name": name}).one()
        if definition is None:
            raise unknown(name)
        return Standing(dataset=_dataset(name, definition), at=now, generation=int(generation), newest=int(newest))

    def stamp(self, name: str) -> datetime:
        """The created_at of rows that are added now. The caller holds the lock alone."""
        found: datetime = self._connection.execute(_STAMP, {"name": name}).scalar_one()
        return found

    def add(self, name: str, **file: Any) -> int:
        """Appends a line to the manifest (the fields of DataFile but ``id``) and returns its id."""
        statement = sa.insert(tables.dataset_files).values(dataset=name, **file).returning(_f.id)
        return int(self._connection.execute(statement).scalar_one())

    def files(
        self, name: str, *, window: Window | None = None, known_at: datetime | None = None, newest: int | None = None
    ) -> Sequence[DataFile]:
        """The present files that can hold rows of the window known then, oldest first. The caller holds the lock, shared will do.

        ``newest``: none that arrived after the file of this id (a compacted file may hold rows that arrived before and after it).
        """
        query = sa.select(*(_f[column] for column in _FILE)).where(_f.dataset == name, _LIVE)
        if window is not None:
            query = query.where(_f.first_timestamp < window.end, _f.last_timestamp >= window.start)
        if known_at is not None:
            query = query.where(_f.first_created_at <= known_at)
        if newest is not None:
            query = query.where((_f.id <= newest) | (_f.kind == "compacted"))
        return [DataFile(**row) for row in self._connection.execute(query.order_by(_f.id)).mappings()]

    def replace(self, name: str, files: Sequence[int], *, by: int) -> None:
        """From now on file ``by`` stands for ``files``. The caller holds the lock alone."""
        rows = [{"file": file, "replaced_by": by, "dataset": name} for file in files]
        self._connection.execute(sa.insert(tables.dataset_replacements), rows)

    def replaced(self, name: str) -> Sequence[tuple[int, int, str]]:
        """(generation, file, sha256) of replaced files whose bytes were not removed yet, oldest generation first."""
        query = sa.select(_r.replaced_by, _f.id, _f.sha256).join(tables.dataset_files, _f.id == _r.file)
        query = query.where(_r.dataset == name, ~sa.exists().where(_x.file == _f.id)).order_by(_r.replaced_by, _f.id)
        return [(row[0], row[1], row[2]) for row in self._connection.execute(query)]

    def generation_before(self, name: str, generation: int) -> int:
        query = sa.select(sa.func.coalesce(sa.func.max(_r.replaced_by), 0)).where(_r.dataset == name, _r.replaced_by < generation)
        return int(self._connection.execute(query).scalar_one())

    def unread(self, name: str, generation: int) -> bool:
        """Whether nobody reads files listed at that generation; nobody can begin to until this transaction ends."""
        text = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")
        return bool(self._connection.execute(text, {"key": reading_key(name, generation)}).scalar_one())

    def freed(self, file: int) -> None:
        """Notes that the bytes of a file were removed."""
        self._connection.execute(sa.insert(tables.dataset_freed).values(file=file, at=self._clock.now()))

    def referenced(self, hashes: Sequence[str]) -> set[str]:
        """Which of these hashes a manifest names as being there."""
        query = sa.select(_f.sha256).where(_f.sha256.in_(hashes), ~sa.exists().where(_x.file == _f.id))
        return set(self._connection.scalars(query))


def reading_key(name: str, generation: int) -> str:
    """The advisory lock that readers of one generation of files share."""
    return f"reading:{generation}:{name}"


def unknown(name: str) -> errors.NotFound:
    return errors.NotFound(f"There is no data set {name!r}. GET /datasets lists those there are; POST /datasets makes one.")


def _data(dataset: Dataset) -> dict[str, Any]:
    return {name: value for name, value in asdict(dataset).items() if name != "name"}


def _dataset(name: str, data: dict[str, Any]) -> Dataset:
    columns = data["columns"] and tuple(DataColumn(**column) for column in data["columns"])
    return Dataset(name=name, **data | {"columns": columns, "series_key": tuple(data["series_key"])})


def _state(row: sa.RowMapping) -> DatasetState:
    told: dict[str, Any] = {name: int(row[name] or 0) for name in ("rows", "files", "size")}
    told |= {name: row[name] for name in ("defined_at", "start", "end", "last_append_at")}
    return DatasetState(dataset=_dataset(row["name"], row["definition"]), **told)
