"""Messages to people: sinks that tell of the few events somebody should act on, as text."""
