"""Every installed check, found by its entry point, keeps the contract of base.DataCheck; and each built-in one sees its own fault."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys import errors
from mlsys.pipelines import base, build, checking, cleaning, featurise, profile
from mlsys.records import Verdict, Window

Purpose = Literal["train", "predict"]
LAYOUT = synthetic.layout()
NAMES = build.available(base.DataCheck)
Fault = tuple[Callable[[pd.DataFrame], pd.DataFrame], str, type[errors.BadData] | None]
STRETCH = range(100, 150)
FAULTS: dict[str, Fault] = {
    "completeness": (lambda f: f.iloc[: len(f) // 2], "completeness", errors.TooFewRows),
    "duplicates": (lambda f: pd.concat([f, f.iloc[[5]]]), "duplicates", errors.DuplicateTimestamps),
    "extremes": (lambda f: f.assign(load=f["load"].where(f.index != 300, 250.0)), "extremes", None),
    "gaps": (lambda f: f.drop(index=STRETCH), "gaps", None),
    "target": (lambda f: f.assign(load=np.nan), "target", errors.NoTarget),
    "frozen_exogenous": (lambda f: f.assign(temperature=f["temperature"].where(~f.index.isin(STRETCH), 0.0)), "frozen_exogenous", None),
    "frozen_target": (lambda f: f.assign(load=f["load"].where(~f.index.isin(STRETCH), 70.0)), "frozen_target", None),
    "impossible_target": (lambda f: f.assign(load=f["load"].where(f.index != 300, -1.0)), "impossible_target", None),
    "level": (lambda f: f.assign(load=f["load"].where(f["time"] < HOLDOUT.start, f["load"] * 1.15)), "level_month", None),
    "revised": (lambda f: f.assign(load=f["load"] * 1.05), "revised_level", None),
    "schema": (lambda f: f.assign(new=1.0), "schema", None),
}
OPTIONS: dict[str, dict[str, float]] = {"impossible_target": {"low": 0.0}}
DAYS = 150
HOLDOUT = Window(start=synthetic.START + timedelta(days=DAYS - 28), end=synthetic.window(DAYS).end)


def context_of(frame: pd.DataFrame, purpose: Purpose) -> base.CheckContext:
    """As a job gives it: the good rows are what an earlier version saw."""
    series = featurise.split(frame, LAYOUT)
    cleaned, window, good = dict(series), synthetic.window(DAYS), list(featurise.split(synthetic.load(DAYS), LAYOUT).values())
    if len(frame):
        moving = cleaning.learn(list(series.values()), ["temperature"], LAYOUT)
        cleaned = {key: cleaning.clean(one, moving, LAYOUT)[0] for key, one in series.items()}
    return base.CheckContext(
        layout=LAYOUT,
        window=window,
        purpose=purpose,
        series=series,
        cleaned=cleaned,
        holdout=HOLDOUT if purpose == "train" else None,
        profile=profile.of(list(series.values()), LAYOUT, window) if purpose == "train" else None,
        earlier=(profile.of(good, LAYOUT, window),) if purpose == "train" else (),
        dropped=tuple(name for name in frame.columns if name == "new"),
    )


def built(name: str, tmp_path: Path) -> base.DataCheck:
    return build.build(base.DataCheck, {"type": name, **OPTIONS.get(name, {})}, ports=synthetic.ports(tmp_path), field="checks")


def check(name: str, frame: pd.DataFrame, tmp_path: Path, purpose: Purpose = "train") -> dict[str, Verdict]:
    found = built(name, tmp_path).check(frame, context_of(frame, purpose))
    return {verdict.name: verdict for verdict in ((found,) if isinstance(found, Verdict) else found)}


def run(name: str, frame: pd.DataFrame, tmp_path: Path) -> tuple[Verdict, ...]:
    one = built(name, tmp_path)
    return checking.run(frame, context_of(frame, "train"), {name: one}, synthetic.ports(tmp_path), stage=one.stage)


def test_available__the_built_in_checks_are_installed() -> None:
    assert set(FAULTS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_check__passes_good_data_and_says_what_it_held_against_what(name: str, tmp_path: Path) -> None:
    found = check(name, synthetic.load(DAYS), tmp_path)
    assert all(verdict.passed for verdict in found.values()), found
    assert all(verdict.name.startswith(name) for verdict in found.values())
    assert all(verdict.detail for verdict in found.values())
    judged = [verdict for verdict in found.values() if not verdict.detail.startswith("too few days")]
    assert judged
    assert all(verdict.value is not None and verdict.threshold is not None for verdict in judged)
    assert all(verdict.data and verdict.data["rows"] for verdict in judged if name != "schema")


@pytest.mark.parametrize("purpose", ["train", "predict"])
@pytest.mark.parametrize("name", NAMES)
def test_check__gives_a_verdict_on_no_rows_at_all(name: str, purpose: Purpose, tmp_path: Path) -> None:
    if purpose in built(name, tmp_path).purposes:
        assert check(name, synthetic.load(60).iloc[:0], tmp_path, purpose)


@pytest.mark.parametrize("name", NAMES)
def test_check__does_not_change_its_input(name: str, tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    check(name, frame, tmp_path)
    assert frame.equals(synthetic.load(DAYS))


@pytest.mark.parametrize("name", FAULTS)
def test_check__sees_its_fault_and_stops_a_training_where_it_must(name: str, tmp_path: Path) -> None:
    spoil, which, error = FAULTS[name]
    frame = spoil(synthetic.load(DAYS))
    verdict = check(name, frame, tmp_path)[which]
    assert not verdict.passed
    assert (verdict.blocking and not verdict.ground) == (error is not None)
    if error is None:
        assert verdict in run(name, frame, tmp_path)
    else:
        with pytest.raises(error) as caught:
            run(name, frame, tmp_path)
        assert caught.value.message == verdict.detail


@pytest.mark.parametrize("name", FAULTS)
def test_check__never_stops_a_forecast(name: str, tmp_path: Path) -> None:
    if "predict" in built(name, tmp_path).purposes:
        found = check(name, FAULTS[name][0](synthetic.load(DAYS)), tmp_path, "predict")
        assert all(not verdict.blocking for verdict in found.values())


def test_completeness__names_the_end_that_is_missing(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    assert "nothing after 2021-01-30 23:00" in check("completeness", frame.iloc[: 30 * 24], tmp_path)["completeness"].detail
    assert "nothing before 2021-01-31 00:00" in check("completeness", frame.iloc[30 * 24 :], tmp_path)["completeness"].detail


def test_completeness__thirty_five_days_missing_of_a_year_will_do(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    days = frame["time"].dt.day_of_year
    assert check("completeness", frame[days % 10 != 0], tmp_path)["completeness"].passed


def test_impossible_target__traces_at_night_are_offsets_of_a_meter_and_power_is_not(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    night = frame["time"].dt.hour < 4
    one = built("impossible_target", tmp_path)
    for level, wrong in ((0.005, 0), (5.0, int(night.sum()))):
        spoilt = frame.assign(load=frame["load"].where(~night, level))
        context = replace(context_of(spoilt, "train"), idle=lambda rows: np.asarray(rows.hour) < 4)
        told, ground = one.check(spoilt, context)  # type: ignore[misc]
        assert (told.value, ground.passed) == (wrong, not wrong)
        (series,) = context.series.values()
        mask = one.doubtful(series, context)
        assert mask is not None
        assert mask.sum() == wrong


def test_extremes__several_glitches_do_not_hide_each_other(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    spoilt = frame.assign(load=frame["load"].mask(frame.index.isin([300, 310, 320]), 9999.0))
    context = context_of(spoilt, "train")
    (series,) = context.series.values()
    mask = built("extremes", tmp_path).doubtful(series, context)
    assert mask is not None
    assert list(np.flatnonzero(mask)) == [300, 310, 320]
    verdict = check("extremes", spoilt, tmp_path)["extremes"]
    assert (verdict.passed, verdict.value) == (False, 3)
    assert "3 no measurement can be" in verdict.detail


def test_frozen_target__two_nights_with_a_missing_day_between_are_no_fault(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    night = (frame["time"].dt.hour < 6) | (frame["time"].dt.hour >= 18)
    dark = frame.assign(load=frame["load"].where(~night, 0.0))
    absent = (frame["time"] >= "2021-03-01T04:00:00Z") & (frame["time"] < "2021-03-02T20:00:00Z")
    assert check("frozen_target", dark[~absent], tmp_path)["frozen_target"].passed
    stuck = dark.assign(load=dark["load"].where(~absent, 0.0))
    assert check("frozen_target", stuck, tmp_path)["frozen_target"].value > 40


def test_revised__a_few_corrections_and_late_ones_are_usual(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    late = frame["time"] >= HOLDOUT.start + timedelta(days=25)
    corrected = frame.assign(load=frame["load"].where(~late, frame["load"] * 1.08).where(frame.index % 97 != 0, 60.0))
    assert all(verdict.passed for verdict in check("revised", corrected, tmp_path).values())


def test_revised__without_an_earlier_version_there_is_nothing_to_say(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    context = replace(context_of(frame, "train"), earlier=())
    (verdict,) = built("revised", tmp_path).check(frame, context)  # type: ignore[misc]
    assert verdict.passed
    assert "no earlier version" in verdict.detail


def test_level__a_series_that_wanders_is_given_more_room(tmp_path: Path) -> None:
    frame = synthetic.load(DAYS)
    slow = np.repeat(np.random.default_rng(3).uniform(0.7, 1.3, DAYS // 10 + 1), 240)[: len(frame)]
    steady, wandering = (check("level", f, tmp_path)["level_month"] for f in (frame, frame.assign(load=frame["load"] * slow)))
    assert isinstance(steady.threshold, float)
    assert isinstance(wandering.threshold, float)
    assert steady.threshold < 0.15 < wandering.threshold
    assert wandering.passed


def test_profile__survives_being_stored(tmp_path: Path) -> None:
    (series,) = featurise.split(synthetic.load(40), LAYOUT).values()
    one = profile.of([series.assign(temperature=series["temperature"].where(series.index.day != 5))], LAYOUT, synthetic.window(40))
    other = profile.from_data(json.loads(json.dumps(profile.to_data(one))))
    for name in ("days", "rows", "total", "size", "cosine", "sine"):
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-7)
    assert np.allclose(one.exogenous["temperature"], other.exogenous["temperature"], rtol=1e-7, equal_nan=True)
    assert np.isnan(other.exogenous["temperature"][4])
