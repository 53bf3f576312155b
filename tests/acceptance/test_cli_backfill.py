"""`mlsys backfill` as its users run it, without a server."""

from datetime import UTC, datetime, timedelta

import front
import pandas as pd
import pytest
from terminal import Place, answered, mlsys


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Eighty days of rows, each known at once, that reach some days past the present."""
    folder = tmp_path_factory.mktemp("backfill")
    frame = front.hourly()
    today = pd.Timestamp(datetime.now(UTC).date(), tz="UTC")
    frame["time"] += today + pd.Timedelta("3D") - frame["time"].iloc[-1].floor("D")
    frame.assign(known_at=frame["time"] - pd.Timedelta("10D")).to_parquet(folder / "hourly.parquet")
    file = front.configure(folder, {"quick": front.definition(created_at="known_at")})
    return {"home": folder / "home", "config": file, "data": folder}


def test_backfill__from_a_plan_to_rows_and_nothing_twice(place: Place) -> None:
    today = datetime.now(UTC).date()
    trained = answered(place, "train", "quick", "--start", f"{today - timedelta(days=70)}", "--end", f"{today - timedelta(days=1)}")
    version = trained["result"]["model_version_id"]
    if not trained["result"]["promoted"]:
        mlsys(place, "promote", "quick", version)
    start = datetime.now(UTC)
    words = ("backfill", "quick", "--start", start.isoformat(), "--end", (start + timedelta(hours=2)).isoformat(), "--step", "PT2H")
    assert "1 to make, 0 there already, 0 without a model" in mlsys(place, *words, "--dry-run")
    assert answered(place, *words, "--dry-run")["steps"][0]["model_version_id"] == version
    assert "1 of 1 steps made (2 rows), 0 were there, 0 skipped" in mlsys(place, *words)
    assert answered(place, *words)["result"]["steps"] == {"total": 1, "made": 0, "present": 1, "skipped": 0}
    past = ("backfill", "quick", "--start", "2020-01-01", "--end", "2020-01-02", "--step", "P1D")
    assert "nothing_made" in mlsys(place, *past, code=1)
    assert "step" in mlsys(place, *past[:-1], "daily", code=2)
