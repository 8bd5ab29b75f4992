"""The package is a library of its own: light to import, without AWS and without the application."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import drift_analyzer

SOURCE = Path(drift_analyzer.__file__).parent
ALLOWED = {"drift_analyzer", "numpy", "orjson"}
OPTIONAL = {("reference_data.py", "pandas"), ("explainability.py", "xgboost")}
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a module imports, anywhere in its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_neither_aws_nor_the_application(module: str) -> None:
    foreign = imported(SOURCE / module) - ALLOWED - set(sys.stdlib_module_names)
    assert {(module, name) for name in foreign} <= OPTIONAL


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, drift_analyzer; print([n for n in sys.modules if n.startswith(('numpy', 'drift_analyzer.'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_found_in_its_module() -> None:
    for name in drift_analyzer.__all__:
        value = getattr(drift_analyzer, name)
        assert value is getattr(import_module(value.__module__), name)
    assert set(drift_analyzer.__all__) <= set(dir(drift_analyzer))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        drift_analyzer.nothing  # noqa: B018
