"""Every installed check, found by its entry point, keeps the contract of base.DataCheck; and each built-in one sees its own fault."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import synthetic

from mlsys import errors
from mlsys.pipelines import base, build, checking
from mlsys.records import Verdict

Purpose = Literal["train", "predict"]
LAYOUT = synthetic.layout()
NAMES = build.available(base.DataCheck)
FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], type[errors.BadData] | None]] = {
    "completeness": (lambda frame: frame.iloc[: len(frame) // 2], errors.TooFewRows),
    "duplicates": (lambda frame: pd.concat([frame, frame.iloc[[5]]]), errors.DuplicateTimestamps),
    "gaps": (lambda frame: frame.drop(index=range(100, 130)), None),
    "target": (lambda frame: frame.assign(load=np.nan), errors.NoTarget),
    "frozen_exogenous": (lambda frame: frame.assign(temperature=frame["temperature"].where(~frame.index.isin(range(100, 150)), 0.0)), None),
}


def check(name: str, frame: pd.DataFrame, tmp_path: Path, purpose: Purpose = "train") -> Verdict:
    found = build.build(base.DataCheck, {"type": name}, ports=synthetic.ports(tmp_path), field="checks")
    return found.check(frame, base.CheckContext(layout=LAYOUT, window=synthetic.window(60), purpose=purpose))


def run(name: str, frame: pd.DataFrame, tmp_path: Path, purpose: Purpose = "train") -> tuple[Verdict, ...]:
    context = base.CheckContext(layout=LAYOUT, window=synthetic.window(60), purpose=purpose)
    return checking.run(frame, context, {name: {}}, synthetic.ports(tmp_path))


def test_available__the_built_in_checks_are_installed() -> None:
    assert set(FAULTS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_check__passes_good_data_and_says_what_it_held_against_what(name: str, tmp_path: Path) -> None:
    found = check(name, synthetic.load(60), tmp_path)
    assert (found.name, found.passed) == (name, True)
    assert found.value is not None
    assert found.threshold is not None


@pytest.mark.parametrize("purpose", ["train", "predict"])
@pytest.mark.parametrize("name", NAMES)
def test_check__gives_a_verdict_on_no_rows_at_all(name: str, purpose: Purpose, tmp_path: Path) -> None:
    assert isinstance(check(name, synthetic.load(60).iloc[:0], tmp_path, purpose), Verdict)


@pytest.mark.parametrize("name", NAMES)
def test_check__does_not_change_its_input(name: str, tmp_path: Path) -> None:
    frame = synthetic.load(60)
    check(name, frame, tmp_path)
    assert frame.equals(synthetic.load(60))


@pytest.mark.parametrize("name", FAULTS)
def test_check__sees_its_fault_and_stops_a_training_where_it_must(name: str, tmp_path: Path) -> None:
    spoil, error = FAULTS[name]
    frame = spoil(synthetic.load(60))
    verdict = check(name, frame, tmp_path)
    assert not verdict.passed
    assert verdict.blocking == (error is not None)
    if error is None:
        assert run(name, frame, tmp_path) == (verdict,)
    else:
        with pytest.raises(error) as caught:
            run(name, frame, tmp_path)
        assert caught.value.message == verdict.detail


@pytest.mark.parametrize("name", FAULTS)
def test_check__never_stops_a_forecast(name: str, tmp_path: Path) -> None:
    assert not check(name, FAULTS[name][0](synthetic.load(60)), tmp_path, "predict").blocking


def test_completeness__names_the_end_that_is_missing(tmp_path: Path) -> None:
    frame = synthetic.load(60)
    assert "nothing after 2021-01-30 23:00" in check("completeness", frame.iloc[: 30 * 24], tmp_path).detail
    assert "nothing before 2021-01-31 00:00" in check("completeness", frame.iloc[30 * 24 :], tmp_path).detail


def test_completeness__thirty_five_days_missing_of_a_year_will_do(tmp_path: Path) -> None:
    frame = synthetic.load(60)
    days = frame["time"].dt.day_of_year
    assert check("completeness", frame[days % 10 != 0], tmp_path).passed
