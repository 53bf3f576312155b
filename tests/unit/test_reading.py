"""The one way all jobs read: types, window, known_at, order and the hash of what was read."""

import hashlib
import io
import json
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlsys import errors
from mlsys.pipelines import fingerprint, frames, reading
from mlsys.pipelines.base import DataSource, Query
from mlsys.records import Layout, Window

LAYOUT = Layout(timestamp="t", target="y")


class Given(DataSource):
    """What a user writes: a source with get_dataframe() alone."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def get_dataframe(self) -> pd.DataFrame:
        return self.frame


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def frame(rows: int = 8) -> pd.DataFrame:
    times = pd.date_range("2020-01-01", periods=rows, freq="15min", tz="UTC")
    numbers = np.arange(rows, dtype=float)
    return pd.DataFrame({"t": times, "y": numbers, "b": numbers * 2, "a": numbers * 3, "name": "x"})


def test_read__gives_the_columns_in_one_order_and_float64() -> None:
    table, used = reading.read(Given(frame()), Query(layout=LAYOUT))
    assert table.column_names == ["t", "y", "a", "b"]
    assert table.schema.types == [pa.timestamp("us", tz="UTC"), *[pa.float64()] * 3]
    assert (used.rows, used.start, used.end) == (8, at("2020-01-01"), at("2020-01-01T01:45"))
    assert used.start is not None
    assert used.start.tzinfo is UTC


def test_read__window_is_half_open() -> None:
    window = Window(start=at("2020-01-01T00:15"), end=at("2020-01-01T01:00"))
    table, used = reading.read(Given(frame()), Query(layout=LAYOUT, window=window))
    assert table["y"].to_pylist() == [1.0, 2.0, 3.0]
    assert used.end == at("2020-01-01T00:45")


def test_read__of_an_empty_window_has_no_rows_and_no_ends() -> None:
    window = Window(start=at("2030-01-01"), end=at("2031-01-01"))
    table, used = reading.read(Given(frame()), Query(layout=LAYOUT, window=window))
    assert (table.num_rows, used.rows, used.start, used.end) == (0, 0, None, None)


def test_read__leaves_out_the_target_when_not_asked_for() -> None:
    table, _ = reading.read(Given(frame().drop(columns="y")), Query(layout=LAYOUT, columns=("a",)))
    assert table.column_names == ["t", "a"]


def test_read__takes_an_index_named_like_the_timestamp() -> None:
    indexed = frame().set_index("t")
    assert reading.read(Given(indexed), Query(layout=LAYOUT))[1] == reading.read(Given(frame()), Query(layout=LAYOUT))[1]
    assert "t" in Given(indexed).schema().names


def test_flat__prefers_a_column_to_an_index_level_of_its_name() -> None:
    both = frame().set_index("t", drop=False)
    assert frames.flat(both).columns.tolist() == ["t", "y", "b", "a", "name"]
    levels = frame().set_index(["t", "name"], drop=False)
    assert sorted(frames.flat(levels.drop(columns="name")).columns) == ["a", "b", "name", "t", "y"]


def test_read__names_a_missing_column_and_the_nearest() -> None:
    with pytest.raises(errors.MissingColumn, match=r"no column 'y'.*known: a, b, name, t, yy"):
        reading.read(Given(frame().rename(columns={"y": "yy"})), Query(layout=LAYOUT))
    with pytest.raises(errors.MissingColumn, match="'powr'; did you mean 'power'"):
        reading.read(Given(frame().rename(columns={"y": "power"})), Query(layout=Layout(timestamp="t", target="powr")))
    with pytest.raises(errors.MissingColumn, match="no column 'site'"):
        reading.read(Given(frame()), Query(layout=Layout(timestamp="t", target="y", series_key=("site",))))


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(range(8)),
        pd.Series([Decimal(n) for n in range(8)]),
        pd.Series([str(n) for n in range(8)]),
        pd.Series([str(n) for n in range(8)], dtype="category"),
        pd.Series(range(8), dtype="Int64"),
        pd.Series(range(8), dtype="float32"),
    ],
)
def test_read__takes_every_kind_of_number_alike(values: "pd.Series[float]") -> None:
    used = reading.read(Given(frame().assign(y=values)), Query(layout=LAYOUT, columns=("y",)))[1]
    assert used == reading.read(Given(frame()), Query(layout=LAYOUT, columns=("y",)))[1]


def test_read__takes_booleans_as_numbers() -> None:
    table, _ = reading.read(Given(frame(2).assign(a=[True, False])), Query(layout=LAYOUT))
    assert table["a"].to_pylist() == [1.0, 0.0]


@pytest.mark.parametrize("bad", ["n/a", "", " 1", "0x10", "1,5", "nan", "inf", "1_000"])
def test_read__refuses_text_that_is_no_number(bad: str) -> None:
    values = [str(n) for n in range(7)] + [bad]
    with pytest.raises(errors.WrongType, match=r"(?s)Column 'y'.*is not a number"):
        reading.read(Given(frame().assign(y=values)), Query(layout=LAYOUT))


def test_read__refuses_other_types_as_numbers_times_and_keys() -> None:
    with pytest.raises(errors.WrongType, match="'y' holds timestamp"):
        reading.read(Given(frame().assign(y=frame()["t"])), Query(layout=LAYOUT))
    with pytest.raises(errors.WrongType, match="'t' holds int64, not timestamps"):
        reading.read(Given(frame().assign(t=range(8))), Query(layout=LAYOUT))
    with pytest.raises(errors.WrongType, match="'a' holds values of several types"):
        reading.read(Given(frame().assign(a=[1, "x", 2.0, None] * 2)), Query(layout=LAYOUT, columns=("a",)))
    keyed = Layout(timestamp="t", target="y", series_key=("name",))
    with pytest.raises(errors.WrongType, match="'name' holds no value in 1 rows"):
        reading.read(Given(frame().assign(name=["x"] * 7 + [None])), Query(layout=keyed))
    with pytest.raises(errors.WrongType, match="'name' holds double"):
        reading.read(Given(frame().assign(name=1.5)), Query(layout=keyed))


def test_read__refuses_a_row_without_timestamp_unless_a_window_leaves_it_out() -> None:
    holed = frame().assign(t=frame()["t"].where(frame()["y"] != 3))
    with pytest.raises(errors.WrongType, match="'t' holds no timestamp in 1 rows"):
        reading.read(Given(holed), Query(layout=LAYOUT))
    window = Window(start=at("2020-01-01"), end=at("2020-01-02"))
    assert reading.read(Given(holed), Query(layout=LAYOUT, window=window))[1].rows == 7


def test_read__refuses_a_column_that_is_there_twice() -> None:
    twice = pd.concat([frame(), frame()[["y"]]], axis=1)
    with pytest.raises(errors.WrongType, match="'y' appears 2 times"):
        reading.read(Given(twice), Query(layout=LAYOUT, columns=("y",)))


# time zones


def local(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({"t": pd.to_datetime(list(texts), format="ISO8601"), "y": range(len(texts))})


AMSTERDAM = Layout(timestamp="t", target="y", timezone="Europe/Amsterdam")


def test_read__takes_naive_times_in_the_layouts_zone() -> None:
    table, _ = reading.read(Given(local("2020-01-01 00:00", "2020-07-01 00:00")), Query(layout=AMSTERDAM))
    assert table["t"].to_pylist() == [at("2019-12-31T23:00"), at("2020-06-30T22:00")]


def test_read__cuts_naive_times_by_their_instant() -> None:
    window = Window(start=at("2019-12-31T23:00"), end=at("2019-12-31T23:15"))
    table, _ = reading.read(
        Given(local("2020-01-01 00:00", "2020-01-01 00:15", "2019-12-31 23:00")), Query(layout=AMSTERDAM, window=window)
    )
    assert table["y"].to_pylist() == [0.0]


@pytest.mark.parametrize("text", ["2020-10-25 02:30", "2020-03-29 02:30"])
def test_read__refuses_local_times_that_the_clock_change_leaves_unclear(text: str) -> None:
    with pytest.raises(errors.WrongType, match=r"clock change in Europe/Amsterdam.*store UTC"):
        reading.read(Given(local("2020-01-01", text)), Query(layout=AMSTERDAM))
    early = Window(start=at("2019-01-01"), end=at("2020-02-01"))
    assert reading.read(Given(local("2020-01-01", text)), Query(layout=AMSTERDAM, window=early))[1].rows == 1
    touching = Window(start=at("2020-03-29T00:59"), end=at("2020-10-25T00:31"))
    with pytest.raises(errors.WrongType, match="clock change"):
        reading.read(Given(local(text)), Query(layout=AMSTERDAM, window=touching))


def test_read__takes_offsets_and_zones_for_what_they_say() -> None:
    zoned = frame()[["t", "y"]].assign(t=frame()["t"].dt.tz_convert("America/New_York"))
    assert reading.read(Given(zoned), Query(layout=AMSTERDAM))[1] == reading.read(Given(frame()[["t", "y"]]), Query(layout=LAYOUT))[1]


def test_read__takes_dates_as_midnight_in_the_zone() -> None:
    days = pd.DataFrame({"t": [date(2020, 1, 1), date(2020, 7, 1)], "y": [1, 2]})
    table, _ = reading.read(Given(days), Query(layout=AMSTERDAM))
    assert table["t"].to_pylist() == [at("2019-12-31T23:00"), at("2020-06-30T22:00")]


def test_read__takes_iso_text_and_refuses_other_text() -> None:
    def times(*texts: str) -> list[datetime]:
        return list(reading.read(Given(pd.DataFrame({"t": texts, "y": 1})), Query(layout=AMSTERDAM))[0]["t"].to_pylist())

    assert times("2020-01-01T00:00:00Z", "2020-01-01 02:00+01:30", "2020-01-01T00:00:00.000001-0100") == [
        at("2020-01-01"),
        at("2020-01-01T00:30"),
        at("2020-01-01T01:00:00.000001"),
    ]
    assert times("2020-01-01", "2020-01-01T02:00") == [at("2019-12-31T23:00"), at("2020-01-01T01:00")]
    for bad in (
        "01/02/2020",
        "2020-02-30",
        "2020-01-01T24:00:00Z",
        "2020-01-01T00:00:00+25:00",
        "2020",
        "",
        "2020-01-01T00:00:00.0000001Z",
    ):
        with pytest.raises(errors.WrongType, match=r"Column 't'.*is not"):
            times("2020-01-01T00:00Z", bad)
    with pytest.raises(errors.WrongType, match="'2020-01-02' is not a timestamp with an offset"):
        times("2020-01-01T00:00Z", "2020-01-02")


def test_read__refuses_to_round_timestamps() -> None:
    fine = pd.DataFrame({"t": pd.to_datetime(["2020-01-01 00:00:00.000000001"]).tz_localize("UTC"), "y": [1]})
    with pytest.raises(errors.WrongType, match="finer than a microsecond"):
        reading.read(Given(fine), Query(layout=LAYOUT))


def test_read__refuses_timestamps_that_no_calendar_holds() -> None:
    class Far(Given):
        def read(self, query: Query) -> pa.Table:
            return pa.table({"t": pa.array([0, 2**62], pa.timestamp("us", "UTC")), "y": [1.0, 2.0]})

    with pytest.raises(errors.WrongType, match="'t' holds timestamps outside of the years"):
        reading.read(Far(frame()), Query(layout=LAYOUT, columns=("y",)))


def test_read__names_an_unknown_zone() -> None:
    with pytest.raises(errors.Invalid, match="timezone: There is no time zone 'Mars'"):
        reading.read(Given(local("2020-01-01")), Query(layout=Layout(timestamp="t", target="y", timezone="Mars")))


# known_at

REVISED = Layout(timestamp="t", target="y", series_key=("site",), created_at="c")


def revisions() -> pd.DataFrame:
    rows = [  # site, hour of the row, hour it became known (None: not said), value
        ("a", 0, 10, 1.0),
        ("a", 0, 20, 2.0),
        ("a", 0, 15, 3.0),
        ("b", 0, 10, 4.0),
        ("a", 1, 30, 5.0),
        ("b", 1, None, 6.0),
        ("b", 2, None, 7.0),
        ("b", 2, 11, 8.0),
        ("a", 2, 10, 9.0),
        ("a", 2, 10, 10.0),
    ]
    hours = [
        (pd.Timestamp("2020-01-01", tz="UTC") + pd.Timedelta(hours=h), None if c is None else at("2020-01-01") + timedelta(hours=c))
        for _, h, c, _ in rows
    ]
    return pd.DataFrame({"site": [r[0] for r in rows], "t": [t for t, _ in hours], "c": [c for _, c in hours], "y": [r[3] for r in rows]})


def values(known_at: datetime | None, layout: Layout = REVISED) -> list[tuple[str, int, float]]:
    table, _ = reading.read(Given(revisions().sample(frac=1, random_state=3)), Query(layout=layout, known_at=known_at))
    assert table.column_names == ["t", "site", "y"]
    return [(row["site"], row["t"].hour, row["y"]) for row in table.to_pylist()]


def test_known_at__newest_row_known_by_then_wins_for_each_series_and_timestamp() -> None:
    assert values(at("2020-01-01T15:00")) == [("a", 0, 3.0), ("a", 2, 9.0), ("a", 2, 10.0), ("b", 0, 4.0), ("b", 2, 8.0)]
    assert values(at("2020-01-01T14:59:59")) == [("a", 0, 1.0), ("a", 2, 9.0), ("a", 2, 10.0), ("b", 0, 4.0), ("b", 2, 8.0)]
    assert values(at("2020-01-01T09:00")) == []


def test_known_at__without_it_the_newest_of_all_wins_and_duplicates_stay() -> None:
    everything = [("a", 0, 2.0), ("a", 1, 5.0), ("a", 2, 9.0), ("a", 2, 10.0), ("b", 0, 4.0), ("b", 1, 6.0), ("b", 2, 8.0)]
    assert values(None) == everything


def test_known_at__without_a_created_at_column_is_refused_with_the_remedy() -> None:
    with pytest.raises(errors.Invalid, match="created_at") as refused:
        reading.read(Given(frame()), Query(layout=LAYOUT, known_at=at("2020-01-01")))
    assert list(refused.value.fields) == ["created_at"]


def test_read__keeps_duplicates_for_the_checks_to_report() -> None:
    doubled = pd.concat([frame(), frame()])
    assert reading.read(Given(doubled), Query(layout=LAYOUT))[1].rows == 16


# the hash


def digest(source: pd.DataFrame) -> str:
    return reading.read(Given(source), Query(layout=Layout(timestamp="t", target="y", series_key=("name",))))[1].sha256


def test_sha256__is_the_same_for_any_order_of_rows_and_columns() -> None:
    doubled = pd.concat([frame(), frame().assign(y=99.0), frame().assign(name="ü", y=None)])
    shuffled = doubled.sample(frac=1, random_state=1)[["name", "a", "y", "t", "b"]]
    assert digest(shuffled) == digest(doubled)


def test_sha256__is_the_same_for_any_units_and_text_types() -> None:
    other = frame().assign(
        t=frame()["t"].dt.as_unit("s").dt.tz_convert("Asia/Tokyo"), name=pd.Series(["x"] * 8, dtype="category"), a=frame()["a"].astype(int)
    )
    assert digest(other) == digest(frame())


def test_sha256__changes_with_any_value_name_or_gap() -> None:
    changed = [
        frame().assign(y=frame()["y"].where(frame()["y"] != 3, 3.0000000001)),
        frame().assign(y=frame()["y"].where(frame()["y"] != 0)),
        frame().assign(name=["x"] * 7 + ["y"]),
        frame().rename(columns={"a": "c"}),
        frame(7),
        frame().assign(t=frame()["t"] + pd.Timedelta(microseconds=1)),
    ]
    assert len({digest(frame()), *map(digest, changed)}) == 1 + len(changed)


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("group", [1, 3, 100])
def test_sha256__does_not_see_chunks_row_groups_or_compression(group: int, compression: str) -> None:
    table = reading.read(Given(frame()), Query(layout=LAYOUT))[0]
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group, compression=compression)
    stored = pq.read_table(io.BytesIO(sink.getvalue()))
    chunked = pa.concat_tables([stored.slice(0, 2), stored.slice(2, 0), stored.slice(2)])
    assert fingerprint.sha256(chunked) == fingerprint.sha256(stored) == fingerprint.sha256(table)


def test_sha256__of_text_does_not_see_offsets_or_run_words_together() -> None:
    def text(*words: str | None) -> pa.Table:
        return pa.table({"w": pa.array(words, pa.string())})

    assert fingerprint.sha256(text("q", "ab", None, "c").slice(1)) == fingerprint.sha256(text("ab", None, "c"))
    assert fingerprint.sha256(text("ab", "c")) != fingerprint.sha256(text("a", "bc"))
    assert fingerprint.sha256(text(None)) != fingerprint.sha256(text(""))
    assert fingerprint.sha256(text()) == fingerprint.sha256(text("a").slice(1))


def test_sha256__hashes_exactly_what_its_docstring_says() -> None:
    table = pa.table(
        {"t": pa.array([at("1970-01-01T00:00:01"), None], pa.timestamp("us", "UTC")), "y": [1.5, float("nan")], "n": ["é", "ab"]}
    )
    header = json.dumps([[["t", "instant"], ["y", "number"], ["n", "text"]], 2], separators=(",", ":")).encode()
    parts = [
        b"\1\0",
        struct.pack("<qq", 1_000_000, 0),
        b"\1\0",
        struct.pack("<dd", 1.5, 0.0),
        b"\1\1",
        struct.pack("<qq", 2, 2),
        "éab".encode(),
    ]
    assert fingerprint.sha256(table) == hashlib.sha256(b"mlsys-rows-1" + header + b"".join(parts)).hexdigest()
