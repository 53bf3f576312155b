"""`mlsys backtest` as its users run it, without a server."""

import pandas as pd
import pytest
import terminal
from terminal import Place, answered, mlsys


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return terminal.place(tmp_path_factory.mktemp("backtest"))


def test_backtest__shows_tables_and_writes_the_rows(place: Place) -> None:
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
    result = answered(place, *words)["result"]
    assert result["overall"]["mae"] == pytest.approx((rows["prediction"] - rows["actual"]).abs().mean())
    assert "step" in mlsys(place, *words, "--step", "daily", code=2)
    early = ("backtest", "quick", "--start", "2020-01-01", "--end", "2020-01-04")
    assert "too_few_rows" in mlsys(place, *early, code=1)
