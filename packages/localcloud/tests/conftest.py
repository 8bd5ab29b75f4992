"""Skips of tests for which this machine lacks namespaces."""

from __future__ import annotations

import pytest

from localcloud.runtime.sandbox import isolation


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Require that containers have an `/opt/ml`, a `/tmp` and, where asked, a network of their own."""
    if not isolation().namespaces:
        pytest.skip(f"needs Linux namespaces; here: {isolation().sentence}")


@pytest.fixture(scope="session")
def pid_namespace(namespaces: None) -> None:
    """Require that the kernel ends every process of a container with it, and that warm Pythons can fork containers."""
    if not isolation().pid_namespace:
        pytest.skip(f"needs a Linux PID namespace; here: {isolation().sentence}")
