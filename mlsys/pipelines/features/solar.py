"""Feature ``solar``: where the sun stands, how much light a clear and a clouded sky would let through, and when it is night.

pandas is imported late: a definition with coordinates is checked against this class by processes that never compute a feature.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from mlsys.pipelines import base
from mlsys.records import Layout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


class Solar(base.Feature):
    """``latitude`` and ``longitude`` in degrees (north and east positive); ``night``: rows with the sun lower than this are forecast as 0.

    ``clouds``: cloud column -> value that means overcast (1, or 100 for per cent). Left out, it is settled on the training data:
    exogenous columns with "cloud" in their name.
    """

    parameters: ClassVar[Mapping[str, base.Parameter]] = {
        "latitude": base.Parameter(type=float, low=-90, high=90),
        "longitude": base.Parameter(type=float, low=-180, high=180),
        "night": base.Parameter(type=float, low=-18, high=10),
    }

    def __init__(self, *, latitude: float, longitude: float, night: float = -2.0, clouds: Mapping[str, float] | None = None) -> None:
        self._latitude, self._longitude, self._night, self._clouds = latitude, longitude, night, clouds

    def lookback(self, layout: Layout) -> timedelta:
        return timedelta(0)

    def columns(self) -> Mapping[str, str]:
        return {f"clouds.{name}": name for name in self._clouds or {}}

    def settle(self, frame: "pd.DataFrame", layout: Layout) -> dict[str, Any]:
        if self._clouds is not None:
            return {}
        names = [name for name in layout.exogenous or () if "cloud" in name.lower()]
        return {"clouds": {name: 100.0 if frame[name].max() > 1.5 else 1.0 for name in names}}

    def active(self, rows: "pd.DatetimeIndex", layout: Layout) -> "npt.NDArray[np.bool_]":
        return self._position(rows, layout)[0] > self._night

    def compute(self, series: "pd.DataFrame", rows: "pd.DatetimeIndex", issued: "pd.DatetimeIndex", layout: Layout) -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        from mlsys.pipelines import sun

        elevation, azimuth = self._position(rows, layout)
        clear = sun.clear_sky(elevation)
        columns = {"sun_elevation": elevation, "sun_azimuth": azimuth, "clear_sky": clear}
        layers = {name: np.clip(series[name].reindex(rows).to_numpy(dtype=np.float64) / full, 0, 1) for name, full in self._layers()}
        if layers:
            cover = 1 - np.prod([1 - layer for layer in layers.values()], axis=0)  # layers overlap at random
            columns |= {"cloud_cover": cover, "clouded_sky": sun.clouded_sky(clear, cover)}
        if len(layers) > 1:
            columns |= {f"clouded_sky.{name}": sun.clouded_sky(clear, layer) for name, layer in layers.items()}
        return pd.DataFrame(columns, index=rows)

    def _layers(self) -> list[tuple[str, float]]:
        return sorted((self._clouds or {}).items())

    def _position(self, rows: "pd.DatetimeIndex", layout: Layout) -> "tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]":
        from mlsys.pipelines import sun

        middle = rows + min(layout.frequency, timedelta(hours=1)) / 2  # a row stands for the time from its timestamp on
        return sun.position(middle, self._latitude, self._longitude)
