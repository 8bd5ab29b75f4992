"""The function that makes the serving stacks equal to the registry, and what wakes it."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.handler import Handler, Trigger
from constructs.mlops.permissions import allow, arn

_ALL_MODELS = (
    "One controller serves all models of the application, so that a further model adds no function; their names begin "
    "with the application's."
)


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
        app: str,
        stage: str,
        key: kms.IKey,
        artifacts: s3.IBucket,
        ledger: dynamodb.ITable,
        alerts: sns.ITopic,
        release_role: iam.IRole,
        powertools: lambda_.ILayerVersion,
        failures: sqs.IQueue,
        undelivered: sqs.IQueue,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
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
                "LEDGER_TABLE": ledger.table_name,
                "ARTIFACT_BUCKET": artifacts.bucket_name,
                "ALERT_TOPIC_ARN": alerts.topic_arn,
                "RELEASE_ROLE_ARN": release_role.role_arn,
            },
            key=key,
            powertools=powertools,
            failures=failures,
            log_retention_days=log_retention_days,
        )
        self._may_read_the_registry_and_the_endpoints(app)
        self._may_copy_releases(artifacts)
        self._may_move_serving_stacks(app, stage, release_role)
        role = self.handler.role
        allow(
            role,
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query"],
            on=[ledger.table_arn],
        )
        allow(role, ["sns:Publish"], on=[alerts.topic_arn])
        self._wake_on_events(app, undelivered)

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
        allow(role, ["ssm:GetParametersByPath"], on=[arn(self, "ssm", f"parameter/{app}")])
        allow(
            role,
            ["ssm:GetParameters"],
            on=[arn(self, "ssm", f"parameter/cdk-bootstrap/{cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER}/version")],
        )

    def _wake_on_events(self, app: str, undelivered: sqs.IQueue) -> None:
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
                            {"UpdatedModelPackageFields": ["ModelApprovalStatus"]},
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
