"""The shipped sample data is what its README says it is."""

import hashlib
import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from mlsys import sample

FILE = sample.FOLDER / "pv_power.parquet"
README = (sample.FOLDER / "README.md").read_text(encoding="utf-8")
DEFINITION = yaml.safe_load((sample.FOLDER / "model.yaml").read_text(encoding="utf-8"))["models"]["pv_sample"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rows: pd.DataFrame = pq.read_table(FILE).to_pandas()
    return rows.set_index("timestamp")


def test_file__is_at_most_one_megabyte() -> None:
    assert FILE.stat().st_size <= 1_000_000


def test_readme__names_the_files_columns_size_and_hash() -> None:
    assert re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE) == pq.read_schema(FILE).names
    assert f"{pq.read_metadata(FILE).num_rows:,} rows" in README
    assert f"{FILE.stat().st_size:,} bytes" in README
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() in README


def test_licence__lies_beside_the_data() -> None:
    assert "Alliance for Sustainable Energy" in (sample.FOLDER / "LICENSE.pvanalytics").read_text(encoding="utf-8")


def test_timestamps__are_utc_sorted_unique_and_on_the_quarter_hour(frame: pd.DataFrame) -> None:
    index = pd.DatetimeIndex(frame.index)
    assert str(index.tz) == "UTC"
    assert index.is_monotonic_increasing
    assert index.is_unique
    assert (index == index.floor("15min")).all()
    assert index[-1] - index[0] > pd.Timedelta(days=2 * 365)


def test_values__are_physical(frame: pd.DataFrame) -> None:
    assert frame["power"].between(0, 4000).sum() == frame["power"].notna().sum()
    assert frame["temp_air"].between(0, 45).all()
    assert frame["ghi"].between(0, 1100).all()
    assert (frame["ghi"] <= frame["ghi_clear"] + 0.5).all()


def test_flaws__are_those_the_readme_counts(frame: pd.DataFrame) -> None:
    steps = pd.DatetimeIndex(frame.index).to_series().diff().value_counts()
    assert f"null in {int(frame['power'].isna().sum()):,} rows" in README
    assert steps.to_dict() == {pd.Timedelta("15min"): len(frame) - 4, pd.Timedelta("75min"): 3}


def test_clock__of_power_agrees_with_the_suns_in_every_month(frame: pd.DataFrame) -> None:
    """The array faces south-south-east, so its day is 17 to 35 minutes ahead of the sun's; a wrong zone in summer would add 60."""
    known = frame[frame["power"].notna()]
    standard_time = pd.DatetimeIndex(known.index).tz_convert("Etc/GMT+7")
    minutes = pd.Series(standard_time.hour * 60 + standard_time.minute, index=known.index)
    month = standard_time.strftime("%Y-%m")

    def noon(weight: str) -> pd.Series:
        return (known[weight] * minutes).groupby(month).sum() / known[weight].groupby(month).sum()

    assert (noon("power") - noon("ghi")).between(-40, -10).all()


def test_model__uses_columns_that_exist() -> None:
    names = set(pq.read_schema(FILE).names)
    assert (sample.FOLDER / DEFINITION["source"]["path"]) == FILE
    assert {DEFINITION["timestamp"], DEFINITION["target"], *DEFINITION["exogenous"]} == names
