"""Training and prediction as functions of a spec and ports, on made-up data: what comes out, and what is refused."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys import errors
from mlsys.pipelines import base, definition, prediction, training, validation
from mlsys.records import Champion, PredictOutcome, PredictSpec, TrainOutcome, TrainSpec, Window

DAY = timedelta(days=1)
FAST = {"type": "lightgbm", "params": {"num_iterations": 40, "seeds": 1}}


def spec_of(**changes: Any) -> TrainSpec:
    usual = {"source": {"type": "parquet", "path": "data.parquet"}, "timestamp": "time", "target": "load", "frequency": "1h", "model": FAST}
    days = changes.pop("days", 120)
    return TrainSpec(run_id="t", model_name="m", definition=definition.normalise({**usual, **changes}), window=synthetic.window(days))


def train(
    frame: pd.DataFrame, folder: Path, *, ports: base.Ports | None = None, champion: Champion | None = None, **changes: Any
) -> TrainOutcome:
    frame.to_parquet(folder / "data.parquet", index=False)
    return training.train(replace(spec_of(**changes), champions=(champion,) if champion else ()), ports or synthetic.ports(folder))


def predict(trained: TrainOutcome, folder: Path, ports: base.Ports, window: Window, **changes: Any) -> tuple[PredictOutcome, pd.DataFrame]:
    spec = PredictSpec(
        run_id="p", model_name="m", definition=spec_of(**changes).definition, window=window, model_version_id="v1",
        artifact_sha256=trained.artifact.sha256, issued_at=window.end,
    )  # fmt: skip
    found = prediction.predict(spec, ports)
    return found, pd.read_parquet(folder / "outputs" / "m" / "p.parquet")


def test_train__gives_all_that_the_registry_and_the_gate_need(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    found = train(synthetic.load(120), tmp_path, ports=ports)
    assert set(found.metrics) == {"mae", "rmse", "bias", "naive_mae", "skill", "rows"}
    assert found.metrics["skill"] > 0.2
    assert found.twin_cutoff == synthetic.START + 96 * DAY
    assert (found.data.rows, found.data.start) == (120 * 24, synthetic.START)
    assert {check.name for check in found.checks} == {
        "completeness", "duplicates", "extremes", "frozen_exogenous", "frozen_exogenous_holdout", "frozen_target", "frozen_target_holdout",
        "gaps", "impossible_target", "impossible_target_share", "level_month", "level_year", "revised", "schema", "target", "cleaning",
    }  # fmt: skip
    assert json.loads(json.dumps(found.evaluation)) == found.evaluation
    assert found.environment["threads"] == 1
    assert ports.blobs.get(found.twin.sha256) != ports.blobs.get(found.artifact.sha256)


def test_train__the_same_twice_gives_the_same_artifact_on_any_threads(tmp_path: Path) -> None:
    one = train(synthetic.load(90), tmp_path, days=90)
    other = train(synthetic.load(90), tmp_path, ports=synthetic.ports(tmp_path, threads=2), days=90)
    assert one.artifact.sha256 == other.artifact.sha256
    assert one.evaluation == other.evaluation


def test_train__the_artifact_holds_no_id_and_no_path(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    text = ports.blobs.get(train(synthetic.load(90), tmp_path, ports=ports, days=90).artifact.sha256).decode()
    assert "data.parquet" not in text
    assert str(tmp_path) not in text
    assert json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":")) == text


def test_train__the_holdout_does_not_reach_the_twin(tmp_path: Path) -> None:
    frame = synthetic.load(120)
    one = train(frame, tmp_path)
    spoilt = frame.assign(load=frame["load"].where(frame["time"] < one.twin_cutoff, frame["load"] * 3))
    other = train(spoilt, tmp_path)
    assert one.twin.sha256 == other.twin.sha256
    assert one.artifact.sha256 != other.artifact.sha256


def test_train__the_champion_competes_through_its_twin(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    frame = synthetic.load(200)
    first = train(frame, tmp_path, ports=ports, days=150, features={"lags": False})
    champion = Champion(model_version_id="old", twin_sha256=first.twin.sha256, twin_cutoff=first.twin_cutoff)
    second = train(frame, tmp_path, ports=ports, days=200, champion=champion)
    assert second.evaluation["champion_id"] == "old"
    assert second.metrics["champion_mae"] == pytest.approx(np.average(second.evaluation["champion"], weights=second.evaluation["rows"]))
    judged = validation.judge(second.evaluation, spec_of().definition["validation"], champion_expected="old")
    assert judged.decision == "accepted"


def test_train__the_same_recipe_scores_the_same_as_candidate_and_as_champion(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    first = train(synthetic.load(120), tmp_path, ports=ports)
    champion = Champion(model_version_id="old", twin_sha256=first.twin.sha256, twin_cutoff=first.twin_cutoff)
    second = train(synthetic.load(120), tmp_path, ports=ports, champion=champion)
    assert second.evaluation["champion"] == second.evaluation["candidate"] == first.evaluation["candidate"]


@pytest.mark.parametrize("fault", ["late", "gone"])
def test_train__a_champion_that_cannot_be_compared_is_no_failure(fault: str, tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    first = train(synthetic.load(120), tmp_path, ports=ports)
    late, gone = first.twin_cutoff + DAY, "0" * 64
    champion = Champion(
        model_version_id="old",
        twin_sha256=gone if fault == "gone" else first.twin.sha256,
        twin_cutoff=late if fault == "late" else first.twin_cutoff,
    )
    found = train(synthetic.load(120), tmp_path, ports=ports, champion=champion).evaluation
    assert found["champion"] is None
    assert found["champion_note"]
    assert validation.judge(found, spec_of().definition["validation"], champion_expected="old").decision == "cannot_judge"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda f: f.assign(time=f["time"] - 4000 * DAY), errors.EmptyWindow),
        (lambda f: f.assign(load=np.nan), errors.NoTarget),
        (lambda f: f.drop(columns="load"), errors.MissingColumn),
        (lambda f: f.assign(load="much"), errors.WrongType),
        (lambda f: pd.concat([f, f.iloc[[9]]]), errors.DuplicateTimestamps),
        (lambda f: f.iloc[:200], errors.TooFewRows),
        (lambda f: f.assign(load=f["load"].where(f.index % 100 == 0)), errors.TooFewRows),
    ],
    ids=["empty", "no target", "no column", "text", "duplicates", "short", "sparse target"],
)
def test_train__bad_data_is_refused_by_name_and_nothing_is_stored(spoil: Any, error: type[errors.BadData], tmp_path: Path) -> None:
    blobs = synthetic.MemoryBlobs()
    with pytest.raises(error) as caught:
        train(spoil(synthetic.load(120)), tmp_path, ports=synthetic.ports(tmp_path, blobs=blobs))
    assert type(caught.value) is error
    assert blobs.stored == {}


@pytest.mark.parametrize("stage", ["read", "features", "fit evaluation model", "evaluate", "fit final model", "store"])
def test_train__can_be_stopped_at_every_stage(stage: str, tmp_path: Path) -> None:
    blobs = synthetic.MemoryBlobs()
    with pytest.raises(errors.Cancelled):
        train(synthetic.load(120), tmp_path, ports=synthetic.ports(tmp_path, reporter=synthetic.Listener(stop_at=stage), blobs=blobs))
    assert blobs.stored == {}


@pytest.mark.parametrize("days", [3, 12, 45, 60])
def test_train__a_short_window_gives_a_model_and_says_when_it_cannot_be_judged(days: int, tmp_path: Path) -> None:
    found = train(synthetic.load(days), tmp_path, days=days)
    judged = validation.judge(found.evaluation, spec_of().definition["validation"], champion_expected=None)
    assert (judged.decision == "cannot_judge") == (days < 40)


def test_predict__forecasts_every_hour_with_what_was_known_at_its_issue_time(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    frame = synthetic.load(150)
    trained = train(frame, tmp_path, ports=ports)
    window = Window(start=synthetic.START + 120 * DAY, end=synthetic.START + 150 * DAY)
    found, table = predict(trained, tmp_path, ports, window)
    names = ["time", "prediction", "quality", "issued_at", "created_at", "model_version_id", "run_id"]
    assert list(table.columns) == names
    assert (found.output.rows, len(table), found.data.rows) == (720, 720, 720)
    assert (table["issued_at"] == table["time"].dt.floor("D")).all()
    assert set(table["quality"]) == {"ok"}
    actual = frame.set_index("time")["load"].reindex(table["time"]).to_numpy()
    assert np.abs(table["prediction"] - actual).mean() < 0.7 * trained.metrics["naive_mae"]
    cut = synthetic.START + 140 * DAY
    frame.assign(load=frame["load"].where(frame["time"] < cut)).to_parquet(tmp_path / "data.parquet", index=False)
    again = predict(trained, tmp_path, ports, window)[1]
    known = table["time"] < cut + DAY
    assert again["prediction"][known].equals(table["prediction"][known])


def test_predict__the_future_needs_no_target_column_and_is_forecast_whole(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    frame = synthetic.load(122)
    trained = train(frame, tmp_path, ports=ports)
    future = Window(start=synthetic.START + 120 * DAY, end=synthetic.START + 130 * DAY)
    frame.drop(columns="load").to_parquet(tmp_path / "data.parquet", index=False)
    _, table = predict(trained, tmp_path, ports, future)
    assert len(table) == 10 * 24
    assert set(table["quality"]) == {"substituted"}
    assert np.isfinite(table["prediction"]).all()


def test_predict__without_exogenous_the_whole_window_is_forecast(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    frame = synthetic.load(120)[["time", "load"]]
    trained = train(frame, tmp_path, ports=ports)
    _, table = predict(trained, tmp_path, ports, Window(start=synthetic.START + 119 * DAY, end=synthetic.START + 160 * DAY))
    assert len(table) == 41 * 24
    assert set(table["quality"][:48]) == {"ok"}
    assert set(table["quality"][-24:]) == {"substituted"}


def test_predict__a_day_without_weather_is_substituted(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    frame = synthetic.load(130)
    trained = train(frame, tmp_path, ports=ports)
    lost = (frame["time"] >= "2021-05-04") & (frame["time"] < "2021-05-05")
    frame[~lost].to_parquet(tmp_path / "data.parquet", index=False)
    found, table = predict(trained, tmp_path, ports, Window(start=synthetic.START + 120 * DAY, end=synthetic.START + 130 * DAY))
    assert len(table) == 240
    assert set(table["time"][table["quality"] == "substituted"].dt.strftime("%m-%d")) == {"05-04"}
    assert not next(check for check in found.checks if check.name == "gaps").passed


def test_predict__an_empty_window_is_refused(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    trained = train(synthetic.load(120), tmp_path, ports=ports)
    with pytest.raises(errors.EmptyWindow):
        predict(trained, tmp_path, ports, Window(start=synthetic.START + 500 * DAY, end=synthetic.START + 501 * DAY))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"[]",
        lambda b: b.replace(b"mlsys-forecaster", b"other"),
        lambda b: b.replace(b'"layout"', b'"lay"'),
    ],
)
def test_predict__a_damaged_artifact_is_refused(spoil: Any, tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    trained = train(synthetic.load(90), tmp_path, ports=ports, days=90)
    damaged = replace(trained, artifact=ports.blobs.put(spoil(ports.blobs.get(trained.artifact.sha256))))
    with pytest.raises(errors.DamagedArtifact):
        predict(damaged, tmp_path, ports, synthetic.window(90))


def test_series__are_told_apart_from_training_to_forecast(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    parts = [
        synthetic.load(100, seed=i).assign(site=site, load=lambda f, i=i: f["load"] * (i + 1)) for i, site in enumerate(("north", "south"))
    ]
    changes = {"series_key": ["site"], "exogenous": ["temperature"]}
    trained = train(pd.concat(parts).sample(frac=1, random_state=1), tmp_path, ports=ports, days=100, **changes)
    window = Window(start=synthetic.START + 90 * DAY, end=synthetic.START + 100 * DAY)
    _, table = predict(trained, tmp_path, ports, window, **changes)
    assert list(table.columns[:3]) == ["time", "site", "prediction"]
    assert table.groupby("site").size().to_dict() == {"north": 240, "south": 240}
    means = table.groupby("site")["prediction"].mean()
    assert means["south"] > 1.5 * means["north"]


def test_seasonal_naive__can_be_the_model(tmp_path: Path) -> None:
    ports = synthetic.ports(tmp_path)
    trained = train(synthetic.load(120), tmp_path, ports=ports, model={"type": "seasonal_naive"})
    assert trained.metrics["mae"] == trained.metrics["naive_mae"]
    _, table = predict(trained, tmp_path, ports, Window(start=synthetic.START + 100 * DAY, end=synthetic.START + 120 * DAY))
    frame = synthetic.load(120).set_index("time")["load"]
    assert np.allclose(table["prediction"], frame.reindex(table["time"] - DAY))


@pytest.mark.parametrize(
    ("frequency", "horizon", "zone"),
    [
        ("1D", "P1D", "UTC"),
        ("1D", "P7D", "Europe/Amsterdam"),
        ("15min", "PT6H", "America/New_York"),
        ("1h", "P3D", "Asia/Kolkata"),
        ("6h", "P1D", "UTC"),
    ],
)
def test_train_and_predict__other_frequencies_horizons_and_zones(frequency: str, horizon: str, zone: str, tmp_path: Path) -> None:
    from mlsys.pipelines import durations

    ports = synthetic.ports(tmp_path)
    step = durations.parse_frequency(frequency)
    days = 400 if step >= DAY else 100
    changes = {"frequency": frequency, "horizon": horizon, "timezone": zone}
    trained = train(synthetic.load(days, step=step), tmp_path, ports=ports, days=days, **changes)
    assert validation.judge(trained.evaluation, spec_of().definition["validation"], champion_expected=None).decision in (
        "accepted",
        "rejected",
    )
    _, table = predict(
        trained, tmp_path, ports, Window(start=synthetic.START + (days - 10) * DAY, end=synthetic.START + days * DAY), **changes
    )
    assert len(table) == 10 * DAY // step
    assert np.isfinite(table["prediction"]).all()
    assert (table["issued_at"] <= table["time"]).all()
