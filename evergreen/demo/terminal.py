"""The demo's output: headings, progress, questions, tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from evergreen.errors import FailedError

console = Console(highlight=False, soft_wrap=True)


class DemoError(FailedError):
    """A step of the demo failed. The message says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(f"The demo stopped: {message}")


def heading(text: str) -> None:
    """Print a heading."""
    console.print(f"\n[bold green]▌[/] [bold]{text}[/]")


def say(text: str) -> None:
    """Print an indented line. Rich markup is interpreted."""
    console.print(f"  {text}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print that a step begins, and after it succeeds how long it took."""
    began = time.monotonic()
    say(f"[dim]{what} …[/]")
    yield
    say(f"[dim]{what}: {time.monotonic() - began:.1f} s[/]")


def ask(question: str, *, granted: bool) -> bool:
    """Ask a yes/no question. Without a terminal, or if `granted`, answer yes and print the answer."""
    if granted or not sys.stdin.isatty():
        say(f"{question} [bold]yes[/] [dim]({'--yes' if granted else 'no terminal to ask at'})[/]")
        return True
    return console.input(f"  {question} \\[y/N] ").strip().lower() in {"y", "yes"}


class Days:
    """A line with one mark for each day, interrupted by messages."""

    def __init__(self) -> None:
        self._open = False

    def mark(self, text: str) -> None:
        """Add a day's mark to the line."""
        console.print(text if self._open else f"  {text}", end="", markup=True)
        sys.stdout.flush()
        self._open = True

    def say(self, text: str) -> None:
        """Print a message on a line of its own."""
        self.end()
        say(text)

    def end(self) -> None:
        """End the line of marks."""
        if self._open:
            console.print()
        self._open = False


def columns(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of figures: the first column left-aligned, the others right-aligned."""
    grid = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for number, name in enumerate(head):
        grid.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console.print()
    console.print(grid)


def table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values under a title."""
    grid = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(f"[bold]{name}[/]", value)
    console.print()
    console.print(grid)
