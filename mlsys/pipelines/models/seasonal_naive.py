"""Model ``seasonal_naive``: the value at the same time of day on the last day that has one. Also the baseline every model must beat."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlsys.pipelines import base
from mlsys.pipelines.names import REFERENCE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

MINUTE_US, DAY_MINUTES = 60_000_000, 1440


class SeasonalNaive(base.Model):
    """No parameters. Looks back as far as the feature ``lags`` does (28 days); before that, the training mean at that time of day."""

    parameters: ClassVar[Mapping[str, base.Parameter]] = {}
    needs: ClassVar[tuple[str, ...]] = ("lags",)

    def __init__(self, *, params: Mapping[str, Any] | None = None) -> None:
        pass

    def fit(
        self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: base.Reporter, threads: int = 1
    ) -> "FittedSeasonalNaive":
        import numpy as np

        values = np.asarray(target, dtype=np.float64)
        minute = _minute(features)
        count = np.bincount(minute, minlength=DAY_MINUTES)
        means = np.bincount(minute, weights=values, minlength=DAY_MINUTES) / np.maximum(count, 1)
        reporter.progress("fit", 1, 1)
        return FittedSeasonalNaive(mean=float(values.mean()), by_minute={int(m): float(means[m]) for m in np.flatnonzero(count)})

    def load(self, data: Mapping[str, Any]) -> "FittedSeasonalNaive":
        return FittedSeasonalNaive.from_data(data)


class FittedSeasonalNaive(base.FittedModel):
    """``by_minute``: training mean for each minute of the UTC day that was seen, ``mean`` for the others."""

    def __init__(self, *, mean: float, by_minute: Mapping[int, float]) -> None:
        self._mean, self._by_minute = mean, dict(by_minute)

    @property
    def extrapolates(self) -> bool:
        return True

    def predict(self, features: "pd.DataFrame") -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        climate = np.full(DAY_MINUTES, self._mean)
        climate[list(self._by_minute)] = list(self._by_minute.values())
        last = features[REFERENCE].to_numpy(dtype=np.float64)
        return pd.DataFrame({"prediction": np.where(np.isnan(last), climate[_minute(features)], last)}, index=features.index)

    def to_data(self) -> dict[str, Any]:
        return {"mean": self._mean, "by_minute": [[minute, value] for minute, value in sorted(self._by_minute.items())]}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "FittedSeasonalNaive":
        return cls(mean=data["mean"], by_minute={int(minute): float(value) for minute, value in data["by_minute"]})


def _minute(features: "pd.DataFrame") -> "npt.NDArray[np.int64]":
    import pandas as pd

    from mlsys.pipelines import calendar

    return calendar.instants(pd.DatetimeIndex(features.index)) // MINUTE_US % DAY_MINUTES
