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
LEVELS = [0.1, 0.5, 0.9]
CONFIG: dict[str, dict[str, Any]] = {"calendar": {}, "exogenous": {}, "lags": {}}


def _class(name: str) -> type[base.Model]:
    return build.component_class(base.Model, name, field="model")


@pytest.fixture(params=build.available(base.Model))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> base.Model:
    return build.build(base.Model, {"type": request.param, **FAST.get(request.param, {})}, ports=synthetic.ports(tmp_path), field="model")


@pytest.fixture(params=[name for name in build.available(base.Model) if "quantiles" in build.option_parameters(_class(name))])
def probabilistic(request: pytest.FixtureRequest, tmp_path: Path) -> base.Model:
    """Every model that forecasts quantiles."""
    spec = {"type": request.param, **FAST.get(request.param, {}), "quantiles": LEVELS}
    return build.build(base.Model, spec, ports=synthetic.ports(tmp_path), field="model")


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
    assert {"climatology", "lightgbm", "seasonal_naive"} <= set(build.available(base.Model))


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


def test_model__that_explains_itself_adds_up_to_what_it_forecasts(model: base.Model, rows: featurise.Features) -> None:
    fitted, some = fit(model, rows), rows.frame.iloc[::17]
    gain, parts = fitted.gain(), fitted.contributions(some)
    if gain is not None:
        assert list(gain.index) == list(some.columns)
        assert (gain >= 0).all()
    if parts is not None:
        assert list(parts.columns) == [*some.columns, base.BASE]
        assert parts.sum(axis=1).to_numpy() == pytest.approx(fitted.predict(some)["prediction"].to_numpy())


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


def test_quantiles__are_numbers_in_order_for_every_row(probabilistic: base.Model, rows: featurise.Features) -> None:
    blank = rows.frame.copy()
    numbers = [name for name in blank.columns if not isinstance(blank[name].dtype, pd.CategoricalDtype)]
    blank.loc[blank.index[:48], numbers] = np.nan
    found = fit(probabilistic, rows).predict(blank)
    assert list(found.columns) == ["prediction", "quantile_P10", "quantile_P50", "quantile_P90"]
    assert np.isfinite(found.to_numpy()).all()
    assert (found["quantile_P10"] <= found["quantile_P90"]).all()
    assert (found["quantile_P10"] < found["quantile_P90"]).mean() > 0.9


def test_quantiles__read_back_to_the_same_forecast(probabilistic: base.Model, rows: featurise.Features) -> None:
    fitted = fit(probabilistic, rows)
    again = probabilistic.load(json.loads(stored(fitted)))
    assert again.predict(rows.frame).equals(fitted.predict(rows.frame))
    assert stored(again) == stored(fitted) == stored(fit(probabilistic, rows, threads=2))


def test_quantiles__cover_on_later_rows_what_they_say(probabilistic: base.Model, tmp_path: Path) -> None:
    layout = synthetic.layout()
    series = featurise.split(synthetic.load(150, seed=4), layout)
    setup = featurise.learn(series, layout, CONFIG, synthetic.ports(tmp_path))
    whole = featurise.featurise(series, setup, lambda _key, one: pd.DatetimeIndex(one.index))
    late = np.arange(len(whole)) >= 100 * 24
    found = fit(probabilistic, whole.take(~late)).predict(whole.take(late).frame)
    inside = (whole.target[late] >= found["quantile_P10"].to_numpy()) & (whole.target[late] <= found["quantile_P90"].to_numpy())
    assert 0.68 <= inside.mean() <= 0.92
