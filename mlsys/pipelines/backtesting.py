"""The backtest job: forecasts of the past from rolling origins, each from what was known at its origin only, scored beside baselines.

A plain function of a BacktestSpec and the ports. Features are computed for all origins of one fit at once: by timestamp, each sees what was
known at its row's issue time, here the origin. Only where rows say when they became known is that done origin by origin.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mlsys import errors
from mlsys.pipelines import (
    artifact,
    backtest_scores,
    base,
    calendar,
    environment,
    evaluation,
    featurise,
    forecaster,
    keeping,
    names,
    settling,
)
from mlsys.pipelines.backtest_data import Data, nothing
from mlsys.pipelines.backtest_rival import Rival
from mlsys.pipelines.baselines import Baselines
from mlsys.pipelines.featurise import Setup
from mlsys.pipelines.stages import Stage
from mlsys.records import BacktestOutcome, BacktestSpec, Layout, Window

INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A model that was fit before an origin, and the baselines fit to the same rows."""

    model: forecaster.Forecaster
    baselines: Baselines


def backtest(spec: BacktestSpec, ports: base.Ports) -> BacktestOutcome:
    """Raises BadData's kin when no step can be forecast, Cancelled when asked to stop; stores nothing before the end."""
    rival = Rival.of(spec, ports)
    data = Data(spec, ports, lookback=rival.lookback, lookahead=rival.lookahead)
    found: list[pd.DataFrame] = []
    failed: dict[datetime, errors.BadData] = {}
    for step, error in _walk(spec, data, rival, ports, found.append):
        failed[step.start] = error
    if not found:
        raise next(iter(failed.values()))
    ports.reporter.progress("score", 0, 1)
    actuals, used = data.actuals()
    rows = _with_actuals(pd.concat(found, ignore_index=True), actuals, data.layout)
    result = backtest_scores.result(spec, rows, layout=data.layout, failed=failed, used=used, rival=rival.told(rows))
    result["knowledge"] = "known_at_origin" if data.anew else "as_stored"
    kept = keeping.keep(_table(rows.drop(columns=backtest_scores.ACTIVE)), data.layout, ports.blobs)
    ports.reporter.progress("backtest", len(spec.steps), len(spec.steps))
    return BacktestOutcome(
        result=result, kept=kept, environment=environment.describe(threads=ports.threads, recipe=spec.definition["model"])
    )


def _walk(
    spec: BacktestSpec, data: Data, rival: Rival, ports: base.Ports, add: Callable[[pd.DataFrame], None]
) -> list[tuple[Window, errors.BadData]]:
    """Fits and forecasts all steps; returns those that could not be, and why."""
    every = spec.refit or len(spec.steps)
    failed: list[tuple[Window, errors.BadData]] = []
    for first in range(0, len(spec.steps), every):
        steps = spec.steps[first : first + every]
        try:
            fit = _fit(spec, data, steps[0].start, ports, stage=f"fit {first // every + 1} of {-(-len(spec.steps) // every)}")
        except errors.BadData as error:
            failed += [(step, error) for step in steps]
            continue
        done = first
        for batch in data.batches(steps):
            ports.reporter.progress("backtest", done, len(spec.steps))
            try:
                add(_forecast(fit, data, batch, rival))
            except errors.BadData as error:
                failed += [(step, error) for step in batch]
            done += len(batch)
    return failed


def _fit(spec: BacktestSpec, data: Data, origin: datetime, ports: base.Ports, *, stage: str) -> _Fit:
    """As a training at ``origin`` would, but for its hold-out: data checks, cleaning and settling see rows before the origin alone."""
    reporter = Stage(name=stage, reporter=ports.reporter)
    reporter.progress(stage, 0, 1)
    raw, window = data.training(origin)
    if not raw:
        raise errors.TooFewRows(f"The source holds no row before {origin:%Y-%m-%d %H:%M} UTC to fit a model to.")
    setup = featurise.learn(raw, data.layout, data.features, ports)
    series, _ = featurise.clean(raw, setup)
    past = featurise.featurise(series, setup, featurise.measured(window, data.layout))
    if len(past) < forecaster.FEWEST_ROWS:
        raise errors.TooFewRows(f"Only {len(past)} measured rows before {origin:%Y-%m-%d %H:%M} UTC to fit a model to.")
    cutoff = evaluation.holdout_start(past.day, spec.definition["validation"], data.layout)
    recipe = settling.settle(spec.definition["model"], past.take(past.before(cutoff)), ports)
    model = artifact.build_model(recipe, ports)
    fitted = forecaster.fit(past, setup=setup, recipe=recipe, model=model, reporter=reporter, threads=ports.threads)
    return _Fit(model=fitted, baselines=Baselines.fit(past, ports))


def _forecast(fit: _Fit, data: Data, steps: Sequence[Window], rival: Rival) -> pd.DataFrame:
    """A row for each timestamp of each step and series: what is kept, but for the actuals."""
    raw, setup = data.around(steps), fit.model.setup
    if not raw:
        raise nothing(steps)
    series, _ = featurise.clean(raw, setup)
    issued_of = _issued(steps)
    features = featurise.featurise(series, setup, _rows(steps, setup), issued_of)
    if not len(features):
        raise nothing(steps)
    forecast = fit.model.predict(features)
    columns: dict[str, Any] = {names.TIMESTAMP: pd.DatetimeIndex(features.frame.index)}
    columns |= {name: features.keys[name].to_numpy() for name in setup.layout.series_key}
    columns |= {str(name): forecast[name].to_numpy() for name in forecast}
    columns |= {names.QUALITY: np.where(features.substituted, "substituted", "ok"), names.ISSUED_AT: features.issued}
    columns[backtest_scores.ACTIVE] = features.active
    return pd.DataFrame(columns | fit.baselines.predict(features) | rival.predict(raw, features, issued_of))


def _issued(steps: Sequence[Window]) -> featurise.IssuedOf:
    origins = calendar.instants(pd.DatetimeIndex([step.start for step in steps]))

    def issued_of(rows: pd.DatetimeIndex) -> pd.DatetimeIndex:
        return calendar.utc(origins[np.searchsorted(origins, calendar.instants(rows), side="right") - 1])

    return issued_of


def _rows(steps: Sequence[Window], setup: Setup) -> featurise.RowsOf:
    """The grid of all steps; with exogenous columns no further than the source tells of them."""
    layout = setup.layout
    whole = calendar.utc(np.concatenate([calendar.instants(calendar.grid(step, layout, setup.beat)) for step in steps]))

    def rows_of(_key: featurise.Key, frame: pd.DataFrame) -> pd.DatetimeIndex:
        return whole[whole <= frame.index.max()] if layout.exogenous else whole

    return rows_of


def _with_actuals(rows: pd.DataFrame, actuals: Mapping[featurise.Key, "pd.Series[float]"], layout: Layout) -> pd.DataFrame:
    names_ = list(layout.series_key)
    found = np.full(len(rows), np.nan)
    groups = rows.groupby(names_, sort=False).indices if names_ else {(): np.arange(len(rows))}
    for key, at in groups.items():
        series = actuals.get(key if isinstance(key, tuple) else (key,))
        if series is not None:
            found[at] = series.reindex(pd.DatetimeIndex(rows[names.TIMESTAMP].iloc[at])).to_numpy(dtype=np.float64)
    rows[names.ACTUAL] = found
    return rows.sort_values([names.ISSUED_AT, *names_, names.TIMESTAMP], kind="stable", ignore_index=True)


def _table(rows: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    for name in (names.TIMESTAMP, names.ISSUED_AT):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(INSTANT))
    return table
