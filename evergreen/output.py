"""What the commands print: text for people, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from typing import Any


def say(text: str, *, style: str = "") -> None:
    """Print a line on standard output.

    Args:
        text: The line.
        style: A style of rich, such as `bold`, where a terminal reads it.
    """
    if style and sys.stdout.isatty():
        from rich.console import Console  # a fifth of a second that programs need not wait for

        Console(highlight=False, markup=False, soft_wrap=True).print(text, style=style)
        return
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def inform(text: str) -> None:
    """Print a line for people on standard error, which `--json` leaves alone."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_json(document: Any) -> None:
    """Print a JSON document. Times become ISO 8601."""
    say(json.dumps(document, indent=2, ensure_ascii=False, default=str))
