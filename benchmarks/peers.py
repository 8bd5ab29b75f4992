"""Environments of the compared tools, under .cache/peers, separate from the application's environment."""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "peers"
PEERS = {
    "evidently": ["evidently==0.7.23", "pandas<3", "scipy", "pyarrow"],
    "river": ["river==0.26.1"],
    "nannyml": ["--no-deps", "nannyml==0.13.1"],  # only the CSV files of its wheel are used
}


def python(peer: str) -> Path:
    """Return the interpreter of a tool's environment, which uv creates on first use and when requirements change."""
    wanted = PEERS[peer]
    home = CACHE / f"{peer}-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:8]}"
    interpreter = home / "bin" / "python"
    if not (home / "ready").exists():
        uv = str(Path(sys.executable).parent / "uv")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", version, str(home)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(interpreter), *wanted], check=True)
        (home / "ready").touch()
    return interpreter


def data_file(peer: str, name: str) -> Path:
    """Return a data file of a tool's package.

    Raises:
        FileNotFoundError: The package has no such file.
    """
    home = python(peer).parent.parent
    for path in home.rglob(name):
        return path
    raise FileNotFoundError(f"{peer} carries no {name}")
