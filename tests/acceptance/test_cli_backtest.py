"""`mlsys backtest` as its users run it, without a server."""

import json
from pathlib import Path

import front
import pandas as pd
import pytest
import serving


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("backtest")
    front.hourly().to_parquet(folder / "hourly.parquet")
    file = front.configure(folder, {"quick": front.definition()})
    return {"home": folder / "home", "config": file, "data": folder}


def mlsys(place: dict[str, Path], *words: str, code: int = 0) -> str:
    found = serving.cli(*words, **place)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout if code == 0 else found.stdout + found.stderr


def test_backtest__shows_tables_and_writes_the_rows(place: dict[str, Path]) -> None:
    file = place["data"] / "rows.parquet"
    words = ("backtest", "quick", "--start", "2020-03-01", "--end", "2020-03-04", "--refit", "2")
    shown = mlsys(place, *words, "--output", str(file))
    for text in (
        "4 of 4 steps forecast (96 rows), 2 fits, horizon P1D",
        "All rows",
        "By lead time",
        "By month",
        "seasonal_naive mae",
        "skill",
    ):
        assert text in shown, shown
    rows = pd.read_parquet(file)
    assert len(rows) == 96
    assert rows["actual"].notna().all()
    result = json.loads(mlsys(place, *words, "--json"))["result"]
    assert result["overall"]["mae"] == pytest.approx((rows["prediction"] - rows["actual"]).abs().mean())
    assert "step" in mlsys(place, *words, "--step", "daily", code=2)
    early = ("backtest", "quick", "--start", "2020-01-01", "--end", "2020-01-04")
    assert "too_few_rows" in mlsys(place, *early, code=1)
