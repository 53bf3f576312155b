"""Every installed model, found by its entry point, keeps the contract of base.Model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys import errors
from mlsys.pipelines import base, build, featurise

FAST: dict[str, dict[str, Any]] = {"lightgbm": {"params": {"num_iterations": 10, "seeds": 2}}}
CONFIG: dict[str, dict[str, Any]] = {"calendar": {}, "exogenous": {}, "lags": {}}


@pytest.fixture(params=build.available(base.Model))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> base.Model:
    return build.build(base.Model, {"type": request.param, **FAST.get(request.param, {})}, ports=synthetic.ports(tmp_path), field="model")


@pytest.fixture
def rows(tmp_path: Path) -> featurise.Features:
    layout = synthetic.layout(series_key=("site",))
    frame = pd.concat([synthetic.load(50, seed=i).assign(site=site) for i, site in enumerate(("north", "south"))])
    series = featurise.split(frame, layout)
    setup = featurise.learn(series, layout, CONFIG, synthetic.ports(tmp_path))
    return featurise.featurise(series, setup, lambda _key, one: pd.DatetimeIndex(one.index))


def fit(model: base.Model, rows: featurise.Features, **options: Any) -> base.FittedModel:
    target = pd.Series(rows.target, index=rows.frame.index)
    return model.fit(rows.frame, target, **{"reporter": synthetic.Listener(), **options})


def stored(fitted: base.FittedModel) -> str:
    return json.dumps(fitted.to_data(), sort_keys=True, allow_nan=False)


def test_available__the_built_in_models_are_installed() -> None:
    assert {"lightgbm", "seasonal_naive"} <= set(build.available(base.Model))


def test_model__gives_a_finite_number_for_every_row(model: base.Model, rows: featurise.Features) -> None:
    found = fit(model, rows).predict(rows.frame)
    assert found["prediction"].dtype == np.float64
    assert len(found) == len(rows)
    assert np.isfinite(found["prediction"]).all()


def test_model__forecasts_rows_of_which_nothing_is_known(model: base.Model, rows: featurise.Features) -> None:
    blank = rows.frame.iloc[:48].copy()
    numbers = [name for name in blank.columns if not isinstance(blank[name].dtype, pd.CategoricalDtype)]
    blank[numbers] = np.nan
    assert np.isfinite(fit(model, rows).predict(blank)["prediction"]).all()


def test_model__forecasts_no_rows(model: base.Model, rows: featurise.Features) -> None:
    assert len(fit(model, rows).predict(rows.frame.iloc[:0])) == 0


def test_model__is_the_same_each_time_on_any_number_of_threads(model: base.Model, rows: featurise.Features) -> None:
    assert stored(fit(model, rows, threads=1)) == stored(fit(model, rows, threads=2))


def test_model__reads_back_to_the_same_forecast(model: base.Model, rows: featurise.Features) -> None:
    fitted = fit(model, rows)
    again = model.load(json.loads(stored(fitted)))
    assert again.predict(rows.frame).equals(fitted.predict(rows.frame))
    assert stored(again) == stored(fitted)


def test_model__does_not_change_its_input(model: base.Model, rows: featurise.Features) -> None:
    copy = rows.frame.copy()
    fit(model, rows).predict(rows.frame)
    pd.testing.assert_frame_equal(rows.frame, copy)


def test_model__can_be_stopped(model: base.Model, rows: featurise.Features) -> None:
    with pytest.raises(errors.Cancelled):
        fit(model, rows, reporter=synthetic.Listener(stop_at="fit"))


def test_model__is_better_than_a_constant(model: base.Model, rows: featurise.Features) -> None:
    error = np.abs(fit(model, rows).predict(rows.frame)["prediction"].to_numpy() - rows.target).mean()
    assert error < np.abs(rows.target - np.median(rows.target)).mean()
