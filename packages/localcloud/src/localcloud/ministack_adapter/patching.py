"""Replacement of ministack's functions: it has no plug-in interface, and many modules import by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

Function = Callable[..., Any]


class MissingHookError(RuntimeError):
    """ministack lacks what the adapter replaces: the pinned version was changed."""


def wrap(module: ModuleType, name: str, make: Callable[[Any], Any]) -> None:
    """Replace `module.name` by `make(original)`, in every ministack module that imported the original by name."""
    original = getattr(module, name, None)
    if original is None:
        raise MissingHookError(f"ministack has no {module.__name__}.{name}; the adapter is written for 1.5.33")
    replacement = make(original)
    for other in list(sys.modules.values()):
        if not getattr(other, "__name__", "").startswith("ministack"):
            continue
        for key, value in list(vars(other).items()):
            if value is original:
                setattr(other, key, replacement)
