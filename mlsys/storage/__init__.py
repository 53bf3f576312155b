"""Where bytes and rows lie: PostgreSQL (embedded or given), tables, migrations, content-addressed blobs. Knows nothing of forecasting."""
