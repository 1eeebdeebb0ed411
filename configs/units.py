"""Seconds in an hour and in a day."""

HOUR_S = 3600.0
DAY_S = 86400.0
