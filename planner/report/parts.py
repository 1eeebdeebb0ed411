"""What tables of several reports share."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def table(title: str, *columns: str) -> Table:
    """Return an empty table in the house style: names left, figures right."""
    out = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        out.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
    return out


def replica(row: dict[str, Any]) -> str:
    """Return chips, precision and how they are split: 16 x h100-sxm fp8, tp 8 pp 2."""
    text = f"{row['chips_per_replica']} x {row['chip']} {row['precision']}"
    return text + (f", tp {row['tp']} pp {row['pp']}" if row["pp"] > 1 else "")


def print_body(
    console: Console, tables: Sequence[Table | None], reasons: Sequence[str], warnings: Sequence[str]
) -> None:
    """Print what follows a verdict: the tables there are, sentences in rich's markup, and warnings as they are."""
    for one in tables:
        if one is not None:
            console.print()
            console.print(one, highlight=False)
    console.print()
    for line in reasons:
        console.print(line, highlight=False)
    print_warnings(console, warnings)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """Print warnings, each a note."""
    for warning in warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}", highlight=False)
