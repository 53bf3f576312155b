"""Bodies of rows: JSON arrays cut at any byte, what each type of body may hold, and how much of it."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsys import errors
from mlsys.records import DataColumn, Dataset
from mlsys.timetravel import arrivals, declaring, json_rows

PLANT = Dataset(
    name="plant",
    timestamp="time",
    series_key=("site",),
    columns=tuple(
        DataColumn(name=name, type=type)
        for name, type in {
            "time": "timestamp",
            "site": "text",
            "power": "number",
            "count": "integer",
            "ok": "boolean",
            "seen": "timestamp",
        }.items()
    ),
)
ROW = {"time": "2020-01-01T00:00:00Z", "site": "a", "power": 1.5, "count": 3, "ok": True, "seen": "2020-01-01T01:00:00+01:00"}


class Dripping(io.BytesIO):
    """Gives no more than ``size`` bytes at once."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self._size, size) if size is not None and size > 0 else self._size)


texts = st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "},{", "[", ",", "\n", "\\\\", "]"])
objects = st.lists(st.dictionaries(texts, texts | st.none() | st.integers() | st.booleans(), max_size=3), min_size=1, max_size=8)


@given(found=objects, size=st.integers(1, 40), indent=st.sampled_from([None, 1]), wrapped=st.booleans(), ascii=st.booleans())
def test_array__is_cut_between_its_objects(found: list[Any], size: int, indent: int | None, wrapped: bool, ascii: bool) -> None:
    text = json.dumps({"rows": found} if wrapped else found, indent=indent, ensure_ascii=ascii)
    body = b"" + text.encode()
    opening = Dripping(body, max(size, 40))  # the opening is looked at in one piece
    lines = b"".join(json_rows.lines_of_array(opening)).split(b"\n")
    assert [json.loads(line) for line in lines if line.strip()] == found


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize(
    "body",
    [
        "[{}{}]",
        "[{},,{}]",
        "[,{}]",
        "[{},]",
        "[{}",
        "[{}]]",
        "[{}] x",
        '{"rows": [{}]',
        '{"rows": [{}]}}',
        "{}",
        "5",
        "",
        "[[]]",
    ],
)
def test_array__that_is_none_is_refused(body: str, size: int) -> None:
    with pytest.raises(errors.Malformed):
        b"".join(json_rows.lines_of_array(Dripping(body.encode(), max(size, 12))))


def tables(body: bytes, type: str = arrivals.JSON, *, size: int = 1000, dataset: Dataset = PLANT, max_rows: int = 100) -> pa.Table:
    arrival = arrivals.read(Dripping(body, size), type, dataset, max_rows=max_rows, spool=Path("/tmp"))
    return pa.concat_tables(arrival.tables)


def test_json__types_are_the_data_sets() -> None:
    table = tables(json.dumps([ROW, {"site": "b", "time": "2020-01-01T00:00:00+02:00", "power": 2}]).encode())
    assert table.column_names == ["time", "site", "power", "count", "ok", "seen"]
    assert table.schema.types == [pa.timestamp("us", "UTC"), pa.string(), pa.float64(), pa.int64(), pa.bool_(), pa.timestamp("us", "UTC")]
    assert [str(value) for value in table["time"].to_pylist()] == ["2020-01-01 00:00:00+00:00", "2019-12-31 22:00:00+00:00"]
    assert table["power"].to_pylist() == [1.5, 2.0]
    assert table["count"].to_pylist() == [3, None]


@pytest.mark.parametrize("kind", [arrivals.JSON, arrivals.NDJSON])
@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"power": "1.5"}, "power"), ({"power": True}, "power"), ({"power": [1]}, "power"), ({"count": 1.5}, "count"),
        ({"count": 2**63}, "count"),
        ({"ok": 1}, "ok"), ({"site": 5}, "site"), ({"site": None}, "site"), ({"time": 5}, "time"), ({"time": "2020-01-01T25:00Z"}, "time"),
        ({"seen": "now"}, "seen"), ({"fog": 1}, "fog"), ({"power": float("nan")}, "power"), ({"power": float("inf")}, "power"),
        ({"site": "x" * 5000}, "site"),
    ],
)  # fmt: skip
def test_json__value_that_does_not_fit_names_its_column_and_row(change: dict[str, Any], column: str, kind: str) -> None:
    rows = [ROW, ROW | {"site": "b"} | change]
    body = json.dumps(rows) if kind == arrivals.JSON else "\n".join(json.dumps(row) for row in rows)
    with pytest.raises((errors.Invalid, errors.Malformed)) as caught:
        tables(body.encode(), kind)
    if isinstance(caught.value, errors.Invalid):
        assert list(caught.value.fields) == [column]
    assert "ow" in str(caught.value)


@pytest.mark.parametrize("body", ['["a"]', "[1]", "[{},1]", "[null]"])
def test_array__of_other_things_is_refused(body: str) -> None:
    with pytest.raises((errors.Malformed, errors.Invalid)):
        tables(body.encode())


@pytest.mark.parametrize("body", [b'{"time": 1', b"\xff\xfe", b'{"a": "\xff"}', b"5", b'{"time": "x"} junk'])
def test_ndjson__that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises((errors.Malformed, errors.Invalid)):
        tables(body, arrivals.NDJSON)


def test_body__more_rows_than_allowed() -> None:
    frame = pa.Table.from_pylist([ROW | {"site": str(n)} for n in range(101)])
    sink = io.BytesIO()
    pq.write_table(frame, sink)
    for body, kind in ((json.dumps(frame.to_pylist()).encode(), arrivals.JSON), (sink.getvalue(), arrivals.PARQUET)):
        with pytest.raises(errors.TooLarge):
            tables(body, kind, size=10**6)


def test_row__longer_than_any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 2000)
    with pytest.raises(errors.TooLarge):
        tables(b'[{"time": "' + b"x" * 10_000)
    with pytest.raises(errors.TooLarge):
        tables(b'{"time": "' + b"x" * 10_000, arrivals.NDJSON)


def test_parquet__long_texts_are_not_unpacked() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), ["x" * 1_000_000])
    frame = pa.Table.from_pylist([ROW] * 100).set_column(1, "site", column.cast(pa.string()))
    sink = io.BytesIO()
    pq.write_table(frame, sink, compression="zstd")
    assert len(sink.getvalue()) < 20_000
    with pytest.raises(errors.Invalid, match="1000000 bytes"):
        tables(sink.getvalue(), arrivals.PARQUET, size=10**6)


def test_parquet__nan_is_missing_and_other_types_are_refused() -> None:
    frame = pa.Table.from_pylist([ROW]).set_column(2, "power", pa.array([float("nan")]))
    sink = io.BytesIO()
    pq.write_table(frame, sink)
    assert tables(sink.getvalue(), arrivals.PARQUET, size=10**6)["power"].null_count == 1
    sink = io.BytesIO()
    pq.write_table(frame.set_column(2, "power", pa.array([b"1"])), sink)
    with pytest.raises(errors.Invalid, match="power"):
        tables(sink.getvalue(), arrivals.PARQUET, size=10**6)


def test_csv__missing_values_and_line_ends() -> None:
    body = b"time,site,power,count,ok,seen\r\n2020-01-01T00:00:00Z,a,NaN,,true,\r\n2020-01-01T00:00:00Z,b,1e3,7,false,2020-01-01\r\n"
    dataset = replace(PLANT, columns=PLANT.columns)
    table = tables(body, arrivals.CSV, dataset=dataset, size=7)
    assert table["power"].to_pylist() == [None, 1000.0]
    assert table["count"].to_pylist() == [None, 7]
    assert table["ok"].to_pylist() == [True, False]


def test_first_rows__decide_the_columns() -> None:
    bare = replace(PLANT, columns=None)
    for kind, body in (
        (arrivals.JSON, json.dumps([ROW]).encode()),
        (arrivals.CSV, b"time,site,power,count,ok,seen\n2020-01-01,a,1,3,true,2020-01-02\n"),
    ):
        arrival = arrivals.read(io.BytesIO(body), kind, bare, max_rows=10, spool=Path("/tmp"))
        found = {column.name: column.type for column in arrival.dataset.columns or ()}
        assert found | {"seen": ""} == {
            "time": "timestamp",
            "site": "text",
            "power": "number",
            "count": "number",
            "ok": "boolean",
            "seen": "",
        }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "../x"}, "name"), ({"timestamp": ""}, "timestamp"), ({"timezone": "Mars"}, "timezone"),
        ({"series_key": ["a", "a"]}, "series_key"),
        ({"columns": {"x": "matrix"}}, "columns.x"), ({"columns": {"X": "number", "x": "number"}}, "columns.x"),
        ({"columns": {"_mlsys_file": "number"}}, "columns._mlsys_file"), ({"columns": {"time": "number"}}, "columns.time"),
        ({"columns": {"created_at": "timestamp"}}, "created_at"), ({"created_at": "time"}, "created_at"),
        ({"series_key": ["time"]}, "columns.time"),
    ],
)  # fmt: skip
def test_declaration__names_what_is_wrong(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        declaring.declare(**({"name": "plant", "timestamp": "time"} | changes))
    assert field in caught.value.fields
