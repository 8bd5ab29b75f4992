"""Mapping of `/opt/ml` to a real directory in Python's file functions, for machines without mount namespaces.

It covers `open`, `os` and with them pathlib, glob, shutil and other Python code. Libraries that open files in C
(pyarrow, a model's own `load`) are not covered. Scripts that take their paths from SM_* variables do not need it.
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
    "utime", "readlink", "truncate", "chown", "lchown", "statvfs", "listxattr", "getxattr", "setxattr", "removexattr",
)  # fmt: skip
_TWO_PATHS = ("rename", "replace", "link", "symlink")


def real_path(path: Any) -> Any:
    """Return the real path of a path below `/opt/ml`, and any other path unchanged."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if isinstance(text, str) and (text == "/opt/ml" or text.startswith("/opt/ml/")):
        return _REAL + text[len("/opt/ml") :]
    return path


def _mapped(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(*map(real_path, arguments[:count]), *arguments[count:], **keywords)

    # Not a function: Python 3.10's pathlib has these as attributes of a class, and would bind functions.
    return functools.update_wrapper(functools.partial(call), function)


def install() -> None:
    """Replace the functions, once, at the interpreter's start."""
    builtins.open = io.open = _mapped(builtins.open, 1)
    for count, names in ((1, _ONE_PATH), (2, _TWO_PATHS)):
        for name in filter(functools.partial(hasattr, os), names):  # macOS has no extended attributes in `os`
            setattr(os, name, _mapped(getattr(os, name), count))
