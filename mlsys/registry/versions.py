"""Model versions, append-only: accepted or not, each is kept with its validation. Status is derived from the promotion log."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from mlsys import errors
from mlsys.clock import Clock
from mlsys.ids import new_id
from mlsys.records import Blob, Freed, Json, ModelVersion, TrainOutcome, Validation, Verdict
from mlsys.registry.pages import Page, page
from mlsys.storage import tables

_INSERT = sa.text(
    """
INSERT INTO model_versions
    (model_version_id, model_name, version, run_id, created_at, artifact, twin, twin_cutoff, spec, metrics, validation)
SELECT :id, :model_name, coalesce(max(version), 0) + 1, :run_id, :at, CAST(:artifact AS jsonb), CAST(:twin AS jsonb), :twin_cutoff,
       CAST(:spec AS jsonb), CAST(:metrics AS jsonb), CAST(:validation AS jsonb)
FROM model_versions WHERE model_name = :model_name
"""
)
_v, _p = tables.model_versions.c, tables.promotions.c
_LAST_FIRST = (_p.created_at.desc(), _p.sequence.desc())  # the log's own order, and that of an index which serves any as_of
_HEAD = sa.select(_p.model_version_id).where(_p.model_name == _v.model_name).order_by(*_LAST_FIRST).limit(1).scalar_subquery()
# LIMIT keeps PostgreSQL from reading the whole log once to have it for all versions: a page shows fifty of them
_EVER = sa.select(_p.model_version_id).where(_p.model_version_id == _v.model_version_id).limit(1).scalar_subquery()
_STATUS = sa.case(
    (_v.model_version_id == _HEAD, "production"),
    (_EVER.is_not(None), "archived"),
    (_v.validation["decision"].astext == "rejected", "rejected"),
    else_="candidate",
).label("status")
_f = tables.freed_blobs.c
_FREED = (
    sa.select(sa.func.jsonb_build_object("at", _f.at, "policy", _f.policy, type_=JSONB))
    .where(_f.model_version_id == _v.model_version_id, _f.part == "artifact")
    .scalar_subquery()
    .label("freed")
)
_VERSION = sa.select(tables.model_versions, _STATUS, _FREED)
_ONE = _VERSION.where(_v.model_version_id == sa.bindparam("id"))
_IN_PRODUCTION = _VERSION.where(
    _v.model_version_id
    == sa.select(_p.model_version_id).where(_p.model_name == sa.bindparam("name")).order_by(*_LAST_FIRST).limit(1).scalar_subquery()
)
_AT = sa.bindparam("at", type_=sa.DateTime(timezone=True))
_JUDGED = (
    _VERSION.where(_v.model_name == sa.bindparam("name"), _v.validation["decision"].astext.in_(("accepted", "rejected")))
    .where(sa.or_(_AT.is_(None), _v.created_at <= _AT))
    .order_by(_v.seq.desc())
    .limit(1)
)


class VersionRepository:
    def __init__(self, *, connection: sa.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def add(self, *, model_name: str, run_id: str, spec: Json, outcome: TrainOutcome, validation: Validation) -> ModelVersion:
        """Appends the next version. The caller holds the model's lock (UnitOfWork.lock_model), so that numbers have no gaps or twins."""
        id = new_id()
        values = {
            "id": id,
            "model_name": model_name,
            "run_id": run_id,
            "at": self._clock.now(),
            "artifact": json.dumps(asdict(outcome.artifact)),
            "twin": json.dumps(asdict(outcome.twin)),
            "twin_cutoff": outcome.twin_cutoff,
            "spec": json.dumps(spec),
            "metrics": json.dumps(dict(outcome.metrics)),
            "validation": json.dumps(asdict(validation)),
        }
        self._connection.execute(_INSERT, values)
        return self.get(id)

    def get(self, id: str, *, model_name: str | None = None) -> ModelVersion:
        row = self._connection.execute(_ONE, {"id": id}).mappings().one_or_none()
        if row is None or model_name not in (None, row["model_name"]):
            of = f" of model {model_name!r}" if model_name else ""
            raise errors.NotFound(f"There is no version {id!r}{of}; GET /models/NAME/versions lists them.")
        return _version(row)

    def production(self, model_name: str) -> ModelVersion | None:
        """The version in production now, in one look; None when there is none. For decisions: PromotionRepository.production()."""
        row = self._connection.execute(_IN_PRODUCTION, {"name": model_name}).mappings().one_or_none()
        return None if row is None else _version(row)

    def newest_judged(self, model_name: str, *, at: datetime | None = None) -> ModelVersion | None:
        """The newest version that was accepted or rejected: one whose data was found fit to judge by. ``at``: made by then."""
        row = self._connection.execute(_JUDGED, {"name": model_name, "at": at}).mappings().one_or_none()
        return None if row is None else _version(row)

    def list(self, model_name: str, *, limit: int, cursor: str | None) -> Page[ModelVersion]:
        rows, following = page(self._connection, _VERSION.where(_v.model_name == model_name), by=_v.seq, limit=limit, cursor=cursor)
        return Page(items=[_version(row) for row in rows], next_cursor=following)


def _version(row: sa.RowMapping) -> ModelVersion:
    names = ("model_version_id", "model_name", "version", "run_id", "created_at", "twin_cutoff", "spec", "metrics", "status")
    return ModelVersion(
        **{name: row[name] for name in names},
        artifact=Blob(**row["artifact"]),
        twin=Blob(**row["twin"]),
        validation=_validation(row["validation"]),
        freed=_freed(row["freed"]),
    )


def _freed(data: Mapping[str, str] | None) -> Freed | None:
    """In PostgreSQL's JSON an instant is ISO 8601, in the session's zone: UTC."""
    return None if data is None else Freed(at=datetime.fromisoformat(data["at"]), policy=data["policy"])


def _validation(data: Mapping[str, object]) -> Validation:
    checks = data["checks"]
    assert isinstance(checks, list)
    return Validation(decision=data["decision"], checks=tuple(Verdict(**check) for check in checks))  # type: ignore[arg-type]
