"""Functions and what calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from constructs.mlops.foundation.permissions import allow

_SOURCE = Path(__file__).parents[3] / "lambda"
# The versioned path: `…/latest` moves, and a deployment that should change one function would change all.
_POWERTOOLS = "/aws/service/powertools/python/arm64/python3.14/3.37.0"


@dataclass(frozen=True)
class StageResources:
    """What the functions of a stage have in common.

    Attributes:
        data: what lands: raw objects, labels, captured requests.
        artifacts: what is made: packages, releases, findings.
        failures: takes what a function failed on after its retries.
        undelivered: takes the events that no function could be handed.
    """

    app: str
    stage: str
    key: kms.IKey
    data: s3.IBucket
    artifacts: s3.IBucket
    ledger: dynamodb.ITable
    alerts: sns.ITopic
    powertools: lambda_.ILayerVersion
    failures: sqs.IQueue
    undelivered: sqs.IQueue
    log_retention_days: int


class PowertoolsLayer(Construct):
    """Powertools for AWS Lambda, as AWS publishes it: its address is read at deployment, not at synth."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        address = ssm.StringParameter.value_for_string_parameter(self, _POWERTOOLS)
        self.layer = lambda_.LayerVersion.from_layer_version_arn(self, "Layer", address)


class Handler(Construct):
    """A function of one package under `lambda/`, with its own role, log group and failure destination.

    Events reach it asynchronously: what still fails after Lambda's two retries goes to `failures`. It reserves no
    concurrency: controllers take a lease for what must not happen twice, and a reservation fails to deploy in accounts
    whose quota is the initial ten.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        package: str,
        module: str = "handler",
        description: str,
        timeout: cdk.Duration,
        environment: Mapping[str, str],
        resources: StageResources,
        memory_mb: int = 512,
        ephemeral_storage_gb: float = 0.5,
        layers: Sequence[lambda_.ILayerVersion] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        key, failures = resources.key, resources.failures
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group = logs.CfnLogGroup(
            self, "Logs", kms_key_id=key.key_arn, retention_in_days=resources.log_retention_days
        )
        self.log_group.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        log_group = logs.LogGroup.from_log_group_name(self, "LogGroup", self.log_group.ref)
        self.function = lambda_.Function(
            self,
            "Function",
            description=description,
            code=lambda_.Code.from_asset(
                str(_SOURCE),
                exclude=["*", "!shared", "!shared/**", f"!{package}", f"!{package}/**", "**/__pycache__"],
                ignore_mode=cdk.IgnoreMode.GIT,
            ),
            handler=f"{package}.{module}.handler",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            layers=[resources.powertools, *layers],
            role=self.role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            timeout=timeout,
            memory_size=memory_mb,
            ephemeral_storage_size=cdk.Size.mebibytes(int(ephemeral_storage_gb * 1024)),
            environment={"POWERTOOLS_SERVICE_NAME": package, **environment},
            environment_encryption=key,
        )
        lambda_.CfnEventInvokeConfig(
            self,
            "Failures",
            function_name=self.function.function_name,
            qualifier="$LATEST",
            maximum_retry_attempts=2,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=failures.queue_arn)
            ),
        ).node.add_dependency(self.role)
        allow(self.role, ["logs:CreateLogStream", "logs:PutLogEvents"], on=[self.log_group.attr_arn])
        allow(self.role, ["sqs:SendMessage"], on=[failures.queue_arn])
        allow(self.role, ["kms:Decrypt", "kms:GenerateDataKey"], on=[key.key_arn])


class Trigger(Construct):
    """A rule that calls a function: retried for an hour, then kept in a queue."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: Handler,
        undelivered: sqs.IQueue,
        description: str,
        pattern: events.EventPattern | None = None,
        schedule: events.Schedule | None = None,
        message: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.rule = events.Rule(
            self,
            "Rule",
            description=description,
            event_pattern=pattern,
            schedule=schedule,
            targets=[
                targets.LambdaFunction(
                    handler.function,
                    event=events.RuleTargetInput.from_object(dict(message)) if message else None,
                    dead_letter_queue=undelivered,
                    max_event_age=cdk.Duration.hours(1),
                    retry_attempts=20,
                )
            ],
        )
