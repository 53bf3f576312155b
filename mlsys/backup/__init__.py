"""Backup and restore: a whole home, or what there is of it outside of the home, in one file. What rows mean is not known here."""
