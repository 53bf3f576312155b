"""What a backtest reads: the rows before each origin to fit to, those around its steps to forecast from, and the actuals to score with.

Where rows say when they became known, everything is read anew at each origin, as it was known then. Otherwise once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from mlsys import errors
from mlsys.pipelines import base, build, calendar, checking, definition, featurise, reading, windows
from mlsys.records import BacktestSpec, DataUsed, Layout, Window

EARLIEST = datetime(1700, 1, 1, tzinfo=UTC)
BATCH_ROWS = 100_000  # of one series forecast at once
Raw = Mapping[featurise.Key, pd.DataFrame]


class Data:
    """``lookback`` and ``lookahead``: how far around a step the features of all models that are asked look."""

    def __init__(self, spec: BacktestSpec, ports: base.Ports, *, lookback: timedelta, lookahead: timedelta) -> None:
        self._spec, self._ports = spec, ports
        self._source = build.build(base.DataSource, spec.definition["source"], ports=ports, field="source")
        layout = definition.layout(spec.definition)
        self.layout: Layout = replace(layout, exogenous=reading.exogenous(self._source, layout))
        chosen = definition.features(spec.definition)
        self.features = {name: options for name, options in chosen.items() if name != "exogenous" or self.layout.exogenous}
        self._components = featurise.components(self.features, ports)
        own = self._components.values()
        self._before = max([lookback, *(one.lookback(self.layout) for one in own)]) + self.layout.horizon
        self._after = max([lookahead, *(one.lookahead(self.layout) for one in own)])
        self.anew = spec.definition["created_at"] is not None
        self._whole: Raw | None = None

    def training(self, origin: datetime) -> tuple[Raw, Window]:
        """All that is known before ``origin`` to fit to, and the window whose rows are fit to."""
        start = EARLIEST
        if self._spec.length is not None:
            start = (self._spec.steps[0].start if self._spec.expanding else origin) - self._spec.length
        window = Window(start=start, end=origin)
        return self._mended(self._rows(Window(start=start - self._before, end=origin), known_at=origin)), window

    def around(self, steps: Sequence[Window]) -> Raw:
        """What forecasts of these steps see. Of several steps later targets are there, for features to leave alone (see batches())."""
        window = Window(start=steps[0].start - self._before, end=max(step.end for step in steps) + self._after)
        if len(steps) > 1:
            return self._rows(window)
        origin = steps[0].start
        return self._mended(_before(self._rows(window, known_at=origin), origin, self.layout))

    def actuals(self) -> tuple[dict[featurise.Key, "pd.Series[float]"], DataUsed]:
        """The target as it is known now, by series and timestamp."""
        layout = replace(self.layout, exogenous=())
        rows = self._read(
            layout, Window(start=self._spec.steps[0].start, end=max(step.end for step in self._spec.steps)), self._spec.known_at
        )
        return {key: frame[layout.target] for key, frame in _split(rows.whole, layout).items()}, rows.used

    def batches(self, steps: Sequence[Window]) -> list[Sequence[Window]]:
        """Steps whose rows are computed at once: none overlaps another, so that each timestamp has one origin.

        By itself goes a step before which a target is not to be believed: whether it is may only be told from what came before the origin.
        """
        if self.anew:
            return [[step] for step in steps]
        alone = {step.start for step in steps if self._doubts(step)}
        return [*self._apart([step for step in steps if step.start not in alone]), *([step] for step in steps if step.start in alone)]

    def _apart(self, steps: Sequence[Window]) -> list[Sequence[Window]]:
        if not steps:
            return []
        starts, ends = (calendar.instants(pd.DatetimeIndex([getattr(step, end) for step in steps])) for end in ("start", "end"))
        stride = int(np.max(np.searchsorted(starts, ends) - np.arange(len(steps))))
        size = max(1, BATCH_ROWS // max(1, self.layout.horizon // self.layout.frequency))
        apart = [steps[first::stride] for first in range(min(stride, len(steps)))]
        return [some[at : at + size] for some in apart for at in range(0, len(some), size)]

    def _doubts(self, step: Window) -> bool:
        self._ports.reporter.progress("look at targets", 0, 1)
        past = self._rows(Window(start=step.start - self._before, end=step.start))
        mended = self._mended(past)
        return any(mended[key] is not frame for key, frame in past.items())

    def _rows(self, window: Window, *, known_at: datetime | None = None) -> Raw:
        """As read. ``known_at`` counts where data is read anew."""
        if self.anew:
            return _split(self._read(self.layout, window, known_at).whole, self.layout)
        if self._whole is None:
            self._whole = self._everything()
        cut = {key: _inside(frame, window) for key, frame in self._whole.items()}
        return {key: frame for key, frame in cut.items() if len(frame)}

    def _everything(self) -> Raw:
        steps, length = self._spec.steps, self._spec.length
        start = EARLIEST if length is None else steps[0].start - length
        self._ports.reporter.progress("read", 0, 1)
        window = Window(start=start - self._before, end=max(step.end for step in steps) + self._after)
        found = _split(self._read(self.layout, window, None).whole, self.layout)
        self._ports.reporter.progress("read", 1, 1)
        return found

    def _mended(self, raw: Raw) -> Raw:
        """Without targets that cannot be, as in a training and a forecast; what is scored against is left as it is."""
        checks = definition.checks(self._spec.definition)
        return checking.mended(raw, self.layout, checks, self._components, self._ports)

    def _read(self, layout: Layout, window: Window, known_at: datetime | None) -> windows.Rows:
        none = timedelta(0)
        return windows.read(self._source, layout, window, known_at=known_at, before=none, after=none, target=False)


def _split(frame: pd.DataFrame, layout: Layout) -> Raw:
    return featurise.split(frame, layout) if len(frame) else {}


def _before(raw: Raw, origin: datetime, layout: Layout) -> Raw:
    """Without the targets from ``origin`` on."""
    at = pd.Timestamp(origin)
    return {key: frame.assign(**{layout.target: frame[layout.target].where(frame.index < at)}) for key, frame in raw.items()}


def _inside(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    first, last = (frame.index.searchsorted(pd.Timestamp(end)) for end in (window.start, window.end))
    return frame.iloc[first:last]


def nothing(steps: Sequence[Window]) -> errors.EmptyWindow:
    return errors.EmptyWindow(f"From {steps[0].start:%Y-%m-%d %H:%M} UTC there are no rows to forecast from.")
