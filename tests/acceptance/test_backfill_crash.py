"""kill -9 in the middle of a backfill: the same run goes on with what is missing, and no row is there twice."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backfiller
import front
import pandas as pd
import sqlalchemy as sa


def test_backfill__killed_in_the_middle_is_finished_by_the_next_process(embedded_server: Any, tmp_path: Path) -> None:
    url = embedded_server.clone()
    (tmp_path / "data").mkdir()
    frame = front.hourly()
    frame.assign(known_at=frame["time"] + pd.Timedelta("1h")).to_parquet(tmp_path / "data" / "known.parquet")
    before = backfiller.system(url, tmp_path, datetime(2020, 3, 1, tzinfo=UTC))
    before.start()
    client = front.app_of(before).test_client()
    version = front.train(client, model_name="known", end_date="2020-02-28", promote="never")["result"]["model_version_id"]
    client.post("/model/promote", json={"model_name": "known", "model_version_id": version})
    before.stop()
    made = kept_when_killed(url, tmp_path)
    assert 10 <= made < backfiller.STEPS
    after = backfiller.system(url, tmp_path, datetime(2020, 3, 20, 1, tzinfo=UTC))
    try:
        after.start()
        client = front.app_of(after).test_client()
        (listed,) = client.get("/runs?kind=backfill").json["items"]  # type: ignore[index]
        run = after.services.waiter.wait(listed["id"], seconds=60)
        assert (run.status, run.attempt) == ("succeeded", 2)
        assert run.result is not None
        steps = run.result["steps"]
        assert (steps["total"], steps["skipped"], steps["made"] + steps["present"]) == (backfiller.STEPS, 0, backfiller.STEPS)
        assert steps["present"] >= made
        rows = client.get("/models/known/predictions?source=backfill&limit=10000").json["items"]  # type: ignore[index]
        assert len({row["timestamp"] for row in rows}) == len(rows) == backfiller.STEPS
        assert count(url) == backfiller.STEPS
    finally:
        after.stop()
        embedded_server.drop(url)


def kept_when_killed(url: str, folder: Path) -> int:
    """Starts a process that backfills, and kills it once ten steps are kept; returns how many are."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, backfiller.__file__, url, str(folder)], env=environment) as process:
        deadline = time.monotonic() + 60
        while count(url) < 10 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    return count(url)


def count(url: str) -> int:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM predictions")).scalar_one())
