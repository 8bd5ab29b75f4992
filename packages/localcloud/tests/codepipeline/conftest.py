"""CodePipeline without a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from localcloud_support.codepipeline_service import CodePipelineHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[CodePipelineHarness]:
    made = CodePipelineHarness(tmp_path)
    yield made
    made.close()
