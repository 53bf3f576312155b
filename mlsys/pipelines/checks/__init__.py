"""Data checks: one component, one file. Each looks at the rows of a window and gives one verdict."""
