"""Serving: what a pass asks of the chips, how long it takes, what fits, and the steady state of requests."""
