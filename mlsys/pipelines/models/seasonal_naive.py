"""Model ``seasonal_naive``: the value at the same time of day on the last day that has one. Also the baseline every model must beat."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsys.pipelines import base
from mlsys.pipelines.names import PREDICTION, REFERENCE, quantile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from mlsys.pipelines.conformal import Calibration

MINUTE_US, DAY_MINUTES = 60_000_000, 1440


class SeasonalNaive(base.Model):
    """No parameters. Looks back as far as the feature ``lags`` does (28 days); before that, the training mean at that time of day.

    ``quantiles``: levels; from the errors that it made on the training rows, none of which it was fitted to.
    """

    parameters: ClassVar[Mapping[str, base.Parameter]] = {}
    needs: ClassVar[tuple[str, ...]] = ("lags",)

    def __init__(self, *, params: Mapping[str, Any] | None = None, quantiles: Sequence[float] = ()) -> None:
        self._levels = tuple(quantiles)

    def fit(
        self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: base.Reporter, threads: int = 1
    ) -> "FittedSeasonalNaive":
        import numpy as np

        from mlsys.pipelines import conformal

        values = np.asarray(target, dtype=np.float64)
        minute = _minute(features)
        count = np.bincount(minute, minlength=DAY_MINUTES)
        means = np.bincount(minute, weights=values, minlength=DAY_MINUTES) / np.maximum(count, 1)
        reporter.progress("fit", 1, 1)
        by_minute = {int(m): float(means[m]) for m in np.flatnonzero(count)}
        plain = FittedSeasonalNaive(mean=float(values.mean()), by_minute=by_minute)
        if not self._levels:
            return plain
        raw = np.repeat(plain.predict(features).to_numpy(), len(self._levels), axis=1)
        calibration = conformal.learn(raw, values, self._levels)
        return FittedSeasonalNaive(mean=float(values.mean()), by_minute=by_minute, levels=self._levels, calibration=calibration)

    def load(self, data: Mapping[str, Any]) -> "FittedSeasonalNaive":
        return FittedSeasonalNaive.from_data(data)


class FittedSeasonalNaive(base.FittedModel):
    """``by_minute``: training mean for each minute of the UTC day that was seen, ``mean`` for the others."""

    def __init__(
        self, *, mean: float, by_minute: Mapping[int, float], levels: Sequence[float] = (), calibration: "Calibration | None" = None
    ) -> None:
        self._mean, self._by_minute = mean, dict(by_minute)
        self._levels, self._calibration = tuple(levels), calibration

    @property
    def extrapolates(self) -> bool:
        return True

    def predict(self, features: "pd.DataFrame") -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        climate = np.full(DAY_MINUTES, self._mean)
        climate[list(self._by_minute)] = list(self._by_minute.values())
        last = features[REFERENCE].to_numpy(dtype=np.float64)
        point = np.where(np.isnan(last), climate[_minute(features)], last)
        found = {PREDICTION: point}
        if self._calibration is not None:
            shifted = self._calibration.apply(np.repeat(point[:, None], len(self._levels), axis=1))
            found |= {quantile(level): shifted[:, i] for i, level in enumerate(self._levels)}
        return pd.DataFrame(found, index=features.index)

    def to_data(self) -> dict[str, Any]:
        data = {"mean": self._mean, "by_minute": [[minute, value] for minute, value in sorted(self._by_minute.items())]}
        return data | ({"levels": list(self._levels), "calibration": self._calibration.to_data()} if self._calibration else {})

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "FittedSeasonalNaive":
        from mlsys.pipelines import conformal

        by_minute = {int(minute): float(value) for minute, value in data["by_minute"]}
        calibration = conformal.from_data(data["calibration"]) if data.get("calibration") else None
        return cls(mean=data["mean"], by_minute=by_minute, levels=data.get("levels", ()), calibration=calibration)


def _minute(features: "pd.DataFrame") -> "npt.NDArray[np.int64]":
    import pandas as pd

    from mlsys.pipelines import calendar

    return calendar.instants(pd.DatetimeIndex(features.index)) // MINUTE_US % DAY_MINUTES
