"""A layer built for Lambda's machine does not hide this environment's packages."""

from __future__ import annotations

import io
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from localcloud.ministack_adapter.functions import holds_foreign_extensions


@pytest.mark.parametrize(
    ("file", "foreign"),
    [
        ("python/numpy/core.cpython-399-aarch64-linux-gnu.so", True),
        (f"python/numpy/core{EXTENSION_SUFFIXES[0]}", False),
        ("python/numpy.libs/libscipy_openblas.so", False),
        ("python/shared/text.py", False),
    ],
)
def test_a_layer_of_another_machines_modules_is_known(file: str, foreign: bool) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(file, b"")
    assert holds_foreign_extensions(body.getvalue()) is foreign
