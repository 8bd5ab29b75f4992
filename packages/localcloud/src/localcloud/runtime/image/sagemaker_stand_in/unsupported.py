"""Attributes of AWS's packages that the stand-ins do not have, in modules that only have to be importable."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def unsupported_attribute(module: str) -> Callable[[str], NoReturn]:
    """Return a module's `__getattr__`, which raises an error that names the attribute."""

    def missing(name: str) -> NoReturn:
        raise AttributeError(f"{module}.{name} is not supported by the local cloud's stand-in")

    return missing
