"""Makes tests/data/home-009.tar.zst: a home as an earlier release left it, with rows in every table. Run by hand, once a release kept.

    git archive 6042e74 --prefix=old/ | tar -x && python3 -m venv old/.venv && old/.venv/bin/pip install -e 'old[test]'
    old/.venv/bin/python scripts/old_home.py live FOLDER      # the earlier release lives a short life
    .venv/bin/python scripts/old_home.py pack FOLDER FILE     # the present one packs it, as it stands

The second step changes nothing in the home: the present release dumps the tables that it finds, at the revision at which they stand.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

WAIT = {"Prefer": "wait=60"}


def live(folder: Path) -> None:
    """Trainings, promotions by gate and hand, predictions, a data set that is compacted, a schedule, degraded accuracy .."""
    sys.path.insert(0, str(Path.cwd() / "old" / "tests"))
    import front

    from mlsys import bootstrap, config

    (folder / "data").mkdir(parents=True)
    front.hourly().to_parquet(folder / "data" / "hourly.parquet")
    quick = front.definition(accuracy={"metric": "mae", "limit": 0.001, "days": 1})
    file = front.configure(folder, {"quick": quick, "idle": front.definition()})
    given = {"home": str(folder / "home"), "data.roots": [str(folder / "data")]}
    system = bootstrap.build(config.load(file, environ={}, overrides=given))
    system.start()
    try:
        _live(front.app_of(system).test_client(), system, front)
    finally:
        system.stop()


def _live(client: Any, system: Any, front: Any) -> None:
    first = front.train(client, **{"promote": "never"})["result"]["model_version_id"]
    promote = {"model_name": "quick", "model_version_id": first, "reason": "by hand"}
    assert client.post("/model/promote", json=promote, headers={"Idempotency-Key": "once"}).status_code == 200
    second = front.train(client, end_date="2020-03-10", promote="never")["result"]["model_version_id"]
    assert client.post("/model/promote", json=promote | {"model_version_id": second}).status_code == 200
    assert client.post("/model/demote", json={"model_name": "quick"}).status_code == 200
    front.predict(client)
    assert client.get(f"/models/quick/versions/{first}/explanation").status_code == 200
    schedule = {"name": "weekly", "kind": "train", "model_name": "quick", "cron": "0 3 * * 1", "window": {"start": "-P30D", "end": "PT0S"}}
    assert client.post("/schedules", json=schedule).status_code == 201
    client.post("/datasets", json={"name": "plant", "timestamp": "time", "columns": {"power": "number"}})
    for hour in range(8):
        row = {"time": f"2020-01-01T{hour:02}:00:00Z", "power": float(hour)}
        assert client.post("/datasets/plant/rows", json=[row]).status_code == 201
    system.data.housekeeping.round()
    system.watch.round()
    client.post("/job/train", json=front.TRAIN | {"start_date": "2021-01-01", "end_date": "2021-02-01"}, headers=WAIT)  # fails
    time.sleep(1)


def pack(folder: Path, target: Path) -> None:
    """The rows at the revision they stand at, and every blob that they name."""
    import hashlib
    import tempfile

    import sqlalchemy as sa

    import mlsys
    from mlsys import bootstrap, config
    from mlsys.backup import rows
    from mlsys.backup.archive import Writer
    from mlsys.backup.manifest import Manifest, Member

    file = folder / "config.yaml"
    system = bootstrap.build(config.load(None, environ={}, overrides={"home": str(folder / "home")}))
    system.start_database()
    try:
        with system.engine.connect() as connection, tempfile.TemporaryFile() as spool, target.open("wb") as out:
            tables = rows.dump(connection, spool)
            empty = [table.name for table in tables if not table.rows]
            assert not empty, f"no rows in {empty}"
            stores = {"artifacts": folder / "home" / "artifacts", "datasets": folder / "home" / "artifacts" / "datasets"}
            blobs = {name: sorted((path.parent.name + path.name, path) for path in store.glob("??/*")) for name, store in stores.items()}
            data = file.read_bytes()
            manifest = Manifest(
                mlsys=f"{mlsys.__version__} (6042e74)",
                created_at=str(connection.scalar(sa.text("SELECT now()"))),
                revision=str(connection.scalar(sa.text("SELECT version_num FROM mlsys_revision"))),
                tables=tuple(tables),
                sequences=tuple(rows.sequences(connection, [table.name for table in tables])),
                files=(Member(name="config.yaml", size=len(data), sha256=hashlib.sha256(data).hexdigest()),),
                blobs={name: tuple((sha256, path.stat().st_size) for sha256, path in many) for name, many in blobs.items()},
            )
            writer = Writer(out, manifest)
            spool.seek(0)
            for _ in tables:
                writer.add(spool)
            with file.open("rb") as one:
                writer.add(one)
            for many in blobs.values():
                for _, path in many:
                    with path.open("rb") as one:
                        writer.add(one)
            writer.close()
    finally:
        system.stop()
    print(json.dumps({table.name: table.rows for table in manifest.tables} | {"bytes": target.stat().st_size}))


if __name__ == "__main__":
    {"live": live, "pack": pack}[sys.argv[1]](*map(Path, sys.argv[2:]))
