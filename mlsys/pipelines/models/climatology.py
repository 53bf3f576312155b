"""Model ``climatology``: the training mean at the same time of day and year, of each series. A baseline that no recent value misleads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsys.pipelines import base
from mlsys.pipelines.names import PREDICTION, quantile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from mlsys.pipelines.conformal import Calibration

MONTH, MINUTE, MEAN = "month", "minute", "mean"


class Climatology(base.Model):
    """No parameters. A month or a time of day (in UTC) that was never seen has the mean of what remains when it is left out.

    ``quantiles``: levels; from the errors of each fold's rows when the others forecast them (conformal.py).
    """

    parameters: ClassVar[Mapping[str, base.Parameter]] = {}

    def __init__(self, *, params: Mapping[str, Any] | None = None, quantiles: Sequence[float] = ()) -> None:
        self._levels = tuple(quantiles)

    def fit(
        self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: base.Reporter, threads: int = 1
    ) -> "FittedClimatology":
        import numpy as np

        cells, values = _cells(features), np.asarray(target, dtype=np.float64)
        reporter.progress("fit", 1, 1)
        calibration = _calibrate(cells, values, _instants(features), self._levels) if self._levels else None
        return FittedClimatology(tables=_tables(cells, values), mean=float(values.mean()), levels=self._levels, calibration=calibration)

    def load(self, data: Mapping[str, Any]) -> "FittedClimatology":
        return FittedClimatology.from_data(data)


class FittedClimatology(base.FittedModel):
    """``tables``: means by ever fewer columns; the first that knows a row tells its forecast, else ``mean``."""

    def __init__(
        self, *, tables: "Sequence[pd.DataFrame]", mean: float, levels: Sequence[float], calibration: "Calibration | None"
    ) -> None:
        self._tables, self._mean, self._levels, self._calibration = list(tables), mean, tuple(levels), calibration

    def predict(self, features: "pd.DataFrame") -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        point = _look_up(self._tables, self._mean, _cells(features))
        found = {PREDICTION: point}
        if self._calibration is not None:
            shifted = self._calibration.apply(np.repeat(point[:, None], len(self._levels), axis=1))
            found |= {quantile(level): shifted[:, i] for i, level in enumerate(self._levels)}
        return pd.DataFrame(found, index=features.index)

    def to_data(self) -> dict[str, Any]:
        tables = [{"columns": list(table.columns), "rows": table.to_numpy().tolist()} for table in self._tables]
        calibration = self._calibration.to_data() if self._calibration else None
        return {"tables": tables, "mean": self._mean, "levels": list(self._levels), "calibration": calibration}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "FittedClimatology":
        import pandas as pd

        from mlsys.pipelines import conformal

        tables = [pd.DataFrame(one["rows"], columns=one["columns"], dtype="float64") for one in data["tables"]]
        calibration = conformal.from_data(data["calibration"]) if data["calibration"] else None
        return cls(tables=tables, mean=data["mean"], levels=data["levels"], calibration=calibration)


def _cells(features: "pd.DataFrame") -> "pd.DataFrame":
    """Where each row belongs: the codes of its series, its month, its minute of the day; all as float64."""
    import pandas as pd

    index = pd.DatetimeIndex(features.index)
    keys = {name: features[name].cat.codes.to_numpy() for name in features if isinstance(features[name].dtype, pd.CategoricalDtype)}
    return pd.DataFrame({**keys, MONTH: index.month, MINUTE: index.hour * 60 + index.minute}, dtype="float64")


def _tables(cells: "pd.DataFrame", values: "npt.NDArray[np.float64]") -> "list[pd.DataFrame]":
    keys = [name for name in cells if name not in (MONTH, MINUTE)]
    groupings = [[*keys, MONTH, MINUTE], [*keys, MINUTE], keys]
    whole = cells.assign(**{MEAN: values})
    return [whole.groupby(names, sort=True)[[MEAN]].mean().reset_index() for names in groupings if names]


def _look_up(tables: "Sequence[pd.DataFrame]", mean: float, cells: "pd.DataFrame") -> "npt.NDArray[np.float64]":
    import numpy as np

    found = np.full(len(cells), np.nan)
    for table in tables:
        names = [name for name in table if name != MEAN]
        told = cells[names].merge(table, on=names, how="left")[MEAN].to_numpy()
        found = np.where(np.isnan(found), told, found)
    return np.where(np.isnan(found), mean, found)


def _instants(features: "pd.DataFrame") -> "npt.NDArray[np.int64]":
    import pandas as pd

    from mlsys.pipelines import calendar

    return calendar.instants(pd.DatetimeIndex(features.index))


def _calibrate(
    cells: "pd.DataFrame", values: "npt.NDArray[np.float64]", instants: "npt.NDArray[np.int64]", levels: Sequence[float]
) -> "Calibration":
    import numpy as np

    from mlsys.pipelines import conformal

    fold = conformal.folds(instants)
    raw = np.zeros(len(values))
    for number in range(conformal.FOLDS):
        others, mine = fold != number, fold == number
        raw[mine] = _look_up(_tables(cells[others], values[others]), float(values[others].mean()), cells[mine].reset_index(drop=True))
    return conformal.learn(np.repeat(raw[:, None], len(levels), axis=1), values, levels)
