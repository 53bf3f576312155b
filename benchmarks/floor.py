"""The floor: the train and the predict job as one would write them down in a script, with pandas, NumPy, pyarrow and LightGBM alone.

It shares no code with mlsys, so it cannot get slow where mlsys does; that it does the same work shows in its errors, which are the same.
UTC, quarter-hours, one series and a horizon of a day are taken for granted, which is what makes a script shorter than a system.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
STEP, DAY = pd.Timedelta("15min"), pd.Timedelta("1D")
SLOTS, LOOKBACK, HOLDOUT_DAYS, SEEDS, ROUNDS, SAMPLE = 96, 31, 28, 3, 300, 6000
YEAR_DAYS, OVERCAST = 365.2425, 1.5
PARAMS = {
    "objective": "l1", "num_iterations": ROUNDS, "learning_rate": 0.05, "num_leaves": 31, "max_depth": -1, "max_bin": 127,
    "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l1": 0.0, "lambda_l2": 5.0, "min_gain_to_split": 0.0,
    "min_child_samples": 60, "deterministic": True, "force_row_wise": True, "verbosity": -1, "num_threads": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Data:
    """A file, the meaning of its columns, where it stands; ``train`` and ``predict``: [start, end) in UTC."""

    path: Path
    timestamp: str
    target: str
    exogenous: tuple[str, ...]
    latitude: float
    longitude: float
    train: tuple[str, str]
    predict: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Features (rows x columns) of some timestamps, with what is known of them."""

    times: pd.DatetimeIndex
    values: Floats
    target: Floats
    naive: Floats
    day: npt.NDArray[np.int64]
    light: Mask
    blind: Mask

    def take(self, chosen: Mask) -> "Rows":
        return Rows(**{name: value[chosen] for name, value in vars(self).items()})


def train(data: Data, folder: Path, champion: Path | None) -> float:
    """Read, features, the gate's fit, its scores (the champion's too), the final fit, both models written. Returns the hold-out's MAE."""
    start, end = (pd.Timestamp(text, tz="UTC") for text in data.train)
    frame = possible(read(data, start - LOOKBACK * DAY, end), data)
    moving = moves(frame, data)
    rows = features(clean(frame, moving), data, start, end)
    rows = rows.take(~np.isnan(rows.target))
    late = rows.day >= rows.day[-1] - HOLDOUT_DAYS + 1
    past, holdout = rows.take(~late), rows.take(late)
    form = choose(past)
    twin = fit(past, form)
    score = float(np.mean(np.abs(forecast(twin, holdout) - holdout.target)))
    np.mean(np.abs(naive(past, holdout) - holdout.target))
    if champion is not None:
        np.mean(np.abs(forecast(load(champion), holdout) - holdout.target))
    final = fit(rows, form)
    for name, model in (("final", final), ("twin", twin)):
        (folder / f"{name}.json").write_text(json.dumps(dump(model, moving)))
    return score


def predict(data: Data, model: Path, output: Path) -> None:
    """Load, read, features, forecast of the whole grid as far as the exogenous columns reach, parquet."""
    start, end = (pd.Timestamp(text, tz="UTC") for text in data.predict)
    loaded = load(model)
    frame = possible(read(data, start - (LOOKBACK + 1) * DAY, end + DAY + 4 * STEP), data)
    last = frame.index[frame.index < end][-1]
    rows = features(clean(frame, loaded["moving"]), data, start, min(end, last + STEP))
    columns = {
        data.timestamp: rows.times,
        "prediction": forecast(loaded, rows),
        "quality": np.where(rows.blind | np.isnan(rows.naive), "substituted", "ok"),
        "issued_at": rows.times.floor("D"),
        "created_at": np.full(len(rows.times), np.datetime64("now", "us")),
        "model_version_id": np.full(len(rows.times), "floor"),
        "run_id": np.full(len(rows.times), "floor"),
    }
    pq.write_table(pa.table(columns), output, compression="zstd")


def read(data: Data, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    inside = [(data.timestamp, ">=", start), (data.timestamp, "<", end)]
    table = pq.read_table(data.path, columns=[data.timestamp, data.target, *data.exogenous], filters=inside)
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True).set_index(data.timestamp).sort_index()
    frame.index = pd.DatetimeIndex(frame.index).as_unit("us")
    return frame.astype(np.float64)


def possible(frame: pd.DataFrame, data: Data) -> pd.DataFrame:
    """Without power at night, but for traces."""
    light, target = solar(frame, pd.DatetimeIndex(frame.index), data)[1], frame[data.target]
    low, high = np.nanquantile(target, (0.001, 0.999))
    return frame.assign(**{data.target: target.where(light | ~(target.abs() > 0.0001 * (high - low)))})


def moves(frame: pd.DataFrame, data: Data) -> dict[str, tuple[float, float]]:
    """Range of those columns whose standing still means a dead feed: they change often, and do not rest each night."""
    day = frame.index.floor("D")
    found = {}
    for name in data.exogenous:
        values = frame[name].to_numpy()
        known = values[~np.isnan(values)]
        nights = day[long(still(values), frame.index, over="6h", steps=2)].nunique() / day.nunique()
        if np.mean(known[1:] != known[:-1]) >= 0.2 and nights < 0.8:
            found[name] = (float(known.min()), float(known.max()))
    return found


def dead(frame: pd.DataFrame, moving: dict[str, tuple[float, float]]) -> dict[str, Mask]:
    """Stretches of over 12 hours in which all columns stand still (but for a day of clear sky), or one does within its range."""
    if not moving:
        return {}
    low, high = np.array(list(moving.values())).T
    share = (frame[list(moving)].to_numpy() - low) / (high - low)
    within = (share > 0.001) & (share < 0.999)
    resting = {name: still(frame[name].to_numpy()) for name in moving}
    every = np.logical_and.reduce(list(resting.values()))
    first, step = np.flatnonzero(~every), np.append(np.nan, np.abs(np.diff(share, axis=0)).max(axis=1))
    sky = (np.fmax(step[first], np.append(step[first[1:]], np.nan)) <= 0.1) & ~within[first].any(axis=1)
    dark = long(every, frame.index) & ~(sky[np.cumsum(~every) - 1] & ~long(every, frame.index, over="24h"))
    return {name: dark | (within[:, i] & long(resting[name], frame.index)) for i, name in enumerate(moving)}


def still(values: Floats) -> Mask:
    return np.concatenate([[False], (values[1:] == values[:-1]) | np.isnan(values[1:])])


def long(resting: Mask, index: pd.Index, over: str = "12h", steps: int = 8) -> Mask:
    """Rows in runs that rest for more than ``over``."""
    first = np.flatnonzero(~resting)
    last = np.append(first[1:] - 1, len(resting) - 1)
    lasting = (index[last] - index[first] + STEP > pd.Timedelta(over)) & (last - first + 1 >= steps)
    return np.asarray(np.repeat(lasting, last - first + 1))


def clean(frame: pd.DataFrame, moving: dict[str, tuple[float, float]]) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].mask(mask) for name, mask in dead(frame, moving).items()})


def features(frame: pd.DataFrame, data: Data, start: pd.Timestamp, end: pd.Timestamp) -> Rows:
    """Laid out on a whole grid of days and quarters, every feature is a slice of it."""
    begin, until = (start - LOOKBACK * DAY).floor("D"), (end - STEP).floor("D") + 2 * DAY
    grid = pd.date_range(begin, until, freq=STEP, inclusive="left", unit="us")
    laid = frame.reindex(grid)
    outside = laid[list(data.exogenous)].to_numpy()
    around = [np.roll(outside, -k, axis=0) for k in range(-8, 9)]
    inside = slice(*np.searchsorted(grid, pd.DatetimeIndex([start, end])))
    times = grid[inside]
    past, last = lags(laid[data.target].to_numpy().reshape(-1, SLOTS))
    daily = np.repeat(laid[list(data.exogenous)].groupby(np.arange(len(grid)) // SLOTS).mean().to_numpy(), SLOTS, axis=0)
    nearby = centred(around)
    weather = np.hstack([*(around[8 + k] for k in (0, -8, -4, 4, 8)), nearby, daily])
    sun, light = solar(laid.loc[times], times, data)
    values = np.column_stack([calendar(times), weather[inside], past[inside], sun])
    return Rows(
        times=times,
        values=values,
        target=laid[data.target].to_numpy()[inside],
        naive=last[inside],
        day=times.asi8 // 86_400_000_000,
        light=light,
        blind=np.isnan(nearby[inside]).all(axis=1),
    )


def calendar(times: pd.DatetimeIndex) -> Floats:
    day = 86_400_000_000
    at = times.asi8
    turns = (at / (YEAR_DAYS * day), (at - 4 * day) // day % 7 / 7, at % day / day)
    return np.column_stack([f(2 * np.pi * turn) for turn in turns for f in (np.sin, np.cos)])


def centred(around: list[Floats]) -> Floats:
    total, count = np.zeros_like(around[0]), np.zeros_like(around[0])
    for part in around:
        total += np.nan_to_num(part)
        count += ~np.isnan(part)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def lags(table: Floats) -> tuple[Floats, Floats]:
    """Of a table of days by quarters: lags of 1, 2, 7 days, mean and maximum of 7 and 28, the last value there (seasonal naive)."""
    padded = np.vstack([np.full((28, SLOTS), np.nan), table])
    back = [padded[28 - k : 28 - k + len(table)] for k in range(29)]
    total, count = np.zeros_like(table), np.zeros_like(table)
    top, last = np.full_like(table, np.nan), np.full_like(table, np.nan)
    columns = [back[1], back[2], back[7]]
    for k in range(1, 29):
        total += np.nan_to_num(back[k])
        count += ~np.isnan(back[k])
        top = np.fmax(top, back[k])
        last = np.where(np.isnan(last), back[k], last)
        if k in (7, 28):
            columns += [np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), top]
    return np.column_stack([column.ravel() for column in [*columns, last]]), last.ravel()


def solar(weather: pd.DataFrame, times: pd.DatetimeIndex, data: Data) -> tuple[Floats, Mask]:
    """Spencer's sun, Haurwitz' clear sky, Kasten and Czeplak's clouds."""
    middle = times + STEP / 2
    year = middle.tz_localize(None).to_numpy().astype("datetime64[Y]").astype("datetime64[us]").astype(np.int64)
    g = 2 * np.pi * (middle.asi8 - year) / 86_400_000_000 / 365
    declination = 0.006918 - 0.399912 * np.cos(g) + 0.070257 * np.sin(g) - 0.006758 * np.cos(2 * g) + 0.000907 * np.sin(2 * g)
    declination += -0.002697 * np.cos(3 * g) + 0.00148 * np.sin(3 * g)
    minutes = 229.18 * (0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g))
    angle = np.radians((middle.asi8 % 86_400_000_000 / 3.6e9 + minutes / 60 - 12) * 15 + data.longitude)
    phi = np.radians(data.latitude)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(angle)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(angle)
    azimuth = np.degrees(np.arctan2(-np.cos(declination) * np.sin(angle), north)) % 360
    elevation = np.degrees(np.arcsin(np.clip(sine, -1, 1)))
    up = np.sin(np.radians(elevation))
    safe = np.maximum(up, 1e-6)
    clear = np.where(up > 0, 1098 * safe * np.exp(-0.057 / safe), 0.0)
    layers = [np.clip(weather[name].to_numpy() / scale(weather[name]), 0, 1) for name in sorted(data.exogenous) if "cloud" in name]
    columns = [elevation, azimuth, clear]
    if layers:
        cover = 1 - np.prod([1 - layer for layer in layers], axis=0)
        columns += [cover, *(clear * (1 - 0.75 * c**3.4) for c in ([cover, *layers] if len(layers) > 1 else [cover]))]
    return np.column_stack(columns), elevation > -2


def scale(column: "pd.Series[float]") -> float:
    return 100.0 if column.max() > OVERCAST else 1.0


def choose(rows: Rows) -> list[str]:
    """What each set of trees learns, by a trial on a sample: the level and the change since the last value, unless one alone is better."""
    lit = rows.take(rows.light)
    lit = lit.take(np.arange(len(lit.times)) % -(-len(lit.times) // SAMPLE) == 0)
    cut = int(len(lit.times) * 0.7)
    start, labels = since(lit, float(np.median(rows.target[rows.light]))), lit.target
    params = PARAMS | {"num_iterations": 100, "learning_rate": 0.1} | seeds(0)
    binned = lgb.Dataset(lit.values[:cut], labels[:cut], params=params)
    level = lgb.train(params, binned).predict(lit.values[cut:], num_threads=1)
    change = lgb.train(params, binned.set_label((labels - start)[:cut])).predict(lit.values[cut:], num_threads=1) + start[cut:]
    level = np.clip(level, labels[:cut].min(), labels[:cut].max())
    both, *alone = (float(np.mean(np.abs(one - labels[cut:]))) for one in ((level + change) / 2, level, change))
    if min(alone) >= 0.95 * both:
        return ["level", "change", "level"]
    return ["level" if alone[0] < alone[1] else "change"] * SEEDS


def since(rows: Rows, otherwise: float) -> Floats:
    return np.where(np.isnan(rows.naive), otherwise, rows.naive)


def seeds(i: int) -> dict[str, int]:
    return {"bagging_seed": i, "feature_fraction_seed": i + 1, "extra_seed": i + 2, "objective_seed": i + 3}


def fit(rows: Rows, form: list[str]) -> dict[str, Any]:
    lit = rows.take(rows.light)
    otherwise = float(np.median(lit.target))
    labels = {"level": lit.target, "change": lit.target - since(lit, otherwise)}
    binned = lgb.Dataset(np.ascontiguousarray(lit.values), lit.target, params=PARAMS, free_raw_data=False)
    boosters = [lgb.train(PARAMS | seeds(i), binned.set_label(labels[form[i]])) for i in range(SEEDS)]
    clip = (float(rows.target.min()), float(rows.target.max()))
    return {"boosters": boosters, "form": form, "otherwise": otherwise, "clip": clip}


def forecast(model: dict[str, Any], rows: Rows) -> Floats:
    found = np.zeros(len(rows.times))
    lit = rows.take(rows.light)
    values = np.ascontiguousarray(lit.values)
    start = {"level": 0.0, "change": since(lit, model["otherwise"])}
    single = [booster.predict(values, num_threads=1) for booster in model["boosters"]]
    kinds = set(model["form"])
    mean = {kind: np.mean([one for one, form in zip(single, model["form"], strict=True) if form == kind], axis=0) for kind in kinds}
    found[rows.light] = np.clip(sum(mean[kind] + start[kind] for kind in kinds) / len(kinds), *model["clip"])
    return found


def naive(past: Rows, rows: Rows) -> Floats:
    """The last value at that time of day, else the mean there."""
    means = pd.Series(past.target).groupby(past.times.asi8 // 60_000_000 % 1440).mean()
    return np.where(np.isnan(rows.naive), means.reindex(rows.times.asi8 // 60_000_000 % 1440).to_numpy(), rows.naive)


def dump(model: dict[str, Any], moving: dict[str, tuple[float, float]]) -> dict[str, Any]:
    return model | {"boosters": [booster.model_to_string() for booster in model["boosters"]], "moving": moving}


def load(path: Path) -> dict[str, Any]:
    stored = json.loads(path.read_text())
    return stored | {"boosters": [lgb.Booster(model_str=text) for text in stored["boosters"]]}
