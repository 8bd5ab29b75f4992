"""`constructs/` joins the installed package of that name, as long as it has no `__init__.py`."""

from __future__ import annotations

from pathlib import Path

import constructs

import constructs.mlops


def test_folder_joins_the_installed_package(root: Path) -> None:
    assert not (root / "constructs" / "__init__.py").exists()
    assert Path(constructs.__file__).parent != root / "constructs"
    assert Path(constructs.mlops.__file__).parent == root / "constructs" / "mlops"
