"""The first users' data, end to end with the shipped defaults: train on 2017, forecast the first half of 2018, compare."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import base, definition, prediction, training, validation
from mlsys.records import PredictSpec, TrainSpec, Window

YEAR = Window(start=datetime(2017, 1, 1, tzinfo=UTC), end=datetime(2018, 1, 1, tzinfo=UTC))
HALF = Window(start=datetime(2018, 1, 1, tzinfo=UTC), end=datetime(2018, 7, 16, tzinfo=UTC))
PLAIN: dict[str, Any] = {"source": {"type": "parquet", "path": "solar-dataset.pq"}, "timestamp": "start_of_quarter", "target": "power"}
SOLAR = {**PLAIN, "features": {"solar": {"latitude": 51.5, "longitude": 4.0}}}


@pytest.mark.parametrize(("definition_", "bound"), [(PLAIN, 1.95), (SOLAR, 1.85)], ids=["generic", "solar"])
def test_solar__trains_on_2017_and_forecasts_2018_as_well_as_promised(
    definition_: dict[str, Any], bound: float, solar: Path, tmp_path: Path
) -> None:
    normal = definition.normalise(definition_)
    ports = _ports(solar, tmp_path)
    trained = training.train(TrainSpec(run_id="train", model_name="m", definition=normal, window=YEAR), ports)
    assert validation.judge(trained.evaluation, normal["validation"], champion_expected=None).decision == "accepted"
    assert trained.data.rows == 32_728
    assert next(check for check in trained.checks if check.name == "cleaning").value == pytest.approx(
        0.056, abs=0.002
    )  # 21 whole days: no more than the feed was dead
    found = prediction.predict(_predict(normal, trained.artifact.sha256), ports)
    forecast = pd.read_parquet(tmp_path / "outputs" / "m" / "predict.parquet").set_index("start_of_quarter")
    power = pd.read_parquet(solar)["power"].loc["2018"]
    power.index = power.index.as_unit("us")
    error = (forecast["prediction"].reindex(power.index) - power).abs()
    assert error.notna().all()
    assert error.mean() <= bound
    assert found.output.rows == len(forecast) == 18_816
    assert forecast["prediction"].between(0, 42).all()


def _ports(solar: Path, tmp_path: Path) -> base.Ports:
    (tmp_path / solar.name).write_bytes(solar.read_bytes())
    return synthetic.ports(tmp_path)


def _predict(normal: dict[str, Any], sha256: str) -> PredictSpec:
    return PredictSpec(
        run_id="predict", model_name="m", definition=normal, window=HALF, model_version_id="v1", artifact_sha256=sha256, issued_at=HALF.end
    )
