"""A model's release in a stage: what the record says, how far its stack is, what its endpoint serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from evergreen.names import Names

_DONE = frozenset({"UPDATE_COMPLETE", "CREATE_COMPLETE"})


@dataclass(frozen=True)
class Release:
    """A release as record, serving stack and endpoint have it.

    Attributes:
        id: The record's release id, `none` before the first release.
        package_arn: The record's package, or `none`.
        stack: The answer of DescribeStacks, empty where there is no stack.
        endpoint: The answer of DescribeEndpoint, empty where there is no endpoint.
    """

    id: str
    package_arn: str
    stack: Mapping[str, Any]
    endpoint: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The version that the record names."""
        return self.id.split("-")[0].removeprefix("v")

    @property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs."""
        return {output["OutputKey"]: output["OutputValue"] for output in self.stack.get("Outputs", [])}

    @property
    def bakes(self) -> bool:
        """Say whether a new fleet receives traffic while its alarms are watched."""
        return is_baking(self.endpoint)

    @property
    def settled(self) -> bool:
        """Say whether record, stack and endpoint agree, and nothing is under way."""
        outputs = self.outputs
        return (
            outputs.get("ReleaseId") == self.id  # the record is written before the stack is updated
            and self.stack["StackStatus"] in _DONE
            and self.endpoint.get("EndpointStatus") == "InService"
            and self.endpoint["EndpointConfigName"] == outputs.get("EndpointConfigName")
        )

    def serves(self, package_arn: str) -> bool:
        """Say whether the endpoint serves a package's version, and nothing is under way."""
        return self.package_arn == package_arn and self.settled

    def __str__(self) -> str:
        stack, endpoint = self.stack.get("StackStatus", "missing"), self.endpoint.get("EndpointStatus", "none yet")
        return f"record {self.id}, stack {stack}, endpoint {endpoint}{', baking' if self.bakes else ''}"


def read_release(client: Callable[[str], Any], model: Names) -> Release:
    """Read a model's release in a stage.

    Args:
        client: Returns the boto3 client of a service.
        model: The model's names.
    """
    record = client("ssm").get_parameter(Name=model.record)["Parameter"]["Value"].split("|")
    stack = client("cloudformation").describe_stacks(StackName=model.serving_stack)["Stacks"][0]
    try:
        endpoint = client("sagemaker").describe_endpoint(EndpointName=model.endpoint)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        endpoint = {}
    return Release(record[0], record[2], stack, endpoint)


def is_baking(endpoint: Mapping[str, Any]) -> bool:
    """Say whether a deployment's new fleet receives traffic while its alarms are watched."""
    variants = endpoint.get("PendingDeploymentSummary", {}).get("ProductionVariants", ())
    return any(status["Status"] == "Baking" for one in variants for status in one["VariantStatus"][:1])
