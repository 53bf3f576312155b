"""What a training decides about its recipe before the first fit: the same for the evaluation model and the final one, and recorded.

It looks at the rows before the hold-out alone: what was chosen on the days that the gate scores would look better there than it is.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mlsys.pipelines import artifact, base, scaling
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.stages import Stage


def settle(recipe: Mapping[str, Any], past: Features, ports: base.Ports) -> dict[str, Any]:
    """``recipe``: the definition's ``model`` mapping; back comes one with the parameters that were chosen. Raises Cancelled."""
    active = past if past.active.all() else past.take(past.active)
    rows = scaling.learn(active).apply(active)
    if recipe.get("tuning"):
        recipe = _tuned(recipe, rows, ports)
    target = pd.Series(rows.target, index=rows.frame.index)
    reporter = Stage(name="settle", reporter=ports.reporter)
    reporter.progress("settle", 0, 1)
    chosen = artifact.build_model(recipe, ports).settle(rows.frame, target, reporter=reporter, threads=ports.threads)
    reporter.progress("settle", 1, 1)
    if chosen:
        ports.reporter.log(f"Settled on the training data: {', '.join(f'{name} = {value}' for name, value in chosen.items())}.")
    return {**recipe, "params": {**recipe["params"], **chosen}}


def _tuned(recipe: Mapping[str, Any], rows: Features, ports: base.Ports) -> dict[str, Any]:
    from mlsys.pipelines import tuning  # an extra

    found = tuning.tune(recipe, rows, ports)
    new = ", ".join(f"{name} = {value:.4g}" for name, value in found["params"].items() if name not in recipe["params"]) or "nothing better"
    told = found["tuning"]
    text = f"Tuned in {told['trials']} trials: MAE {told['mae']:.4g} in cross-validation, {told['mae_before']:.4g} before; {new}."
    ports.reporter.log(text)
    return found
