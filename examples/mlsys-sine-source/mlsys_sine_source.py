"""A data source of one's own: ``source: {type: sine, days: 90, noise: 0.1}`` in config.yaml, once this package is installed."""

import numpy as np
import pandas as pd

from mlsys.pipelines.base import DataSource


class SineSource(DataSource):
    """A daily wave with weekly swing and noise, every 15 minutes. The arguments are the options in config.yaml."""

    def __init__(self, *, days: int = 90, start: str = "2024-01-01", noise: float = 0.1) -> None:
        self.days = days
        self.start = start
        self.noise = noise

    def get_dataframe(self) -> pd.DataFrame:
        times = pd.date_range(self.start, periods=self.days * 96, freq="15min", tz="UTC", name="timestamp")
        days = np.arange(len(times)) / 96
        temperature = 10 + 5 * np.sin(2 * np.pi * days)
        noise = np.random.default_rng(0).normal(0, self.noise, len(times))
        value = 20 + temperature + 2 * np.sin(2 * np.pi * days / 7) + noise
        return pd.DataFrame({"temperature": temperature, "value": value}, index=times)
