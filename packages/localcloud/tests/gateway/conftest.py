"""One real gateway for the tests of this folder, started and stopped by its own commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud.testing import Local, free_port


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    cloud = Local(free_port(), tmp_path_factory.mktemp("cloud") / "state")
    cloud.up()
    yield cloud
    cloud.run("down", "--purge")
