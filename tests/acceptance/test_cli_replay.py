"""`mlsys replay` and `mlsys verify` as their users run them, without a server."""

from pathlib import Path

import front
import pytest
import terminal
from terminal import Place, answered, mlsys

WINDOW = ("--start", "2020-01-01", "--end", "2020-03-15")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return terminal.place(tmp_path_factory.mktemp("replay"))


def test_replay_and_verify__first_right_then_wrong(place: Place) -> None:
    trained = answered(place, "train", "quick", *WINDOW)
    mlsys(place, "predict", "quick", "--start", "2020-03-16", "--end", "2020-03-17")
    assert f"the train run {trained['id']} done again: identical" in mlsys(place, "replay", trained["id"])
    audit = answered(place, "replay", "--audit", "5")["items"]
    assert [run["result"]["verdict"] for run in audit] == ["identical", "identical"]
    assert "No faults." in mlsys(place, "verify")
    told = answered(place, "verify")
    assert (told["ok"], told["checked"]["promotions"], told["checked"]["artifacts"]) == (True, 1, 2)

    front.hourly().assign(power=lambda f: f["power"] + f["wind"]).to_parquet(place["data"] / "hourly.parquet")
    shown = mlsys(place, "replay", "--audit", "5", code=1)
    assert "different" in shown
    assert "The data changed: hourly.parquet." in shown
    artifact = next(Path(place["home"] / "artifacts").glob("??/*"))
    artifact.write_bytes(b"spoilt")
    assert "damaged" in mlsys(place, "verify", code=1)
    told = answered(place, "verify", code=1)
    assert (told["ok"], [fault["name"] for fault in told["faults"]]) == (False, [artifact.parent.name + artifact.name])


def test_replay__needs_a_run_or_a_number(place: Place) -> None:
    assert "Give either" in mlsys(place, "replay", code=2)
    assert "Give either" in mlsys(place, "replay", "x", "--audit", "1", code=2)
    assert "There is no run" in mlsys(place, "replay", "nothing", code=2)


@pytest.mark.parametrize(
    "words", [("verify",), ("runs",), ("models",), ("gc",), ("token", "list"), ("db", "current"), ("backup", "x.tar.zst")]
)
def test_home__that_is_not_there_is_refused_by_name_and_not_made(place: Place, tmp_path: Path, words: tuple[str, ...]) -> None:
    home = tmp_path / "mistyped"
    assert f"the home {home}" in mlsys(place | {"home": home}, *words, code=2)
    assert not home.exists()
