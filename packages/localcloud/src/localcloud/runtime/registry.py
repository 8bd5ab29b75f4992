"""Permission to pull a container's image from Amazon ECR.

Source: SageMaker Developer Guide, "SageMaker AI execution roles": the execution role needs the four actions below.
"""

from __future__ import annotations

import re

from localcloud.cloud import Cloud
from localcloud.runtime.contract import ContainerError

_ECR = re.compile(r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)")
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")


def check_pull(cloud: Cloud, image: str, role_arn: str) -> None:
    """Check that a role may pull an image.

    Raises:
        ContainerError: it may not; the message is the failure reason of the job or endpoint.
    """
    found = _ECR.match(image)
    if found is None:
        return
    repository = f"arn:aws:ecr:{found['region']}:{found['account']}:repository/{found['name']}"
    for action, resource in (("ecr:GetAuthorizationToken", "*"), *((action, repository) for action in _PULL)):
        denied = cloud.denied(role_arn, action, resource)
        if denied is not None:
            raise ContainerError(f"ClientError: Failed to pull image {image}: AccessDeniedException: {denied}")
