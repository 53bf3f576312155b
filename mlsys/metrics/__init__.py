"""What /metrics tells, in Prometheus' form: what this process counts by itself, and what the database says at the time of a scrape."""
