"""What a prepared container runs, and the environment that every container has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime.images import stand_in
from localcloud.runtime.warm import WarmPython, interpreter_environment, python_with

HOST = "algo-1"


@dataclass(frozen=True)
class Program:
    """A command inside the container.

    Attributes:
        explain: turns (exit code, last lines of the log) into what a toolkit writes to `/opt/ml/output/failure` when
            the script fails; "" where nothing would be written.
    """

    command: list[str]
    environment: dict[str, str]
    cwd: str
    explain: Callable[[int, list[str]], str] = lambda _code, _lines: ""


def base_environment(cloud: Cloud, role_arn: str, *, isolated: bool) -> dict[str, str]:
    """A container's environment before anything of the request: nothing of the gateway's own.

    A container without a network gets no credentials either: it could not use them.
    """
    environment = interpreter_environment() | {
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "AWS_REGION": cloud.region,
        "AWS_DEFAULT_REGION": cloud.region,
    }
    if not isolated:
        environment.update(cloud.role_environment(role_arn))
    return environment


def warm_python(image: str) -> WarmPython | None:
    """What has imported the framework of an image already."""
    found = stand_in(image)
    return python_with(found.imports) if found is not None and found.imports else None


def resource_config(instance_type: str) -> dict[str, Any]:
    """`/opt/ml/{input/config,config}/resourceconfig.json` of a job on one instance."""
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


def refuse(condition: object, what: str) -> None:
    """Refuse a feature by name.

    Raises:
        Refused: `condition` holds.
    """
    if condition:
        raise Refused(f"ClientError: {what} is not supported by the local cloud")


class Refused(Exception):
    """The request asks for something that is not supported here; the text is the job's `FailureReason`."""


def one_instance(cluster: Mapping[str, Any]) -> None:
    refuse(cluster.get("InstanceGroups"), "a heterogeneous cluster (InstanceGroups)")
    count = cluster.get("InstanceCount", 1)
    refuse(count != 1, f"a job on several instances (InstanceCount {count})")
