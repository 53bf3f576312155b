"""What is peculiar to SQL: what reaches the database, what is refused, and that no secret or driver text is shown."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from mlsys import errors
from mlsys.pipelines import databases, reading
from mlsys.pipelines.base import Query
from mlsys.pipelines.destinations.sql_table import SqlTableDestination
from mlsys.pipelines.sources.sql import SqlSource
from mlsys.records import Layout, Window

LAYOUT = Layout(timestamp="t", target="y")
START = datetime(2020, 3, 1, tzinfo=UTC)
DAY = Window(start=START + timedelta(days=10), end=START + timedelta(days=11))


@pytest.fixture
def plant(tmp_path: Path) -> dict[str, str]:
    """A database with hourly rows of 100 days, stored as the text that many programs write."""
    with sqlite3.connect(tmp_path / "plant.db") as connection:
        connection.execute('CREATE TABLE "Odd name; --" (t TEXT, y REAL, "a b" INTEGER, late REAL)')
        rows = [(f"{START + timedelta(hours=n):%Y-%m-%dT%H:%M:%S}Z", n, n, None if n < 2000 else 1.5) for n in range(2400)]
        connection.executemany('INSERT INTO "Odd name; --" VALUES (?, ?, ?, ?)', rows)
    connection.close()
    return {"plant": f"sqlite:///{tmp_path / 'plant.db'}"}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What each new engine sends to its database."""
    sent: list[tuple[str, Any]] = []
    real = sa.create_engine

    def watched(*args: Any, **kwargs: Any) -> sa.Engine:
        engine = real(*args, **kwargs)
        sa.event.listen(engine, "before_cursor_execute", lambda conn, cursor, text, values, *_: sent.append((text, values)))
        return engine

    monkeypatch.setattr(sa, "create_engine", watched)
    return sent


def test_source__pushes_columns_and_window_as_bound_parameters(plant: dict[str, str], statements: list[tuple[str, Any]]) -> None:
    source = SqlSource(connection="plant", table="Odd name; --", connections=plant)
    table, _ = reading.read(source, Query(layout=LAYOUT, columns=("y",), window=DAY))
    assert table["y"].to_pylist() == [float(n) for n in range(240, 264)]
    text, values = statements[-1]
    assert "a b" not in text
    assert 'FROM "Odd name; --"' in text
    assert "2020" not in text
    assert values == ("2020-03-09", "2020-03-14")


def test_source__finds_the_type_of_a_column_whose_first_rows_are_empty(plant: dict[str, str]) -> None:
    source = SqlSource(connection="plant", table="Odd name; --", connections=plant)
    assert reading.exogenous(source, LAYOUT) == ("a b", "late")


def test_source__query_may_hold_colons_percent_signs_and_comments(plant: dict[str, str]) -> None:
    query = "SELECT t, y, '12:30 :x %s %(a)s ?' AS note FROM \"Odd name; --\" WHERE '%' <> ':y' -- the end;"
    table = SqlSource(connection="plant", query=query, connections=plant).read(Query(layout=LAYOUT, window=DAY))
    assert set(table["note"].to_pylist()) == {"12:30 :x %s %(a)s ?"}


def test_source__cannot_write(plant: dict[str, str]) -> None:
    target = databases.url(plant, "plant")
    with pytest.raises(errors.BadData, match="refuses the statement"), databases.reading(target, "plant") as connection:
        connection.execute(sa.text('DELETE FROM "Odd name; --"'))
    assert SqlSource(connection="plant", table="Odd name; --", connections=plant).get_dataframe().shape == (2400, 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"connection": "plnt", "table": "x"}, errors.Invalid, "no connection 'plnt'; did you mean 'plant'"),
        ({"connection": "plant"}, errors.Invalid, "Give either `table` or `query`"),
        ({"connection": "plant", "table": "x", "query": "y"}, errors.Invalid, "Give either `table` or `query`"),
        ({"connection": "plant", "table": "Odd nam"}, errors.BadData, "no table 'Odd nam'; did you mean 'Odd name; --'"),
        ({"connection": "plant", "table": "x'; DROP TABLE y; --"}, errors.BadData, "has no table"),
        ({"connection": "plant", "query": "SELECT no FROM where"}, errors.BadData, "refuses the statement"),
    ],
)
def test_source__names_what_is_wrong(plant: dict[str, str], options: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SqlSource(**options, connections=plant).read(Query(layout=LAYOUT, window=DAY))


def test_source__column_of_several_types_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.executescript("CREATE TABLE r (t, y); INSERT INTO r VALUES ('2020-01-01', 1.5), ('2020-01-02', 'n/a');")
    connection.close()
    source = SqlSource(connection="x", table="r", connections={"x": f"sqlite:///{tmp_path / 'x.db'}"})
    with pytest.raises(errors.WrongType, match="'y' holds values of several types"):
        source.read(Query(layout=LAYOUT))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://me:hunter2@127.0.0.1:1/x",
        "postgresql+psycopg2://me:hunter2@127.0.0.1:not-a-port/x",
        "nosuchdialect://me:hunter2@host/x",
        "hunter2",
    ],
)
@pytest.mark.parametrize("use", ["read", "write"])
def test_connection__no_error_shows_the_password(url: str, use: str) -> None:
    def read() -> object:
        return SqlSource(connection="plant", table="x", connections={"plant": url}).get_dataframe()

    def write() -> object:
        return SqlTableDestination(connection="plant", table="x", connections={"plant": url}).write(
            pa.table({"a": [1]}), model_name="m", run_id="r"
        )

    actions: dict[str, Callable[[], object]] = {"read": read, "write": write}
    with pytest.raises(errors.MlsysError, match="'plant'") as refused:
        actions[use]()
    chain: BaseException | None = refused.value
    while chain is not None:
        assert "hunter2" not in str(chain)
        chain = chain.__cause__
    assert isinstance(refused.value, errors.Unavailable) == (":1/" in url)


@pytest.mark.parametrize("table", ["", "a b", 'a"; DROP TABLE b; --', "a.b.c", "1a", "ü", "x" * 64])
def test_destination__refuses_odd_table_names(plant: dict[str, str], table: str) -> None:
    with pytest.raises(errors.Invalid, match="table's name"):
        SqlTableDestination(connection="plant", table=table, connections=plant)


def test_destination__table_without_a_column_says_which(plant: dict[str, str]) -> None:
    destination = SqlTableDestination(connection="plant", table="f", connections=plant)
    destination.write(pa.table({"prediction": [1.0]}), model_name="m", run_id="r")
    with pytest.raises(errors.BadData, match="has no column quantile_P10; add the missing"):
        destination.write(pa.table({"prediction": [2.0], "quantile_P10": [1.0]}), model_name="m", run_id="r")
    frame = SqlSource(connection="plant", table="f", connections=plant).get_dataframe()
    assert frame.to_dict("list") == {"prediction": [1.0], "run_id": ["r"]}


def test_destination__instants_are_stored_in_utc(plant: dict[str, str]) -> None:
    tokyo = pa.table({"t": pa.array([START], pa.timestamp("ms", "Asia/Tokyo")), "y": [1.0]})
    SqlTableDestination(connection="plant", table="f", connections=plant).write(tokyo, model_name="m", run_id="r")
    table, _ = reading.read(SqlSource(connection="plant", table="f", connections=plant), Query(layout=LAYOUT))
    assert table["t"].to_pylist() == [START]
