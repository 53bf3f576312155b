"""Events: their names, the outbox rows that are their truth, and the signals that tell this process of them after the commit."""
