"""How a date or an instant may be written in a request."""

from datetime import UTC, date, datetime, timedelta, timezone

import marshmallow as ma
import pytest

from mlsys.api.fields import Day, Flag

TWO = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2017-01-31", date(2017, 1, 31)),
        ("2017-01-31T06:00:00Z", datetime(2017, 1, 31, 6, tzinfo=UTC)),
        ("2017-01-31t06:00:00z", datetime(2017, 1, 31, 6, tzinfo=UTC)),
        ("2017-01-31 06:00:00Z", datetime(2017, 1, 31, 6, tzinfo=UTC)),
        ("2017-01-31T06:00Z", datetime(2017, 1, 31, 6, tzinfo=UTC)),
        ("2017-01-31T06:00:00+02:00", datetime(2017, 1, 31, 6, tzinfo=TWO)),
        ("2017-01-31T06:00:00 02:00", datetime(2017, 1, 31, 6, tzinfo=TWO)),
        ("2017-01-31T06:00:00.123456-02:00", datetime(2017, 1, 31, 6, 0, 0, 123456, tzinfo=timezone(-timedelta(hours=2)))),
        ("2017-01-31T06:00:00.5Z", datetime(2017, 1, 31, 6, 0, 0, 500000, tzinfo=UTC)),
        ("2017-01-31T06:00:00.123456789Z", datetime(2017, 1, 31, 6, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_day__reads_dates_and_rfc3339(text: str, meant: date | datetime) -> None:
    assert Day().deserialize(text) == meant


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "2017",
        "2017-1-1",
        "2017-02-30",
        "2017-01-31T06:00:00",
        "2017-01-31T06",
        "2017-01-31T06:00:00+0200",
        "2017-01-31T06:00:00+02:00:30",
        "2017-01-31T06:00:00+25:00",
        "2017-01-31T24:00:00Z",
        "2017-W05-2T06:00:00Z",
        "20170131T060000Z",
        "2017-01-31T06:00:00ZZ",
        "0000-01-01",
        "10000-01-01",
        "٢٠١٧-01-31",
        "2017-01-31\n",
        "now",
        "x" * 100000,
        20170131,
        1.5,
        True,
        [],
        {},
        ["2017-01-31"],
    ],
)
def test_day__refuses_all_else(value: object) -> None:
    with pytest.raises(ma.ValidationError, match="Write a date"):
        Day().deserialize(value)


def test_day__null_is_no_date() -> None:
    with pytest.raises(ma.ValidationError):
        Day().deserialize(None)


def test_flag__reads_booleans_and_their_names() -> None:
    assert [Flag().deserialize(value) for value in (True, "true", "True", False, "FALSE")] == [True, True, True, False, False]
    for value in (1, 0, "yes", "", None, []):
        with pytest.raises(ma.ValidationError):
            Flag().deserialize(value)
