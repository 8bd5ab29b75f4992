"""What the demo shows a person: headings, a progress line for anything that takes time, one closing table."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """Something went wrong that a person can act on; the message is one sentence that says how."""


def heading(text: str) -> None:
    console.print(f"\n[bold green]▌[/] [bold]{text}[/]")


def say(text: str) -> None:
    console.print(f"  {text}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say that something begins and, when it ends well, how long it took."""
    began = time.monotonic()
    say(f"{what} …")
    yield
    say(f"[dim]{what}: {time.monotonic() - began:.1f} s[/]")


def ask(question: str, *, granted: bool) -> bool:
    """Ask a person at the terminal; where there is none, or `granted`, the answer is yes and is shown."""
    if granted or not sys.stdin.isatty():
        say(f"{question} [bold]yes[/] [dim]({'--yes' if granted else 'no terminal to ask at'})[/]")
        return True
    return console.input(f"  {question} \\[y/N] ").strip().lower() in {"y", "yes"}


class Days:
    """One mark a day on one line, broken where there is something to say."""

    def __init__(self) -> None:
        self._open = False

    def mark(self, text: str) -> None:
        console.print(text if self._open else f"  {text}", end="", markup=True)
        sys.stdout.flush()
        self._open = True

    def say(self, text: str) -> None:
        self.end()
        say(text)

    def end(self) -> None:
        if self._open:
            console.print()
        self._open = False


def columns(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of figures: the first column to the left, the others to the right."""
    grid = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for number, name in enumerate(head):
        grid.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console.print()
    console.print(grid)


def table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    grid = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(f"[bold]{name}[/]", value)
    console.print()
    console.print(grid)
