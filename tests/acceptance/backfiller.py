"""A process of its own that backfills until it is killed. ``backfiller.py URL FOLDER``: the system of front.unstarted() in that folder."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import front

from mlsys.testing import FrozenClock

MODELS = {"known": front.definition(source={"type": "parquet", "path": "known.parquet"}, created_at="known_at", exogenous=[])}
RANGE = {"start_date": "2020-03-02", "end_date": "2020-03-05", "step": "PT1H"}
STEPS = 4 * 24


def system(url: str, folder: Path, at: datetime) -> Any:
    return front.unstarted(folder, MODELS, clock=FrozenClock(at), **{"database.url": url, "data.roots": [str(folder / "data")]})


def main(url: str, folder: str) -> None:
    made = system(url, Path(folder), datetime(2020, 3, 20, tzinfo=UTC))
    made.start()
    front.app_of(made).test_client().post("/models/known/backfill", json=RANGE)
    time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
