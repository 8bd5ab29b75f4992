"""Where a machine allows no mount namespaces: Python's file functions map `/opt/ml` to a real directory.

Covers `open`, `os` and with them pathlib, glob, shutil and what is written in Python. Libraries that open files in C
(pyarrow, a model's own `load`) are not covered; scripts that take their paths from SM_* variables need none of this.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
from collections.abc import Callable
from typing import Any

_REAL = os.environ.get("LOCALCLOUD_OPT_ML", "")
_ONE_PATH = (
    "open", "stat", "lstat", "listdir", "scandir", "mkdir", "remove", "unlink", "rmdir", "chdir", "access", "chmod",
    "utime", "readlink", "truncate",
)  # fmt: skip
_TWO_PATHS = ("rename", "replace", "link", "symlink")


def real_path(path: Any) -> Any:
    """`/opt/ml/model` → `<real directory>/model`; everything else as it is."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if isinstance(text, str) and (text == "/opt/ml" or text.startswith("/opt/ml/")):
        return _REAL + text[len("/opt/ml") :]
    return path


def _mapped(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(*map(real_path, arguments[:count]), *arguments[count:], **keywords)

    return call


def install() -> None:
    """Replace the functions, once, at the interpreter's start."""
    builtins.open = io.open = _mapped(builtins.open, 1)
    for count, names in ((1, _ONE_PATH), (2, _TWO_PATHS)):
        for name in names:
            setattr(os, name, _mapped(getattr(os, name), count))
