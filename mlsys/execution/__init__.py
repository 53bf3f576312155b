"""Runs jobs: accepts requests into the queue, executes them on a pool, concludes them in one transaction, recovers those whose process died."""
