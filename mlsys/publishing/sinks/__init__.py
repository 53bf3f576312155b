"""Sinks that come with mlsys, one in a file. What they are given and must promise: mlsys/events/sinks.py."""
