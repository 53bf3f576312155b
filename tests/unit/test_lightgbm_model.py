import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys import errors
from mlsys.pipelines.models.lightgbm import FittedLightGBM, LightGBM

CHANCE = np.random.default_rng(3)


def data(rows: int = 2000) -> tuple[pd.DataFrame, "pd.Series[float]"]:
    time = pd.date_range("2021-01-01", periods=rows, freq="1h", tz="UTC")
    chance = np.random.default_rng(3)
    frame = pd.DataFrame(chance.normal(size=(rows, 3)), columns=["a", "b", "c"], index=time)
    frame["key.site"] = pd.Categorical.from_codes(chance.integers(-1, 3, rows), categories=pd.Index(["x", "y", "z"]))
    frame.loc[frame.index[::17], "b"] = np.nan
    target = 2 * frame["a"] + frame["key.site"].cat.codes * 5 + chance.normal(0, 0.1, rows)
    return frame, target


def fit(*, threads: int = 1, reporter: Any = None, **params: Any) -> FittedLightGBM:
    frame, target = data()
    return LightGBM(params={"num_iterations": 20, "seeds": 2, **params}).fit(
        frame, target, reporter=reporter or synthetic.Listener(), threads=threads
    )


def stored(model: FittedLightGBM) -> str:
    return json.dumps(model.to_data(), sort_keys=True, allow_nan=False)


def test_lightgbm__is_the_same_to_the_byte_on_one_and_two_threads() -> None:
    assert stored(fit(threads=1)) == stored(fit(threads=2))


def test_lightgbm__reads_back_to_the_same_forecast_and_the_same_bytes() -> None:
    model, (frame, _) = fit(), data()
    again = LightGBM().load(json.loads(stored(model)))
    assert again.predict(frame).equals(model.predict(frame))
    assert stored(again) == stored(model)


def test_lightgbm__stores_no_thread_count_and_no_path() -> None:
    text = stored(fit())
    assert "num_threads" not in text
    assert "parameters:" not in text


def test_lightgbm__learns_from_numbers_and_categories() -> None:
    frame, target = data()
    error = (fit(num_iterations=200).predict(frame)["prediction"] - target).abs().mean()
    assert error < 0.5 * (target - target.median()).abs().mean()


def test_lightgbm__seeds_make_different_trees_and_their_mean_is_the_forecast() -> None:
    both, first = fit(seed=5), fit(seed=5, seeds=1)
    trees = both.to_data()["trees"]
    assert trees[0] == first.to_data()["trees"][0]
    assert trees[0] != trees[1]
    assert stored(fit(seed=6)) != stored(both)


def test_lightgbm__an_alias_means_the_same() -> None:
    assert stored(fit(num_iterations=20)) == stored(
        LightGBM(params={"n_estimators": 20, "seeds": 2}).fit(*data(), reporter=synthetic.Listener())
    )


def test_lightgbm__small_data_gets_small_leaves() -> None:
    frame, target = data(200)
    model = LightGBM(params={"num_iterations": 20, "seeds": 1}).fit(frame, target, reporter=synthetic.Listener())
    assert model.to_data()["params"]["min_child_samples"] == 5
    assert model.predict(frame)["prediction"].nunique() > 10


def test_lightgbm__tells_its_progress_to_the_end() -> None:
    listener = synthetic.Listener()
    fit(reporter=listener, num_iterations=60)
    assert listener.steps == [("fit", done, 120) for done in range(1, 121)]


def test_lightgbm__stops_when_asked_to() -> None:
    listener = synthetic.Listener(stop_at="fit")
    with pytest.raises(errors.Cancelled):
        fit(reporter=listener, num_iterations=100)
    assert listener.steps == [("fit", 1, 200)]


def test_lightgbm__refuses_other_columns_than_it_was_trained_on() -> None:
    frame, _ = data()
    with pytest.raises(errors.BadData):
        fit().predict(frame[["b", "a", "c", "key.site"]])


def test_lightgbm__data_without_trees_is_damaged() -> None:
    for trees in ([], ["not trees"]):
        with pytest.raises(errors.DamagedArtifact):
            LightGBM().load({**fit().to_data(), "trees": trees})


def test_sources__no_pickle_anywhere() -> None:
    package = Path(__file__).parents[2] / "mlsys"
    words = (
        "import pickle",
        "import joblib",
        "import dill",
        "cloudpickle",
        "import shelve",
        "import marshal",
        "allow_pickle=True",
        "read_pickle",
    )
    guilty = [file.name for file in package.rglob("*.py") if any(word in file.read_text() for word in words)]
    assert len(list(package.rglob("*.py"))) > 40
    assert guilty == []
