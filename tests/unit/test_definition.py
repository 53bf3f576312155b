import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from mlsys import errors
from mlsys.pipelines import definition, durations

MINIMAL = {"source": {"type": "parquet", "path": "solar.parquet"}, "timestamp": "time", "target": "power"}


def fields(**changes: Any) -> dict[str, list[str]]:
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise({**MINIMAL, **changes})
    return caught.value.fields


def test_normalise__three_keys_are_enough() -> None:
    found = definition.normalise(MINIMAL)
    assert found["model"] == {"type": "lightgbm", "params": {}, "quantiles": []}
    assert (found["frequency"], found["horizon"], found["timezone"]) == ("15min", "P1D", "UTC")
    assert definition.features(found) == {"calendar": {}, "exogenous": {}, "lags": {}}
    assert found["validation"]["max_ratio"] == 1.1
    assert found["destination"] == {"type": "parquet"}


def test_normalise__is_plain_data_and_changes_nothing_the_second_time() -> None:
    found = definition.normalise(
        {**MINIMAL, "exogenous": ("a", "b"), "frequency": "PT60M", "features": {"solar": {"latitude": 51, "longitude": 4.5}}}
    )
    assert json.loads(json.dumps(found)) == found
    assert definition.normalise(found) == found
    assert found["frequency"] == "1h"


def test_normalise__names_what_is_missing_and_what_is_meant() -> None:
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise({"source": {"type": "parquet"}, "timestmp": "time"})
    assert set(caught.value.fields) == {"timestmp", "timestamp", "target"}
    assert "did you mean 'timestamp'" in caught.value.fields["timestmp"][0]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": {}}, "source.type"),
        ({"source": {"type": "parkuet"}}, "source.type"),
        ({"source": ["parquet"]}, "source"),
        ({"timestamp": ""}, "timestamp"),
        ({"timestamp": "issued_at"}, "timestamp"),
        ({"target": 5}, "target"),
        ({"target": "time"}, "target"),
        ({"exogenous": "wind"}, "exogenous"),
        ({"exogenous": ["wind", "wind"]}, "exogenous"),
        ({"exogenous": ["power"]}, "exogenous"),
        ({"series_key": ["run_id"]}, "series_key"),
        ({"series_key": [1]}, "series_key.0"),
        ({"frequency": "15 bananas"}, "frequency"),
        ({"frequency": "7h"}, "frequency"),
        ({"frequency": "0min"}, "frequency"),
        ({"frequency": 15}, "frequency"),
        ({"timezone": "Europe/Amsterdm"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"horizon": "1 day"}, "horizon"),
        ({"horizon": "P1DT12H"}, "horizon"),
        ({"horizon": "P1M"}, "horizon"),
        ({"horizon": "PT20M"}, "horizon"),
        ({"frequency": "7D", "horizon": "P1D"}, "horizon"),
        ({"features": {"clendar": True}}, "features.clendar"),
        ({"features": {"lags": "yes"}}, "features.lags"),
        ({"features": {"lags": {"days": 3}}}, "features.lags.days"),
        ({"features": {"lags": {"at": ["a day"]}}}, "features.lags.at"),
        ({"features": {"lags": {"at": "P1D"}}}, "features.lags.at"),
        ({"features": {"lags": {"windows": [0]}}}, "features.lags.windows"),
        ({"features": {"lags": {"at": ["P2D", "PT12H"]}}}, "features.lags.at.PT12H"),
        ({"features": {"lags": {"at": ["P2D"]}}, "horizon": "P7D"}, "features.lags.at.P2D"),
        ({"features": {"exogenous": {"known": {"wind": "PT0S"}}}, "exogenous": ["wind"]}, "features.exogenous.known.wind"),
        ({"features": {"exogenous": {"known": {"wind": "soon"}}}}, "features.exogenous.known.wind"),
        ({"features": {"exogenous": {"known": {"wind": "P2D"}}}, "exogenous": ["sun"]}, "features.exogenous.known.wind"),
        ({"features": {"calendar": {"holidays": "Atlantis"}}}, "features.calendar.holidays"),
        ({"features": {"calendar": {"holidays": "DE-XX"}}}, "features.calendar.holidays"),
        ({"features": {"solar": {"longitude": 4}}}, "features.solar.latitude"),
        ({"features": {"solar": {"latitude": 91, "longitude": 0}}}, "features.solar.latitude"),
        ({"features": {"solar": {"latitude": float("nan"), "longitude": 0}}}, "features.solar.latitude"),
        ({"features": {"calendar": False, "lags": False, "exogenous": False}}, "features"),
        ({"checks": {"gap": True}}, "checks.gap"),
        ({"checks": {"completeness": {"minimum": 2}}}, "checks.completeness.minimum"),
        ({"model": {"type": "prophet"}}, "model.type"),
        ({"model": {"kind": "lightgbm"}}, "model.kind"),
        ({"model": {"params": {"learning_rat": 0.1}}}, "model.params.learning_rat"),
        *(
            ({"model": {"quantiles": levels}}, "model.quantiles")
            for levels in (0.5, "0.5", [0], [1.0], [-0.1], [0.1, 0.1], ["P10"], [True], None)
        ),
        ({"timestamp": "quantile_P10"}, "timestamp"),
        ({"model": {"tuning": {"trials": 0}}}, "model.tuning.trials"),
        ({"model": {"tuning": {}}}, "model.tuning.trials"),
        ({"model": {"tuning": {"trails": 3}}}, "model.tuning.trails"),
        ({"model": {"tuning": True}}, "model.tuning"),
        ({"model": {"type": "climatology", "tuning": {"trials": 3}}}, "model.tuning"),
        ({"model": {"type": "seasonal_naive"}, "features": {"lags": False}}, "features.lags"),
        ({"validation": {"max_ratio": "big"}}, "validation.max_ratio"),
        ({"validation": {"min_day": 3}}, "validation.min_day"),
        ({"destination": {"type": "tape"}}, "destination.type"),
    ],
)
def test_normalise__names_the_wrong_field(changes: dict[str, Any], field: str) -> None:
    found = fields(**changes)
    assert set(found) == {field}
    assert found[field][0].endswith(".")


def test_normalise__tells_of_all_wrong_fields_at_once() -> None:
    assert set(fields(frequency="x", timezone="y", model={"params": {"seed": -1}})) == {"frequency", "timezone", "model.params.seed"}


def test_normalise__a_feature_is_switched_off_by_false() -> None:
    found = definition.normalise({**MINIMAL, "features": {"lags": False, "solar": {"latitude": 1, "longitude": 2}}})
    assert set(definition.features(found)) == {"calendar", "exogenous", "solar"}


def test_layout__reads_the_columns_meaning() -> None:
    found = definition.layout(definition.normalise({**MINIMAL, "frequency": "1D", "series_key": ["site"], "exogenous": []}))
    assert (found.frequency, found.horizon, found.series_key, found.exogenous) == (timedelta(days=1), timedelta(days=1), ("site",), ())
    assert definition.layout(definition.layout_data(found)) == found


@pytest.mark.parametrize(
    ("source", "file_path", "expected"),
    [
        ({"type": "parquet", "path": "old.pq"}, "new.parquet", {"type": "parquet", "path": "new.parquet"}),
        ({"type": "csv", "path": "old.csv", "decimal": ","}, "new.csv", {"type": "csv", "path": "new.csv", "decimal": ","}),
        ({"type": "csv", "path": "old.csv", "decimal": ","}, "folder", {"type": "csv", "path": "folder", "decimal": ","}),
        ({"type": "csv", "path": "old.csv", "decimal": ","}, "new.PQ", {"type": "parquet", "path": "new.PQ"}),
        ({"type": "sql", "connection": "main", "table": "t"}, "new.csv", {"type": "csv", "path": "new.csv"}),
        ({"type": "sql", "connection": "main", "table": "t"}, "folder.of/2017", {"type": "parquet", "path": "folder.of/2017"}),
    ],
)
def test_with_request__a_file_takes_the_sources_place(source: dict[str, Any], file_path: str, expected: dict[str, Any]) -> None:
    base = definition.normalise({**MINIMAL, "source": source})
    assert definition.with_request(base, file_path=file_path)["source"] == expected
    assert base["source"] == source


def test_with_request__params_lie_over_the_definitions() -> None:
    base = definition.normalise({**MINIMAL, "model": {"params": {"seed": 1, "num_leaves": 7}}})
    found = definition.with_request(base, params={"seed": 2, "n_estimators": 20})
    assert found["model"]["params"] == {"seed": 2, "num_leaves": 7, "n_estimators": 20}
    assert base["model"]["params"] == {"seed": 1, "num_leaves": 7}
    assert definition.normalise(found) == found


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": 0}, {"learning_rate": 1.01}, {"learning_rate": float("nan")}, {"learning_rate": "0.1"}, {"num_leaves": 31.0},
        {"num_leaves": True}, {"num_leaves": 1}, {"seed": 1.5}, {"seed": None}, {"objective": "l1 num_leaves=2"}, {"objective": "quantile"},
        {"output_model": "/tmp/x"}, {"num_threads": 4}, {"lambda_l2": float("inf")}, {"feature_fraction": [0.5]}, {"seed": 10**400},
    ],
)  # fmt: skip
def test_with_request__refuses_a_parameter_by_name(params: dict[str, Any]) -> None:
    with pytest.raises(errors.Invalid) as caught:
        definition.with_request(definition.normalise(MINIMAL), params=params)
    assert set(caught.value.fields) == {f"params.{next(iter(params))}"}


def test_definition__imports_no_heavy_library() -> None:
    code = (
        "import sys; from mlsys.pipelines import definition as d;"
        "features = {'solar': {'latitude': 51, 'longitude': 4}, 'lags': {'at': ['P1D']}, 'exogenous': {'known': {'wind': 'P2D'}}};"
        f"d.normalise({{**{MINIMAL!r}, 'features': features}});"
        "print([m for m in ('pandas', 'numpy', 'pyarrow', 'lightgbm', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["P1D", "PT6H", "P7DT12H", "-P365D", "PT0S", "PT15M", "PT30S"])
def test_durations__round_trip(text: str) -> None:
    assert durations.format_duration(durations.parse_duration(text)) == text


@pytest.mark.parametrize("text", ["P", "PT", "1D", "P1Y", "P1.5D", "P-1D", "P99999999999D", "", "P1DT"])
def test_durations__refuse_what_has_no_fixed_length(text: str) -> None:
    with pytest.raises(ValueError):
        durations.parse_duration(text)
