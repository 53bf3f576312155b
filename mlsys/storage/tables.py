"""The tables as SQLAlchemy Core sees them, for building queries. Their DDL lives in migrations/; a test compares the two."""

from sqlalchemy import REAL, BigInteger, Boolean, Column, Date, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
_INSTANT = DateTime(timezone=True)

models = Table(
    "models",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("definition", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
runs = Table(
    "runs",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("trigger", JSONB, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
run_history = Table(
    "run_history",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("detail", JSONB, nullable=False),
)
run_state = Table(
    "run_state",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("run_seq", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("owner", BigInteger),
    Column("started_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("progress", JSONB),
    Column("priority", Integer, nullable=False),
    Column("not_before", _INSTANT),
    Column("exclusive", Text),
)
processes = Table(
    "processes",
    metadata,
    Column("owner", BigInteger, primary_key=True),
    Column("beaten_at", _INSTANT, nullable=False),
)
run_logs = Table(
    "run_logs",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
)
model_versions = Table(
    "model_versions",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("model_version_id", Text, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("artifact", JSONB, nullable=False),
    Column("twin", JSONB, nullable=False),
    Column("twin_cutoff", _INSTANT, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("validation", JSONB, nullable=False),
)
promotions = Table(
    "promotions",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("model_version_id", Text, nullable=False),
    Column("previous_model_version_id", Text),
    Column("below", BigInteger),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text),
    Column("created_at", _INSTANT, nullable=False),
    Column("previous_hash", Text),
    Column("hash", Text, nullable=False),
)
events = Table(
    "events",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("type", Text, nullable=False),
    Column("timestamp", _INSTANT, nullable=False),
    Column("data", JSONB, nullable=False),
)
datasets = Table(
    "datasets",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("definition", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
dataset_files = Table(
    "dataset_files",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("first_timestamp", _INSTANT, nullable=False),
    Column("last_timestamp", _INSTANT, nullable=False),
    Column("first_created_at", _INSTANT, nullable=False),
    Column("last_created_at", _INSTANT, nullable=False),
    Column("stamped_at", _INSTANT),
    Column("kind", Text, nullable=False),
    Column("added_at", _INSTANT, nullable=False),
)
dataset_replacements = Table(
    "dataset_replacements",
    metadata,
    Column("file", BigInteger, primary_key=True),
    Column("replaced_by", BigInteger, nullable=False),
    Column("dataset", Text, nullable=False),
)
dataset_freed = Table(
    "dataset_freed",
    metadata,
    Column("file", BigInteger, primary_key=True),
    Column("at", _INSTANT, nullable=False),
)
predictions = Table(
    "predictions",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("model_version_id", Text),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("uri", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("series_key", JSONB, nullable=False),
    Column("first_timestamp", _INSTANT, nullable=False),
    Column("last_timestamp", _INSTANT, nullable=False),
    Column("first_issued_at", _INSTANT, nullable=False),
    Column("last_issued_at", _INSTANT, nullable=False),
    Column("step_start", _INSTANT),
    Column("step_end", _INSTANT),
    Column("created_at", _INSTANT, nullable=False),
)
leadership = Table(
    "leadership",
    metadata,
    Column("role", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
)
version_importances = Table(
    "version_importances",
    metadata,
    Column("model_version_id", Text, primary_key=True),
    Column("content", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
accuracy_episodes = Table(
    "accuracy_episodes",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("effects", JSONB, nullable=False),
    Column("answer", JSONB),
    Column("created_at", _INSTANT, nullable=False),
)
schedules = Table(
    "schedules",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("definition", JSONB, nullable=False),
    Column("declared", Boolean, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
schedule_state = Table(
    "schedule_state",
    metadata,
    Column("name", Text, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("next_fire_time", _INSTANT),
    Column("last_fire_time", _INSTANT),
)
event_queue = Table(
    "event_queue",
    metadata,
    Column("event_id", BigInteger, primary_key=True),
)
event_sequence = Table(
    "event_sequence",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    Column("event_id", BigInteger, nullable=False),
)
event_cursors = Table(
    "event_cursors",
    metadata,
    Column("sink", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("moved_at", _INSTANT, nullable=False),
)
webhooks = Table(
    "webhooks",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("id", Text, nullable=False),
    Column("definition", JSONB, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
)
webhook_state = Table(
    "webhook_state",
    metadata,
    Column("webhook_id", Text, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("webhook_id", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT),
)
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("webhook_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_attempt_at", _INSTANT),
    Column("first_attempt_at", _INSTANT),
    Column("finished_at", _INSTANT),
    Column("owner", BigInteger),
    Column("created_at", _INSTANT, nullable=False),
)
delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", BigInteger, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("at", _INSTANT, nullable=False),
    Column("status", Integer),
    Column("latency_ms", REAL, nullable=False),
    Column("error", Text),
    Column("next_attempt_at", _INSTANT),
)
freed_blobs = Table(
    "freed_blobs",
    metadata,
    Column("seq", BigInteger, primary_key=True),
    Column("model_version_id", Text),
    Column("part", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("policy", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
)
