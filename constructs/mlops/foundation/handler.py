"""Lambda functions and the rules that invoke them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.ledger import LedgerTable
from constructs.mlops.foundation.permissions import Grantee, RoleOwner

TICK = {"source": "evergreen.tick"}
"""The message of a schedule, which asks a function to look at all models."""

_SOURCE = Path(__file__).parents[3] / "lambda"
# Versioned: `…/latest` moves, so that a deployment meant for one function would change all of them.
_POWERTOOLS = "/aws/service/powertools/python/arm64/python3.14/3.37.0"


@dataclass(frozen=True)
class StageResources:
    """The resources that all functions of a stage share.

    Attributes:
        app: The application's name.
        stage: The stage's name.
        key: Encrypts everything that the functions store.
        data: Input: raw objects, labels, captured requests.
        artifacts: Output: packages, releases, findings.
        ledger: The controllers' table.
        alerts: The topic for alerts.
        powertools: The layer that every function has.
        failures: Receives the events that a function failed on after its retries.
        undelivered: Receives the events that could not be delivered to a function.
        log_retention_days: How long log groups keep what functions write.
    """

    app: str
    stage: str
    key: EncryptionKey
    data: Bucket
    artifacts: ArtifactBucket
    ledger: LedgerTable
    alerts: AlertTopic
    powertools: lambda_.ILayerVersion
    failures: DeadLetterQueue
    undelivered: DeadLetterQueue
    log_retention_days: int


class PowertoolsLayer(Construct):
    """Powertools for AWS Lambda, as AWS publishes it; CloudFormation reads its ARN at deployment."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        address = ssm.StringParameter.value_for_string_parameter(self, _POWERTOOLS)
        self.layer = lambda_.LayerVersion.from_layer_version_arn(self, "Layer", address)


class Handler(RoleOwner, Construct):
    """A function of one package under `lambda/`, with its own role, log group and failure destination.

    It is invoked asynchronously: an event that still fails after Lambda's two retries goes to `failures`. It reserves
    no concurrency. Controllers take a lease for what must not happen twice, and a reservation cannot be deployed to an
    account that has the initial quota of ten.
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
        role_name: str | None = None,
    ) -> None:
        """Define the function.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            package: The folder under `lambda/`.
            module: The module of the package that has the function `handler`.
            description: The function's description.
            timeout: After which Lambda ends an invocation.
            environment: Variables besides Powertools' own.
            resources: The stage's shared resources.
            memory_mb: Memory, MB.
            ephemeral_storage_gb: Size of `/tmp`, GiB.
            layers: Layers besides Powertools.
            role_name: The role's name, if another account refers to it.
        """
        super().__init__(scope, construct_id)
        key, failures = resources.key, resources.failures
        self.role = iam.Role(self, "Role", role_name=role_name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group = logs.CfnLogGroup(
            self, "Logs", kms_key_id=key.arn, retention_in_days=resources.log_retention_days
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
            environment_encryption=key.key,
        )
        self.arn = self.function.function_arn
        lambda_.CfnEventInvokeConfig(
            self,
            "Failures",
            function_name=self.function.function_name,
            qualifier="$LATEST",
            maximum_retry_attempts=2,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=failures.queue.queue_arn)
            ),
        ).node.add_dependency(self.role)
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], on=[self.log_group.attr_arn])
        failures.grant_send(self)
        key.grant_encrypt_decrypt(self)

    def grant_invoke(self, grantee: Grantee) -> None:
        """Allow invoking the function."""
        grantee.allow(["lambda:InvokeFunction"], on=[self.arn])


class TriggerRule(Construct):
    """A rule that invokes a function, retries for an hour, and then sends the event to a dead-letter queue."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: Handler,
        undelivered: DeadLetterQueue,
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
                    dead_letter_queue=undelivered.queue,
                    max_event_age=cdk.Duration.hours(1),
                    retry_attempts=20,
                )
            ],
        )


class ReconcileSchedule(TriggerRule):
    """Invokes a controller every 15 minutes, so that a lost event only delays it."""

    def __init__(self, scope: Construct, construct_id: str, *, handler: Handler, undelivered: DeadLetterQueue) -> None:
        super().__init__(
            scope,
            construct_id,
            handler=handler,
            undelivered=undelivered,
            description="Reconciles every 15 minutes, in case an event was lost",
            schedule=events.Schedule.rate(cdk.Duration.minutes(15)),
            message=TICK,
        )
