"""Recorded kernel timings: the table they are kept in, and readers of the layouts they come in."""
