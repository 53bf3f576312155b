"""Issue times as text: ``D-1T06:00[Europe/Amsterdam]`` (a clock time on a day before the row's) or a lead time such as ``PT24H``.

Reads the text only, and imports fast. The instants are computed in issued.py.
"""

import re
import zoneinfo
from dataclasses import dataclass
from datetime import timedelta

from mlsys.pipelines import durations

_CLOCK = re.compile(r"D(?:-(?P<days>\d{1,3}))?T(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?:\[(?P<zone>[^\[\]]+)\])?")


@dataclass(frozen=True, kw_only=True)
class Issue:
    """``lead``: so long before the row; or at ``clock`` of the day ``days`` before the row's, in ``zone`` (None: the model's)."""

    lead: timedelta | None = None
    days: int = 0
    clock: timedelta = timedelta(0)
    zone: str | None = None


def parse(text: str) -> Issue:
    """Raises ValueError saying what fits."""
    if text.startswith(("P", "-P")):
        lead = durations.parse_duration(text)
        if lead < timedelta(0):
            raise ValueError("a lead time may not be negative: a forecast is issued before its rows")
        return Issue(lead=lead)
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a clock time such as D-1T06:00[Europe/Amsterdam], or a lead time such as PT24H")
    issue = Issue(days=int(found["days"] or 0), clock=timedelta(hours=int(found["hour"]), minutes=int(found["minute"])), zone=found["zone"])
    if not issue.days and issue.clock:
        raise ValueError("rows before that time of their own day would see their future; take the day before (D-1T..), or DT00:00")
    try:
        zoneinfo.ZoneInfo(issue.zone or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {issue.zone!r}") from None
    return issue
