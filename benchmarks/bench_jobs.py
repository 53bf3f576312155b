"""Whole train and predict jobs over HTTP beside the floor: a plain script that does the same work (floor.py). Prints one table.

The server is warm and answers a client that waits (``Prefer: wait``); script and server take turns. Also here: what LightGBM's threads and
the filter in the parquet read are worth on this machine.
"""

import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import floor
import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from harness import ROOT, SOLAR, Client, Report, alternate, folder, median, ms, serving

TRAINS, PREDICTS = 3, 15
GRACE = 0.1  # seconds that a train job may take on top of its ratio
CLOUDS = ("cloudcover_low", "cloudcover_mid", "cloudcover_high")


def solar() -> floor.Data:
    """The first users' data set; without it the sample that the package ships, read as UTC."""
    if SOLAR.exists():
        return floor.Data(
            path=SOLAR,
            timestamp="start_of_quarter",
            target="power",
            exogenous=CLOUDS,
            latitude=51.5,
            longitude=4.0,
            train=("2017-01-01", "2018-01-01"),
            predict=("2018-01-01", "2018-07-01"),
        )
    return floor.Data(
        path=ROOT / "mlsys" / "sample" / "pv_power.parquet",
        timestamp="timestamp",
        target="power",
        exogenous=("temp_air", "ghi", "ghi_clear"),
        latitude=39.7406,
        longitude=-105.1775,
        train=("2012-01-01", "2013-01-01"),
        predict=("2013-01-01", "2013-07-01"),
    )


def definition(data: floor.Data) -> dict[str, Any]:
    """The model in config.yaml's words."""
    return {
        "source": {"type": "parquet", "path": data.path.name},
        "timestamp": data.timestamp,
        "target": data.target,
        "exogenous": list(data.exogenous),
        "features": {"solar": {"latitude": data.latitude, "longitude": data.longitude}},
    }


def main() -> int:
    report, data = Report("Jobs over HTTP against a plain script"), solar()
    with folder() as home, serving(home / "home", models={"bench": definition(data)}, roots=[data.path.parent]) as server:
        time.sleep(3)  # the server imports its libraries in the background
        jobs(report, data, server.client(), home)
    with folder() as home:
        pushdown(report, home / "years.parquet")
    threads(report)
    return report.finish()


def jobs(report: Report, data: floor.Data, client: Client, work: Path) -> None:
    bodies = {kind: _body(kind, *getattr(data, kind)) for kind in ("train", "predict")}
    scores: dict[str, Any] = {"floor": floor.train(data, work, None), "mlsys": client.job("train", bodies["train"])}
    calls = {
        "floor": lambda: scores.update(floor=floor.train(data, work, work / "twin.json")),
        "mlsys": lambda: scores.update(mlsys=client.job("train", bodies["train"])),
    }
    _compare(report, "train", alternate(calls, times=TRAINS, warm=0), 1.15, GRACE)
    mine = scores["mlsys"]["result"]
    assert "champion_mae" in mine["metrics"], "the champion was not scored: the two would not do the same work"
    _same(report, "train: MAE of the hold-out", mine["metrics"]["mae"], scores["floor"])
    calls = {
        "floor": lambda: floor.predict(data, work / "final.json", work / "floor.parquet"),
        "mlsys": lambda: scores.update(mlsys=client.job("predict", bodies["predict"])),
    }
    _compare(report, "predict", alternate(calls, times=PREDICTS, warm=2), 1.3, 0.0)
    output = scores["mlsys"]["result"]["output"]["uri"].removeprefix("file://")
    _same(report, "predict: MAE of the window", _mae(data, Path(output)), _mae(data, work / "floor.parquet"))


def _body(kind: str, start: str, end: str) -> dict[str, str]:
    return {"model_name": "bench", "start_date": f"{start}T00:00:00Z", "end_date": f"{end}T00:00:00Z"}


def _compare(report: Report, what: str, found: dict[str, list[float]], bound: float, grace: float) -> None:
    mine, peer = median(found["mlsys"]), median(found["floor"])
    limit = f"<= {bound:.2f}x" + (f" + {grace} s" if grace else "")
    report.add(
        f"{what} job (median of {len(found['mlsys'])})", f"{mine:.3f} s", f"{peer:.3f} s", mine / peer, limit, mine <= bound * peer + grace
    )


def _same(report: Report, what: str, mine: float, peer: float) -> None:
    """The two did the same work: equal errors but for rounding."""
    report.add(what, f"{mine:.6f}", f"{peer:.6f}", mine / peer, "equal to 0.1 %", bool(abs(mine / peer - 1) < 1e-3))


def _mae(data: floor.Data, written: Path) -> float:
    """Over all rows of the written forecast that have a measured value."""
    found = pq.read_table(written).to_pandas().set_index(data.timestamp)["prediction"]
    truth = pq.read_table(data.path, columns=[data.timestamp, data.target]).to_pandas(ignore_metadata=True).set_index(data.timestamp)
    both = pd.concat([found, truth[data.target]], axis=1, join="inner").dropna()
    return float((both["prediction"] - both[data.target]).abs().mean())


def pushdown(report: Report, path: Path) -> None:
    """One month of five years through mlsys' own source, against the whole file; ratio: share of the time."""
    from datetime import UTC, datetime

    from mlsys.pipelines import definition as definitions
    from mlsys.pipelines.base import Query
    from mlsys.pipelines.files import DataRoots
    from mlsys.pipelines.sources.parquet import ParquetSource
    from mlsys.records import Window

    times = pd.date_range("2020-01-01", "2025-01-01", freq="15min", inclusive="left", tz="UTC", unit="us")
    noise = np.random.default_rng(0)
    columns = {name: noise.random(len(times)) for name in ("power", *(f"x{i}" for i in range(7)))}
    pq.write_table(pa.table({"time": times, **columns}), path, row_group_size=96 * 31)
    layout = definitions.layout(definitions.normalise({"source": {"type": "parquet"}, "timestamp": "time", "target": "power"}))
    source = ParquetSource(path=str(path), files=DataRoots([path.parent]))
    month = Window(start=datetime(2023, 5, 1, tzinfo=UTC), end=datetime(2023, 6, 1, tzinfo=UTC))
    wanted = ("time", "power", "x0", "x1")
    calls = {
        "month": lambda: source.read(Query(layout=layout, columns=wanted, window=month, known_at=None)),
        "whole": lambda: source.read(Query(layout=layout, columns=None, window=None, known_at=None)),
    }
    _bytes_of(report, path, month, wanted)
    found = {name: median(values) for name, values in alternate(calls, times=15, warm=3).items()}
    ratio = found["month"] / found["whole"]
    report.add(
        "read one month of 5 years, 4 of 9 columns (peer: all)", ms(found["month"]), ms(found["whole"]), ratio, "<= 0.5x", ratio <= 0.5
    )


def _bytes_of(report: Report, path: Path, month: Any, wanted: tuple[str, ...]) -> None:
    """What the footer says must be fetched for that month and those columns."""
    footer = pq.ParquetFile(path).metadata
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    spans = [group.column(0).statistics for group in groups]
    hit = [group for group, span in zip(groups, spans, strict=True) if span.min < month.end and span.max >= month.start]
    chunks = [group.column(i) for group in hit for i in range(group.num_columns)]
    needed = sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in wanted)
    whole = sum(group.column(i).total_compressed_size for group in groups for i in range(group.num_columns))
    sizes = f"{needed / 1e6:.2f} MB in {len(hit)} groups", f"{whole / 1e6:.2f} MB in {len(groups)} groups"
    report.add("  bytes that the filter lets through", *sizes, needed / whole)


def threads(report: Report) -> None:
    """LightGBM on data of the jobs' size, with 1 and 2 threads, on an idle machine and beside one busy process."""
    noise = np.random.default_rng(0)
    rows, labels = noise.random((17_000, 43)), noise.random(17_000)

    def fit(count: int) -> None:
        params = floor.PARAMS | {"num_threads": count, "num_iterations": 100}
        lgb.train(params, lgb.Dataset(rows, labels, params=params))

    calls = {"one": lambda: fit(1), "two": lambda: fit(2)}
    for where, busy in (("idle", 0), ("beside one busy process", 1)):
        spinning = [get_context("fork").Process(target=_spin, daemon=True) for _ in range(busy)]
        for process in spinning:
            process.start()
        found = {name: median(values) for name, values in alternate(calls, times=5).items()}
        for process in spinning:
            process.terminate()
        report.add(
            f"LightGBM, 1 thread (peer: 2 threads), {where}", f"{found['one']:.2f} s", f"{found['two']:.2f} s", found["one"] / found["two"]
        )


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    sys.exit(main())
