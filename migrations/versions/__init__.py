"""One file per revision, numbered 000, 001 ... Each names in LOSES the tables whose rows its downgrade drops."""
