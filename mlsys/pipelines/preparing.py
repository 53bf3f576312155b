"""From a training's spec to rows of features that both of its fits share: read, check, repair, clean, featurise. Judges nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pandas as pd

from mlsys import errors
from mlsys.pipelines import (
    base,
    build,
    champion,
    checking,
    cleaning,
    definition,
    evaluation,
    featurise,
    forecaster,
    hindsight,
    reading,
    windows,
)
from mlsys.pipelines import profile as profiles
from mlsys.pipelines.featurise import Features
from mlsys.records import Layout, TrainSpec, Verdict, Window


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """``raw``: series without impossible targets, not yet cleaned; ``features``: rows of the window that have a target; ``holdout``: the
    last of them, to be judged on; ``profile``: the window's days in numbers."""

    rows: windows.Rows
    raw: Mapping[featurise.Key, pd.DataFrame]
    setup: featurise.Setup
    features: Features
    holdout: Window
    profile: profiles.Profile
    checks: tuple[Verdict, ...]


def prepare(spec: TrainSpec, ports: base.Ports, twins: tuple[champion.Twin, ...]) -> Prepared:
    """Raises BadData's kin. ``twins``: the champions; the present one's columns are those that the data must have."""
    chosen = definition.features(spec.definition)
    rows, dropped = _read(spec, ports, chosen, twins)
    if rows.inside.empty:
        raise errors.EmptyWindow(_empty(spec, rows.layout, ports))
    checks = checking.built(definition.checks(spec.definition), "train", ports)
    ports.reporter.progress("features", 0, 1)
    raw = featurise.split(rows.whole, rows.layout)
    context = base.CheckContext(layout=rows.layout, window=spec.window, purpose="train", series=raw, dropped=dropped)
    verdicts = checking.run(rows.inside, context, checks, ports, stage="rows")
    usable = _usable(chosen, rows)
    components = featurise.components(usable, ports)
    context = replace(context, idle=lambda index: ~featurise.active(index, components, rows.layout))
    repaired, mended = checking.repair(rows.inside, context, checks, ports)
    setup = featurise.learn(mended, rows.layout, usable, ports)
    series, touched = featurise.clean(mended, setup)
    features = featurise.featurise(series, setup, featurise.measured(spec.window, rows.layout))
    ports.reporter.progress("features", 1, 1)
    if len(features) < 2 * forecaster.FEWEST_ROWS:
        text = f"Only {len(features)} rows of the window have a target; at least {2 * forecaster.FEWEST_ROWS} are needed: widen the window."
        raise errors.TooFewRows(text)
    holdout = _holdout(features, spec, rows.layout)
    seen = profiles.of(list(series.values()), rows.layout, spec.window)
    context = replace(context, series=mended, cleaned=series, holdout=holdout, profile=seen, earlier=champion.profiles(spec.known, ports))
    verdicts = (*verdicts, *repaired, *checking.run(rows.inside, context, checks, ports, stage="series"))
    cleaned = cleaning.verdict(touched, len(rows.whole), setup.moving)
    return Prepared(rows=rows, raw=mended, setup=setup, features=features, holdout=holdout, profile=seen, checks=(*verdicts, cleaned))


def _read(
    spec: TrainSpec, ports: base.Ports, chosen: Mapping[str, Mapping[str, Any]], twins: tuple[champion.Twin, ...]
) -> tuple[windows.Rows, tuple[str, ...]]:
    """The window's rows with those that features need before them, and the names of columns that were left out."""
    source = build.build(base.DataSource, spec.definition["source"], ports=ports, field="source")
    wanted, dropped = _layout(definition.layout(spec.definition), source, twins)
    lookback = max([f.lookback(wanted) for f in featurise.components(chosen, ports).values()], default=timedelta(0))
    ports.reporter.progress("read", 0, 1)
    rows = windows.read(source, wanted, spec.window, known_at=spec.known_at, before=lookback, after=timedelta(0))
    ports.reporter.progress("read", 1, 1)
    ports.reporter.log(f"Read {rows.used.rows} rows of the window and {len(rows.whole) - rows.used.rows} before it.")
    return rows, dropped


def _layout(wanted: Layout, source: base.DataSource, twins: tuple[champion.Twin, ...]) -> tuple[Layout, tuple[str, ...]]:
    """Where the definition names no exogenous columns, those of the champion: what is new is not used, what is gone is an error."""
    known = next((one.forecaster.setup.layout for one in twins[:1] if one.forecaster is not None), None)
    if wanted.exogenous is not None or known is None or known.target != wanted.target or known.exogenous is None:
        return wanted, ()
    present = reading.exogenous(source, wanted)
    gone = [name for name in known.exogenous if name not in present]
    if gone:
        model = twins[0].champion.model_version_id
        text = f"The data has no numeric column '{gone[0]}', which version {model} in production was trained on"
        raise errors.MissingColumn(f"{text}; restore it, or name the columns to train on in the model's `exogenous`.")
    return replace(wanted, exogenous=known.exogenous), tuple(name for name in present if name not in known.exogenous)


def _holdout(features: Features, spec: TrainSpec, layout: Layout) -> Window:
    start = evaluation.holdout_start(features.day, spec.definition["validation"], layout)
    last = pd.DatetimeIndex(features.frame.index).max().to_pydatetime()
    return Window(start=start, end=min(spec.window.end, last + layout.frequency))


def _usable(chosen: Mapping[str, Mapping[str, Any]], rows: windows.Rows) -> dict[str, Mapping[str, Any]]:
    """The exogenous feature is on by default: without such columns there is nothing for it to do."""
    return {name: options for name, options in chosen.items() if name != "exogenous" or rows.layout.exogenous}


def _empty(spec: TrainSpec, layout: Layout, ports: base.Ports) -> str:
    span = f"from {spec.window.start:%Y-%m-%d %H:%M} to {spec.window.end:%Y-%m-%d %H:%M} UTC"
    source = build.build(base.DataSource, spec.definition["source"], ports=ports, field="source")
    why = hindsight.later(source, layout, spec.window, spec.known_at)
    if why is not None:
        return f"No row {span} was known then: {why}."
    return f"The source holds no row {span}: check start_date and end_date against the data."
