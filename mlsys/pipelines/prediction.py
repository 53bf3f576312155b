"""The prediction job: load the artifact, read the window and what its features need around it, forecast, write. Decides nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

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
    featurise,
    keeping,
    names,
    reading,
    windows,
)
from mlsys.pipelines.featurise import Features
from mlsys.records import Layout, Output, PredictOutcome, PredictSpec, Verdict, Window

INSTANT = pa.timestamp("us", "UTC")


def predict(spec: PredictSpec, ports: base.Ports) -> PredictOutcome:
    """A row for every timestamp of the window at the model's frequency. Raises DamagedArtifact, BadData's kin, Cancelled."""
    ports.reporter.progress("read", 0, 1)
    model = artifact.from_bytes(ports.blobs.get(spec.artifact_sha256), ports=ports)
    setup = model.setup
    source = build.build(base.DataSource, spec.definition["source"], ports=ports, field="source")
    around = {"before": setup.lookback() + setup.layout.horizon, "after": setup.lookahead()}
    # of this source, which need not be that of the training
    told: dict[str, Any] = {name: spec.definition.get(name) for name in ("created_at", "issue")}
    rows = windows.read(source, replace(setup.layout, **told), spec.window, known_at=spec.known_at, target=False, **around)
    ports.reporter.progress("read", 1, 1)
    ports.reporter.progress("features", 0, 1)
    series, checks = _checked(rows, setup, source, spec, ports)
    features = _features(series, setup, spec.window)
    ports.reporter.progress("predict", 0, 1)
    table = _table(features, model.predict(features), setup, spec)
    ports.reporter.progress("write", 0, 1)
    kept = keeping.keep(table, setup.layout, ports.blobs)
    output = Output(uri=kept.blob.uri, rows=kept.rows, sha256=kept.blob.sha256)
    if spec.deliver:
        destination = build.build(base.Destination, spec.definition["destination"], ports=ports, field="destination")
        output = destination.write(table, model_name=spec.model_name, run_id=spec.run_id)
    ports.reporter.progress("write", 1, 1)
    return PredictOutcome(
        output=output,
        data=rows.used,
        kept=kept,
        checks=(*checks, _substituted(features, spec.window, setup)),
        environment=environment.describe(threads=ports.threads, recipe=model.model),
        read=rows.read,
    )


def _checked(
    rows: windows.Rows, setup: featurise.Setup, source: base.DataSource, spec: PredictSpec, ports: base.Ports
) -> tuple[Mapping[featurise.Key, pd.DataFrame], tuple[Verdict, ...]]:
    """The series as the model was trained on them: without impossible targets and dead stretches; and what was found on the way."""
    layout = setup.layout
    checks = checking.built(definition.checks(spec.definition), "predict", ports)
    context = base.CheckContext(
        layout=layout,
        window=spec.window,
        purpose="predict",
        series=featurise.split(rows.whole, layout),
        idle=lambda index: ~featurise.active(index, setup.components, layout),
        dropped=_new(source, spec, layout),
    )
    found = checking.run(rows.inside, context, checks, ports, stage="rows")
    repaired, raw = checking.repair(rows.inside, context, checks, ports)
    series, touched = featurise.clean(raw, setup)
    context = replace(context, series=raw, cleaned=series)
    found = (*found, *repaired, *checking.run(rows.inside, context, checks, ports, stage="series"))
    return series, (*found, cleaning.verdict(touched, len(rows.whole), setup.moving))


def _new(source: base.DataSource, spec: PredictSpec, layout: Layout) -> tuple[str, ...]:
    """Columns that the model would have been trained on, had they been there."""
    if spec.definition.get("exogenous") is not None:
        return ()
    return tuple(name for name in reading.exogenous(source, replace(layout, exogenous=None)) if name not in (layout.exogenous or ()))


def _features(series: Mapping[featurise.Key, pd.DataFrame], setup: featurise.Setup, window: Window) -> Features:
    """Of the whole grid of every series that the source tells of, in or before the window: a day without data is forecast all the same."""
    whole = calendar.grid(window, setup.layout, setup.beat)
    told = {key: one for key, one in series.items() if len(one)}
    if not told or not len(whole):
        needed = "timestamps at the model's frequency" if told else "rows in it or shortly before it"
        text = f"From {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC there are no {needed}: nothing can be forecast."
        raise errors.EmptyWindow(text)
    return featurise.featurise(told, setup, lambda _key, _series: whole)


def _substituted(features: Features, window: Window, setup: featurise.Setup) -> Verdict:
    count = int(features.substituted.sum())
    detail = (
        f"{count} of {len(features)} rows are forecast without the data they need: `quality` is substituted" if count else "all have data"
    )
    rows = checking.rests_on(window, pd.DatetimeIndex(features.frame.index), setup.layout)
    return Verdict(name="substituted", passed=not count, value=count, threshold=0, detail=detail, blocking=False, data=rows)


def _table(features: Features, forecast: pd.DataFrame, setup: featurise.Setup, spec: PredictSpec) -> pa.Table:
    layout, count = setup.layout, len(features)
    quality = pa.array(np.where(features.substituted, "substituted", "ok"))
    issued = calendar.instants(features.issued)
    if spec.known_at is not None:  # the knowledge that a row used is no newer than the cut
        issued = np.minimum(issued, calendar.instant(spec.known_at))
    columns: dict[str, Any] = {
        layout.timestamp: pa.array(calendar.instants(pd.DatetimeIndex(features.frame.index))).cast(INSTANT),
        **{name: pa.array(features.keys[name], from_pandas=True) for name in layout.series_key},
        **{name: pa.array(forecast[name].to_numpy()) for name in forecast.columns},
        names.QUALITY: quality,
        names.ISSUED_AT: pa.array(issued).cast(INSTANT),
        names.CREATED_AT: pa.repeat(pa.scalar(spec.issued_at, INSTANT), count),
        names.MODEL_VERSION: pa.repeat(spec.model_version_id, count),
        names.RUN: pa.repeat(spec.run_id, count),
    }
    return pa.table(columns)
