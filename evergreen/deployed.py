"""Typed reading of what is deployed: stack outputs, release records, the registry, pipeline runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from evergreen.errors import UsageError
from evergreen.ledger import Ledger
from evergreen.names import Names

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudformation import CloudFormationClient

    from configuration import Application, Stage

# A stack that was never created, or whose first deployment failed: CloudFormation keeps its name and nothing else.
_EMPTY = {"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"}
_RUNNING = {"Executing", "Stopping"}
# A logical id: the group of the hub's constructs, the construct, the kind of resource, CDK's hash.
_LOGICAL_ID = re.compile(r"(?:Hub)?(?P<name>.+?)(Controller|Function|Handler|LogGroup|Logs|Queue)*[0-9A-F]{8}")


@dataclass(frozen=True)
class ReleaseRecord:
    """The release record of a model in a stage (docs/reference/contracts.md, "Release record").

    Attributes:
        release_id: `v<version>-<8 hex>`, or `none` before the first release.
        package_arn: ARN of the model package version, or `none`.
    """

    release_id: str
    package_arn: str

    @property
    def version(self) -> int | None:
        """The version that the record names, None before the first release."""
        return None if self.release_id == "none" else int(self.release_id.split("-")[0].removeprefix("v"))


@dataclass(frozen=True)
class PackageVersion:
    """A version in the Model Registry."""

    version: int
    arn: str
    approval: str
    created_at: datetime


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline execution that has not ended."""

    arn: str
    name: str
    status: str
    started_at: datetime


@dataclass(frozen=True)
class Platform:
    """A stage's platform as it is deployed.

    Attributes:
        session: Whose clients may read the stage.
        outputs: Outputs of the platform stack.
    """

    application: Application
    stage: Stage
    session: boto3.Session
    outputs: Mapping[str, str]

    @property
    def stack(self) -> str:
        """The name of the platform stack."""
        return platform_stack(self.application, self.stage)

    def output(self, name: str) -> str:
        """Return an output of the platform stack.

        Raises:
            UsageError: The stack has no such output.
        """
        if name not in self.outputs:
            raise UsageError(f"{self.stack} has no output {name}: deploy it once by hand, npx cdk deploy {self.stack}")
        return self.outputs[name]

    def names(self, model: str) -> Names:
        """Return the names of a model's parts."""
        return Names(self.application.name, model, self.stage.name)

    def ledger(self, model: str) -> Ledger:
        """Return a reader of a model's ledger rows."""
        table = self.output("LedgerTableName")
        return Ledger(self.session.client("dynamodb"), table, model=model, stage=self.stage.name)

    def models(self) -> list[str]:
        """Return the models that have a release record in the stage, by name, even where their code is gone."""
        return sorted(self.records())

    def records(self) -> dict[str, ReleaseRecord]:
        """Return the release record of each model in the stage."""
        pages = self.session.client("ssm").get_paginator("get_parameters_by_path")
        found = {}
        for page in pages.paginate(Path=f"/{self.application.name}", Recursive=True):
            for parameter in page["Parameters"]:
                path = parameter["Name"].split("/")
                if len(path) == 5 and path[3:] == [self.stage.name, "release"]:
                    release_id, _, package_arn, _ = parameter["Value"].split("|")
                    found[path[2]] = ReleaseRecord(release_id, package_arn)
        return found

    def resources(self, kind: str) -> dict[str, str]:
        """Return the physical ids of a type's resources in the platform stack, by logical id.

        Args:
            kind: A CloudFormation resource type, such as `AWS::SQS::Queue`.
        """
        pages = self.session.client("cloudformation").get_paginator("list_stack_resources")
        return {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages.paginate(StackName=self.stack)
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == kind and resource.get("PhysicalResourceId")
        }

    def resource(self, kind: str, name: str, *, what: str) -> str:
        """Return the physical id of a resource in the platform stack by its short name.

        Args:
            kind: A CloudFormation resource type.
            name: The short name, such as `release`.
            what: The word for the resource in an error.

        Raises:
            UsageError: There is no such resource.
        """
        known = {short_name(logical): physical for logical, physical in self.resources(kind).items()}
        if name.lower() not in known:
            has = ", ".join(sorted(known)) or "none"
            raise UsageError(f"Stage {self.stage.name} has no {what} {name!r}; it has {has}.")
        return known[name.lower()]

    def versions(self, model: str) -> Iterator[PackageVersion]:
        """Yield the model's versions in the registry, newest first. Only the hub's account has them by name."""
        pages = self.session.client("sagemaker").get_paginator("list_model_packages")
        group = self.names(model).group
        for page in pages.paginate(ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending"):
            for package in page["ModelPackageSummaryList"]:
                yield PackageVersion(
                    version=package["ModelPackageVersion"],
                    arn=package["ModelPackageArn"],
                    approval=package["ModelApprovalStatus"],
                    created_at=package["CreationTime"],
                )

    def running(self, model: str) -> list[PipelineRun]:
        """Return the model's pipeline runs that have not ended, newest first."""
        try:
            listed = self.session.client("sagemaker").list_pipeline_executions(
                PipelineName=self.names(model).group, SortBy="CreationTime", SortOrder="Descending"
            )
        except ClientError as error:
            if _is_missing(error):
                return []
            raise
        return [
            PipelineRun(
                arn=run["PipelineExecutionArn"],
                name=run.get("PipelineExecutionDisplayName", ""),
                status=run["PipelineExecutionStatus"],
                started_at=run["StartTime"],
            )
            for run in listed["PipelineExecutionSummaries"]
            if run["PipelineExecutionStatus"] in _RUNNING
        ]

    def stack_status(self, name: str) -> str:
        """Return a stack's status, "" where there is no such stack."""
        return stack_status(self.session.client("cloudformation"), name)

    def endpoint_status(self, name: str) -> str:
        """Return an endpoint's status, "" where there is no such endpoint."""
        try:
            return self.session.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
        except ClientError as error:
            if _is_missing(error):
                return ""
            raise


def short_name(logical_id: str) -> str:
    """Return the name by which people know a resource: `ReleaseHandlerLogs156D302B` is `release`."""
    match = _LOGICAL_ID.fullmatch(logical_id)
    name = match["name"] if match else logical_id
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def platform_stack(application: Application, stage: Stage) -> str:
    """Return the name of a stage's platform stack."""
    return f"{application.name}-platform-{stage.name}"


def find_stage(application: Application, name: str | None) -> Stage:
    """Return the stage of a name; without a name the last one, whose account is the hub.

    Raises:
        UsageError: There is no such stage.
    """
    if name is None:
        return application.stage
    for stage in application.stages:
        if stage.name == name:
            return stage
    raise UsageError(f"evergreen.yaml has no stage {name!r}; it has {', '.join(s.name for s in application.stages)}")


def find_platform(session: boto3.Session, application: Application, stage: Stage) -> Platform | None:
    """Return a stage's platform as the session's own credentials see it, None where none is deployed."""
    outputs = outputs_of(session.client("cloudformation"), platform_stack(application, stage))
    return None if outputs is None else Platform(application, stage, session, outputs)


def outputs_of(cloudformation: CloudFormationClient, stack: str) -> dict[str, str] | None:
    """Return a stack's outputs, None where there is no stack, or an empty one."""
    try:
        (found,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if _is_missing(error):
            return None
        raise
    if found["StackStatus"] in _EMPTY:
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def stack_status(cloudformation: CloudFormationClient, name: str) -> str:
    """Return a stack's status, "" where there is no such stack."""
    try:
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if _is_missing(error):
            return ""
        raise
    return stack["StackStatus"]


def is_moving(stack: str) -> bool:
    """Say whether a stack status means that an operation is under way."""
    # A change set that was never executed waits for nobody.
    return stack.endswith("_IN_PROGRESS") and stack != "REVIEW_IN_PROGRESS"


def _is_missing(error: ClientError) -> bool:
    """Say whether AWS answered that there is no such thing."""
    details: Mapping[str, Any] = error.response["Error"]
    if details.get("Code") == "ResourceNotFound":
        return True
    message = str(details.get("Message", "")).lower()
    return "does not exist" in message or "could not find" in message
