"""As-known-at reads of random appends, imports, corrections and compactions, against a list in memory that is searched row by row."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import front
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mlsys.pipelines import fingerprint, reading
from mlsys.pipelines.base import DataSource, Query
from mlsys.pipelines.sources.dataset import DatasetSource
from mlsys.records import Layout, Window
from mlsys.timetravel import declaring
from mlsys.timetravel.asof import Ask
from mlsys.timetravel.compaction import Compactor
from mlsys.timetravel.reader import JobPort

HOUR = timedelta(hours=1)
START = datetime(2021, 3, 27, tzinfo=UTC)  # the clocks of Amsterdam change within
DAYS = [START - timedelta(days=3) + n * timedelta(hours=7) for n in range(20)]  # when imported rows became known
ISSUES = [None, "PT0S", "PT20H", "D-1T06:00[Europe/Amsterdam]", "D-1T23:45", "DT00:00[Europe/Amsterdam]"]
NAMES = (f"set-{n}" for n in itertools.count())


@dataclass(frozen=True)
class Row:
    time: datetime
    site: str
    value: float
    created: datetime
    arrival: int


@dataclass
class Model:
    """What the answers must be, slowly."""

    rows: list[Row] = field(default_factory=list)

    def known(
        self, window: Window | None, known_at: datetime | None, issue: str | None = None, newest: int | None = None
    ) -> dict[tuple[datetime, str], Row]:
        found: dict[tuple[datetime, str], Row] = {}
        for row in sorted(self.rows, key=lambda row: (row.created, row.arrival)):
            late = (known_at is not None and row.created > known_at) or (newest is not None and row.arrival > newest)
            if late or (issue is not None and row.created > issue_time(row.time, issue)):
                continue
            if window is None or window.start <= row.time < window.end:
                found[row.time, row.site] = row
        return found


def issue_time(at: datetime, issue: str) -> datetime:
    if issue.startswith("P"):
        return at - timedelta(hours=int(issue[2:-1]))
    clock, _, zone = issue.removesuffix("]").partition("[")
    days, time = clock.removeprefix("D").split("T")
    day = at.astimezone(ZoneInfo(zone or "UTC")).date() + timedelta(days=int(days or 0))
    hour, minute = time.split(":")
    return datetime(day.year, day.month, day.day, int(hour), int(minute), tzinfo=ZoneInfo(zone or "UTC")).astimezone(UTC)


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[front.World]:
    url = embedded_server.clone()
    with front.started(tmp_path_factory.mktemp("asof"), url, {}) as found:
        found.system.data.housekeeping.stop()  # here it is called by name
        yield found
    embedded_server.drop(url)


keys = st.tuples(st.integers(0, 60), st.sampled_from(["a", "b"]))
batches = st.lists(keys, min_size=1, max_size=40, unique=True)
imports = st.lists(st.tuples(keys, st.sampled_from(DAYS)), min_size=1, max_size=40, unique=True)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), batches),
        st.tuples(st.just("append"), st.integers(0, 60).map(lambda at: [(hour, site) for hour in range(at, at + 5) for site in "ab"])),
        st.tuples(st.just("import"), imports),
        st.tuples(st.just("compact"), st.integers(2, 4)),
    ),
    min_size=1,
    max_size=9,
)
questions = st.lists(
    st.tuples(
        st.none() | st.tuples(st.integers(-5, 60), st.integers(1, 40)),
        st.none() | st.integers(0, 40),
        st.sampled_from(ISSUES),
        st.none() | st.integers(0, 8),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, questions=questions)
def test_asof__answers_as_a_list_in_memory_would(world: front.World, steps: list[Any], questions: list[Any]) -> None:
    name, model = next(NAMES), Model()
    data = world.system.data
    data.service.create(declaring.declare(name, timestamp="time", series_key=["site"], columns={"power": "number", "wind": "number"}))
    values = itertools.count(1)
    for kind, what in steps:
        if kind == "compact":
            service = data.service
            parts = {"units": service._units, "blobs": service._blobs, "engine": service._engine, "reader": service._reader}
            event(f"compacted {Compactor(**parts, fewest=what).compact(name)}")
        else:
            add(world, name, model, kind, what, values)
    cuts = sorted({row.created for row in model.rows})
    arrivals = sorted({row.arrival for row in model.rows})
    for window, cut, issue, arrived in questions:
        known_at = None if cut is None else (cuts[cut // 2 % len(cuts)] - timedelta(microseconds=cut % 2)) if cuts else DAYS[0]
        within = window and Window(start=START + window[0] * HOUR, end=START + (window[0] + window[1]) * HOUR)
        check(world, name, model, within, known_at, issue, arrivals[arrived % len(arrivals)] if arrivals and arrived is not None else None)


def add(world: front.World, name: str, model: Model, kind: str, what: Sequence[Any], values: Iterator[int]) -> None:
    entries = [(key, created if kind == "import" else None) for key, created in (what if kind == "import" else [(k, None) for k in what])]
    rows = [(START + hour * HOUR, site, float(next(values)), created) for (hour, site), created in entries]
    columns = {
        "time": pa.array([row[0] for row in rows], pa.timestamp("us", "UTC")),
        "site": [row[1] for row in rows],
        "power": [row[2] for row in rows],
        "wind": [-row[2] for row in rows],
    }
    if kind == "import":
        columns["created_at"] = pa.array([row[3] for row in rows], pa.timestamp("us", "UTC"))
    told = world.system.data.service.append_tables(name, [pa.table(columns)])
    before = set(model.known(None, None))
    assert told.revised == len({(row[0], row[1]) for row in rows} & before)
    model.rows += [Row(time, site, value, created or told.created_at, told.file) for time, site, value, created in rows]


def check(
    world: front.World,
    name: str,
    model: Model,
    window: Window | None,
    known_at: datetime | None,
    issue: str | None,
    newest: int | None,
) -> None:
    ask = Ask(columns=("time", "site", "power", "created_at"), window=window, known_at=known_at, ordered=True, newest=newest)
    expected = model.known(window, known_at, newest=newest)
    with world.system.data.reader.rows(name, ask) as reader:
        answer = [tuple(row.values()) for row in reader.read_all().to_pylist()]
    assert answer == [(*key, row.value, row.created) for key, row in sorted(expected.items())]
    table, _ = reading.read(source(world, name, newest), query(window, known_at, issue))
    then = expected if issue is None else model.known(window, known_at, issue, newest)
    winds = [-then[key].value if key in then else None for key in sorted(expected, key=lambda key: (key[1], key[0]))]
    assert table["wind"].to_pylist() == winds
    arrived = [row for row in model.rows if newest is None or row.arrival <= newest]
    plain, _ = reading.read(Frame(arrived), query(window, known_at, issue))
    assert fingerprint.sha256(plain) == fingerprint.sha256(table)


def query(window: Window | None, known_at: datetime | None, issue: str | None) -> Query:
    layout = Layout(timestamp="time", target="power", exogenous=("wind",), series_key=("site",), created_at="created_at", issue=issue)
    return Query(layout=layout, window=window, known_at=known_at)


def source(world: front.World, name: str, newest: int | None) -> DatasetSource:
    port = JobPort(reader=world.system.data.reader, units=world.system.services.units)
    return DatasetSource(name=name, datasets=port if newest is None else port.until(newest))


class Frame(DataSource):
    """The same rows as a plain source; of rows that share key and created_at only the one that arrived last."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {(row.time, row.site, row.created): row for row in sorted(rows, key=lambda row: row.arrival)}

    def get_dataframe(self) -> pd.DataFrame:
        rows = self._rows.values()
        frame = pd.DataFrame({"site": [row.site for row in rows], "power": [row.value for row in rows]}, dtype=object)
        times = {"time": [row.time for row in rows], "created_at": [row.created for row in rows]}
        instants = {column: pd.Series(pd.DatetimeIndex(pd.to_datetime(found, utc=True))) for column, found in times.items()}
        return frame.assign(power=frame.power.astype(float), wind=-frame.power.astype(float), site=frame.site.astype("str"), **instants)


def test_asof__many_rows_out_of_order_across_groups(world: front.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fit one group: sorted by the engine, and a key that comes twice far apart is still found."""
    from mlsys import errors
    from mlsys.timetravel import writing

    monkeypatch.setattr(writing, "GROUP_BYTES", 2000)
    data, name = world.system.data, next(NAMES)
    data.service.create(declaring.declare(name, timestamp="time"))
    times = [START + n * HOUR for n in range(2000)]

    def tables(order: Sequence[int]) -> Iterator[pa.Table]:
        for at in range(0, len(order), 100):
            part = order[at : at + 100]
            yield pa.table({"time": pa.array([times[n] for n in part], pa.timestamp("us", "UTC")), "power": [float(n) for n in part]})

    with pytest.raises(errors.Invalid, match="Two rows for time 2021-03-27T03:00:00Z"):
        data.service.append_tables(name, tables([*reversed(range(2000)), 3]))
    told = data.service.append_tables(name, tables(list(reversed(range(2000)))))
    assert told.rows == 2000
    with data.reader.rows(name, Ask(columns=("power",), ordered=True)) as reader:
        assert reader.read_all()["power"].to_pylist() == [float(n) for n in range(2000)]
    assert not list(Path(data.service._blobs.folder).glob(".incoming*"))
