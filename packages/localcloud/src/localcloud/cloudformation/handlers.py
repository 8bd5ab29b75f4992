"""Which actions CloudFormation's resource handlers call with the stack's role.

Source: the handlers' permissions in the resource schemas of CloudFormation's registry, as of 7 August 2026. A schema
lists whatever a handler may ever call. Kept are the calls that do not depend on an optional property: the resource's
own creation, description, update and deletion, and the tags that a read returns. Tags are written where there are some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verb = Literal["create", "update", "delete"]
_ANY = "*"


@dataclass(frozen=True)
class Handler:
    """The calls of one resource type's handlers, without the service's prefix.

    Attributes:
        service: The prefix of the actions.
        arn: The resource's ARN in the account, with `{name}`; None for a resource whose ARN does not hold its name.
        name: The property that names the resource.
        create: Called by a creation, before it reads the resource back.
        read: Called after a creation and an update.
        update: Called by an update that changes more than tags.
        delete: Called by a deletion.
        tag: Called where the resource has tags.
        unscoped: Calls that IAM authorises on all resources only.
    """

    service: str
    arn: str | None
    name: str
    create: tuple[str, ...]
    read: tuple[str, ...] = ()
    update: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    unscoped: tuple[str, ...] = ()


def calls(resource_type: str, verb: Verb, properties: Mapping[str, Any], name: str) -> list[tuple[str, str | None]]:
    """Return (action, ARN) of each call that the handlers of a type make; `*` for all resources, None if unknown.

    Args:
        resource_type: The resource's type.
        verb: What CloudFormation does with the resource.
        properties: The resource's properties.
        name: The resource's name or physical id, where the properties do not name it.
    """
    handler = HANDLERS.get(resource_type)
    if handler is None:
        return []
    called = {
        "create": handler.create + handler.read,
        "update": handler.update + handler.read,
        "delete": handler.delete,
    }
    actions = called[verb]
    if verb == "create" and _has_tags(properties.get("Tags")):
        actions += handler.tag
    arn = _arn(handler, properties, name)
    wanted = {action: _ANY if action in handler.unscoped else arn for action in actions}
    return [(f"{handler.service}:{action}", on) for action, on in wanted.items()]


def _arn(handler: Handler, properties: Mapping[str, Any], name: str) -> str | None:
    if handler.arn is None:
        return None
    given = str(properties.get(handler.name) or name)
    if given.startswith("arn:"):
        return given
    if handler.service == "iam":
        given = str(properties.get("Path", "/")).lstrip("/") + given
    elif handler.service == "ssm":
        given = given.lstrip("/")
    return handler.arn.format(name=given.rpartition("/")[2] if "://" in given else given)


def _has_tags(tags: Any) -> bool:
    """Return whether there are tags besides CloudFormation's own."""
    names = tags if isinstance(tags, Mapping) else [one.get("Key", "") for one in tags or []]
    return any(not str(name).startswith("aws:") for name in names)


def _sagemaker(
    kind: str,
    noun: str,
    *,
    updates: bool = False,
    lists_tags: bool = True,
    tags: bool = True,
    reads: tuple[str, ...] = (),
) -> Handler:
    member = "JobDefinitionName" if noun.endswith("JobDefinition") else f"{noun}Name"
    return Handler(
        "sagemaker",
        f"arn:aws:sagemaker:us-east-1:000000000000:{kind}/{{name}}",
        member,
        create=(f"Create{noun}",),
        read=(f"Describe{noun}", *reads, *(("ListTags",) if lists_tags else ())),
        update=(f"Update{noun}",) if updates else (),
        delete=(f"Delete{noun}",),
        tag=("AddTags",) if tags else (),
    )


_HERE = "us-east-1:000000000000"
HANDLERS: Mapping[str, Handler] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": Handler(
        "application-autoscaling",
        None,
        "",
        create=("RegisterScalableTarget",),
        read=("DescribeScalableTargets", "DescribeScheduledActions"),
        update=("RegisterScalableTarget",),
        delete=("DeregisterScalableTarget",),
        unscoped=("DescribeScalableTargets", "DescribeScheduledActions"),
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": Handler(
        "application-autoscaling",
        None,
        "",
        create=("PutScalingPolicy",),
        read=("DescribeScalingPolicies",),
        update=("PutScalingPolicy",),
        delete=("DeleteScalingPolicy",),
        unscoped=("DescribeScalingPolicies",),
    ),
    "AWS::CloudWatch::Alarm": Handler(
        "cloudwatch",
        f"arn:aws:cloudwatch:{_HERE}:alarm:{{name}}",
        "AlarmName",
        create=("PutMetricAlarm",),
        read=("DescribeAlarms", "ListTagsForResource"),
        update=("PutMetricAlarm",),
        delete=("DeleteAlarms", "DescribeAlarms"),
        tag=("TagResource",),
    ),
    "AWS::DynamoDB::Table": Handler(
        "dynamodb",
        f"arn:aws:dynamodb:{_HERE}:table/{{name}}",
        "TableName",
        create=("CreateTable",),
        read=("DescribeTable", "DescribeContinuousBackups", "DescribeTimeToLive", "ListTagsOfResource"),
        update=("UpdateTable",),
        delete=("DeleteTable", "DescribeTable"),
        tag=("TagResource",),
    ),
    "AWS::ECR::Repository": Handler(
        "ecr",
        f"arn:aws:ecr:{_HERE}:repository/{{name}}",
        "RepositoryName",
        create=("CreateRepository",),
        read=("DescribeRepositories", "ListTagsForResource"),
        delete=("DeleteRepository",),
        tag=("TagResource",),
    ),
    "AWS::Events::Rule": Handler(
        "events",
        f"arn:aws:events:{_HERE}:rule/{{name}}",
        "Name",
        create=("PutRule",),
        read=("DescribeRule", "ListTargetsByRule", "ListTagsForResource"),
        update=("PutRule",),
        delete=("DescribeRule", "ListTargetsByRule", "DeleteRule"),
        tag=("TagResource",),
    ),
    "AWS::IAM::ManagedPolicy": Handler(
        "iam",
        None,
        "ManagedPolicyName",
        create=("CreatePolicy",),
        read=("GetPolicy", "GetPolicyVersion", "ListEntitiesForPolicy"),
        update=("CreatePolicyVersion",),
        delete=("DeletePolicy",),
    ),
    "AWS::IAM::Policy": Handler("iam", None, "PolicyName", create=()),
    "AWS::IAM::Role": Handler(
        "iam",
        "arn:aws:iam::000000000000:role/{name}",
        "RoleName",
        create=("CreateRole",),
        read=("GetRole", "ListAttachedRolePolicies", "ListRolePolicies"),
        delete=("DeleteRole", "GetRole", "ListAttachedRolePolicies", "ListRolePolicies"),
        tag=("TagRole",),
    ),
    "AWS::KMS::Key": Handler(
        "kms",
        None,
        "",
        create=("CreateKey",),
        read=("DescribeKey", "GetKeyPolicy", "GetKeyRotationStatus", "ListResourceTags"),
        delete=("DescribeKey", "ScheduleKeyDeletion"),
        tag=("TagResource",),
    ),
    "AWS::Lambda::EventSourceMapping": Handler(
        "lambda",
        None,
        "",
        create=("CreateEventSourceMapping",),
        read=("GetEventSourceMapping",),
        update=("UpdateEventSourceMapping",),
        delete=("DeleteEventSourceMapping", "GetEventSourceMapping"),
    ),
    "AWS::Lambda::Function": Handler(
        "lambda",
        f"arn:aws:lambda:{_HERE}:function:{{name}}",
        "FunctionName",
        create=("CreateFunction",),
        read=("GetFunction", "GetFunctionCodeSigningConfig", "GetRuntimeManagementConfig"),
        delete=("DeleteFunction", "GetFunction"),
        tag=("TagResource",),
    ),
    "AWS::Lambda::Permission": Handler("lambda", None, "", create=("AddPermission",), delete=("RemovePermission",)),
    "AWS::Logs::LogGroup": Handler(
        "logs",
        f"arn:aws:logs:{_HERE}:log-group:{{name}}:*",
        "LogGroupName",
        create=("CreateLogGroup",),
        read=("DescribeLogGroups", "ListTagsForResource"),
        delete=("DeleteLogGroup",),
        tag=("TagResource",),
    ),
    "AWS::S3::Bucket": Handler(
        "s3",
        "arn:aws:s3:::{name}",
        "BucketName",
        create=("CreateBucket",),
        delete=("DeleteBucket",),
        tag=("PutBucketTagging",),
    ),
    "AWS::S3::BucketPolicy": Handler(
        "s3",
        "arn:aws:s3:::{name}",
        "Bucket",
        create=("PutBucketPolicy",),
        read=("GetBucketPolicy",),
        update=("PutBucketPolicy",),
        delete=("DeleteBucketPolicy",),
    ),
    "AWS::SNS::Subscription": Handler(
        "sns",
        None,
        "TopicArn",
        create=("Subscribe",),
        read=("GetSubscriptionAttributes",),
        update=("SetSubscriptionAttributes",),
        delete=("Unsubscribe",),
    ),
    "AWS::SNS::Topic": Handler(
        "sns",
        f"arn:aws:sns:{_HERE}:{{name}}",
        "TopicName",
        create=("CreateTopic",),
        read=("GetTopicAttributes", "ListTagsForResource", "ListSubscriptionsByTopic"),
        update=("SetTopicAttributes",),
        delete=("GetTopicAttributes", "DeleteTopic"),
        tag=("TagResource",),
    ),
    "AWS::SQS::Queue": Handler(
        "sqs",
        f"arn:aws:sqs:{_HERE}:{{name}}",
        "QueueName",
        create=("CreateQueue", "GetQueueUrl"),
        read=("GetQueueAttributes", "ListQueueTags"),
        update=("SetQueueAttributes",),
        delete=("DeleteQueue", "GetQueueAttributes"),
        tag=("TagQueue",),
    ),
    "AWS::SSM::Parameter": Handler(
        "ssm",
        f"arn:aws:ssm:{_HERE}:parameter/{{name}}",
        "Name",
        create=("PutParameter",),
        read=("GetParameters", "ListTagsForResource"),
        update=("PutParameter",),
        delete=("DeleteParameter",),
        tag=("AddTagsToResource",),
    ),
    "AWS::SageMaker::DataQualityJobDefinition": _sagemaker("data-quality-job-definition", "DataQualityJobDefinition"),
    "AWS::SageMaker::Endpoint": _sagemaker("endpoint", "Endpoint", updates=True),
    # The registry publishes no handlers for endpoint configurations; these are the calls of the API.
    "AWS::SageMaker::EndpointConfig": _sagemaker("endpoint-config", "EndpointConfig", lists_tags=False),
    "AWS::SageMaker::Model": _sagemaker("model", "Model"),
    "AWS::SageMaker::ModelBiasJobDefinition": _sagemaker("model-bias-job-definition", "ModelBiasJobDefinition"),
    "AWS::SageMaker::ModelExplainabilityJobDefinition": _sagemaker(
        "model-explainability-job-definition", "ModelExplainabilityJobDefinition"
    ),
    "AWS::SageMaker::ModelPackageGroup": _sagemaker(
        "model-package-group", "ModelPackageGroup", reads=("GetModelPackageGroupPolicy",)
    ),
    "AWS::SageMaker::ModelQualityJobDefinition": _sagemaker(
        "model-quality-job-definition", "ModelQualityJobDefinition"
    ),
    "AWS::SageMaker::MonitoringSchedule": _sagemaker(
        "monitoring-schedule", "MonitoringSchedule", updates=True, lists_tags=False, tags=False
    ),
    "AWS::SageMaker::Pipeline": _sagemaker("pipeline", "Pipeline", updates=True),
    "AWS::Scheduler::Schedule": Handler(
        "scheduler",
        f"arn:aws:scheduler:{_HERE}:schedule/default/{{name}}",
        "Name",
        create=("CreateSchedule",),
        read=("GetSchedule",),
        update=("UpdateSchedule",),
        delete=("DeleteSchedule", "GetSchedule"),
    ),
}
