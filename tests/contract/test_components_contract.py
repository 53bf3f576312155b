"""What every installed source and destination must do. Finds them by itself, through their entry points."""

import hashlib
import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest

from mlsys import errors
from mlsys.pipelines import build, columns, fingerprint, reading
from mlsys.pipelines.base import DataSource, Destination, Query
from mlsys.records import Layout, Window

LAYOUT = Layout(timestamp="when", target="power", series_key=("site",))
START = datetime(2020, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
WINDOW = Window(start=START + 5 * QUARTER, end=START + 20 * QUARTER)


def make_source(sample: Any, table: pa.Table) -> DataSource:
    sample.lay(table)
    return build.build(DataSource, sample.spec, ports=sample.ports, field="source")


def canonical(table: pa.Table) -> pa.Table:
    return fingerprint.sort(reading.normalise(table, LAYOUT).select(sorted(table.column_names)))


def test_components__are_installed() -> None:
    text = "no components are installed: pip install -e ."
    assert {"parquet", "csv", "sql"} <= set(build.available(DataSource)), text
    assert {"parquet", "sql_table"} <= set(build.available(Destination)), text


# sources


def test_source__schema_agrees_with_what_is_read(source_sample: Any, rows: pa.Table) -> None:
    source = make_source(source_sample, rows)
    schema, table = source.schema(), source.read(Query(layout=LAYOUT))
    assert set(schema.names) == set(table.column_names) == set(rows.column_names)
    assert [name for name in schema.names if columns.is_number(schema.field(name).type)] == ["power", "cloud"]
    assert reading.exogenous(source, LAYOUT) == ("cloud",)


def test_source__get_dataframe_holds_all_rows(source_sample: Any, rows: pa.Table) -> None:
    frame = make_source(source_sample, rows).get_dataframe()
    assert canonical(reading.select(frame, Query(layout=LAYOUT))).equals(canonical(rows))


@pytest.mark.parametrize("window", [None, WINDOW, Window(start=START - QUARTER, end=START + QUARTER)])
@pytest.mark.parametrize("names", [None, ("when", "site", "power"), ("cloud", "when", "site")])
def test_source__read_is_the_filtered_frame(
    source_sample: Any, rows: pa.Table, names: tuple[str, ...] | None, window: Window | None
) -> None:
    source = make_source(source_sample, rows)
    query = Query(layout=LAYOUT, columns=names, window=window)
    table = source.read(query)
    assert canonical(table).equals(canonical(reading.select(source.get_dataframe(), query)))
    assert canonical(table).equals(canonical(reading.cut(rows, query)))


def test_source__window_is_half_open(source_sample: Any, rows: pa.Table) -> None:
    table, used = reading.read(make_source(source_sample, rows), Query(layout=LAYOUT, window=WINDOW))
    assert (used.rows, used.start, used.end) == (30, WINDOW.start, WINDOW.end - QUARTER)
    assert table.num_rows == 30


def test_source__empty_window_gives_typed_columns_without_rows(source_sample: Any, rows: pa.Table) -> None:
    far = Window(start=START + timedelta(days=900), end=START + timedelta(days=901))
    source = make_source(source_sample, rows)
    table, used = reading.read(source, Query(layout=LAYOUT, window=far))
    assert (table.num_rows, used.rows, used.start) == (0, 0, None)
    assert table.schema.equals(reading.read(source, Query(layout=LAYOUT))[0].schema)


def test_source__all_give_the_same_rows_and_hash_in_any_order(source_sample: Any, rows: pa.Table) -> None:
    order = list(range(rows.num_rows))
    random.Random(5).shuffle(order)
    shuffled, used = reading.read(make_source(source_sample, rows.take(pa.array(order))), Query(layout=LAYOUT))
    expected = fingerprint.sort(reading.normalise(rows, LAYOUT).select(["when", "site", "power", "cloud"]), ("site", "when"))
    assert shuffled.equals(expected)
    assert shuffled.schema.types == [pa.timestamp("us", tz="UTC"), pa.string(), pa.float64(), pa.float64()]
    assert used.sha256 == fingerprint.sha256(expected)


def test_source__missing_column_is_named(source_sample: Any, rows: pa.Table) -> None:
    source = make_source(source_sample, rows)
    with pytest.raises(errors.MissingColumn, match=r"'powr'; did you mean 'power'\?.*cloud"):
        reading.read(source, Query(layout=replace(LAYOUT, target="powr"), window=WINDOW))
    with pytest.raises(errors.MissingColumn, match="'wen'; did you mean 'when'"):
        reading.read(source, Query(layout=replace(LAYOUT, timestamp="wen"), window=WINDOW))


def test_source__text_as_target_is_refused_by_its_name(source_sample: Any, rows: pa.Table) -> None:
    with pytest.raises(errors.WrongType, match=r"[Cc]olumn 'note'.*'calm, dry' is not a number"):
        reading.read(make_source(source_sample, rows), Query(layout=replace(LAYOUT, target="note")))


def test_source__known_at_takes_the_newest_row_known_by_then(source_sample: Any, rows: pa.Table) -> None:
    def version(day: int, factor: float) -> pa.Table:
        created = pa.array([START + timedelta(days=day)] * rows.num_rows, pa.timestamp("us", "UTC"))
        power = pa.array([None if value is None else value * factor for value in rows["power"].to_pylist()], pa.float64())
        return rows.set_column(2, "power", power).append_column("created_at", created)

    source = make_source(source_sample, pa.concat_tables([version(3, 100), version(1, 1), version(2, 10)]))
    layout = replace(LAYOUT, created_at="created_at", exogenous=("cloud",))

    def total(day: float | None) -> float:
        known_at = None if day is None else START + timedelta(days=day)
        table, _ = reading.read(source, Query(layout=layout, known_at=known_at, window=WINDOW))
        assert "created_at" not in table.column_names
        return float(sum(value for value in table["power"].to_pylist() if value is not None))

    once = total(1)
    assert once > 0
    assert (total(0.5), total(2), total(2.5), total(3), total(None)) == (0, 10 * once, 10 * once, 100 * once, 100 * once)


# destinations


def forecast(value: float, run_id: str = "run-1", count: int = 50) -> pa.Table:
    times = pa.array([START + QUARTER * n for n in range(count)], pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "timestamp": times,
            "site": pa.array(["007", "ü'\";--"] * (count // 2)),
            "prediction": pa.array([value] * count),
            "quantile_P10": pa.array([None, 0.1] * (count // 2)),
            "run_id": pa.array([run_id] * count),
        }
    )


def test_destination__rows_come_back_as_they_went(destination_sample: Any) -> None:
    destination = build.build(Destination, destination_sample.spec, ports=destination_sample.ports, field="destination")
    table = forecast(0.1)
    output = destination.write(table, model_name="m", run_id="run-1")
    found = destination_sample.fetch(output)
    assert fingerprint.sort(found.select(table.column_names).cast(table.schema)).equals(fingerprint.sort(table))


def test_destination__output_is_truthful(destination_sample: Any) -> None:
    destination = build.build(Destination, destination_sample.spec, ports=destination_sample.ports, field="destination")
    table = forecast(0.1)
    output = destination.write(table, model_name="m", run_id="run-1")
    assert output.rows == 50
    if output.uri.startswith("file://"):
        data = Path(unquote(urlsplit(output.uri).path)).read_bytes()
        assert output.sha256 == hashlib.sha256(data).hexdigest()
    else:
        found = destination_sample.fetch(output).select(table.column_names).cast(table.schema)
        assert output.sha256 == fingerprint.sha256(fingerprint.sort(found))


def test_destination__the_same_run_again_replaces_and_other_runs_stay(destination_sample: Any) -> None:
    destination = build.build(Destination, destination_sample.spec, ports=destination_sample.ports, field="destination")
    other = destination.write(forecast(7.0, "run-2"), model_name="m", run_id="run-2")
    first = destination.write(forecast(1.0), model_name="m", run_id="run-1")
    again = destination.write(forecast(1.0), model_name="m", run_id="run-1")
    assert again == first
    shorter = destination.write(forecast(2.0, count=10), model_name="m", run_id="run-1")
    assert shorter.uri == first.uri
    assert destination_sample.fetch(shorter)["prediction"].to_pylist() == [2.0] * 10
    assert destination_sample.fetch(other)["prediction"].to_pylist() == [7.0] * 50


def test_destination__no_rows_are_written_as_no_rows(destination_sample: Any) -> None:
    destination = build.build(Destination, destination_sample.spec, ports=destination_sample.ports, field="destination")
    destination.write(forecast(1.0), model_name="m", run_id="run-1")
    output = destination.write(forecast(1.0).slice(0, 0), model_name="m", run_id="run-1")
    assert (output.rows, destination_sample.fetch(output).num_rows) == (0, 0)


WRITER = """
import json, sys
from pathlib import Path
import pyarrow as pa
from mlsys.pipelines import build
from mlsys.pipelines.base import Destination, Ports
from mlsys.pipelines.files import DataRoots

spec, outputs, connections = json.loads(sys.argv[1])
ports = Ports(blobs=None, files=DataRoots([]), outputs=Path(outputs), reporter=None, connections=connections)
destination = build.build(Destination, spec, ports=ports, field="destination")
sys.path.insert(0, sys.argv[2])
from test_components_contract import forecast
tables = [forecast(float(value), count=20_000) for value in range(2, 6)]
print("ready", flush=True)
while True:
    for table in tables:
        destination.write(table, model_name="m", run_id="run-1")
"""


@pytest.mark.parametrize("delay", [0.02, 0.11, 0.35])
def test_destination__killed_while_writing_leaves_the_old_rows_or_the_new(destination_sample: Any, delay: float) -> None:
    ports = destination_sample.ports
    destination = build.build(Destination, destination_sample.spec, ports=ports, field="destination")
    output = destination.write(forecast(1.0, count=20_000), model_name="m", run_id="run-1")
    argument = json.dumps([dict(destination_sample.spec), str(ports.outputs), dict(ports.connections)])
    with subprocess.Popen([sys.executable, "-c", WRITER, argument, str(Path(__file__).parent)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        writer.kill()
    values = destination_sample.fetch(output)["prediction"].to_pylist()
    assert len(values) == 20_000
    assert len(set(values)) == 1
    assert destination.write(forecast(9.0), model_name="m", run_id="run-1").rows == 50
    assert set(destination_sample.fetch(output)["prediction"].to_pylist()) == {9.0}


def test_destination__refused_rows_leave_what_was_there(destination_sample: Any) -> None:
    """A table that cannot be stored, be it for its types: an error of ours, and the old rows stay."""
    destination = build.build(Destination, destination_sample.spec, ports=destination_sample.ports, field="destination")
    output = destination.write(forecast(1.0), model_name="m", run_id="run-1")
    broken = forecast(2.0).append_column("unplanned", pa.array([{"a": 1}] * 50))
    try:
        replaced = destination.write(broken, model_name="m", run_id="run-1")
    except errors.MlsysError:
        assert set(destination_sample.fetch(output)["prediction"].to_pylist()) == {1.0}
    else:
        assert set(destination_sample.fetch(replaced)["prediction"].to_pylist()) == {2.0}
