"""The prediction job: load the artifact, read the window and what its features need around it, forecast, write. Decides nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mlsys import errors
from mlsys.pipelines import artifact, base, build, calendar, checking, cleaning, definition, environment, featurise, keeping, names, windows
from mlsys.pipelines.featurise import Features
from mlsys.records import Output, PredictOutcome, PredictSpec, Window

WARNED = ("completeness", "duplicates", "gaps")
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
    context = base.CheckContext(layout=setup.layout, window=spec.window, purpose="predict")
    checks = checking.run(rows.inside, context, _warned(definition.checks(spec.definition)), ports)
    raw = featurise.split(rows.whole, setup.layout) or {}
    series, touched = featurise.clean(raw, setup)
    ports.reporter.progress("features", 0, 1)
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
        checks=(*checks, cleaning.verdict(touched, len(rows.whole), setup.moving)),
        environment=environment.describe(threads=ports.threads, recipe=model.model),
        read=rows.read,
    )


def _features(series: Mapping[featurise.Key, pd.DataFrame], setup: featurise.Setup, window: Window) -> Features:
    layout = setup.layout
    whole = calendar.grid(window, layout, setup.beat)

    def rows_of(_key: featurise.Key, frame: pd.DataFrame) -> pd.DatetimeIndex:
        """The whole grid; with exogenous columns no further than the source tells of them."""
        if not layout.exogenous:
            return whole
        known = pd.DatetimeIndex(frame.index)
        inside = known[calendar.inside(known, window)]
        return whole[whole <= inside.max()] if len(inside) else whole[:0]

    features = featurise.featurise(series, setup, rows_of) if series else None
    if features is None or not len(features):
        needed = "rows for the exogenous columns" if layout.exogenous else "timestamps at the model's frequency"
        text = f"From {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC there are no {needed}: nothing can be forecast."
        raise errors.EmptyWindow(text)
    return features


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


def _warned(checks: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Of the built-in checks those that mean something for a forecast; a user's own always."""
    return {name: options for name, options in checks.items() if name in WARNED or name not in ("target", "frozen_exogenous")}
