"""Column names that several parts of a pipeline agree on. Imports nothing, so that a model's class can be looked at without pandas."""

REFERENCE = "target_last"  # feature: the seasonal naive forecast (same time of day, last period that holds a value)
TIMESTAMP = "timestamp"  # of kept predictions; what a destination gets is named as the source names it
PREDICTION = "prediction"
QUALITY = "quality"
ISSUED_AT = "issued_at"
CREATED_AT = "created_at"
MODEL_VERSION = "model_version_id"
RUN = "run_id"
