"""Append-only logs behind one repository class each, and the unit of work that commits them together. SQL rows never leave this package."""
