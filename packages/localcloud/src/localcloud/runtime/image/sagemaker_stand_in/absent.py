"""Names of AWS's packages that exist so that an import line works, and that the stand-ins do not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def refusal(module: str) -> Callable[[str], NoReturn]:
    """Return a module's `__getattr__`, which says what is missing."""

    def missing(name: str) -> NoReturn:
        raise AttributeError(f"{module}.{name} is not supported by the local cloud's stand-in")

    return missing
