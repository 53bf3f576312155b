"""mlsys attacked: one running server, a table of hostile inputs, and what became of each. See table.py to add a row."""
