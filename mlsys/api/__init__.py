"""The HTTP API: one file per resource, each view a schema in, one call, a schema out. Decides nothing about models or runs."""
