"""Schedules: what they mean, when they fire, and the scheduler that records each firing. Only the leader fires."""
