"""Shares as bars and as per cent."""

from collections.abc import Callable

from rich.console import Console

_BAR = 14


def bars(console: Console) -> Callable[[float], str]:
    """Return what draws a share of one as a bar: blocks, or # where the terminal cannot show them."""
    block = "█" if console.encoding.lower().startswith("utf") else "#"
    return lambda share: block * max(round(_BAR * share), 1 if share >= 0.01 else 0)


def share_of(fraction: float) -> str:
    """Return a share in whole per cent, small ones as such."""
    return f"{100.0 * fraction:.0f} %" if fraction >= 0.0095 or fraction == 0.0 else "< 1 %"
