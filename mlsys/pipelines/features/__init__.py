"""Features: one component, one file. Each computes columns by timestamp from what was known at a row's issue time."""
