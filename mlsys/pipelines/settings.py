"""Names, ranges and defaults of what a definition's ``validation``, ``checks`` and ``features`` may hold. Tables only, no rules."""

from collections.abc import Mapping
from typing import Any

from mlsys.pipelines.base import Parameter

GATE: Mapping[str, tuple[Any, Parameter]] = {
    "holdout_days": (28, Parameter(type=int, low=1, high=366)),  # length of the hold-out at the end of the window
    "holdout_fraction": (0.2, Parameter(type=float, low=0.01, high=0.5)),  # of the window, where that is less
    "min_days": (20, Parameter(type=int, low=1, high=366)),  # scored days, else "cannot judge"
    "min_day_coverage": (0.5, Parameter(type=float, low=0, high=1)),  # share of a day's rows, else the day is not scored
    "min_coverage": (0.8, Parameter(type=float, low=0, high=1)),  # share of the hold-out's expected rows that were scored
    "min_skill": (0.0, Parameter(type=float, low=-10, high=1)),  # against seasonal naive
    "min_skill_first": (0.05, Parameter(type=float, low=-10, high=1)),  # the same where there is no champion
    "max_ratio": (1.10, Parameter(type=float, low=0.1, high=10)),  # upper bound of MAE(candidate) / MAE(champion)
    "best_of": (8, Parameter(type=int, low=1, high=50)),  # last champions; the best of them on the hold-out is the second bar
    "max_ratio_best": (1.15, Parameter(type=float, low=0.1, high=10)),  # upper bound of MAE(candidate) / MAE(best of them)
    "confidence": (0.9, Parameter(type=float, low=0.5, high=0.999)),  # of these upper bounds
    "draws": (1000, Parameter(type=int, low=100, high=100_000)),
    "block_days": (3, Parameter(type=int, low=1, high=28)),
    "seed": (0, Parameter(type=int, low=0, high=2**31 - 1)),
    "max_bias": (0.1, Parameter(type=float, low=0, high=10)),  # of the mean absolute target; a warning
    "max_quantile_gap": (0.08, Parameter(type=float, low=0, high=1)),  # between a quantile's (or interval's) coverage and its level
}
ACCURACY: Mapping[str, tuple[Any, Parameter]] = {
    "metric": ("mae", Parameter(type=str, choices=("mae", "rmse", "bias", "skill", "pinball", "coverage"))),  # of a day's issued forecasts
    "limit": (None, Parameter(type=float)),  # above it (of skill and coverage: below it) a day is too wrong
    "ratio": (None, Parameter(type=float, low=0, high=1000)),  # the same, as a multiple of the version's own hold-out score
    "days": (3, Parameter(type=int, low=1, high=60)),  # in a row
    "min_coverage": (0.8, Parameter(type=float, low=0.01, high=1)),  # share of a day's rows that must be measured to judge it
}
CHECKS = (
    "completeness", "duplicates", "extremes", "frozen_exogenous", "frozen_target", "gaps", "impossible_target", "level", "revised",
    "schema", "target",
)  # fmt: skip
FEATURES: Mapping[str, bool] = {"calendar": True, "exogenous": True, "lags": True}


def gate_defaults() -> dict[str, Any]:
    return {name: default for name, (default, _) in GATE.items()}


def gate_parameters() -> dict[str, Parameter]:
    return {name: parameter for name, (_, parameter) in GATE.items()}
