"""Build the analyzer's Lambda layer: the wheels of `requirements.txt` for the function's platform, and the analyzer.

Only wheels whose hash is locked are installed. Files that numpy does not need at run time (tests, headers, type stubs)
are left out, so the function with its layer stays far below Lambda's size limit.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PLATFORM = "aarch64-manylinux_2_28"
"""numpy has no older arm64 wheels for 3.14; Lambda's Python 3.14 runs on Amazon Linux 2023, glibc 2.34."""
PYTHON = "3.14"
# In the environment, where synthesis looks for it, so that copies of the tree share it.
_HOME = Path(sys.prefix) / "share" / "evergreen" / "monitor-layer"
_LOCK = Path(__file__).with_name("requirements.txt")
_ANALYZER = Path(__file__).parents[3] / "packages" / "analyzer" / "src" / "drift_analyzer"
_NOT_NEEDED = ("**/tests", "**/include", "**/*.pyi", "**/*.lib", "**/*.a", "**/__pycache__", "bin")


def build(folder: Path, platform: str = PLATFORM, version: str = PYTHON) -> int:
    """Build the layer in `folder/python`, replacing what is there.

    The lock is copied beside it at the end: synthesis compares it to find out whether the layer is current.

    Args:
        folder: The layer's folder.
        platform: uv's name of the function's platform.
        version: The function's Python version.

    Returns:
        The unpacked size in bytes.

    Raises:
        FileNotFoundError: uv is not installed.
        CalledProcessError: A wheel is missing or has another hash.
    """
    target = folder / "python"
    (folder / _LOCK.name).unlink(missing_ok=True)
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    own = Path(sys.executable).parent / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("uv is not installed: pip install uv")
    subprocess.run(  # noqa: S603 (fixed arguments, no shell)
        [
            *(uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--python-platform", platform, "--python-version", version, "--target", str(target)),
            *("-r", str(_LOCK)),
        ],
        check=True,
    )
    for pattern in _NOT_NEEDED:
        for path in list(target.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copytree(_ANALYZER, target / _ANALYZER.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_LOCK, folder / _LOCK.name)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the layer; return 0, or 2 where it cannot be built."""
    parser = argparse.ArgumentParser(description="Build the analyzer's Lambda layer.")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=_HOME, help="folder that becomes the layer (default: %(default)s)"
    )
    parser.add_argument("--platform", default=PLATFORM)
    parser.add_argument("--python", default=PYTHON, help="the function's Python")
    options = parser.parse_args(arguments)
    try:
        size = build(options.folder, options.platform, options.python)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"the analyzer's layer: {error}\n")
        return 2
    sys.stdout.write(f"{options.folder}: {size / 1e6:.1f} MB unpacked\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
