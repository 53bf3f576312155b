"""Runs the data checks of a window and stops a run whose data is not fit for it. The checks themselves are components in ``checks/``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlsys.pipelines import base, build, calendar, featurise
from mlsys.records import Json, Layout, Verdict, Window

Series = Mapping[tuple[Any, ...], pd.DataFrame]
Named = Mapping[str, base.DataCheck]


def built(checks: Mapping[str, Mapping[str, Any]], purpose: str, ports: base.Ports) -> dict[str, base.DataCheck]:
    """The checks (name -> options) that mean something for ``purpose``, by name."""
    every = {
        n: build.build(base.DataCheck, {"type": n, **options}, ports=ports, field=f"checks.{n}") for n, options in sorted(checks.items())
    }
    return {name: check for name, check in every.items() if purpose in check.purposes}


def run(frame: pd.DataFrame, context: base.CheckContext, checks: Named, ports: base.Ports, *, stage: str) -> tuple[Verdict, ...]:
    """Verdicts of the checks of one stage, each told to the reporter when not passed. Raises the first blocking one's error."""
    found: list[Verdict] = []
    for check in (check for check in checks.values() if check.stage == stage):
        told = check.check(frame, context)
        for verdict in (told,) if isinstance(told, Verdict) else told:
            _heed(verdict, check, ports)
            found.append(verdict)
    return tuple(found)


def repair(frame: pd.DataFrame, context: base.CheckContext, checks: Named, ports: base.Ports) -> tuple[tuple[Verdict, ...], Series]:
    """As run() for the stage ``target``, one check after the other; and the series without the targets that each has found."""
    found: tuple[Verdict, ...] = ()
    for name, check in checks.items():
        if check.stage == "target":
            found += run(frame, context, {name: check}, ports, stage="target")
            context = replace(context, series={key: _without(check, one, context) for key, one in context.series.items()})
    return found, context.series


def mended(
    series: Series, layout: Layout, checks: Mapping[str, Mapping[str, Any]], features: Mapping[str, base.Feature], ports: base.Ports
) -> Series:
    """The series without the targets that a job would not believe, for those who look at the rows of a job afterwards. Judges nothing."""
    nothing = Window(start=calendar.EPOCH, end=calendar.EPOCH)
    context = base.CheckContext(
        layout=layout, window=nothing, purpose="train", series=series, idle=lambda rows: ~featurise.active(rows, features, layout)
    )
    for check in built(checks, "train", ports).values():
        context = replace(context, series={key: _without(check, one, context) for key, one in context.series.items()})
    return context.series


def inside(series: Series, window: Window) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The rows of ``window`` of each series."""
    found = {}
    for key, one in series.items():
        low, high = (one.index.searchsorted(pd.Timestamp(end)) for end in (window.start, window.end))
        found[key] = one.iloc[int(low) : int(high)]
    return found


def rests_on(window: Window, rows: Sequence[pd.DatetimeIndex] | pd.DatetimeIndex, layout: Layout) -> Json:
    """What a verdict's value rests on: the window, and the rows in it with their local days."""
    parts = [rows] if isinstance(rows, pd.DatetimeIndex) else list(rows)
    days = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(np.unique(calendar.days(part, layout.timezone)) for part in parts)]))
    ends = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    return ends | {"days": len(days), "rows": sum(len(part) for part in parts)}


def _heed(verdict: Verdict, check: base.DataCheck, ports: base.Ports) -> None:
    if verdict.passed:
        return
    if verdict.blocking and not verdict.ground:
        raise check.error(verdict.detail)
    ports.reporter.log(f"{verdict.name}: {verdict.detail}", level="warning")


def _without(check: base.DataCheck, series: pd.DataFrame, context: base.CheckContext) -> pd.DataFrame:
    wrong = check.doubtful(series, context)
    target = context.layout.target
    return series if wrong is None or not wrong.any() else series.assign(**{target: series[target].mask(wrong)})
