"""What assign asks: tasks, the offers that may serve them, the habit to compare with, and what waiting costs."""

from typing import Any

from .catalog import path_of
from .loader import Number, Text, read_toml

PERIODS = ("hour", "day", "week", "month", "year")
ASSIGN_SETTINGS = {
    "tasks": Text(required=False),
    "offers": Text(required=False),
    "habit": Text(required=False),
    "value_usd_per_hour": Number("US dollars per hour of waiting", 0.0, 1e9, required=False),
    "deadline_margin": Number("deadline over an offer's time, at least", 1.0, 1e3, required=False),
    "per": Text(PERIODS, required=False),
    "out": Text(required=False),
}
_DESCRIBED = {"name": Text(required=False), "source": Text(required=False), "note": Text(required=False)}


def load_assignment(name: str) -> dict[str, Any]:
    """Load the settings of an assignment from a TOML file of `ASSIGN_SETTINGS`.

    Raises:
        ConfigError: no such file, unknown setting, or a value outside its range.
    """
    raw = read_toml(path_of("scenarios", name), {**_DESCRIBED, **ASSIGN_SETTINGS})
    return {k: v for k, v in raw.items() if k in ASSIGN_SETTINGS}
