"""Update a stack to its release record: a change set on the previous template, checked before its execution."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, WaiterError

from release.observation import RELEASE_PARAMETER, StackState
from shared.release_record import ReleaseRecord

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import WaiterConfigTypeDef

_EXECUTING = frozenset({"EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED"})
# A change set takes seconds; three minutes are ample.
_WAIT: WaiterConfigTypeDef = {"Delay": 2, "MaxAttempts": 90}
# By resource type, because a release knows no template and so no logical ids. Only `retire` removes the policy.
STACK_POLICY = json.dumps(
    {
        "Statement": [
            {"Effect": "Allow", "Action": "Update:*", "Principal": "*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Action": ["Update:Replace", "Update:Delete"],
                "Principal": "*",
                "Resource": "*",
                "Condition": {"StringEquals": {"ResourceType": ["AWS::SageMaker::Endpoint"]}},
            },
        ]
    }
)


class ChangeSetRefused(Exception):
    """CloudFormation refused the change set, or it would release something else. Nothing was executed."""


class Rollout:
    """One change set on one stack.

    Args:
        cloudformation: The client.
        stack_name: The stack's name.
        name: The change set's name. It is derived from the lease, so that a retried call creates no second one.
        role_arn: CloudFormation's service role. Without it, CloudFormation would use the role last attached, by default
            CDK's administrator role.
    """

    def __init__(self, cloudformation: CloudFormationClient, *, stack_name: str, name: str, role_arn: str) -> None:
        self._cloudformation = cloudformation
        self._stack_name = stack_name
        self._name = name
        self._role_arn = role_arn

    def prepare(self, stack: StackState, release: ReleaseRecord) -> None:
        """Create the change set and check that it releases `release`.

        Raises:
            ChangeSetRefused: It could not be created, or it resolved the record to something else. It is deleted again.
        """
        self._cloudformation.set_stack_policy(StackName=self._stack_name, StackPolicyBody=STACK_POLICY)
        self._cloudformation.create_change_set(
            StackName=self._stack_name,
            ChangeSetName=self._name,
            ChangeSetType="UPDATE",
            Description=f"Release {release.release_id}",
            UsePreviousTemplate=True,
            Parameters=[{"ParameterKey": key, "UsePreviousValue": True} for key in stack.parameters],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            RoleARN=self._role_arn,
            ClientToken=self._name,
        )
        try:
            self._wait()
            self._check(release)
        except ChangeSetRefused:
            self._cloudformation.delete_change_set(StackName=self._stack_name, ChangeSetName=self._name)
            raise

    def execute(self) -> None:
        """Execute the change set.

        Raises:
            ChangeSetRefused: It was certainly not executed.
            BotoCoreError: No answer came. The stack shows whether it was executed.
        """
        try:
            self._cloudformation.execute_change_set(
                StackName=self._stack_name, ChangeSetName=self._name, ClientRequestToken=self._name
            )
        except ClientError as error:
            # boto3 retries a call that got no answer. The retry is refused where the first call worked.
            described = self._cloudformation.describe_change_set(StackName=self._stack_name, ChangeSetName=self._name)
            if described["ExecutionStatus"] not in _EXECUTING:
                raise ChangeSetRefused(f"CloudFormation refused to execute the change set: {error}") from error

    def _wait(self) -> None:
        waiter = self._cloudformation.get_waiter("change_set_create_complete")
        try:
            waiter.wait(StackName=self._stack_name, ChangeSetName=self._name, WaiterConfig=_WAIT)
        except WaiterError as error:
            status = error.last_response.get("Status", "not there")
            reason = error.last_response.get("StatusReason", str(error))
            raise ChangeSetRefused(f"the change set is {status}: {reason}") from error

    def _check(self, release: ReleaseRecord) -> None:
        described = self._cloudformation.describe_change_set(StackName=self._stack_name, ChangeSetName=self._name)
        # The value of an SSM parameter is its name; the resolved value is its content.
        values = [
            parameter.get("ResolvedValue") or parameter.get("ParameterValue", "")
            for parameter in described.get("Parameters", [])
            if parameter["ParameterKey"].startswith(RELEASE_PARAMETER)
        ]
        if values != [release.format()]:
            raise ChangeSetRefused(f"the change set would release {values}, expected was {release.format()}")
