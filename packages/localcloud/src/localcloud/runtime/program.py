"""A container's program, and the environment that all containers have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime.images import stand_in
from localcloud.runtime.sandbox import HOME
from localcloud.runtime.warm import WarmPython, interpreter_environment, python_with

HOST = "algo-1"


@dataclass(frozen=True)
class Program:
    """A command inside the container.

    Attributes:
        explain: (exit code, last log lines) → the text that a toolkit writes to `/opt/ml/output/failure` when the
            script fails; "" where it writes nothing.
    """

    command: list[str]
    environment: dict[str, str]
    cwd: str
    explain: Callable[[int, list[str]], str] = lambda _code, _lines: ""


def base_environment(cloud: Cloud, role_arn: str, *, isolated: bool) -> dict[str, str]:
    """Return a container's environment without the request's variables; it has none of the gateway's variables.

    A container without a network gets no credentials, because it could not use them.
    """
    environment = interpreter_environment() | {
        "HOME": HOME,
        "AWS_REGION": cloud.region,
        "AWS_DEFAULT_REGION": cloud.region,
    }
    if not isolated:
        environment.update(cloud.role_environment(role_arn))
    return environment


def warm_python(image: str) -> WarmPython | None:
    """Return the fork server for an image, or None."""
    found = stand_in(image)
    return python_with(found.imports) if found is not None and found.imports else None


def resource_config(instance_type: str) -> dict[str, Any]:
    """Return `resourceconfig.json` of a job on one instance."""
    return {
        "current_host": HOST,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": [HOST]}
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
