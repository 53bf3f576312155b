"""Readers of what strangers write, fed with anything: each gives a value or the one error it promises, whatever the bytes.

Deterministic here. By hand, for an hour of other examples: ``MLSYS_READER_EXAMPLES=100000 pytest tests/security/test_readers.py``.
"""

import io
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import marshmallow as ma
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlsys import errors
from mlsys.access import credentials
from mlsys.api import bodies, fields
from mlsys.backup import archive
from mlsys.backup import manifest as manifests
from mlsys.execution import requests
from mlsys.pipelines import durations, files
from mlsys.records import DataColumn, Dataset
from mlsys.registry import pages
from mlsys.scheduling import cron
from mlsys.timetravel import arrivals
from mlsys.webhooks import addresses
from security.inputs import archives

EXAMPLES = int(os.environ.get("MLSYS_READER_EXAMPLES", "120"))
fed = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES < 1000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {"time": "timestamp", "power": "number", "note": "text", "count": "integer", "ok": "boolean"}
SITE = Dataset(name="site", timestamp="time", columns=tuple(DataColumn(name=name, type=type) for name, type in KINDS.items()))
FREE = Dataset(name="free", timestamp="time", columns=None)
ROW = {"time": "2020-01-01T00:00:00Z", "power": 1.5, "note": "a,b", "count": 3, "ok": True}
CSV = b'time,power,note,count,ok\n2020-01-01T00:00:00Z,1.5,"a,b",3,true\n2020-01-01T01:00:00Z,,,,\n'


def _parquet() -> bytes:
    sink = io.BytesIO()
    table = pa.table({**{name: [value] * 4 for name, value in ROW.items()}, "time": [NOW + timedelta(hours=i) for i in range(4)]})
    pq.write_table(table, sink)
    return sink.getvalue()


def either(call: Callable[[], Any], *promised: type[Exception]) -> Any:
    """What it gives, or the error that it promises."""
    try:
        return call()
    except promised as error:
        return error


GOOD = {
    arrivals.CSV: CSV,
    arrivals.JSON: json.dumps([ROW, ROW | {"power": None}]).encode(),
    arrivals.NDJSON: b"\n".join(json.dumps(ROW).encode() for _ in range(2)),
    arrivals.PARQUET: _parquet(),
}


PIECES = [b"\0", b'"', b"\n", b"\xff\xfe", b"[", b"{", b"1e999", b",", b"9" * 400, b"NaN"]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Good bytes cut, doubled, overwritten or interrupted, up to four times."""
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        piece = draw(st.binary(max_size=8) | st.sampled_from(PIECES))
        data = draw(st.sampled_from([data[:at], data[:at] + piece + data[at:], data[:at] + piece + data[at + length :], data[:at] + data]))
    return data


@fed
@given(text=st.text(alphabet="0123456789*/,-? @LW#jansuwekdy", max_size=40) | st.text(max_size=40))
def test_cron__is_refused_or_fires_later_and_later(text: str) -> None:
    found = either(lambda: cron.check(text), errors.Invalid)
    if isinstance(found, errors.Invalid):
        assert list(found.fields) == ["cron"]
        return
    times = list(islice(cron.times(found, "Europe/Amsterdam", NOW), 3))
    assert all(earlier < later for earlier, later in pairwise([NOW, *times]))


@fed
@given(text=st.text(alphabet="PTDHMSW-0123456789.,+ ", max_size=30) | st.text(max_size=20))
def test_duration__is_refused_or_comes_back_as_it_is_written(text: str) -> None:
    for read, write in ((durations.parse_duration, durations.format_duration), (durations.parse_frequency, durations.format_frequency)):
        try:
            length = read(text)
        except ValueError:
            continue
        assert read(write(length)) == length


days = (
    st.dates().map(str) | st.datetimes(timezones=st.timezones()).map(str) | st.text(alphabet="0123456789-:TZ+. ", max_size=30) | st.text()
)


@fed
@given(start=days, end=days, zone=st.sampled_from(["UTC", "America/New_York", "Pacific/Kiritimati"]))
def test_window__is_refused_by_field_or_is_one(start: str, end: str, zone: str) -> None:
    try:
        first, last = (fields.Day().deserialize(text) for text in (start, end))
    except ma.ValidationError:
        return
    found = either(lambda: requests.window(first, last, timezone=zone, frequency=timedelta(minutes=15)), errors.Invalid)
    if isinstance(found, errors.Invalid):
        assert set(found.fields) <= {"start_date", "end_date"}
        return
    assert requests.EARLIEST <= found.start < found.end <= requests.LATEST


def whole(body: bytes, type: str, dataset: Dataset, spool: Path) -> Any:
    """(columns, tables) of a body."""
    found = arrivals.read(io.BytesIO(body), type, dataset, max_rows=1000, spool=spool)
    return found.dataset.columns, list(found.tables)


@pytest.mark.parametrize("dataset", [SITE, FREE], ids=["columns", "free"])
@pytest.mark.parametrize("type", GOOD)
@fed
@given(data=st.data())
def test_rows__are_refused_or_fit_the_data_set(type: str, dataset: Dataset, data: st.DataObject, tmp_path: Path) -> None:
    body = data.draw(damaged(GOOD[type]) | st.binary(max_size=200))
    found = either(lambda: whole(body, type, dataset, tmp_path), errors.Invalid, errors.Malformed, errors.TooLarge)
    if isinstance(found, errors.MlsysError):
        assert found.message
        return
    columns, tables = found
    wanted = {column.name for column in columns}
    assert all(wanted <= set(table.column_names) and table["time"].null_count == 0 for table in tables)
    assert 0 < sum(table.num_rows for table in tables) <= 1000


@fed
@given(data=damaged(json.dumps({"a": [1, {"b": "c"}], "d": 1.5}).encode()) | st.binary(max_size=100))
def test_json__is_refused_or_what_json_says(data: bytes) -> None:
    try:
        found = bodies.read_json(data, max_depth=8)
    except (errors.Malformed, errors.Invalid):
        return
    assert found == json.loads(data.decode("utf-8-sig"))


hosts = (
    st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip))
    | st.text(max_size=30)
    | st.sampled_from(["localhost", "a.b"])
)


@fed
@given(
    scheme=st.sampled_from(["http", "https", "ftp", "", "HTTP"]),
    host=hosts,
    port=st.none() | st.integers(-1, 70_000),
    rest=st.text(max_size=20),
)
def test_url__is_refused_or_leads_where_its_text_says(scheme: str, host: str, port: int | None, rest: str) -> None:
    url = f"{scheme}://{host}{'' if port is None else f':{port}'}/{rest}"
    target = either(lambda: addresses.parse(url), errors.Invalid)
    if isinstance(target, errors.Invalid):
        assert list(target.fields) == ["url"]
        return
    assert target.scheme in ("http", "https")
    assert 0 < target.port < 65536
    assert not set(target.host + target.authority) & set("@/?")
    assert not set(target.host + target.path) & set(" \r\n\t\\#\0")
    literal = addresses.literal(target.host)
    assert literal is None or host.strip("[]").lower().rstrip(".") == str(literal) or literal.version == 6


@fed
@given(text=st.text(max_size=40) | st.text(alphabet="abcdefgh0123456789+/=-_", max_size=40))
def test_cursor__is_refused_or_one_of_ours(text: str) -> None:
    found = either(lambda: pages.decode(text), errors.Invalid)
    if isinstance(found, errors.Invalid):
        assert list(found.fields) == ["cursor"]
    else:
        assert pages.encode(found) == text


@fed
@given(text=st.text(max_size=80))
def test_credential__is_one_of_ours_or_none(text: str) -> None:
    shown = credentials.read("token", text)
    assert shown is None or shown.text == text


parts = st.sampled_from(["..", ".", "", "a", "a.csv", "sub", "link", "out", "~", "%2e%2e", "\\", "\0", "x" * 300, "\ud800"])


@fed
@given(path=st.lists(parts, max_size=6).map("/".join) | st.text(max_size=30), absolute=st.booleans())
def test_path__is_refused_or_a_regular_file_below_the_root(path: str, absolute: bool, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    if not root.exists():
        (root / "sub").mkdir(parents=True)
        out.mkdir()
        for file in (root / "a.csv", root / "sub" / "a.csv", out / "a.csv"):
            file.write_bytes(CSV)
        (root / "out").symlink_to(out)
        (root / "link").symlink_to(root / "a.csv")
    asked = f"{root}/{path}" if absolute else path
    assume(len(asked) < 5000)
    found = either(lambda: files.DataRoots([root]).resolve(asked), errors.Invalid)
    if isinstance(found, errors.Invalid):
        assert list(found.fields) == ["file_path"]
        return
    assert found
    assert all(each.is_file() and not each.is_symlink() and each.resolve().is_relative_to(root.resolve()) for each in found)


@fed
@given(data=damaged(archives.WHOLE) | damaged(archives.plain(archives.manifest())).map(archives.packed) | st.binary(max_size=200))
def test_archive__is_refused_or_whole(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_bytes(data)
    found = either(lambda: archive.checked(file), errors.BadArchive)
    assert isinstance(found, errors.BadArchive) or found == archives.manifest()


@fed
@given(data=damaged(archives.manifest().to_bytes()))
def test_manifest__is_refused_or_names_what_lies_in_the_archive(data: bytes) -> None:
    found = either(lambda: manifests.from_bytes(data), errors.BadArchive)
    if isinstance(found, manifests.Manifest):
        assert all(re.fullmatch(r"(tables|home|artifacts|datasets)/[A-Za-z0-9][A-Za-z0-9._-]*", one.name) for one in found.members())


def test_examples__are_good_before_they_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(archives.WHOLE)
    assert archive.checked(tmp_path / "backup") == archives.manifest()
    for type, body in GOOD.items():
        assert sum(table.num_rows for table in whole(body, type, SITE, tmp_path)[1]) > 1
