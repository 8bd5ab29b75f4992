"""A control plane behind a real HTTP port, and requests to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from localcloud_support.sagemaker_service import IMAGE, ROLE, SageMakerHarness, serve_control_plane


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[SageMakerHarness]:
    with serve_control_plane(tmp_path) as made:
        yield made


@pytest.fixture
def step_of() -> Callable[..., dict[str, Any]]:
    """Return a function that builds a processing step, given its name and further members."""

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
    """Return an inference specification."""
    return {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://ml-artifacts/churn/7/model.tar.gz"}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
