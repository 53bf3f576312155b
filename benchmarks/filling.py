"""Fills a registry with many valid runs, versions and promotions: copies of what real jobs wrote, so that rows have their real size."""

from collections import Counter

import sqlalchemy as sa

from mlsys.registry.promotions import digest
from mlsys.storage import tables

FAILED, CANCELLED = 20, 1000  # one in so many runs ends like this
TRAININGS, PROMOTED = 4, 2  # one run in so many trains; one version in so many is promoted

_RUNS = """
INSERT INTO runs (id, kind, model_name, trigger, spec, created_at)
SELECT substr(md5(n::text), 1, 12), r.kind, :prefix || n / :trainings % :models, r.trigger, r.spec,
       now() - (:count - n) * interval '1 second'
FROM generate_series(1, :count) n JOIN runs r ON r.id = CASE WHEN n % :trainings = 0 THEN :train ELSE :predict END ORDER BY n
"""
_HISTORY = """
INSERT INTO run_history (run_id, status, attempt, at, detail)
SELECT r.id, CASE WHEN h.status <> 'succeeded' THEN h.status ELSE {end} END, 1, r.created_at,
       CASE WHEN h.status <> 'succeeded' OR {end} = 'succeeded' THEN h.detail
            ELSE jsonb_build_object('error', jsonb_build_object('kind', 'empty_window', 'message', 'The source holds no row.')) END
FROM runs r JOIN run_history h ON h.run_id = CASE r.kind WHEN 'train' THEN :train ELSE :predict END
WHERE r.model_name LIKE :prefix || '%' ORDER BY r.seq, h.seq
"""
_STATE = """
INSERT INTO run_state (run_id, run_seq, status, attempt, started_at, finished_at, progress)
SELECT r.id, r.seq, {end}, 1, r.created_at, r.created_at + interval '5 seconds', s.progress
FROM runs r JOIN run_state s ON s.run_id = :predict WHERE r.model_name LIKE :prefix || '%' ORDER BY r.seq
"""
_END = f"CASE WHEN r.seq % {CANCELLED} = 0 THEN 'cancelled' WHEN r.seq % {FAILED} = 0 THEN 'failed' ELSE 'succeeded' END"
_EVENTS = """
INSERT INTO events (type, timestamp, data)
SELECT 'run.' || CASE h.status WHEN 'running' THEN 'started' ELSE h.status END, h.at, h.detail || jsonb_build_object('run_id', h.run_id)
FROM run_history h JOIN runs r ON r.id = h.run_id WHERE r.model_name LIKE :prefix || '%' ORDER BY h.seq
"""
_VERSIONS = """
INSERT INTO model_versions (model_version_id, model_name, version, run_id, created_at,
                            artifact, twin, twin_cutoff, spec, metrics, validation)
SELECT substr(md5('version' || r.id), 1, 12), r.model_name, row_number() OVER (PARTITION BY r.model_name ORDER BY r.seq),
       r.id, r.created_at, v.artifact, v.twin, v.twin_cutoff, v.spec, v.metrics, v.validation
FROM runs r JOIN model_versions v ON v.run_id = :train
WHERE r.model_name LIKE :prefix || '%' AND r.kind = 'train' ORDER BY r.seq
"""
_MODELS = """
INSERT INTO models (name, definition, created_at) SELECT :prefix || n, m.definition, m.created_at
FROM generate_series(0, :models - 1) n, models m WHERE m.name = :model
"""


def fill(engine: sa.Engine, *, train: str, predict: str, model: str, count: int, models: int, prefix: str = "many_") -> None:
    """Appends ``count`` ended runs of ``models`` models, all copies of the two runs named, and analyses the tables."""
    given = {"train": train, "predict": predict, "model": model, "count": count, "models": models, "prefix": prefix, "trainings": TRAININGS}
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        for statement in (_MODELS, _RUNS, _HISTORY.format(end=_END), _STATE.format(end=_END), _EVENTS, _VERSIONS):
            connection.execute(sa.text(statement), given)
        _promote(connection, prefix)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def _promote(connection: sa.Connection, prefix: str) -> None:
    """A chain of promotions for each model, every other version of it, hashed as the registry does."""
    v = tables.model_versions.c
    query = sa.select(v.model_name, v.model_version_id, v.created_at).where(v.model_name.startswith(prefix))
    found = connection.execute(query.order_by(v.seq))
    heads: dict[str, dict[str, object]] = {}
    entries = []
    seen: Counter[str] = Counter()
    for name, version, at in found:
        seen[name] += 1
        if seen[name] % PROMOTED:
            continue
        head = heads.get(name)
        entry = {
            "model_name": name,
            "sequence": head["sequence"] + 1 if head else 1,  # type: ignore[operator]
            "model_version_id": version,
            "previous_model_version_id": head["model_version_id"] if head else None,
            "below": head["sequence"] if head else None,
            "action": "auto",
            "actor": "gate",
            "reason": "accepted by the gate",
            "created_at": at,
            "previous_hash": head["hash"] if head else None,
        }
        entry["hash"] = digest(entry)
        heads[name] = entry
        entries.append(entry)
    connection.execute(sa.insert(tables.promotions), entries)
