"""Webhooks: who subscribes to what, how events reach them, and the one function through which mlsys calls other servers."""
