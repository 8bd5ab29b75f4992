"""The commands of the analyzer's README work in an empty environment and an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "packages" / "analyzer" / "README.md"
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def console(section: str) -> list[tuple[str, str]]:
    """Return the commands of a README section, each with the output that the README shows."""
    text = README.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = []
    for block in re.split(r"^\$ ", "".join(blocks), flags=re.MULTILINE)[1:]:
        command, _, output = block.partition("\n")
        found.append((command, output))
    return found


def python_example() -> str:
    """Return the README's Python example."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(code)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the package and its dependencies only, installed as the README says."""
    assert UV, "uv is not installed"
    home = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(home)], check=True)
    ((command, _),) = console("Install")
    assert command.startswith("pip install ")
    # uv installs as pip does, into an environment without pip.
    install = [UV, *shlex.split(command), "--quiet", "--python", str(home / "bin" / "python")]
    subprocess.run(install, cwd=ROOT, check=True)
    return home


def run(environment: Path, folder: Path, *command: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quick_start_gives_the_output_that_the_readme_shows(environment: Path, tmp_path: Path) -> None:
    commands = console("Quick start")
    assert [shlex.split(command)[:2] for command, _ in commands] == [
        ["drift-analyzer", name] for name in ("example", "baseline", "analyze")
    ]
    for command, output in commands:
        # A terminal shows notes, which come on standard error, too.
        assert run(environment, tmp_path, "sh", "-c", f"{command} 2>&1") == output, command
    assert (tmp_path / "weather" / "analysis" / "report.html").exists()
    shown = run(environment, tmp_path, "python", "-c", python_example())
    assert [line.split()[1] for line in shown.splitlines()] == ["Ok", "Drift", "Drift"]


def test_the_package_brings_numpy_and_orjson_and_nothing_of_aws(environment: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    assert run(environment, tmp_path, "python", "-c", code).split() == ["drift-analyzer", "numpy", "orjson"]
    code = "import importlib.metadata as m; print(*(e.value for e in m.entry_points(group='localcloud.images')))"
    assert set(run(environment, tmp_path, "python", "-c", code).split()) == {"drift_analyzer.container"}
    assert "usage" in run(environment, tmp_path, "python", "-m", "drift_analyzer", "--help")
