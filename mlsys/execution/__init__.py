"""Runs jobs: accepts requests into the queue, executes them, concludes them in one transaction, recovers those whose process died."""
