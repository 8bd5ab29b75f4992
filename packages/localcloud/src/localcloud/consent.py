"""Consent to run jobs, functions and builds without isolation, where this machine has none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from localcloud.runtime.sandbox import Isolation

VARIABLE = "LOCALCLOUD_WITHOUT_ISOLATION"
OPTION = "--without-isolation"
_FILE = "without-isolation"


def refusal(found: Isolation, state: Path, *, given: bool) -> str | None:
    """Return why the local cloud may not start, or None where it may.

    Consent is remembered in the state folder. A person at a terminal is asked; a program must give it.

    Args:
        found: What this machine isolates.
        state: The state folder, which exists.
        given: Whether the command has the option.
    """
    file = state / _FILE
    if found.namespaces or file.exists():
        return None
    risk = (
        f"This machine cannot isolate containers ({found.sentence}). Jobs, model servers, functions and builds would "
        "run with your rights on your files: home, keys and projects."
    )
    if not given and os.environ.get(VARIABLE) != "1" and not _agreed(risk):
        return f"{risk} If you trust all code that you will run: localcloud up {OPTION}, or {VARIABLE}=1."
    file.write_text(f"{risk}\n")
    return None


def _agreed(risk: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{risk}\nRun them all the same? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
