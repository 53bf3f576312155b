"""Append-only data sets and reads as known at an instant. Knows the manifest (registry) and the files; no HTTP, no job."""
