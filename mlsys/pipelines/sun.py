"""Where the sun stands and how much light a clear sky lets through: formulas only.

Sun position by Spencer's Fourier series (1971), clear sky by Haurwitz (1945): within about a quarter of a degree and a few per cent,
which is all that a forecast from cloud cover can use.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlsys.pipelines import calendar

Floats = npt.NDArray[np.float64]


def position(times: pd.DatetimeIndex, latitude: float, longitude: float) -> tuple[Floats, Floats]:
    """Elevation above the horizon and azimuth clockwise from north, both in degrees, without refraction."""
    moment = calendar.instants(times)
    year = moment.astype("datetime64[us]").astype("datetime64[Y]").astype("datetime64[us]").astype(np.int64)
    hour = moment % calendar.DAY_US / 3.6e9
    gamma = 2 * np.pi * (moment - year) / calendar.DAY_US / 365
    declination = _series(gamma, 0.006918, (-0.399912, 0.070257), (-0.006758, 0.000907), (-0.002697, 0.00148))
    equation = 229.18 * _series(gamma, 0.000075, (0.001868, -0.032077), (-0.014615, -0.040849))  # minutes
    angle = np.radians((hour + equation / 60 - 12) * 15 + longitude)
    phi = np.radians(latitude)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(angle)
    azimuth = np.degrees(np.arctan2(-np.cos(declination) * np.sin(angle), north)) % 360
    return np.degrees(np.arcsin(np.clip(sine, -1, 1))), azimuth


def clear_sky(elevation: Floats) -> Floats:
    """Global horizontal irradiance of a cloudless sky, W/m2, 0 with the sun below the horizon."""
    sine = np.sin(np.radians(elevation))
    up = np.maximum(sine, 1e-6)
    return np.where(sine > 0, 1098 * up * np.exp(-0.057 / up), 0.0)


def clouded_sky(clear: Floats, cover: Floats) -> Floats:
    """Irradiance under a cloud cover from 0 to 1, by Kasten and Czeplak (1980)."""
    return clear * (1 - 0.75 * cover**3.4)


def _series(gamma: Floats, constant: float, *harmonics: tuple[float, float]) -> Floats:
    total = np.full_like(gamma, constant)
    for order, (cosine, sine) in enumerate(harmonics, start=1):
        total += cosine * np.cos(order * gamma) + sine * np.sin(order * gamma)
    return total
