"""A control plane behind a real HTTP port, and requests to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from localcloud_support.sagemaker_service import IMAGE, ROLE, SageMakerHarness, serving


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[SageMakerHarness]:
    with serving(tmp_path) as made:
        yield made


@pytest.fixture
def step_of() -> Callable[..., dict[str, Any]]:
    """A processing step by name, with what a test cares about on top."""

    def make(name: str, **members: Any) -> dict[str, Any]:
        arguments = {
            "RoleArn": ROLE,
            "AppSpecification": {"ImageUri": IMAGE},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
            },
            **members.pop("Arguments", {}),
        }
        return {"Name": name, "Type": "Processing", "Arguments": arguments, **members}

    return make


@pytest.fixture
def specification() -> dict[str, Any]:
    """An inference specification."""
    return {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://ml-artifacts/churn/7/model.tar.gz"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
