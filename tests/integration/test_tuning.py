"""Tuning through the front: parameters are searched on the training rows, recorded, and found again by a replay."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import pytest
from front import WAIT, World

from mlsys import errors
from mlsys.pipelines import definition

MODEL: dict[str, Any] = {"type": "lightgbm", "params": {"num_iterations": 8, "seeds": 1, "num_leaves": 15}, "tuning": {"trials": 4}}


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    with front.started(tmp_path, database_url, {"quick": front.definition(model=MODEL)}) as found:
        yield found


def test_tuning__is_recorded_and_a_replay_finds_the_same(world: World) -> None:
    run = front.train(world.client)
    recipe = run["result"]["environment"]["model"]
    assert recipe["tuning"]["trials"] == 4
    assert recipe["tuning"]["mae"] <= recipe["tuning"]["mae_before"]
    assert {"num_iterations": 8, "seeds": 1, "num_leaves": 15}.items() <= recipe["params"].items()
    assert "learning_rate" in recipe["params"]
    assert 0.02 <= recipe["params"]["learning_rate"] <= 0.15
    version = world.client.get(f"/models/quick/versions/{run['result']['model_version_id']}").json
    assert version["spec"]["recipe"] == recipe  # type: ignore[index]
    lines = world.client.get(f"/runs/{run['id']}/logs").json["items"]  # type: ignore[index]
    assert any(line["message"].startswith("Tuned in 4 trials: MAE ") for line in lines)
    done = front.ended(world.client.post(f"/runs/{run['id']}/replay", headers=WAIT))
    assert done["result"]["verdict"] == "identical", done["result"]


def test_tuning__without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise(front.definition(model=MODEL))
    assert "pip install 'mlsys[tuning]'" in caught.value.fields["model.tuning"][0]
