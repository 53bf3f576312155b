"""Training and prediction as plain functions over small swappable components. Knows no database of ours, no web server, no run log."""
