"""The function that makes the serving stacks match the registry, and what invokes it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from constructs.mlops.foundation.alerts import DeadLetterQueue
from constructs.mlops.foundation.buckets import ArtifactBucket
from constructs.mlops.foundation.event_patterns import verifications
from constructs.mlops.foundation.handler import Handler, ReconcileSchedule, StageResources, TriggerRule
from constructs.mlops.foundation.model_queue import ModelQueue
from constructs.mlops.foundation.permissions import arn, qualifier_of
from constructs.mlops.foundation.stage_references import Neighbours
from constructs.mlops.serving.verify_function import VerifyFunction

_ALL_MODELS = "One controller releases all models of the application, whose names begin with the application's."

# It copies an artifact of up to 5 GiB and waits for a change set. Its lease, a minute longer, ends before the next tick
# (release/decide.py, PREPARE_SECONDS).
_TIMEOUT = cdk.Duration.minutes(12)

# A second approval is given in the life cycle, and a required description may be added later.
_APPROVAL_FIELDS = ["ModelApprovalStatus", "ModelLifeCycle", "ApprovalDescription"]


class ReleaseController(Construct):
    """The release function with its permissions, its rules and its schedule.

    Events are hints: the function reads the registry, the stacks and the ledger itself. So the rules may match too
    much, and a lost event only delays a release until the schedule's next invocation.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        neighbours: Neighbours,
        release_role: iam.IRole,
        verifier: VerifyFunction | None,
    ) -> None:
        """Define the function.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            resources: The stage's shared resources.
            neighbours: The hub, whose registry the function reads, and the previous stage, whose verifications it waits
                for.
            release_role: The role that CloudFormation assumes to release a model.
            verifier: The function that verifies for the next stage; None in the last one.
        """
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        registry = arn(self, "sagemaker", "", account=neighbours.hub.account).removesuffix(":")
        self.handler = Handler(
            self,
            "Handler",
            package="release",
            description=f"Releases the approved versions of {app}'s models in {stage}, one step at a time",
            timeout=_TIMEOUT,
            memory_mb=1024,
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.name,
                "ARTIFACT_BUCKET": resources.artifacts.name,
                "ALERT_TOPIC_ARN": resources.alerts.arn,
                "RELEASE_ROLE_ARN": release_role.role_arn,
                "REGISTRY_ARN_PREFIX": registry,
                **({"VERIFY_FUNCTION": verifier.handler.function.function_name} if verifier else {}),
            },
            resources=resources,
            role_name=neighbours.release_role_name,
        )
        self._grant_reads(app)
        self._grant_copies(resources.artifacts)
        self._grant_releases(app, stage, release_role)
        resources.ledger.grant_read_write(self.handler)
        resources.alerts.grant_publish(self.handler)
        if verifier:
            verifier.handler.grant_invoke(self.handler)
        if neighbours.previous:
            neighbours.previous.grant_read_verifications(self.handler)
        if not neighbours.is_hub:
            neighbours.hub.grant_read_registered(self.handler)
        self.queue = ModelQueue(
            self,
            "Models",
            handler=self.handler,
            timeout=_TIMEOUT,
            resources=resources,
            task="release",
        )
        self._add_triggers(app, neighbours, resources.undelivered)

    def _grant_reads(self, app: str) -> None:
        self.handler.allow(
            ["sagemaker:DescribeModelPackage", "sagemaker:DescribeEndpoint"],
            on=[arn(self, "sagemaker", f"model-package/{app}-*"), arn(self, "sagemaker", f"endpoint/{app}-*")],
            because=_ALL_MODELS,
        )
        self.handler.allow(
            ["sagemaker:ListModelPackages"],
            on=["*"],
            because="SageMaker authorises its List calls on all resources only; what they list is read one by one.",
        )
        self.handler.allow(
            ["cloudwatch:DescribeAlarmHistory"],
            on=[self._alarms(f"{app}-*")],
            because="The rollback alarms of all models, whose names begin with the application's.",
        )
        self.handler.allow(
            ["cloudwatch:SetAlarmState"],
            on=[self._alarms(f"{app}-*-5xx")],
            because="The function cancels the release of a version that is rejected meanwhile by its rollback alarm.",
        )

    def _alarms(self, name: str) -> str:
        return cdk.Stack.of(self).format_arn(
            service="cloudwatch", resource="alarm", resource_name=name, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
        )

    def _grant_copies(self, artifacts: ArtifactBucket) -> None:
        artifacts.grant_read(
            self.handler,
            "runs/*",
            "packages/*",
            "releases/*",
            because="The function hashes and copies runs and packages of any model, but no raw data and no code.",
        )
        artifacts.grant_put(
            self.handler,
            "releases/*",
            because="The function writes the releases of any model, each once, and writes nothing else.",
        )
        artifacts.grant_list(self.handler)

    def _grant_releases(self, app: str, stage: str, release_role: iam.IRole) -> None:
        stacks = [arn(self, "cloudformation", f"stack/{app}-{kind}-*") for kind in ("serving", "monitoring")]
        self.handler.allow(
            [
                "cloudformation:DescribeStacks",
                "cloudformation:DescribeStackEvents",
                "cloudformation:DescribeChangeSet",
                "cloudformation:DeleteChangeSet",
                "cloudformation:ExecuteChangeSet",
                "cloudformation:SetStackPolicy",
                "cloudformation:CancelUpdateStack",
            ],
            on=stacks,
            because=_ALL_MODELS,
        )
        self.handler.allow(
            ["cloudformation:CreateChangeSet"],
            on=stacks,
            # Under another role a change set would run as CDK's administrator, and a template could change anything.
            conditions={
                "StringEquals": {"cloudformation:RoleArn": release_role.role_arn},
                "Null": {"cloudformation:TemplateUrl": "true"},
            },
            because=_ALL_MODELS,
        )
        self.handler.allow(
            ["iam:PassRole"],
            on=[release_role.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
        )
        records = arn(self, "ssm", f"parameter/{app}/*/{stage}/release")
        self.handler.allow(
            ["ssm:GetParameter", "ssm:GetParameters", "ssm:PutParameter"],
            on=[records],
            because="The release records of all models in this stage.",
        )
        self.handler.allow(
            ["ssm:GetParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/policy")],
            because="The release policies of all models in this stage.",
        )
        self.handler.allow(["ssm:GetParametersByPath"], on=[arn(self, "ssm", f"parameter/{app}")])
        self.handler.allow(
            ["ssm:GetParameters"],
            on=[arn(self, "ssm", f"parameter/cdk-bootstrap/{qualifier_of(self)}/version")],
        )

    def _add_triggers(self, app: str, neighbours: Neighbours, undelivered: DeadLetterQueue) -> None:
        stacks = [arn(self, "cloudformation", f"stack/{app}-{kind}-") for kind in ("serving", "monitoring")]
        patterns = {
            "Registry": (
                "A model version was approved or rejected",
                events.EventPattern(
                    source=["aws.sagemaker"],
                    detail_type=["SageMaker Model Package State Change"],
                    detail={
                        "ModelPackageGroupName": [{"prefix": f"{app}-"}],
                        "ModelApprovalStatus": ["Approved", "Rejected"],
                        # Without it every edit of an approved package's metadata matches.
                        "$or": [
                            {"UpdatedModelPackageFields": _APPROVAL_FIELDS},
                            {"UpdatedModelPackageFields": [{"exists": False}]},
                        ],
                    },
                ),
            ),
            "Endpoint": (
                "An endpoint or its deployment changed state",
                events.EventPattern(
                    source=["aws.sagemaker"],
                    detail_type=["SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change"],
                    detail={"EndpointName": [{"prefix": f"{app}-"}]},
                ),
            ),
            "Stack": (
                "A serving or monitoring stack changed state",
                events.EventPattern(
                    source=["aws.cloudformation"],
                    detail_type=["CloudFormation Stack Status Change"],
                    detail={"stack-id": [{"prefix": stack} for stack in stacks]},
                ),
            ),
            "Alarm": (
                "A rollback alarm is in ALARM",
                events.EventPattern(
                    source=["aws.cloudwatch"],
                    detail_type=["CloudWatch Alarm State Change"],
                    detail={
                        "alarmName": [{"wildcard": f"{app}-*-5xx"}, {"wildcard": f"{app}-*-latency"}],
                        "state": {"value": ["ALARM"]},
                    },
                ),
            ),
        }
        if neighbours.previous:
            patterns["Verified"] = (
                "The previous stage verified a release",
                verifications(neighbours.previous.artifact_bucket),
            )
        for construct_id, (description, pattern) in patterns.items():
            TriggerRule(
                self,
                construct_id,
                handler=self.handler,
                undelivered=undelivered,
                description=description,
                pattern=pattern,
            )
        ReconcileSchedule(self, "Tick", handler=self.handler, undelivered=undelivered)
