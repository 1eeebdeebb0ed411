"""What tables of several reports share."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_WIDTH = 80


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


def print_answer(
    console: Console,
    verdict: str,
    tables: Sequence[Any],
    reasons: Sequence[tuple[str, str]],
    answer: dict[str, Any],
) -> None:
    """Print an answer at most 80 columns wide: verdict, tables (None are left out), reasons by their leads, warnings
    and the names of files written."""
    width = min(console.width, _WIDTH)

    def tell(thing: Any) -> None:
        console.print(thing, highlight=False, width=width)

    tell(Text(verdict, "bold"))
    for one in tables:
        if one is not None:
            tell("")
            tell(one)
    if reasons or (tables and answer["warnings"]):
        tell("")
    for lead, line in reasons:
        tell(Text.assemble((lead, "bold"), " ", line))
    for warning in answer["warnings"]:
        tell(Text.assemble(("Note:", "yellow"), f" {warning[:1].upper()}{warning[1:]}"))
    for name in answer.get("files", ()):
        tell(Text(f"Wrote {name}"))
