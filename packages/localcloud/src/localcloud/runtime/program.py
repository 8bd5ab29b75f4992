"""A container's program, and the environment that all containers have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime.images import StandIn
from localcloud.runtime.images.environments import HOST_ENVIRONMENT
from localcloud.runtime.sandbox import HOME
from localcloud.runtime.warm import interpreter_environment

HOST = "algo-1"


@dataclass(frozen=True)
class Program:
    """A command inside the container."""

    command: list[str]
    environment: dict[str, str]
    cwd: str


# pip's settings of the machine: without them a container with a network does not find a company's registry.
_REGISTRY = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|CERT|FIND_LINKS)|SSL_CERT_FILE|REQUESTS_CA_BUNDLE"
    r"|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy"
)


def base_environment(cloud: Cloud, role_arn: str, found: StandIn | None, *, isolated: bool) -> dict[str, str]:
    """Return a container's variables without the request's: the image's, and none of the gateway's but pip's registry.

    A container without a network gets no credentials, because it could not use them.
    """
    environment = interpreter_environment(HOST_ENVIRONMENT if found is None else found.environment) | {
        "HOME": HOME,
        "AWS_REGION": cloud.region,
        "AWS_DEFAULT_REGION": cloud.region,
    }
    if found is not None:
        environment |= found.variables
    if not isolated:
        environment |= {name: value for name, value in os.environ.items() if _REGISTRY.fullmatch(name)}
        environment.update(cloud.role_environment(role_arn))
    return environment


def resource_config(instance_type: str, host: str = HOST) -> dict[str, Any]:
    """Return `resourceconfig.json` of a job on one instance."""
    return {
        "current_host": host,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": [host],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": [host]}
        ],
        "network_interface_name": "eth0",
    }


def reject_if(condition: object, what: str) -> None:
    """Reject a feature, named by `what`, where `condition` is true.

    Raises:
        UnsupportedRequest: `condition` is true.
    """
    if condition:
        raise UnsupportedRequest(f"ClientError: {what} is not supported by the local cloud")


class UnsupportedRequest(Exception):
    """The request is not supported or not valid; the message is the job's `FailureReason`."""


def check_one_instance(cluster: Mapping[str, Any]) -> None:
    """Reject a job on more than one instance.

    Raises:
        UnsupportedRequest: the job has several instances or instance groups.
    """
    reject_if(cluster.get("InstanceGroups"), "a heterogeneous cluster (InstanceGroups)")
    count = cluster.get("InstanceCount", 1)
    reject_if(count != 1, f"a job on several instances (InstanceCount {count})")
