"""CSV is typed and never silently changed: what does not parse is an error that says where."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlsys import errors
from mlsys.pipelines import reading
from mlsys.pipelines.base import Query
from mlsys.pipelines.files import DataRoots
from mlsys.pipelines.sources.csv import CsvSource
from mlsys.records import Layout, Window

LAYOUT = Layout(timestamp="t", target="y")


def source(tmp_path: Path, content: str | bytes, **options: Any) -> CsvSource:
    (tmp_path / "d.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return CsvSource(path="d.csv", files=DataRoots([tmp_path]), **options)


def rows(
    tmp_path: Path, content: str | bytes, layout: Layout = LAYOUT, window: Window | None = None, **options: Any
) -> list[dict[str, Any]]:
    table, _ = reading.read(source(tmp_path, content, **options), Query(layout=layout, window=window))
    return list(table.to_pylist())


def test_csv__reads_typed_columns(tmp_path: Path) -> None:
    keyed = Layout(timestamp="t", target="y", series_key=("site",))
    content = 'site,t,y,x\n007,2020-01-01T00:00:00Z,1,0.5\n"007",2020-01-01T00:15:00+00:00,"",-1e3\n'
    first, second = rows(tmp_path, content, keyed)
    assert first == {"t": datetime(2020, 1, 1, tzinfo=UTC), "site": "007", "y": 1.0, "x": 0.5}
    assert (second["y"], second["x"], second["site"]) == (None, -1000.0, "007")


def test_csv__keeps_numeric_keys_as_text_and_text_as_it_is(tmp_path: Path) -> None:
    keyed = Layout(timestamp="t", target="y", series_key=("site",))
    assert [row["site"] for row in rows(tmp_path, "t,y,site\n2020-01-01,1,7\n2020-01-01,1,1e3\n2020-01-01,1,true\n", keyed)] == [
        "1e3",
        "7",
        "true",
    ]
    frame = source(tmp_path, "t,y,code,flag,null\n2020-01-01,1,007,true,NULL\n2020-01-02,2,010,NA,nan\n").get_dataframe()
    assert frame["code"].tolist() == ["007", "010"]
    assert frame["flag"].tolist() == ["true", "NA"]
    assert frame["null"].tolist() == ["NULL", "nan"]


def test_csv__bom_crlf_blank_lines_and_quotes_are_read(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbft,y,"a, b"\r\n2020-01-01,1,2\r\n\r\n2020-01-02,3,4\r\n\r\n'
    assert [row["a, b"] for row in rows(tmp_path, content)] == [2.0, 4.0]


def test_csv__decimal_comma_semicolon_nulls_and_format(tmp_path: Path) -> None:
    content = "t;y\n31.12.2019 23:45;1,5\n01.01.2020 00:00;-\n"
    found = rows(tmp_path, content, delimiter=";", decimal=",", nulls=["-"], timestamp_format="%d.%m.%Y %H:%M")
    assert [(row["t"], row["y"]) for row in found] == [
        (datetime(2019, 12, 31, 23, 45, tzinfo=UTC), 1.5),
        (datetime(2020, 1, 1, tzinfo=UTC), None),
    ]


def test_csv__format_with_offset_is_heeded(tmp_path: Path) -> None:
    found = rows(tmp_path, "t,y\n20200101 0000 +0100,1\n20200101 0000 -0100,2\n", timestamp_format="%Y%m%d %H%M %z")
    assert [row["t"].hour for row in found] == [23, 1]


def test_csv__naive_times_are_local_and_windows_are_instants(tmp_path: Path) -> None:
    layout = Layout(timestamp="t", target="y", timezone="Europe/Amsterdam")
    window = Window(start=datetime(2019, 12, 31, 23, tzinfo=UTC), end=datetime(2020, 1, 1, tzinfo=UTC))
    assert [row["y"] for row in rows(tmp_path, "t,y\n2019-12-31 23:59,1\n2020-01-01 00:00,2\n2020-01-01 01:00,3\n", layout, window)] == [
        2.0
    ]


@pytest.mark.parametrize("bad", ["x", " 2", "2 ", "1,5", "0x1F", "nan", "NaN", "inf", "NULL", "NA", "true", "1_000", "--", "1e", "٣"])
def test_csv__value_that_is_no_number_is_named_with_column_and_row(tmp_path: Path, bad: str) -> None:
    content = f't,y\n2020-01-01,1\n2020-01-02,3\n2020-01-03,4\n2020-01-04,"{bad}"\n'
    with pytest.raises(errors.WrongType) as refused:
        rows(tmp_path, content)
    assert refused.value.message.startswith(f"'d.csv': Column 'y', row 5: {bad!r} is not a number")


def test_csv__a_point_is_refused_where_the_decimal_is_a_comma(tmp_path: Path) -> None:
    with pytest.raises(errors.WrongType, match=r"row 3: '1.5' is not a number"):
        rows(tmp_path, "t;y\n2020-01-01;1,5\n2020-01-02;1.5\n", delimiter=";", decimal=",")


def test_csv__a_bad_value_among_numbers_is_not_a_reason_to_drop_the_column(tmp_path: Path) -> None:
    content = "t,y,x\n2020-01-01,1,1\n2020-01-02,1,n/a\n2020-01-03,1,3\n"
    with pytest.raises(errors.WrongType, match="Column 'x', row 3: 'n/a' is not a number"):
        rows(tmp_path, content)
    assert [row["x"] for row in rows(tmp_path, content, nulls=["n/a"])] == [1.0, None, 3.0]


@pytest.mark.parametrize("bad", ["2020-13-01", "2020-02-30", "01/02/2020", "", "2020-01-01T25:00", "1577836800", "2020-1-2", "2020-01-02 "])
def test_csv__timestamp_that_is_none_is_named_with_row(tmp_path: Path, bad: str) -> None:
    with pytest.raises(errors.WrongType, match=r"Column 't', row 3: .* is not "):
        rows(tmp_path, f"t,y\n2020-01-01,1\n{bad},3\n2020-01-03,4\n")


@pytest.mark.parametrize("bad", ["2020-01-01", "32.01.2020", "01.01.2020x"])
def test_csv__timestamp_against_the_format_is_named_with_row(tmp_path: Path, bad: str) -> None:
    with pytest.raises(errors.WrongType, match=r"row 3: .* is not a timestamp like '%d.%m.%Y'"):
        rows(tmp_path, f"t,y\n01.01.2020,1\n{bad},3\n", timestamp_format="%d.%m.%Y")


def test_csv__value_in_the_last_of_many_rows_is_found(tmp_path: Path) -> None:
    content = "t,y\n" + "".join(f"2020-01-01T00:{n % 60:02}:{n // 60 % 60:02},1\n" for n in range(3000)) + "2020-01-32T00:00:00,1\n"
    with pytest.raises(errors.WrongType, match="row 3002: '2020-01-32T00:00:00'"):
        rows(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"t,y\n2020-01-01,1,2\n", "row 2: 3 values where the header names 2"),
        (b"t,y\n2020-01-01,1\n\n2020-01-01\n", "row .: 1 values where the header names 2"),
        (b't,y\n2020-01-01,"1\n', "row 2"),
        (b"t,y\n2020-01-01,1\n2020-01-02,\0\n", "a NUL byte in line 3"),
        (b"t,y\n2020-01-01,1\n2020-01-02,\xe9\n", "not UTF-8 in line 3"),
        ("t,y\n2020-01-01,1\n".encode("utf-16"), "NUL byte|not UTF-8"),
        (b"", "no header row"),
        (b"t,y,y\n2020-01-01,1,2\n", "'y' appears 2 times"),
        (b"t,z\n2020-01-01,1\n", "no column 'y'"),
    ],
)
def test_csv__malformed_file_is_refused_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(errors.BadData, match=message) as refused:
        rows(tmp_path, content)
    assert str(tmp_path) not in str(refused.value)


def test_csv__header_alone_is_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, "t,y\n") == []


def test_csv__folder_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "months").mkdir()
    (tmp_path / "months" / "1.csv").write_text("t,y\n2020-01-01,1\n")
    (tmp_path / "months" / "2.csv").write_text("y,t\n2,2020-02-01\n")
    table, used = reading.read(CsvSource(path="months", files=DataRoots([tmp_path])), Query(layout=LAYOUT))
    assert (table["y"].to_pylist(), used.rows) == ([1.0, 2.0], 2)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"delimiter": ""}, "delimiter"), ({"delimiter": "ab"}, "delimiter"), ({"decimal": ","}, "decimal"), ({"decimal": "x"}, "decimal")],
)
def test_csv__bad_option_is_named(tmp_path: Path, options: dict[str, str], field: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        source(tmp_path, "t,y\n", **options)
    assert list(refused.value.fields) == [field]
