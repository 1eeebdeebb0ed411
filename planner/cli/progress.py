"""A bar on stderr for work that takes long; silent where nobody watches."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol


class Tick(Protocol):
    """Names the step that begins, or says how many are done."""

    def __call__(self, what: str = "", done: int | None = None) -> None:
        """Name a step, or say how many are done."""


@contextlib.contextmanager
def progress(verb: str, total: int) -> Iterator[Tick]:
    """Yield a function that names the next of ``total`` steps on a bar, or says how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=total)
        begun = 0

        def tick(what: str = "", done: int | None = None) -> None:
            nonlocal begun
            bar.update(task, description=f"{verb} {what}".rstrip(), completed=begun if done is None else done)
            begun += 1

        yield tick
        bar.update(task, completed=total)
