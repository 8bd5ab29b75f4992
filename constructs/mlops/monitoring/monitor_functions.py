"""The analyzer's functions: captured data as it lands, and scheduled monitors."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.alerts import DeadLetterQueue
from constructs.mlops.foundation.handler import Handler, StageResources, Trigger
from constructs.mlops.foundation.permissions import allow, arn

_ROOT = Path(__file__).parents[3]
_UNBUILT = (
    "the analyzer's layer was not built of this lock and this analyzer; "
    "build it: python lambda/layers/analyzer/build.py"
)
# Beside the packages of the environment that synthesises: whichever copy of the tree it works on.
_LAYER = Path(sys.prefix) / "share" / "evergreen" / "monitor-layer"
_LOCK = _ROOT / "lambda" / "layers" / "analyzer"
_ANALYZER = _ROOT / "packages" / "analyzer" / "src" / "drift_analyzer"
_TIMEOUT = cdk.Duration.minutes(10)
_ATTEMPTS = 5
# A day, where a model has no scheduled monitors: shorter windows of a quiet endpoint hold too few rows.
_WINDOW_SECONDS = 86_400
_ANY_MODEL = (
    "One function serves all models of the stage, so that a further model adds none; their folders are its own."
)


def _is_built() -> bool:
    """Return whether the environment has the layer, of today's lock and today's analyzer."""
    pairs = [(_LAYER / "requirements.txt", _LOCK / "requirements.txt")]
    built = _LAYER / "python" / _ANALYZER.name
    pairs += [(built / path.relative_to(_ANALYZER), path) for path in _sources()]
    return all(used.is_file() and used.read_bytes() == source.read_bytes() for used, source in pairs)


def _sources() -> list[Path]:
    """Return the analyzer's modules, in one order everywhere."""
    return sorted(_ANALYZER.rglob("*.py"))


class AnalyzerLayer(Construct):
    """The analyzer with numpy and orjson for arm64, built by the set-up of the environment (`lambda/layers/analyzer`).

    Where it was not built a synth still works, offline as always, and CloudFormation refuses to deploy it, with the
    line that builds it.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        built = _is_built()
        if not built:
            cdk.Annotations.of(self).add_warning_v2("evergreen:monitor-layer", _UNBUILT)
            never = cdk.CfnRuleAssertion(
                assert_=cdk.Fn.condition_equals("built", "unbuilt"), assert_description=_UNBUILT
            )
            cdk.CfnRule(self, "Unbuilt", assertions=[never])
        self.layer = lambda_.LayerVersion(
            self,
            "Layer",
            description="The analyzer with numpy and orjson, as locked in lambda/layers/analyzer/requirements.txt",
            code=lambda_.Code.from_asset(
                str(_LAYER if built else _LOCK),
                # What is locked, and how it is built, says what it holds; the files' bytes depend on uv's version.
                asset_hash_type=cdk.AssetHashType.CUSTOM,
                asset_hash=hashlib.sha256(
                    b"".join(path.read_bytes() for path in (*sorted(_LOCK.glob("*.*")), *_sources()))
                ).hexdigest(),
            ),
            compatible_architectures=[lambda_.Architecture.ARM_64],
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_14],
        )


class CaptureMonitor(Construct):
    """Captured data as it lands: S3 → EventBridge → queue → function, for all models.

    The queue gathers the many small files of an endpoint; what fails five times waits in a dead-letter queue.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        layer: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self.handler = Handler(
            self,
            "Handler",
            package="monitor",
            description=f"Judges what the endpoints of {app} capture in {stage}, as it lands",
            timeout=_TIMEOUT,
            memory_mb=1024,
            environment={
                "APP": app,
                "STAGE": stage,
                "ARTIFACT_BUCKET": resources.artifacts.bucket_name,
                "LEDGER_TABLE": resources.ledger.table_name,
                "WINDOW_SECONDS": str(_WINDOW_SECONDS),
            },
            resources=resources,
            layers=[layer],
        )
        unread = DeadLetterQueue(
            self,
            "Unread",
            holds="Captured files that were not read",
            key=resources.key,
            alerts=resources.alerts,
            of_a_queue=True,
        )
        self.dead_letters = unread.queue
        queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=resources.key,
            enforce_ssl=True,
            # Six times the function's time, as Lambda asks for.
            visibility_timeout=cdk.Duration.minutes(60),
            retention_period=cdk.Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(queue=unread.queue, max_receive_count=_ATTEMPTS),
        )
        self.queue = queue
        events.Rule(
            self,
            "Landed",
            description="An endpoint's captured requests landed",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [resources.data.bucket_name]},
                    "object": {"key": [{"wildcard": f"*/capture/{app}-*-{stage}/*"}]},
                },
            ),
            targets=[
                targets.SqsQueue(
                    queue,
                    dead_letter_queue=resources.undelivered,
                    max_event_age=cdk.Duration.hours(24),
                    retry_attempts=185,
                )
            ],
        )
        lambda_.CfnEventSourceMapping(
            self,
            "Source",
            function_name=self.handler.function.function_arn,
            event_source_arn=queue.queue_arn,
            batch_size=100,
            maximum_batching_window_in_seconds=30,
            function_response_types=["ReportBatchItemFailures"],
            # Windows are merged from all partials: many at once would only read the same again.
            scaling_config=lambda_.CfnEventSourceMapping.ScalingConfigProperty(maximum_concurrency=5),
        ).node.add_dependency(self.handler.role)
        self._alarm(queue, resources.alerts)
        role = self.handler.role
        allow(
            role,
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            on=[queue.queue_arn],
        )
        _may_judge(role, resources)

    def _alarm(self, queue: sqs.IQueue, alerts: sns.ITopic) -> None:
        cloudwatch.CfnAlarm(
            self,
            "Late",
            alarm_description="Captured data waits for over an hour to be judged: look at the monitor function's log",
            namespace="AWS/SQS",
            metric_name="ApproximateAgeOfOldestMessage",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="QueueName", value=queue.queue_name)],
            statistic="Maximum",
            period=300,
            evaluation_periods=3,
            threshold=3600,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.topic_arn],
        )


class ScheduledMonitor(Construct):
    """Runs of the built-in engine, and what the jobs of either engine found, for all models."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resources: StageResources,
        layer: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)
        app, stage = resources.app, resources.stage
        self.handler = Handler(
            self,
            "Handler",
            package="monitor",
            module="scheduled",
            description=f"Runs the scheduled monitors of {app} in {stage}, and notes what they found",
            timeout=cdk.Duration.minutes(15),
            memory_mb=2048,
            ephemeral_storage_gb=10,
            environment={
                "APP": app,
                "STAGE": stage,
                "DATA_BUCKET": resources.data.bucket_name,
                "ARTIFACT_BUCKET": resources.artifacts.bucket_name,
                "LEDGER_TABLE": resources.ledger.table_name,
            },
            resources=resources,
            layers=[layer],
        )
        role = self.handler.role
        _may_judge(role, resources)
        allow(
            role,
            ["s3:GetObject"],
            on=[resources.data.arn_for_objects("*/ground-truth/*")],
            because=_ANY_MODEL,
        )
        allow(
            role,
            ["sagemaker:CreateProcessingJob", "sagemaker:AddTags"],
            on=[arn(self, "sagemaker", f"processing-job/{app}-*")],
            because="Explanations need the model, so they run as jobs, named after the model and the window.",
        )
        allow(
            role,
            ["iam:PassRole"],
            # CloudFormation keeps 24 characters of the stack's name.
            on=[arn(self, "iam", f"role/{app}-monitor*", region=False)],
            conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            because="Each model's monitoring stack has a role of its own, whose name CloudFormation ends.",
        )
        Trigger(
            self,
            "Ended",
            handler=self.handler,
            undelivered=resources.undelivered,
            description="A processing job has ended: perhaps a monitor's",
            pattern=events.EventPattern(
                source=["aws.sagemaker"],
                detail_type=["SageMaker Processing Job State Change"],
                detail={
                    "ProcessingJobStatus": ["Completed"],
                    "Environment": {"sagemaker_endpoint_name": [{"wildcard": f"{app}-*-{stage}"}]},
                },
            ),
        )


def _may_judge(role: iam.Role, resources: StageResources) -> None:
    """Captured data and baselines to read, findings to write."""
    app, stage, data, artifacts = resources.app, resources.stage, resources.data, resources.artifacts
    allow(role, ["s3:GetObject"], on=[data.arn_for_objects(f"*/capture/{app}-*-{stage}/*")], because=_ANY_MODEL)
    read = [artifacts.arn_for_objects("releases/*/baselines/*"), artifacts.arn_for_objects("monitoring/*")]
    allow(role, ["s3:GetObject"], on=read, because=_ANY_MODEL)
    allow(role, ["s3:PutObject"], on=[artifacts.arn_for_objects("monitoring/*")], because=_ANY_MODEL)
    allow(role, ["s3:ListBucket"], on=[data.bucket_arn, artifacts.bucket_arn])
    allow(role, ["dynamodb:PutItem", "dynamodb:Query"], on=[resources.ledger.table_arn])
    allow(
        role,
        ["ssm:GetParameter", "ssm:GetParameters"],
        on=[arn(role, "ssm", f"parameter/{app}/*/{stage}/{name}") for name in ("release", "monitoring")],
        because="Of all models in this stage: whose baseline counts, and how long their windows are.",
    )
