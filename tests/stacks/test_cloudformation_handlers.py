"""The release role may do what CloudFormation's resource handlers call, not only the one action one thinks of.

CloudFormation acts on a stack's resources with the role of the change set. Each resource type publishes in its schema
which actions its create, read, update and delete handlers call. The table below holds these facts for the types that a
release creates, updates or deletes, as the CloudFormation registry published them on 7 August 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from localcloud.cloudformation import handlers

_ARN = "arn:aws:{}:us-east-1:111111111111:{}"
_JOB_DEFINITION = ("Create{0}", "Describe{0}", "Delete{0}", "AddTags", "ListTags")


def _of(service: str, arn: str, *actions: str) -> tuple[str, tuple[str, ...]]:
    return _ARN.format(service, arn), tuple(f"{service}:{action}" for action in actions)


def _job_definition(name: str, arn: str) -> tuple[str, tuple[str, ...]]:
    return _of("sagemaker", f"{arn}/evergreen{name.lower()}-0a1b", *(one.format(name) for one in _JOB_DEFINITION))


# Type → an ARN of such a resource, and what its handlers call on it.
HANDLERS = {
    "AWS::SageMaker::Model": _of(
        "sagemaker",
        "model/evergreenmodel-0a1b",
        *("CreateModel", "DescribeModel", "DeleteModel", "AddTags", "DeleteTags", "ListTags"),
    ),
    # The registry publishes no handlers for this type; these are the actions of its API.
    "AWS::SageMaker::EndpointConfig": _of(
        "sagemaker",
        "endpoint-config/evergreenconfig-0a1b",
        *("CreateEndpointConfig", "DescribeEndpointConfig", "DeleteEndpointConfig", "AddTags", "DeleteTags"),
    ),
    "AWS::SageMaker::Endpoint": _of(
        "sagemaker",
        "endpoint/evergreen-m-prod",
        *("CreateEndpoint", "DescribeEndpoint", "UpdateEndpoint", "DeleteEndpoint"),
        *("AddTags", "DeleteTags", "ListTags"),
    ),
    "AWS::SageMaker::DataQualityJobDefinition": _job_definition(
        "DataQualityJobDefinition", "data-quality-job-definition"
    ),
    "AWS::SageMaker::ModelQualityJobDefinition": _job_definition(
        "ModelQualityJobDefinition", "model-quality-job-definition"
    ),
    "AWS::SageMaker::ModelBiasJobDefinition": _job_definition("ModelBiasJobDefinition", "model-bias-job-definition"),
    "AWS::SageMaker::MonitoringSchedule": _of(
        "sagemaker",
        "monitoring-schedule/evergreen-m-prod-data-quality",
        *(f"{verb}MonitoringSchedule" for verb in ("Create", "Describe", "Update", "Delete")),
    ),
    # Left out: the handlers' actions on scheduled actions (put, delete) and on Lambda's provisioned concurrency, which
    # they call for targets that have them; ours have none.
    "AWS::ApplicationAutoScaling::ScalableTarget": _of(
        "application-autoscaling",
        "scalable-target/0a1b",
        *("RegisterScalableTarget", "DeregisterScalableTarget", "DescribeScalableTargets", "DescribeScheduledActions"),
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": _of(
        "application-autoscaling",
        "scalable-target/0a1b",
        *("PutScalingPolicy", "DeleteScalingPolicy", "DescribeScalingPolicies"),
    ),
    "AWS::CloudWatch::Alarm": _of(
        "cloudwatch",
        "alarm:evergreen-m-prod-v1-0a1b2c3d-errors",
        *("PutMetricAlarm", "DescribeAlarms", "DeleteAlarms", "TagResource", "UntagResource", "ListTagsForResource"),
    ),
}
# What the handlers call on resources of another service than their own: type → (ARN, actions).
ELSEWHERE = {
    # The alarms of target tracking, which Application Auto Scaling names after the endpoint.
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        _ARN.format("cloudwatch", "alarm:TargetTracking-endpoint/evergreen-m-prod/variant/AllTraffic-AlarmHigh-0a1b"),
        ("cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"),
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": ("*", ("cloudwatch:GetMetricData",)),
}
# Made when the stack is deployed, with CDK's own role; a release leaves them alone.
NOT_BY_A_RELEASE = {"AWS::IAM::Role", "AWS::SSM::Parameter", "AWS::Scheduler::Schedule"}

Template = Callable[[str], dict[str, Any]]


def _text(node: Any) -> str:
    """Return an ARN of the template with the pseudo parameters' values, in the commercial partition."""
    match node:
        case {"Fn::Join": ["", parts]}:
            return "".join(_text(part) for part in parts)
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": "AWS::Region"}:
            return "us-east-1"
        case {"Ref": "AWS::AccountId"}:
            return "111111111111"
        case str():
            return node
        case _:
            return f"{{{node}}}"


def _statements(resources: dict[str, Any], role: str) -> Iterator[dict[str, Any]]:
    """Yield the statements of a role's inline policies and of the policies that are attached to it."""
    for policy in resources[role]["Properties"].get("Policies", []):
        yield from policy["PolicyDocument"]["Statement"]
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]:
            yield from resource["Properties"]["PolicyDocument"]["Statement"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def allowed(template: Template) -> Callable[[str, str], bool]:
    """Tells whether the release role may do an action on a resource."""
    platform = template("evergreen-platform-prod")["Resources"]
    (role,) = (
        name
        for name, resource in platform.items()
        if resource["Type"] == "AWS::IAM::Role"
        and "cloudformation.amazonaws.com" in str(resource["Properties"]["AssumeRolePolicyDocument"])
    )
    statements = list(_statements(platform, role))
    assert statements, "the release role has policies"

    def may(action: str, arn: str) -> bool:
        return any(
            action in _listed(one["Action"])
            and any(fnmatchcase(arn, _text(resource)) for resource in _listed(one["Resource"]))
            for one in statements
        )

    return may


@pytest.mark.parametrize("kind", HANDLERS)
def test_the_release_role_may_do_what_the_handlers_call(allowed: Callable[[str, str], bool], kind: str) -> None:
    for arn, actions in (HANDLERS[kind], ELSEWHERE.get(kind, ("", ()))):
        missing = [action for action in actions if not allowed(action, arn)]
        assert missing == [], f"{kind}: the handlers call {missing} on {arn}"


def test_every_type_of_a_model_that_is_released_is_in_the_table(template: Template) -> None:
    for name in ("serving", "monitoring"):
        found = {one["Type"] for one in template(f"evergreen-{name}-flight-delays-prod")["Resources"].values()}
        assert found <= HANDLERS.keys() | NOT_BY_A_RELEASE


@pytest.mark.parametrize("kind", HANDLERS)
def test_the_local_cloud_checks_no_other_calls(kind: str) -> None:
    """It asks the stack's role for the calls that no optional property decides; this table has the others, too."""
    facts = {action for _, actions in (HANDLERS[kind], ELSEWHERE.get(kind, ("", ()))) for action in actions}
    tags = {"Tags": [{"Key": "a", "Value": "b"}]}
    verbs: tuple[handlers.Verb, ...] = ("create", "update", "delete")
    called = {action for verb in verbs for action, _ in handlers.calls(kind, verb, tags, "n")}
    assert called
    assert called <= facts
