"""The training job: read, check, clean, features, judge-able evaluation on a hold-out, final fit, two stored artifacts. Decides nothing.

A plain function of a TrainSpec and the ports. Features are computed once; the evaluation model (the "twin") is fit to the rows before the
hold-out, the final one to all, and both are stored: the twin is what the next candidate will be compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from mlsys import errors
from mlsys.pipelines import (
    artifact,
    base,
    build,
    calendar,
    checking,
    cleaning,
    definition,
    environment,
    evaluation,
    featurise,
    forecaster,
    windows,
)
from mlsys.pipelines.champion import compare
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.models.seasonal_naive import SeasonalNaive
from mlsys.pipelines.names import PREDICTION, REFERENCE
from mlsys.pipelines.stages import Stage
from mlsys.records import TrainOutcome, TrainSpec, Verdict, Window

SMOKE_ROWS = 96


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """Everything that both fits and the scoring share. ``raw``: series as read; ``features``: rows of the window that have a target."""

    rows: windows.Rows
    raw: Mapping[featurise.Key, pd.DataFrame]
    setup: featurise.Setup
    features: Features
    checks: tuple[Verdict, ...]


def train(spec: TrainSpec, ports: base.Ports) -> TrainOutcome:
    """Raises BadData's kin when the data is not fit, Cancelled when asked to stop; stores nothing unless both models were fitted."""
    prepared = _prepare(spec, ports)
    recipe = spec.definition["model"]
    model = artifact.build_model(recipe, ports)
    features, setup = prepared.features, prepared.setup
    cutoff = evaluation.holdout_start(features.day, spec.definition["validation"], setup.layout.timezone)
    early = _before(features, cutoff)
    past, holdout = features.take(early), features.take(~early)

    def fit(rows: Features, stage: str) -> forecaster.Forecaster:
        reporter = Stage(name=stage, reporter=ports.reporter)
        return forecaster.fit(rows, setup=setup, recipe=recipe, model=model, reporter=reporter, threads=ports.threads)

    twin = fit(past, "fit evaluation model")
    ports.reporter.progress("evaluate", 0, 1)
    scores, metrics = _score(spec, ports, prepared, past, holdout, twin, cutoff)
    ports.reporter.progress("evaluate", 1, 1)
    final = fit(features, "fit final model")
    stored = artifact.to_bytes(final)
    _smoke_check(final, stored, features, ports)
    ports.reporter.progress("store", 0, 1)
    outcome = TrainOutcome(
        artifact=ports.blobs.put(stored),
        twin=ports.blobs.put(artifact.to_bytes(twin)),
        twin_cutoff=cutoff,
        metrics=metrics,
        evaluation=scores,
        checks=prepared.checks,
        data=prepared.rows.used,
        environment=environment.describe(threads=ports.threads, recipe=recipe),
        read=prepared.rows.read,
    )
    ports.reporter.progress("store", 1, 1)
    return outcome


def _prepare(spec: TrainSpec, ports: base.Ports) -> _Prepared:
    wanted = definition.layout(spec.definition)
    chosen = definition.features(spec.definition)
    source = build.build(base.DataSource, spec.definition["source"], ports=ports, field="source")
    lookback = max([f.lookback(wanted) for f in featurise.components(chosen, ports).values()], default=timedelta(0))
    ports.reporter.progress("read", 0, 1)
    rows = windows.read(source, wanted, spec.window, known_at=spec.known_at, before=lookback, after=timedelta(0))
    ports.reporter.progress("read", 1, 1)
    ports.reporter.log(f"Read {rows.used.rows} rows of the window and {len(rows.whole) - rows.used.rows} before it.")
    if rows.inside.empty:
        raise errors.EmptyWindow(_empty(spec.window))
    context = base.CheckContext(layout=rows.layout, window=spec.window, purpose="train")
    checks = checking.run(rows.inside, context, definition.checks(spec.definition), ports)
    ports.reporter.progress("features", 0, 1)
    raw = featurise.split(rows.whole, rows.layout)
    setup = featurise.learn(raw, rows.layout, _usable(chosen, rows), ports)
    series, touched = featurise.clean(raw, setup)
    features = featurise.featurise(series, setup, _with_target(rows, spec.window))
    ports.reporter.progress("features", 1, 1)
    if len(features) < 2 * forecaster.FEWEST_ROWS:
        text = f"Only {len(features)} rows of the window have a target; at least {2 * forecaster.FEWEST_ROWS} are needed: widen the window."
        raise errors.TooFewRows(text)
    checks = (*checks, cleaning.verdict(touched, len(rows.whole), setup.moving))
    return _Prepared(rows=rows, raw=raw, setup=setup, features=features, checks=checks)


def _score(
    spec: TrainSpec,
    ports: base.Ports,
    prepared: _Prepared,
    past: Features,
    holdout: Features,
    twin: forecaster.Forecaster,
    cutoff: datetime,
) -> tuple[dict[str, Any], dict[str, float]]:
    layout = prepared.setup.layout
    candidate = twin.predict(holdout)[PREDICTION].to_numpy()
    naive = _naive(past, holdout, ports)
    rival = None
    if spec.champion is not None:
        rival = compare(spec.champion, cutoff, raw=prepared.raw, holdout=holdout, setup=prepared.setup, ports=ports)
        if rival.forecast is None:
            ports.reporter.log(f"The champion is not compared: {rival.note}", level="warning")
    last = pd.DatetimeIndex(holdout.frame.index).max().to_pydatetime()
    end = min(spec.window.end, last + layout.frequency)
    expected = len(calendar.grid(Window(start=cutoff, end=end), layout, prepared.setup.beat)) * len(prepared.raw)
    scores = evaluation.evaluate(holdout, candidate, naive, rival=rival, expected=expected, start=cutoff, end=end)
    return scores, evaluation.metrics(holdout, candidate, naive, rival)


def _naive(past: Features, holdout: Features, ports: base.Ports) -> evaluation.Floats:
    """The baseline, with the training rows' climatology where 28 days hold nothing."""
    quiet = Stage(name="evaluate", reporter=ports.reporter)
    fitted = SeasonalNaive().fit(past.frame, pd.Series(past.target), reporter=quiet)
    reference = pd.DataFrame({REFERENCE: holdout.reference}, index=holdout.frame.index)
    return fitted.predict(reference)[PREDICTION].to_numpy(dtype=np.float64)


def _with_target(rows: windows.Rows, window: Window) -> featurise.RowsOf:
    target = rows.layout.target

    def rows_of(_key: featurise.Key, series: pd.DataFrame) -> pd.DatetimeIndex:
        index = pd.DatetimeIndex(series.index)
        return index[calendar.inside(index, window) & series[target].notna().to_numpy()]

    return rows_of


def _usable(chosen: Mapping[str, Mapping[str, Any]], rows: windows.Rows) -> dict[str, Mapping[str, Any]]:
    """The exogenous feature is on by default: without such columns there is nothing for it to do."""
    return {name: options for name, options in chosen.items() if name != "exogenous" or rows.layout.exogenous}


def _before(features: Features, cutoff: datetime) -> featurise.Mask:
    return calendar.instants(pd.DatetimeIndex(features.frame.index)) < calendar.instant(cutoff)


def _smoke_check(final: forecaster.Forecaster, stored: bytes, features: Features, ports: base.Ports) -> None:
    """What was stored must read back and forecast the last rows exactly as the model in memory does."""
    last = np.arange(len(features)) >= len(features) - SMOKE_ROWS
    rows = features.take(last)
    if not final.predict(rows).equals(artifact.from_bytes(stored, ports=ports).predict(rows)):
        raise errors.DamagedArtifact("The model does not forecast the same once stored; it was not kept.")


def _empty(window: Window) -> str:
    text = f"The source holds no row from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    return f"{text}: check start_date and end_date against the data."
