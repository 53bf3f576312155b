"""What counts as identical, as equal within something, and which difference is told first."""

import json
from typing import Any

import pyarrow as pa
import pytest

from mlsys import errors
from mlsys.execution import evidence
from mlsys.pipelines import comparing

KEYS = ("timestamp", "site")


def table(**changes: Any) -> pa.Table:
    columns = {"timestamp": [1, 1, 2], "site": ["a", "b", "a"], "prediction": [1.0, float("nan"), 3.0], "quality": ["ok"] * 3}
    return pa.table(columns | changes)


def test_rows__in_another_order_with_other_ids_are_identical() -> None:
    other = table(run_id=["x"] * 3).take([2, 0, 1])
    assert comparing.rows(table(run_id=["y"] * 3), other, KEYS) == {"verdict": "identical"}


def test_rows__that_differ_by_rounding_are_equal_within_the_largest_difference() -> None:
    found = comparing.rows(table(), table(prediction=[1.0 + 1e-9, float("nan"), 3.0 - 2e-9]), KEYS)
    assert found["verdict"] == "equal_within"
    assert found["max_difference"] == pytest.approx(2e-9, rel=1e-3)
    assert (found["column"], found["key"]) == ("prediction", {"timestamp": 2, "site": "a"})


@pytest.mark.parametrize(
    ("changes", "column", "row", "recorded", "replayed"),
    [
        ({"prediction": [1.0, float("nan"), 3.1]}, "prediction", 2, 3.0, 3.1),
        ({"prediction": [1.0, 0.0, 3.1], "quality": ["bad", "ok", "ok"]}, "quality", 0, "ok", "bad"),
        ({"prediction": [1.0, 0.0, 3.0]}, "prediction", 1, "nan", 0.0),
        ({"timestamp": [1, 1, 3]}, "timestamp", 2, "2", "3"),
        ({"quantile_P10": [1.0] * 3}, "quantile_P10", 0, False, True),
    ],
)
def test_rows__tells_the_first_difference(changes: Any, column: str, row: int, recorded: Any, replayed: Any) -> None:
    found = comparing.rows(table(), table(**changes), KEYS)
    told = found["first_difference"]
    assert found["verdict"] == "different"
    assert (told["column"], told["row"], told["recorded"], told["replayed"]) == (column, row, recorded, replayed)


def test_rows__fewer_differ_where_they_end() -> None:
    for one, other in ((table(), table().slice(0, 2)), (table().slice(0, 2), table())):
        found = comparing.rows(one, other, KEYS)["first_difference"]
        assert (found["row"], found["column"], found["key"]) == (2, "timestamp", {"timestamp": 2, "site": "a"})


def model(trees: str, **changes: Any) -> bytes:
    return json.dumps({"fitted": {"trees": trees, "start": 0.5}, "columns": ["a", "b"], "clip": [0.0, None]} | changes).encode()


TREES = "tree\nversion=v4\ntree_sizes=10\n\nTree=0\nleaf_value=1.5 2.5\nthreshold=1 2\n"


def test_models__by_their_trees() -> None:
    assert comparing.models(model(TREES), model(TREES)) == {"verdict": "identical"}
    near = comparing.models(model(TREES), model(TREES.replace("2.5", "2.5000000001").replace("=10", "=20")))
    assert (near["verdict"], near["column"], near["row"]) == ("equal_within", "fitted.trees tree 0 leaf_value", 1)
    far = comparing.models(model(TREES), model(TREES.replace("1 2", "1 3")))
    assert far["first_difference"] == {"column": "fitted.trees tree 0 threshold", "row": 1, "recorded": 2.0, "replayed": 3.0}
    other = comparing.models(model(TREES), model(TREES, columns=["a", "c"]))
    assert other["first_difference"]["column"] == "columns"
    more = comparing.models(model(TREES), model(TREES + "Tree=1\nleaf_value=1\n"))
    assert more["first_difference"]["column"] == "fitted.trees tree 1 leaf_value"


def test_read_rows__that_are_no_parquet_are_damage() -> None:
    with pytest.raises(errors.DamagedArtifact):
        comparing.read_rows(b"nothing")


def test_libraries_changed__names_those_installed_and_not_what_was_chosen() -> None:
    recorded = {"python": "3.11.1", "lightgbm": "4.7", "threads": 1, "dtype": "float64", "model": {}, "gone": "1"}
    present = {"python": "3.11.1", "lightgbm": "4.8", "threads": 2, "dtype": "float64", "model": {"a": 1}}
    assert [(c["name"], c["recorded"], c["present"]) for c in evidence.libraries_changed(recorded, present)] == [
        ("lightgbm", "4.7", "4.8"),
        ("gone", "1", None),
    ]


def test_files_changed__are_those_that_look_otherwise_or_else_all() -> None:
    old = [{"name": name, "size": 1, "modified_ns": "1"} for name in ("a", "b")]
    assert evidence.files_changed(old, [old[0], old[1] | {"size": 2}]) == ["b"]
    assert evidence.files_changed(old, [old[0]]) == ["b"]
    assert evidence.files_changed(old, old) == ["a", "b"]
