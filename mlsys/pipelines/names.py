"""Column names that several parts of a pipeline agree on. Imports nothing, so that a model's class can be looked at without pandas."""

REFERENCE = "target_last"  # feature: the seasonal naive forecast (same time of day, last period that holds a value)
TARGET = "target_"  # features: how the columns begin that are values of the target, in its unit
TIMESTAMP = "timestamp"  # of kept predictions; what a destination gets is named as the source names it
PREDICTION = "prediction"
QUALITY = "quality"
ISSUED_AT = "issued_at"
CREATED_AT = "created_at"
MODEL_VERSION = "model_version_id"
RUN = "run_id"
ACTUAL = "actual"  # of the rows of a backtest; beside it a column for each baseline
INDEX = "__index_level_"  # begins the names of columns that pandas adds to a file for an index without a name: row numbers, no data
QUANTILE = "quantile_P"


def quantile(level: float) -> str:
    """The column of a quantile forecast: 0.1 -> quantile_P10, 0.025 -> quantile_P2.5."""
    return f"{QUANTILE}{round(level * 100, 6):g}"


def level(column: str) -> float:
    """The inverse of quantile(): what share of values such a forecast should exceed."""
    return round(float(column.removeprefix(QUANTILE)) / 100, 8)
