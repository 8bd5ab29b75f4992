"""Environments that stand in for images: made by uv on first use, from the lock file of the image's versions.

They lie in the user's cache folder, for all local clouds and checkouts. A folder's name holds the hash of its lock, of
its Python and of this module's version. A folder without its marker was not finished, and is made anew.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from localcloud.hooks.virtual_clock import FOLDER as CLOCK
from localcloud.runtime.contract import ContainerError

CACHE_VARIABLE = "LOCALCLOUD_IMAGES"
"""Variable that names another folder for the environments."""

_FORMAT = 1  # raise it when an environment is made otherwise
_MARKER = "made.json"
# They have no wheels and no code that must be compiled.
_SOURCES = (
    "sagemaker-containers", "sagemaker-training", "sagemaker-inference", "retrying", "inotify-simple", "markupsafe",
)  # fmt: skip
_HEAD = re.compile(r"# (?P<image>\S+)\. Python (?P<python>3\.\d+)\.")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Python:
    """An interpreter of this machine."""

    path: Path
    version: str
    prefix: Path

    @property
    def minor(self) -> str:
        """The version's first two parts."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Environment:
    """A Python environment in which containers run.

    Attributes:
        root: its folder.
        lock: the lock file of its versions; None for the local cloud's own environment.
    """

    root: Path
    lock: Path | None = None

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.root / "bin" / Path(sys.executable).name if self.lock is None else self.root / "bin" / "python3"

    @property
    def base(self) -> Path:
        """The folder of the interpreter and of the standard library that it uses."""
        return Path(sys.base_prefix) if self.lock is None else Path(self._made["base"])

    @property
    def made(self) -> bool:
        """Whether it is there and finished."""
        return self.lock is None or (self.root / _MARKER).is_file()

    @property
    def minor(self) -> tuple[int, int]:
        """Its Python's version."""
        if self.lock is None:
            return sys.version_info[:2]
        major, minor = self._made["python"].split(".")[:2]
        return int(major), int(minor)

    @property
    def note(self) -> str:
        """Its Python, and how that differs from the image's."""
        used, wanted = self._made["python"], wanted_python(self.lock) if self.lock else ""
        return f"Python {used}" + ("" if used.startswith(f"{wanted}.") else f" (the image has {wanted})")

    @functools.cached_property
    def _made(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.root / _MARKER).read_text())
        return found

    def make(self, tell: Callable[[str], None] | None = None) -> None:
        """Make the environment, if it is not there. Several processes may call this at once.

        Args:
            tell: called with one line before the work begins.

        Raises:
            ContainerError: uv could not make it; the message is uv's.
        """
        if self.made or self.lock is None:
            return
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.root.with_name(f"{self.root.name}.lock")):
            if not self.made:
                _make(self.root, self.lock, tell or log.warning)


HOST_ENVIRONMENT = Environment(Path(sys.prefix))
"""The local cloud's own environment: stand-ins that are no framework's image run in it."""


def cache_folder() -> Path:
    """Return the folder of all environments."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/localcloud/images"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "localcloud/images"


@functools.cache
def environment(lock: Path) -> Environment:
    """Return the environment of a lock file; `make` makes it."""
    python = nearest_python(wanted_python(lock))
    parts = (str(_FORMAT), sys.platform, str(python.path), python.version, lock.read_text())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return Environment(cache_folder() / f"{lock.stem}-{key}", lock)


def image_name(lock: Path) -> str:
    """Return the image's name that a lock file states in its first line."""
    return _head(lock)["image"]


def wanted_python(lock: Path) -> str:
    """Return the image's Python, `3.12`, that a lock file states in its first line."""
    return _head(lock)["python"]


def _head(lock: Path) -> re.Match[str]:
    found = _HEAD.match(lock.read_text())
    if found is None:
        raise ValueError(f"{lock.name} does not begin with '# <image>. Python <version>.'")
    return found


@functools.cache
def nearest_python(wanted: str) -> Python:
    """Return this machine's Python of a version; where there is none, the nearest, the newer one of two."""
    minor = int(wanted.split(".")[1])
    for distance in range(12):
        for candidate in {minor + distance: None, minor - distance: None}:
            for path in _candidates(f"3.{candidate}"):
                python = _inspect(path)
                if python is not None and python.minor == f"3.{candidate}":
                    return python
    raise ContainerError(f"ClientError: this machine has no Python near {wanted}")


def _candidates(minor: str) -> list[Path]:
    """Return where a Python of a version may be: the local cloud's own, pyenv's, uv's, and those on PATH.

    pyenv's are on PATH as shims, which run only the selected ones.
    """
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = [Path(sys.base_prefix) / "bin" / f"python{minor}"] if own == minor else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found += sorted(pyenv.glob(f"versions/{minor}.*/bin/python3"), reverse=True)
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    found += sorted(managed.glob(f"cpython-{minor}.*/bin/python3"), reverse=True)
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    found += [folder / f"python{minor}" for folder in folders if folder != pyenv / "shims"]
    return [path for path in found if path.exists()]


def _inspect(path: Path) -> Python | None:
    """Return an interpreter's version and prefix; None where it does not run."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3]))); print(sys.base_prefix)"
    try:
        done = subprocess.run([path, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    version, prefix = done.stdout.split("\n")[:2]
    return Python(path, version, Path(prefix))


def _make(root: Path, lock: Path, tell: Callable[[str], None]) -> None:
    name, wanted = image_name(lock), wanted_python(lock)
    python = nearest_python(wanted)
    instead = "" if python.minor == wanted else f", with Python {python.version} for lack of {wanted}"
    tell(f"Making the environment of {name}{instead}: about 20 seconds, more when nothing is cached …")
    shutil.rmtree(root, ignore_errors=True)
    _uv("venv", "--quiet", "--python", str(python.path), str(root))
    sources = [word for package in _SOURCES for word in ("--no-binary", package)]
    try:
        _uv(
            "pip", "install", "--quiet", "--no-deps", "--python", str(root / "bin/python3"),
            "--only-binary", ":all:", *sources, "--requirement", str(lock),
        )  # fmt: skip
    except ContainerError as error:
        raise ContainerError(
            f"ClientError: the environment of {name} cannot be made with Python {python.version}"
            f"{'' if python.minor == wanted else f' (the image has {wanted}: uv python install {wanted})'}: {error}"
        ) from error
    (packages,) = root.glob("lib/python3*/site-packages")
    # The virtual clock's library, where scripts do not find it.
    clock = ("--target", str(root / CLOCK), "--only-binary", ":all:", f"time-machine<={version('time-machine')}")
    _uv("pip", "install", "--quiet", "--no-deps", "--python", str(root / "bin/python3"), *clock)
    _patch_toolkit(packages)
    _name_xgboost(packages)
    # Containers cannot write bytecode for later ones.
    compile_all = [str(root / "bin/python3"), "-m", "compileall", "-q", "-j", "0", "-x", r"[/\\]tests?[/\\]"]
    subprocess.run(
        [*compile_all, str(packages), str(root / CLOCK)], check=False, capture_output=True
    )  # some files are for other Pythons
    made = {"python": python.version, "base": str(python.prefix), "image": name}
    marker = root / f"{_MARKER}.part"
    marker.write_text(json.dumps(made))
    marker.rename(root / _MARKER)


def _patch_toolkit(packages: Path) -> None:
    """Patch the name that Python 3.10 removed, in the line in which AWS's Dockerfiles patch it."""
    path = packages / "sagemaker_containers/_mapping.py"
    if not path.exists():
        return
    text = path.read_text().replace("collections.Mapping", "collections.abc.Mapping")
    path.unlink()  # it may be a link into uv's cache
    path.write_text(text)


def _name_xgboost(packages: Path) -> None:
    """Let pip find `xgboost` where its build without CUDA is installed: a script may require it by that name."""
    for source in packages.glob("xgboost_cpu-*.dist-info"):
        target = source.with_name(source.name.replace("xgboost_cpu", "xgboost"))
        target.mkdir(exist_ok=True)
        metadata = (source / "METADATA").read_text().replace("Name: xgboost-cpu", "Name: xgboost", 1)
        (target / "METADATA").write_text(metadata)
        (target / "INSTALLER").write_text("localcloud\n")
        (target / "RECORD").write_text("")


def _uv(*arguments: str) -> str:
    """Run uv and return its output.

    Raises:
        ContainerError: uv is missing or failed.
    """
    if find_spec("uv") is None:
        raise ContainerError("the package uv is not installed beside the local cloud: pip install uv")
    import uv

    done = subprocess.run([uv.find_uv_bin(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContainerError(" ".join(done.stderr.split())[-600:])
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, which the kernel releases when the process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
