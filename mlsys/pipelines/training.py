"""The training job: data made ready (preparing.py), judge-able evaluation on a hold-out, final fit, two stored artifacts. Decides nothing.

A plain function of a TrainSpec and the ports. Features are computed once; the evaluation model (the "twin") is fit to the rows before the
hold-out, the final one to all, and both are stored: the twin is what the next candidate will be compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from mlsys import errors
from mlsys.pipelines import artifact, base, calendar, champion, environment, evaluation, forecaster, preparing, settling
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.models.seasonal_naive import SeasonalNaive
from mlsys.pipelines.names import PREDICTION, REFERENCE
from mlsys.pipelines.preparing import Prepared
from mlsys.pipelines.stages import Stage
from mlsys.records import TrainOutcome, TrainSpec

SMOKE_ROWS = 96


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A candidate before its final fit: its settled ``recipe``, its twin, fit to the rows before ``cutoff``, and how it did after."""

    prepared: Prepared
    recipe: Mapping[str, Any]
    twin: forecaster.Forecaster
    cutoff: datetime
    scores: Mapping[str, Any]
    metrics: Mapping[str, float]


def train(spec: TrainSpec, ports: base.Ports) -> TrainOutcome:
    """Raises BadData's kin when the data is not fit, Cancelled when asked to stop; stores nothing unless both models were fitted."""
    found = evaluate(spec, ports)
    prepared = found.prepared
    final = _fit(found.recipe, prepared.features, prepared, ports, "fit final model")
    stored = artifact.to_bytes(final, seen=prepared.profile)
    _smoke_check(final, stored, prepared.features, ports)
    ports.reporter.progress("store", 0, 1)
    outcome = TrainOutcome(
        artifact=ports.blobs.put(stored),
        twin=ports.blobs.put(artifact.to_bytes(found.twin)),
        twin_cutoff=found.cutoff,
        metrics=found.metrics,
        evaluation=found.scores,
        checks=prepared.checks,
        data=prepared.rows.used,
        environment=environment.describe(threads=ports.threads, recipe=found.recipe),
        read=prepared.rows.read,
    )
    ports.reporter.progress("store", 1, 1)
    return outcome


def evaluate(spec: TrainSpec, ports: base.Ports) -> Evaluated:
    """All that the gate needs, and nothing stored. Raises as train()."""
    twins = champion.load(spec.champions, ports)
    prepared = preparing.prepare(spec, ports, twins)
    cutoff = prepared.holdout.start
    early = prepared.features.before(cutoff)
    past, holdout = prepared.features.take(early), prepared.features.take(~early)
    recipe = settling.settle(spec.definition["model"], past, ports)
    twin = _fit(recipe, past, prepared, ports, "fit evaluation model")
    ports.reporter.progress("evaluate", 0, 1)
    scores, metrics = _score(spec, ports, prepared, past, holdout, twin, twins)
    ports.reporter.progress("evaluate", 1, 1)
    return Evaluated(prepared=prepared, recipe=recipe, twin=twin, cutoff=cutoff, scores=scores, metrics=metrics)


def _fit(recipe: Mapping[str, Any], rows: Features, prepared: Prepared, ports: base.Ports, stage: str) -> forecaster.Forecaster:
    reporter, model = Stage(name=stage, reporter=ports.reporter), artifact.build_model(recipe, ports)
    return forecaster.fit(rows, setup=prepared.setup, recipe=recipe, model=model, reporter=reporter, threads=ports.threads)


def _score(
    spec: TrainSpec,
    ports: base.Ports,
    prepared: Prepared,
    past: Features,
    holdout: Features,
    twin: forecaster.Forecaster,
    twins: tuple[champion.Twin, ...],
) -> tuple[dict[str, Any], dict[str, float]]:
    layout, window = prepared.setup.layout, prepared.holdout
    forecast, naive = twin.predict(holdout), _naive(past, holdout, ports)
    rivals = [champion.compare(one, window.start, raw=prepared.raw, holdout=holdout, setup=prepared.setup) for one in twins]
    if rivals and rivals[0].forecast is None:
        ports.reporter.log(f"The champion is not compared: {rivals[0].note}", level="warning")
    expected = np.tile(calendar.days(calendar.grid(window, layout, prepared.setup.beat), layout.timezone), len(prepared.raw))
    scores = evaluation.evaluate(
        holdout,
        forecast,
        naive,
        rivals=rivals,
        expected=expected,
        start=window.start,
        end=window.end,
        day_coverage=spec.definition["validation"]["min_day_coverage"],
    )
    return scores, evaluation.metrics(holdout, forecast, naive, rivals[0] if rivals else None)


def _naive(past: Features, holdout: Features, ports: base.Ports) -> evaluation.Floats:
    """The baseline, with the training rows' climatology where 28 days hold nothing."""
    quiet = Stage(name="evaluate", reporter=ports.reporter)
    fitted = SeasonalNaive().fit(past.frame, pd.Series(past.target), reporter=quiet)
    reference = pd.DataFrame({REFERENCE: holdout.reference}, index=holdout.frame.index)
    return fitted.predict(reference)[PREDICTION].to_numpy(dtype=np.float64)


def _smoke_check(final: forecaster.Forecaster, stored: bytes, features: Features, ports: base.Ports) -> None:
    """What was stored must read back and forecast the last rows exactly as the model in memory does."""
    last = np.arange(len(features)) >= len(features) - SMOKE_ROWS
    rows = features.take(last)
    if not final.predict(rows).equals(artifact.from_bytes(stored, ports=ports).predict(rows)):
        raise errors.DamagedArtifact("The model does not forecast the same once stored; it was not kept.")
