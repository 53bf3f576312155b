"""``mlsys datasets``, without a server and with one."""

import json
import subprocess
from pathlib import Path

import front
import pandas as pd
import pytest
import serving


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("datasets")
    hourly = front.hourly(10)
    hourly.to_csv(folder / "rows.csv", index=False)
    hourly[:24].assign(power=-1.0).to_parquet(folder / "corrected.parquet")
    hourly[:1].assign(power="much").to_csv(folder / "wrong.csv", index=False)
    return {"home": folder / "home", "config": front.configure(folder, {}), "data": folder}


def mlsys(place: dict[str, Path], *words: str | Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    found = serving.cli("datasets", *map(str, words), **place)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found


def test_datasets__from_the_terminal(place: dict[str, Path]) -> None:
    data = place["data"]
    assert serving.cli("db", "upgrade", **place).returncode == 0
    assert "No data sets" in mlsys(place, "list").stdout
    columns = ("--column", "power:number", "--column", "wind:number")
    assert json.loads(mlsys(place, "create", "plant", "--timestamp", "time", *columns, "--json").stdout)["rows"] == 0
    assert "240 rows" in mlsys(place, "append", "plant", data / "rows.csv").stdout
    told = json.loads(mlsys(place, "append", "plant", data / "corrected.parquet", "--json").stdout)
    assert (told["rows"], told["revised"]) == (24, 24)
    assert "'much'" in mlsys(place, "append", "plant", data / "wrong.csv", code=2).stderr
    assert "must end in one of" in mlsys(place, "append", "plant", place["config"], code=2).stderr
    assert "no data set 'nobody'" in mlsys(place, "show", "nobody", code=2).stderr
    shown = mlsys(place, "show", "plant").stdout
    assert all(word in shown for word in ("264 rows", "power", "number", "timestamp"))
    assert json.loads(mlsys(place, "list", "--json").stdout)["items"][0]["name"] == "plant"


def test_rows__now_and_as_known_before(place: dict[str, Path]) -> None:
    with serving.serve(place["home"], config=place["config"], data=place["data"]) as served:
        mlsys(place, "create", "other", "--timestamp", "time")
        first = json.loads(mlsys(place, "append", "other", place["data"] / "rows.csv", "--json").stdout)
        mlsys(place, "append", "other", place["data"] / "corrected.parquet")
        day = ("--start", "2020-01-01", "--end", "2020-01-01")
        now = mlsys(place, "rows", "other", *day).stdout
        assert [line.split(",")[1] for line in now.splitlines()[1:]] == ["-1"] * 24
        before = place["data"] / "before.parquet"
        mlsys(place, "rows", "other", "--known-at", first["created_at"], "--output", before)
        pd.testing.assert_frame_equal(pd.read_parquet(before).drop(columns="created_at"), front.hourly(10), check_dtype=False)
        assert served.call("GET", "/datasets/other").body["rows"] == 264
