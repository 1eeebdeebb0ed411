"""The flags of assign, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated, Literal

from .flags import Output, _flag

EXAMPLES = (
    "assign --tasks tasks.csv --offers artificial-analysis-2025-11",
    "assign --tasks tasks.csv --offers offers.toml --habit claude-sonnet-4.5 --per day --out assigned.csv",
    "assign --tasks tasks.csv --offers offers.toml --value-usd-per-hour 60 --deadline-margin 1.5 --json",
)


@dataclass(frozen=True)
class Assign(Output):
    """Find the cheapest offer, a model in a tier, that does each task well enough and in time, and what that saves.

    The flags --tasks and --offers are required. Columns of tasks: input_tokens, output_tokens, quality (the least that
    does, on the offers' scale; 0 for any), and where you have them name, cached_tokens (part of the input), requests
    (default 1), deadline_s (for a whole answer) and value_usd_per_hour (what an hour of waiting for one answer costs).
    A cost is that of tokens and of waiting. Offers have no limits of their own, so tasks do not compete for them.
    """

    tasks: Annotated[
        str | None,
        _flag("The tasks: a CSV table with a header, one task per line, or [[tasks]] of a TOML file.", "FILE"),
    ] = None
    offers: Annotated[
        str | None, _flag("What may serve them: an id of `list offers`, or a TOML file of the same layout.", "ID")
    ] = None
    habit: Annotated[
        str | None, _flag("The offer that serves everything now (default: the one of the highest quality).", "OFFER")
    ] = None
    value_usd_per_hour: Annotated[
        float | None, _flag("What an hour of waiting costs where a task does not say (default 0).", "USD")
    ] = None
    deadline_margin: Annotated[
        float | None,
        _flag("An offer's time, times this, must be within the deadline (default 1; medians miss half).", "RATIO"),
    ] = None
    per: Annotated[
        Literal["hour", "day", "week", "month", "year"] | None,
        _flag("What the requests of the table are counted over, for the wording.", "{hour,day,week,month,year}"),
    ] = None
    out: Annotated[str | None, _flag("Write who gets what, one line per task.", "FILE.csv")] = None
    scenario: Annotated[str | None, _flag("Take flags from a TOML file; flags given here win.", "FILE")] = None
