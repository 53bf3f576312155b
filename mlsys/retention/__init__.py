"""Retention: what is given up, by which rule, and when. Logs of the registry are not; stored bytes, lines and deliveries are."""
