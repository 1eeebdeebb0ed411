"""What tables of several reports share."""

from typing import Any

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
