"""One real gateway for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud.testing import LocalCloud


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("cloud") / "state") as cloud:
        yield cloud
