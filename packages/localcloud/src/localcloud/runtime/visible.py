"""What a container sees of the host, read-only: an environment of Python, and programs on the PATH."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from localcloud.hooks import virtual_clock

RUNTIME = Path(__file__).parent
_SYSTEM = tuple(Path(path) for path in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store"))
_OF_A_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg", "package.json", ".git", ".hg")
_MODULES = (".py", ".so", ".pyi", ".pth", ".dist-info", ".egg-info", ".libs")
ADDITIONAL = "LOCALCLOUD_READ_ONLY"
"""The variable by which a user makes further paths visible, separated as in PATH."""


def always() -> list[str]:
    """Return what every container needs: the launcher's and the image's modules, and the virtual clock."""
    paths = [str(RUNTIME / "container"), str(RUNTIME / "image"), str(Path(virtual_clock.__file__).parent)]
    if virtual_clock.VARIABLE in os.environ:
        paths.append(str(Path(os.environ[virtual_clock.VARIABLE]).parent))
    for name in ("LD_LIBRARY_PATH", ADDITIONAL):
        paths += [path for path in os.environ.get(name, "").split(os.pathsep) if Path(path).is_absolute()]
    return paths


def this_environment() -> list[str]:
    """Return this process's Python environment, with the packages that are installed in place."""
    paths = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    for entry in (*sys.path, *_editable_packages()):
        paths += _importable(Path(entry))
    return [*_without_repetition(paths), sys.executable]  # with the symbolic links that lead to the interpreter


def programs() -> list[str]:
    """Return the folders of the PATH outside of the system's, and what programs in them load from beside them."""
    paths, found = [], []
    for text in os.environ.get("PATH", os.defpath).split(os.pathsep):
        folder = Path(text)
        if _is_readable(folder) and not any(folder.is_relative_to(one) for one in _SYSTEM) and not _holds_homes(folder):
            paths.append(text)
    for name in ("node", "npm", "npx", "python3", "git", "uv", "uvx"):
        program = shutil.which(name)
        if program is None:
            continue
        found.append(program)
        prefix = Path(program).resolve().parent.parent
        for beside in ("lib/node_modules", "libexec/git-core"):
            if _is_readable(prefix / beside):
                paths.append(str(prefix / beside))
    return [*_without_repetition(paths), *found]  # with the symbolic links that lead to the programs


def _importable(entry: Path) -> list[str]:
    """Return what Python imports from an entry of its path; of a project its packages only, not what is around them."""
    if not _is_readable(entry) or _holds_homes(entry):
        return []
    if not any((entry / name).exists() for name in _OF_A_PROJECT):
        return [str(entry)]
    return [
        str(child) for child in entry.iterdir() if child.name.endswith(_MODULES) or (child / "__init__.py").exists()
    ]


def _editable_packages() -> Iterable[str]:
    """Return the packages that setuptools' import hooks map to a project."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            yield from getattr(module, "MAPPING", {}).values()


def _is_readable(path: Path) -> bool:
    """Return whether a path is absolute and readable; another user's directory on a PATH is not."""
    return path.is_absolute() and os.access(path, os.R_OK)


def _holds_homes(path: Path) -> bool:
    """Return whether a path is the root, a home, or above one: these are on a path by accident."""
    resolved, home = path.resolve(), Path.home().resolve()
    return home.is_relative_to(resolved) or resolved == Path("/tmp")  # noqa: S108


def _without_repetition(paths: Iterable[str]) -> list[str]:
    """Return the paths once each, the shorter first, without those below another one."""
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths}, key=len):
        if not any(path.startswith(other + os.sep) for other in kept):
            kept.append(path)
    return kept
