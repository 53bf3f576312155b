"""Hyper-parameters by search: trials of Optuna, each scored on weeks that it was not fitted to. Off unless the definition asks for it.

The same rows give the same answer: the sampler is seeded, trials run in turn, and models are deterministic. What the user set stays.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import optuna
import pandas as pd

from mlsys.pipelines import artifact, base, calendar, conformal
from mlsys.pipelines.featurise import Features
from mlsys.pipelines.names import PREDICTION


class _Position:
    """What a fit within a trial tells: only which trial it is. A run that was asked to stop stops there."""

    def __init__(self, reporter: base.Reporter, number: int, total: int) -> None:
        self._reporter, self._number, self._total = reporter, number, total

    def progress(self, step: str, done: int, total: int) -> None:
        self._reporter.progress("tune", self._number, self._total)

    def log(self, message: str, *, level: Literal["info", "warning", "error"] = "info") -> None:
        self._reporter.log(message, level=level)


def tune(recipe: Mapping[str, Any], rows: Features, ports: base.Ports) -> dict[str, Any]:
    """The recipe with the parameters of the best trial, if it is better than what was there; under ``tuning`` both mean absolute errors.

    ``rows``: those that may be fitted to. Blocked cross-validation: the folds of conformal.py, so that no row is scored by a model that was
    fitted to its neighbours. Raises Cancelled.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = {name: one for name, one in artifact.build_model(recipe, ports).search.items() if name not in recipe["params"]}
    wanted, fold = recipe["tuning"]["trials"], conformal.folds(calendar.instants(pd.DatetimeIndex(rows.frame.index)))

    def score(params: Mapping[str, Any], number: int) -> float:
        tried = {**recipe, "params": {**recipe["params"], **params}, "quantiles": []}
        return _error(artifact.build_model(tried, ports), rows, fold, ports, _Position(ports.reporter, number, wanted + 1))

    def objective(trial: optuna.Trial) -> float:
        return score({name: _suggest(trial, name, one) for name, one in search.items()}, trial.number + 1)

    before = score({}, 0)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=int(recipe["params"].get("seed", 0))))
    study.optimize(objective, n_trials=wanted)
    ports.reporter.progress("tune", wanted + 1, wanted + 1)
    found = study.best_params if study.best_value < before else {}
    told = {**recipe["tuning"], "mae": min(before, study.best_value), "mae_before": before}
    return {**recipe, "params": {**recipe["params"], **found}, "tuning": told}


def _error(model: base.Model, rows: Features, fold: conformal.Ints, ports: base.Ports, reporter: base.Reporter) -> float:
    """Mean absolute error over all rows, each forecast by a model of the other folds."""
    wrong = np.zeros(len(rows))
    for number in range(conformal.FOLDS):
        mine = fold == number
        target = pd.Series(rows.target[~mine], index=rows.frame.index[~mine])
        fitted = model.fit(rows.frame[~mine], target, reporter=reporter, threads=ports.threads)
        wrong[mine] = np.abs(fitted.predict(rows.frame[mine])[PREDICTION].to_numpy() - rows.target[mine])
    return float(wrong.mean())


def _suggest(trial: optuna.Trial, name: str, one: base.Parameter) -> Any:
    if one.choices:
        return trial.suggest_categorical(name, one.choices)
    low, high = one.low or 0, one.high or 0
    if one.type is int:
        return trial.suggest_int(name, int(low), int(high), log=one.log)
    return trial.suggest_float(name, low, high, log=one.log)
