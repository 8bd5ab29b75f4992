"""The function that makes the serving stacks equal to the registry, and what wakes it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.handler import Handler, StageResources, Trigger
from constructs.mlops.foundation.permissions import allow, arn
from constructs.mlops.serving.verification import Verifier

_ALL_MODELS = (
    "One controller serves all models of the application, so that a further model adds no function; their names begin "
    "with the application's."
)


# Where a stage asks for a second approval it is given in the life cycle, and a missing description may come later.
_APPROVING_FIELDS = ["ModelApprovalStatus", "ModelLifeCycle", "ApprovalDescription"]


class ReleaseController(Construct):
    """The release function with its permissions, its rules and its tick.

    Every payload is a hint: the function reads the registry, the stacks and the ledger itself, and the tick finds what
    no event told. So the rules may be generous, and a lost event costs a quarter of an hour.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        release_role: iam.IRole,
        registry_arn_prefix: str | None = None,
        verifier: Verifier | None = None,
        verified_bucket: str | None = None,
    ) -> None:
        """Make it.

        Args:
            registry_arn_prefix: `arn:aws:sagemaker:{region}:{account}` of the account that has the registry; None
                where that is this one. Who passes another grants the function's role to read there.
            verifier: Verifies for the next stage; None in the last one.
            verified_bucket: The artifact bucket of the stage before, by its name: what is verified there wakes this
                function. Who passes it grants the function's role to read it.
        """
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        registry = registry_arn_prefix or arn(self, "sagemaker", "").removesuffix(":")
        self.handler = Handler(
            self,
            "Handler",
            package="release",
            description=f"Takes one step towards what the registry of {app} says is approved for {stage}",
            # It copies an artefact of up to 5 GiB and waits for a change set.
            timeout=cdk.Duration.minutes(15),
            memory_mb=1024,
            environment={
                "APP": app,
                "STAGE": stage,
                "LEDGER_TABLE": resources.ledger.table_name,
                "ARTIFACT_BUCKET": resources.artifacts.bucket_name,
                "ALERT_TOPIC_ARN": resources.alerts.topic_arn,
                "RELEASE_ROLE_ARN": release_role.role_arn,
                "REGISTRY_ARN_PREFIX": registry,
                **({"VERIFY_FUNCTION": verifier.handler.function.function_name} if verifier else {}),
            },
            resources=resources,
        )
        self._may_read_the_registry_and_the_endpoints(app)
        self._may_copy_releases(resources.artifacts)
        self._may_move_serving_stacks(app, stage, release_role)
        role = self.handler.role
        allow(
            role,
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"],
            on=[resources.ledger.table_arn],
        )
        allow(role, ["sns:Publish"], on=[resources.alerts.topic_arn])
        if verifier:
            allow(role, ["lambda:InvokeFunction"], on=[verifier.handler.function.function_arn])
        self._wake_on_events(app, resources.undelivered, verified_bucket)

    def _may_read_the_registry_and_the_endpoints(self, app: str) -> None:
        allow(
            self.handler.role,
            ["sagemaker:DescribeModelPackage", "sagemaker:DescribeEndpoint"],
            on=[arn(self, "sagemaker", f"model-package/{app}-*"), arn(self, "sagemaker", f"endpoint/{app}-*")],
            because=_ALL_MODELS,
        )
        allow(
            self.handler.role,
            ["sagemaker:ListModelPackages"],
            on=["*"],
            because="SageMaker authorises its List calls on all resources only; what they list is read one by one.",
        )
        allow(
            self.handler.role,
            ["cloudwatch:DescribeAlarmHistory"],
            on=[
                cdk.Stack.of(self).format_arn(
                    service="cloudwatch",
                    resource="alarm",
                    resource_name=f"{app}-*",
                    arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                )
            ],
            because="The rollback alarms of all models; their names begin with the application's and hold the release.",
        )

    def _may_copy_releases(self, artifacts: s3.IBucket) -> None:
        role = self.handler.role
        folders = ("runs", "packages", "releases")
        allow(
            role,
            ["s3:GetObject"],
            on=[artifacts.arn_for_objects(f"{folder}/*") for folder in folders],
            because="What a run made and registered, of any model, is hashed and copied; raw data and code are not.",
        )
        allow(
            role,
            ["s3:PutObject"],
            on=[artifacts.arn_for_objects("releases/*")],
            because="Releases of any model are written here, each once; nothing else is.",
        )
        # Without it a missing object is an AccessDenied, which cannot be told from a missing permission.
        allow(role, ["s3:ListBucket"], on=[artifacts.bucket_arn])

    def _may_move_serving_stacks(self, app: str, stage: str, release_role: iam.IRole) -> None:
        role = self.handler.role
        stacks = [arn(self, "cloudformation", f"stack/{app}-{kind}-*") for kind in ("serving", "monitoring")]
        allow(
            role,
            [
                "cloudformation:DescribeStacks",
                "cloudformation:DescribeChangeSet",
                "cloudformation:DeleteChangeSet",
                "cloudformation:ExecuteChangeSet",
                "cloudformation:SetStackPolicy",
            ],
            on=stacks,
            because=_ALL_MODELS,
        )
        allow(
            role,
            ["cloudformation:CreateChangeSet"],
            on=stacks,
            # With another role, or with none, it could do what CDK's administrator may; with a template, anything.
            conditions={
                "StringEquals": {"cloudformation:RoleArn": release_role.role_arn},
                "Null": {"cloudformation:TemplateUrl": "true"},
            },
            because=_ALL_MODELS,
        )
        allow(
            role,
            ["iam:PassRole"],
            on=[release_role.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
        )
        records = arn(self, "ssm", f"parameter/{app}/*/{stage}/release")
        allow(
            role,
            ["ssm:GetParameter", "ssm:GetParameters", "ssm:PutParameter"],
            on=[records],
            because="The release records of all models in this stage.",
        )
        allow(
            role,
            ["ssm:GetParameter"],
            on=[arn(self, "ssm", f"parameter/{app}/*/{stage}/policy")],
            because="The release policies of all models in this stage.",
        )
        allow(role, ["ssm:GetParametersByPath"], on=[arn(self, "ssm", f"parameter/{app}")])
        allow(
            role,
            ["ssm:GetParameters"],
            on=[arn(self, "ssm", f"parameter/cdk-bootstrap/{cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER}/version")],
        )

    def _wake_on_events(self, app: str, undelivered: sqs.IQueue, verified_bucket: str | None) -> None:
        stacks = [arn(self, "cloudformation", f"stack/{app}-{kind}-") for kind in ("serving", "monitoring")]
        patterns = {
            "Registry": (
                "Someone approved or rejected a version",
                events.EventPattern(
                    source=["aws.sagemaker"],
                    detail_type=["SageMaker Model Package State Change"],
                    detail={
                        "ModelPackageGroupName": [{"prefix": f"{app}-"}],
                        "ModelApprovalStatus": ["Approved", "Rejected"],
                        # Otherwise every edit of an approved package's metadata comes too.
                        "$or": [
                            {"UpdatedModelPackageFields": _APPROVING_FIELDS},
                            {"UpdatedModelPackageFields": [{"exists": False}]},
                        ],
                    },
                ),
            ),
            "Endpoint": (
                "An endpoint, or a deployment of one, moved on",
                events.EventPattern(
                    source=["aws.sagemaker"],
                    detail_type=["SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change"],
                    detail={"EndpointName": [{"prefix": f"{app}-"}]},
                ),
            ),
            "Stack": (
                "A serving or monitoring stack moved on",
                events.EventPattern(
                    source=["aws.cloudformation"],
                    detail_type=["CloudFormation Stack Status Change"],
                    detail={"stack-id": [{"prefix": stack} for stack in stacks]},
                ),
            ),
            "Alarm": (
                "A rollback alarm went off",
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
        if verified_bucket:
            patterns["Verified"] = (
                "The stage before has verified a release",
                events.EventPattern(
                    source=["aws.s3"],
                    detail_type=["Object Created"],
                    detail={
                        "bucket": {"name": [verified_bucket]},
                        "object": {"key": [{"wildcard": "releases/*/verified.json"}]},
                    },
                ),
            )
        for construct_id, (description, pattern) in patterns.items():
            Trigger(
                self,
                construct_id,
                handler=self.handler,
                undelivered=undelivered,
                description=description,
                pattern=pattern,
            )
        Trigger(
            self,
            "Tick",
            handler=self.handler,
            undelivered=undelivered,
            description="What no event told is found a quarter of an hour later",
            schedule=events.Schedule.rate(cdk.Duration.minutes(15)),
            message={"source": "evergreen.tick"},
        )
