"""`mlsys accuracy` as its users run it, without a server."""

import io
import json
from pathlib import Path

import front
import pandas as pd
import pytest
import serving


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("accuracy")
    front.hourly().to_parquet(folder / "hourly.parquet")
    file = front.configure(folder, {"quick": front.definition()})
    return {"home": folder / "home", "config": file, "data": folder}


def mlsys(place: dict[str, Path], *words: str, code: int = 0) -> str:
    found = serving.cli(*words, **place)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout if code == 0 else found.stdout + found.stderr


def test_accuracy__shows_figures_and_their_rows(place: dict[str, Path]) -> None:
    assert "No forecasts were issued" in mlsys(place, "accuracy", "quick")
    mlsys(place, "train", "quick", "--start", "2020-01-01", "--end", "2020-03-15")
    mlsys(place, "predict", "quick", "--start", "2020-03-16", "--end", "2020-03-18")
    shown = mlsys(place, "accuracy", "quick")
    for text in (
        "72 of 72 timestamps measured, 72 of them forecast after their time",
        "By day",
        "2020-03-17",
        "By lead time",
        "PT23H",
        "skill",
    ):
        assert text in shown, shown
    assert "By lead time" not in mlsys(place, "accuracy", "quick", "--by", "day")
    found = json.loads(mlsys(place, "accuracy", "quick", "--start", "2020-03-17", "--end", "2020-03-17", "--json"))
    rows = pd.read_csv(io.StringIO(mlsys(place, "accuracy", "quick", "--start", "2020-03-17", "--end", "2020-03-17", "--rows")))
    assert found["overall"]["rows"] == len(rows) == 24
    assert found["overall"]["mae"] == pytest.approx((rows["prediction"] - rows["actual"]).abs().mean())
    assert "no version 'nothing'" in mlsys(place, "accuracy", "quick", "--version-id", "nothing", code=2)
