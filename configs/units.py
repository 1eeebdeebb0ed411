"""Seconds in an hour and in a day, joules in a kilowatt-hour."""

HOUR_S = 3600.0
DAY_S = 86400.0
KWH_J = 3.6e6
