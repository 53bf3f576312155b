"""`mlsys accuracy` as its users run it, without a server."""

import io

import pandas as pd
import pytest
import terminal
from terminal import Place, answered, mlsys, printed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return terminal.place(tmp_path_factory.mktemp("accuracy"))


def test_accuracy__shows_figures_and_their_rows(place: Place) -> None:
    mlsys(place, "db", "upgrade")
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
    found = answered(place, "accuracy", "quick", "--start", "2020-03-17", "--end", "2020-03-17")
    rows = pd.read_csv(io.StringIO(printed(place, "accuracy", "quick", "--start", "2020-03-17", "--end", "2020-03-17", "--rows")))
    assert found["overall"]["rows"] == len(rows) == 24
    assert found["overall"]["mae"] == pytest.approx((rows["prediction"] - rows["actual"]).abs().mean())
    assert "no version 'nothing'" in mlsys(place, "accuracy", "quick", "--version-id", "nothing", code=2)
