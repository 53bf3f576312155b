"""Makes mlsys/sample/pv_power.parquet from the data files inside an installed pvanalytics (see mlsys/sample/README.md).

    pip install --no-deps pvanalytics==0.2.2
    python scripts/make_sample.py            # write the file
    python scripts/make_sample.py --check    # make it in memory, compare with the shipped one, exit 1 when they differ

The same pyarrow gives the same bytes; another version gives the same rows. Nothing of mlsys is imported.
"""

import argparse
import hashlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TARGET = Path(__file__).resolve().parent.parent / "mlsys" / "sample" / "pv_power.parquet"
POWER = ("system_50_ac_power_2_full_DST.parquet", "1917859b42ec3c897695eab9875ab0e91d54f61a1dc02354fb0d02775a8d0d49")
WEATHER = ("system_50_ac_power_2_full_DST_psm3.parquet", "c50e01d1c5081f6f8530ea0bf14394a1408abec685d9304430664a64cc650e93")
ZONE = "America/Denver"
STEP = "15min"
WEATHER_COLUMNS = ["temp_air", "ghi", "ghi_clear"]
ROW_GROUP = 96 * 91  # a quarter of a year


def source_folder() -> Path:
    """Where pvanalytics keeps its data; the package itself is not imported, so its own dependencies are not needed."""
    spec = importlib.util.find_spec("pvanalytics")
    if spec is None or spec.origin is None:
        sys.exit("pvanalytics is not installed here: pip install --no-deps pvanalytics==0.2.2")
    return Path(spec.origin).parent / "data"


def read(folder: Path, name: str, sha256: str) -> pd.DataFrame:
    data = (folder / name).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        sys.exit(f"{name} has sha256 {found}, expected {sha256}: install pvanalytics==0.2.2")
    return pd.read_parquet(io.BytesIO(data))


def power(frame: pd.DataFrame) -> pd.Series:
    """Power by UTC instant.

    The source labels every row -07:00, but its clock was the wall clock: against the sun it is an hour late all summer. So the label is
    dropped and the wall clock read in Denver's zone. In spring that skips the hour that no clock showed (empty in the source); in autumn
    the hour shown twice was stored once: it becomes the first of the two, and the second stays absent.
    """
    wall = pd.DatetimeIndex(frame["measured_on"]).tz_localize(None)
    instants = wall.tz_localize(ZONE, nonexistent="NaT", ambiguous=np.ones(len(wall), dtype=bool)).tz_convert("UTC")
    series = pd.Series(frame["ac_power_2"].to_numpy(), index=instants, name="power")
    dropped = series[series.index.isna()]
    if dropped.notna().any():
        sys.exit("the hour that does not exist holds measurements: the source's clock is not what this script takes it for")
    return series[series.index.notna()]


def weather(frame: pd.DataFrame) -> pd.DataFrame:
    """Half-hourly instants (their label, -07:00 all year, does agree with the sun), linearly interpolated to quarter-hours."""
    by_time = frame.set_index(pd.DatetimeIndex(frame["index"]).tz_convert("UTC"))[WEATHER_COLUMNS].astype("float64")
    return by_time.resample(STEP).interpolate(limit=1).round(2).astype("float32")


def table(folder: Path) -> pa.Table:
    rows = power(read(folder, *POWER)).to_frame().join(weather(read(folder, *WEATHER)), how="inner")
    schema = pa.schema([("timestamp", pa.timestamp("us", tz="UTC"))] + [(name, pa.float32()) for name in ["power", *WEATHER_COLUMNS]])
    return pa.Table.from_pandas(rows.rename_axis("timestamp").reset_index(), schema=schema, preserve_index=False).replace_schema_metadata()


def parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    encodings = {"timestamp": "DELTA_BINARY_PACKED"}
    dictionary = [name for name in rows.column_names if name not in encodings]
    pq.write_table(
        rows, sink, compression="zstd", compression_level=19, row_group_size=ROW_GROUP, use_dictionary=dictionary, column_encoding=encodings
    )
    return sink.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the sample data of mlsys from an installed pvanalytics.")
    parser.add_argument("--check", action="store_true", help="compare with the shipped file instead of writing it")
    arguments = parser.parse_args()
    rows = table(source_folder())
    data = parquet(rows)
    digest = hashlib.sha256(data).hexdigest()
    if not arguments.check:
        TARGET.write_bytes(data)
        print(f"{TARGET}: {rows.num_rows} rows, {len(data)} bytes, sha256 {digest}, pyarrow {pa.__version__}")
        return 0
    same_bytes, same_rows = data == TARGET.read_bytes(), rows.equals(pq.read_table(TARGET))
    print(f"bytes {'identical' if same_bytes else 'differ'}, rows {'identical' if same_rows else 'differ'} (sha256 {digest})")
    return 0 if same_rows else 1


if __name__ == "__main__":
    sys.exit(main())
