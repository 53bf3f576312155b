"""Issue times as text and as instants."""

from datetime import timedelta

import pandas as pd
import pytest

from mlsys import errors
from mlsys.pipelines import definition, issue, issued
from mlsys.pipelines.issue import Issue
from mlsys.records import Window

MINIMAL = {"source": {"type": "parquet", "path": "x.parquet"}, "timestamp": "time", "target": "power"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("D-1T06:00[Europe/Amsterdam]", Issue(days=1, clock=timedelta(hours=6), zone="Europe/Amsterdam")),
        ("D-2T23:45", Issue(days=2, clock=timedelta(hours=23, minutes=45))),
        ("DT00:00", Issue()),
        ("PT24H", Issue(lead=timedelta(days=1))),
        ("P2D", Issue(lead=timedelta(days=2))),
    ],
)
def test_issue__is_read(text: str, expected: Issue) -> None:
    assert issue.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "D", "D+1T06:00", "D-1T24:00", "D-1T06", "D-1T06:00[Mars/Base]", "-PT1H", "P1M", "DT06:00", "06:00", "D-1T06:00[]"]
)
def test_issue__that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        issue.parse(text)
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise(MINIMAL | {"created_at": "known", "issue": text})
    assert list(caught.value.fields) == ["issue"]


def test_issue__needs_created_at() -> None:
    with pytest.raises(errors.Invalid) as caught:
        definition.normalise(MINIMAL | {"issue": "PT24H"})
    assert list(caught.value.fields) == ["issue"]
    found = definition.normalise(MINIMAL | {"issue": "PT24H", "created_at": "known"})
    assert definition.normalise(found) == found
    assert definition.layout(found).issue == "PT24H"


def test_times__follow_the_clock_of_their_zone() -> None:
    rows = pd.DatetimeIndex(
        ["2021-03-28T00:00Z", "2021-03-28T12:00Z", "2021-03-28T22:30Z", "2021-10-31T22:59Z", "2021-10-31T23:00Z"], tz="UTC"
    )
    found = issued.times(rows, issue.parse("D-1T06:00[Europe/Amsterdam]"), timezone="UTC")
    expected = ["2021-03-27T05:00Z", "2021-03-27T05:00Z", "2021-03-28T04:00Z", "2021-10-30T04:00Z", "2021-10-31T05:00Z"]
    assert list(found) == list(pd.DatetimeIndex(expected, tz="UTC"))
    assert list(issued.times(rows, issue.parse("PT24H"), timezone="UTC")) == list(rows - pd.Timedelta(days=1))


@pytest.mark.parametrize("text", ["D-1T06:00[Europe/Amsterdam]", "D-1T02:30[America/New_York]", "DT00:00[Asia/Kolkata]"])
def test_steps__agree_with_times(text: str) -> None:
    parsed = issue.parse(text)
    rows = pd.date_range("2021-10-28", "2021-11-09", freq="15min", tz="UTC", unit="us")
    starts, issues = issued.steps(Window(start=rows[0].to_pydatetime(), end=rows[-1].to_pydatetime()), parsed, timezone="UTC")
    at = pd.Index(starts).searchsorted(rows.asi8, side="right") - 1
    assert list(issues[at]) == list(issued.times(rows, parsed, timezone="UTC").as_unit("us").asi8)
