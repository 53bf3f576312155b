"""How committed events get out: numbered by the leader's sequencer, then handed on, in order, to sinks and to those who wait for more."""
