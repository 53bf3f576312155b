"""What the trees learn is decided on the training rows: the change where there is a trend, else level and change together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys.pipelines import artifact, featurise, forecaster, forms, settling
from mlsys.records import Layout

LAYOUT = synthetic.layout(exogenous=(), frequency=pd.Timedelta("1D").to_pytimedelta())
RECIPE: dict[str, Any] = {"type": "lightgbm", "params": {"num_iterations": 60, "seeds": 2}, "quantiles": []}


def daily(days: int, *, trend: float, offset: float = 0.0) -> pd.DataFrame:
    chance = np.random.default_rng(5)
    time = pd.date_range("2015-01-01", periods=days, freq="1D", tz="UTC").as_unit("us")
    week = 5 * np.sin(2 * np.pi * np.arange(days) / 7)
    return pd.DataFrame({"time": time, "load": offset + trend * np.arange(days) + week + chance.normal(0, 0.5, days)})


def features(frame: pd.DataFrame, tmp_path: Path, layout: Layout = LAYOUT) -> tuple[featurise.Setup, featurise.Features]:
    series = featurise.split(frame, layout)
    setup = featurise.learn(series, layout, {"calendar": {}, "lags": {}}, synthetic.ports(tmp_path))
    return setup, featurise.featurise(series, setup, lambda _key, one: pd.DatetimeIndex(one.index))


def fit(setup: featurise.Setup, rows: featurise.Features, tmp_path: Path, recipe: dict[str, Any]) -> forecaster.Forecaster:
    ports = synthetic.ports(tmp_path)
    model = artifact.build_model(recipe, ports)
    return forecaster.fit(rows, setup=setup, recipe=recipe, model=model, reporter=ports.reporter, threads=1)


@pytest.mark.parametrize(("trend", "expected"), [(1.0, forms.DIFFERENCE), (0.0, None)])
def test_settle__a_trend_asks_for_the_change(trend: float, expected: str | None, tmp_path: Path) -> None:
    _, rows = features(daily(400, trend=trend), tmp_path)
    settled = settling.settle(RECIPE, rows, synthetic.ports(tmp_path))
    assert settled["params"]["num_iterations"] == 60
    assert settled["params"]["form"] in ([expected] if expected else [forms.LEVEL, forms.BOTH])
    assert settling.settle(RECIPE, rows, synthetic.ports(tmp_path)) == settled


def test_settle__what_the_user_says_stays(tmp_path: Path) -> None:
    _, rows = features(daily(400, trend=1.0), tmp_path)
    recipe = {**RECIPE, "params": {"form": "level", "num_iterations": 20}}
    assert settling.settle(recipe, rows, synthetic.ports(tmp_path)) == recipe


def test_forecaster__follows_a_trend_beyond_what_it_saw(tmp_path: Path) -> None:
    setup, rows = features(daily(430, trend=1.0), tmp_path)
    early = np.arange(len(rows)) < 380
    recipe = settling.settle({**RECIPE, "quantiles": [0.1, 0.9]}, rows.take(early), synthetic.ports(tmp_path))
    found = fit(setup, rows.take(early), tmp_path, recipe).predict(rows.take(~early))
    late = rows.target[~early]
    assert np.abs(found["prediction"] - late).mean() < np.abs(rows.reference[~early] - late).mean()
    assert found["prediction"].max() > rows.target[early].max() + 20
    assert ((found["quantile_P10"] <= late) & (late <= found["quantile_P90"])).mean() > 0.6


def test_forecaster__what_never_was_negative_stays_so(tmp_path: Path) -> None:
    frame = daily(300, trend=0.0).assign(load=lambda f: f["load"].clip(lower=0))
    setup, rows = features(frame, tmp_path)
    recipe = {**RECIPE, "params": {"form": "difference", "num_iterations": 30}, "quantiles": [0.05, 0.95]}
    found = fit(setup, rows, tmp_path, recipe).predict(rows)
    assert found.to_numpy().min() >= 0


@pytest.mark.parametrize("form", [forms.LEVEL, forms.DIFFERENCE, forms.BOTH])
def test_artifact__every_form_reads_back_the_same(form: str, tmp_path: Path) -> None:
    setup, rows = features(daily(200, trend=0.3), tmp_path)
    fitted = fit(setup, rows, tmp_path, {**RECIPE, "params": {"form": form, "num_iterations": 15}, "quantiles": [0.25, 0.5, 0.75]})
    stored = artifact.to_bytes(fitted)
    again = artifact.from_bytes(stored, ports=synthetic.ports(tmp_path))
    assert again.predict(rows).equals(fitted.predict(rows))
    assert artifact.to_bytes(again) == stored
    assert fitted.predict(rows)["quantile_P50"].notna().all()


def test_artifact__one_of_an_earlier_release_still_forecasts(tmp_path: Path) -> None:
    setup, rows = features(daily(200, trend=0.0), tmp_path)
    fitted = fit(setup, rows, tmp_path, {**RECIPE, "params": {"form": forms.LEVEL, "num_iterations": 15}})
    content = json.loads(artifact.to_bytes(fitted))
    del content["reach"]
    content["model"]["params"].pop("form")
    content["fitted"]["params"].pop("form")
    again = artifact.from_bytes(json.dumps(content).encode(), ports=synthetic.ports(tmp_path))
    assert again.predict(rows).equals(fitted.predict(rows))


def test_members__both_take_turns() -> None:
    assert forms.members(forms.BOTH, 3) == [forms.LEVEL, forms.DIFFERENCE, forms.LEVEL]
    assert forms.members(forms.BOTH, 1) == [forms.LEVEL, forms.DIFFERENCE]
    assert forms.members(forms.LEVEL, 2) == [forms.LEVEL, forms.LEVEL]
