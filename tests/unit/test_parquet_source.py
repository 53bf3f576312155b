"""Parquet is read by need: columns and row groups; and what cannot be read says so by the file's name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlsys import errors
from mlsys.pipelines import reading
from mlsys.pipelines.base import Query
from mlsys.pipelines.files import DataRoots
from mlsys.pipelines.sources.parquet import ParquetSource
from mlsys.records import Layout, Window

LAYOUT = Layout(timestamp="t", target="y")
START = datetime(2020, 1, 1, tzinfo=UTC)
SOLAR = Path(__file__).parents[3] / "shared" / "data" / "solar-dataset.pq"


class CountingRoots(DataRoots):
    """Data roots whose open files count the bytes that are read."""

    bytes_read = 0

    def open_file(self, path: Path) -> IO[bytes]:
        roots, handle = self, super().open_file(path)

        class Counting:
            closed = False

            def read(self, size: int = -1) -> bytes:
                data = handle.read(size)
                roots.bytes_read += len(data)
                return data

            def __enter__(self) -> "Counting":
                return self

            def __exit__(self, *error: object) -> None:
                handle.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(handle, name)

        return Counting()  # type: ignore[return-value]


def hours(count: int) -> pa.Table:
    times = pa.array([START + timedelta(hours=n) for n in range(count)], pa.timestamp("us", tz="UTC"))
    noise = np.random.default_rng(0).random((3, count))
    return pa.table({"t": times, "y": np.arange(float(count)), "a": noise[0], "b": noise[1], "c": noise[2]})


def window(first: int, end: int) -> Window:
    return Window(start=START + timedelta(hours=first), end=START + timedelta(hours=end))


def source(tmp_path: Path, table: pa.Table, **options: Any) -> ParquetSource:
    pq.write_table(table, tmp_path / "d.parquet", **options)
    return ParquetSource(path="d.parquet", files=DataRoots([tmp_path]))


def values(found: ParquetSource, span: Window | None, layout: Layout = LAYOUT) -> list[float]:
    return list(reading.read(found, Query(layout=layout, columns=("y",), window=span))[0]["y"].to_pylist())


def test_read__touches_only_the_row_groups_and_columns_it_needs(tmp_path: Path) -> None:
    pq.write_table(hours(100_000), tmp_path / "d.parquet", row_group_size=5_000, compression="none", use_dictionary=False)
    whole = (tmp_path / "d.parquet").stat().st_size

    def cost(query: Query) -> float:
        roots = CountingRoots([tmp_path])
        table = ParquetSource(path="d.parquet", files=roots).read(query)
        assert table.num_rows == (100 if query.window else 100_000)
        return roots.bytes_read / whole

    footer = cost(Query(layout=LAYOUT, columns=("y",), window=window(50_000, 50_100))) - 2 / 5 / 20
    assert 0 <= footer < 0.03  # two of five columns of one group of twenty, and the footer
    assert 0.38 < cost(Query(layout=LAYOUT, columns=("t", "y"))) < 0.45
    assert cost(Query(layout=LAYOUT)) > 0.95


def test_schema__reads_the_footer_alone(tmp_path: Path) -> None:
    pq.write_table(hours(100_000), tmp_path / "d.parquet", row_group_size=50_000)
    roots = CountingRoots([tmp_path])
    assert ParquetSource(path="d.parquet", files=roots).schema().names == ["t", "y", "a", "b", "c"]
    assert 0 < roots.bytes_read < 100_000


@pytest.mark.parametrize("kind", [pa.timestamp(unit, tz) for unit in ("s", "ms", "us", "ns") for tz in ("UTC", "Asia/Tokyo", None)])
@pytest.mark.parametrize("span", [(0, 5), (9, 11), (10, 20), (95, 200), (-5, 1)])
def test_read__window_is_exact_for_every_unit_and_zone(tmp_path: Path, kind: pa.DataType, span: tuple[int, int]) -> None:
    table = hours(100)
    naive = table["t"].cast(pa.timestamp("us"))
    table = table.set_column(0, "t", (table["t"] if kind.tz else naive).cast(kind))
    found = source(tmp_path, table, row_group_size=10)
    assert values(found, window(*span)) == [float(n) for n in range(max(0, span[0]), min(100, span[1]))]


def test_read__naive_times_are_local_to_the_layout(tmp_path: Path) -> None:
    table = hours(2000)
    layout = Layout(timestamp="t", target="y", timezone="America/Los_Angeles")
    found = source(tmp_path, table.set_column(0, "t", table["t"].cast(pa.timestamp("ms"))), row_group_size=10)
    assert values(found, window(100, 103), layout) == [92.0, 93.0, 94.0]


def test_read__window_ends_between_the_units_of_the_column(tmp_path: Path) -> None:
    table = hours(10)
    found = source(tmp_path, table.set_column(0, "t", table["t"].cast(pa.timestamp("s", "UTC"))), row_group_size=1)
    little = timedelta(microseconds=1)
    assert values(found, Window(start=START + little, end=START + timedelta(hours=3) + little)) == [1.0, 2.0, 3.0]


def test_read__without_statistics_or_in_any_order_is_the_same(tmp_path: Path) -> None:
    mixed = hours(1000).take(pa.array(np.random.default_rng(1).permutation(1000)))
    query = Query(layout=LAYOUT, window=window(100, 200))
    used = reading.read(source(tmp_path, hours(1000), row_group_size=100), query)[1]
    assert reading.read(source(tmp_path, mixed, write_statistics=False, compression="zstd"), query)[1] == used
    assert reading.read(source(tmp_path, mixed, use_deprecated_int96_timestamps=True, row_group_size=7), query)[1] == used


def test_read__dates_and_iso_text_as_timestamps(tmp_path: Path) -> None:
    table = pa.table({"t": pa.array([(START + timedelta(days=n)).date() for n in range(10)]), "y": np.arange(10.0)})
    assert values(source(tmp_path, table, row_group_size=1), window(24, 72)) == [1.0, 2.0]
    text = table.set_column(0, "t", table["t"].cast(pa.string()))
    assert values(source(tmp_path, text, row_group_size=1), window(24, 72)) == [1.0, 2.0]


def test_read__window_beyond_the_columns_range_is_no_error(tmp_path: Path) -> None:
    table = hours(3)
    found = source(tmp_path, table.set_column(0, "t", table["t"].cast(pa.timestamp("ns", "UTC"))))
    ages = Window(start=datetime(1, 1, 1, tzinfo=UTC), end=datetime(9999, 12, 31, tzinfo=UTC))
    assert values(found, ages) == [0.0, 1.0, 2.0]


def test_read__column_names_with_dots_are_names(tmp_path: Path) -> None:
    found = source(tmp_path, hours(3).rename_columns(["t", "y", "a.b", "b", "c"]))
    assert reading.read(found, Query(layout=LAYOUT, columns=("a.b",)))[0].column_names == ["t", "a.b"]


def test_read__folder_is_one_source_with_units_reconciled(tmp_path: Path) -> None:
    (tmp_path / "f" / "deep").mkdir(parents=True)
    first = hours(10).slice(0, 5)
    pq.write_table(first.set_column(0, "t", first["t"].cast(pa.timestamp("ms", "UTC"))), tmp_path / "f" / "1.parquet")
    pq.write_table(hours(10).slice(5).select(["c", "y", "b", "t", "a"]), tmp_path / "f" / "deep" / "2.pq")
    folder = ParquetSource(path="f", files=DataRoots([tmp_path]))
    assert reading.read(folder, Query(layout=LAYOUT))[1] == reading.read(source(tmp_path, hours(10)), Query(layout=LAYOUT))[1]
    pq.write_table(hours(10).select(["t", "a"]), tmp_path / "f" / "3.parquet")
    with pytest.raises(errors.MissingColumn, match=r"'3.parquet': .* no column 'y'"):
        reading.read(ParquetSource(path="f", files=DataRoots([tmp_path])), Query(layout=LAYOUT))


def test_read__pandas_index_stored_as_a_column(tmp_path: Path) -> None:
    frame = hours(5).to_pandas().set_index("t")
    frame.to_parquet(tmp_path / "d.parquet")
    assert values(ParquetSource(path="d.parquet", files=DataRoots([tmp_path])), window(1, 3)) == [1.0, 2.0]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 100 + b"PAR1", b"t,y\n2020-01-01,1\n"])
def test_read__file_that_is_not_parquet_is_named_without_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.parquet").write_bytes(content)
    found = ParquetSource(path="d.parquet", files=DataRoots([tmp_path]))
    for action in (found.schema, found.get_dataframe, lambda: found.read(Query(layout=LAYOUT))):
        with pytest.raises(errors.BadData, match=r"'d.parquet' is damaged or is not a parquet file") as refused:
            action()
        assert str(tmp_path) not in str(refused.value)


def test_read__truncated_and_damaged_files_are_refused(tmp_path: Path) -> None:
    pq.write_table(hours(5000), tmp_path / "whole.parquet", write_page_checksum=True)
    data = (tmp_path / "whole.parquet").read_bytes()
    for damaged in (data[:-10], data[: len(data) // 2], data[1000:], data[:2000] + b"\xff" * 200 + data[2200:]):
        (tmp_path / "d.parquet").write_bytes(damaged)
        with pytest.raises(errors.BadData, match=r"'d.parquet' is damaged"):
            ParquetSource(path="d.parquet", files=DataRoots([tmp_path])).read(Query(layout=LAYOUT))


def test_create__names_file_path_for_a_path_outside(tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid) as refused:
        ParquetSource(path="../d.parquet", files=DataRoots([tmp_path]))
    assert list(refused.value.fields) == ["file_path"]


def test_read__solar_data_set_of_the_first_users() -> None:
    if not SOLAR.exists():
        pytest.skip(f"the first users' data set is not here ({SOLAR})")
    year = Window(start=datetime(2017, 1, 1, tzinfo=UTC), end=datetime(2018, 1, 1, tzinfo=UTC))
    layout = Layout(timestamp="start_of_quarter", target="power")
    table, used = reading.read(ParquetSource(path=SOLAR.name, files=DataRoots([SOLAR.parent])), Query(layout=layout, window=year))
    assert table.column_names == ["start_of_quarter", "power", "cloudcover_high", "cloudcover_low", "cloudcover_mid"]
    assert (used.rows, used.start, used.end) == (32728, year.start, year.end - timedelta(minutes=15))


def test_read__a_file_that_would_flood_the_memory_is_refused_by_its_footer(tmp_path: Path) -> None:
    times = pa.array([0] * 1_000_000, pa.timestamp("us", "UTC"))
    path = tmp_path / "data" / "flood.parquet"
    path.parent.mkdir(exist_ok=True)
    with pq.ParquetWriter(path, pa.schema({"t": times.type, "y": pa.float64()}), compression="zstd") as writer:
        block = pa.table({"t": times, "y": pa.array(np.zeros(1_000_000))})
        for _ in range(110):
            writer.write_table(block)
    assert path.stat().st_size < 3_000_000
    source = ParquetSource(path="flood.parquet", files=DataRoots([tmp_path / "data"]))
    with pytest.raises(errors.BadData, match="more than can be read at once"):
        source.read(Query(layout=Layout(timestamp="t", target="y"), columns=("t", "y")))


def test_exogenous__are_not_the_row_numbers_that_pandas_adds(tmp_path: Path) -> None:
    frame = hours(10).to_pandas().iloc[[0, 1, 3]]
    frame.to_parquet(tmp_path / "p.parquet")
    source = ParquetSource(path="p.parquet", files=DataRoots([tmp_path]))
    assert "__index_level_0__" in source.schema().names
    assert reading.exogenous(source, LAYOUT) == ("a", "b", "c")
