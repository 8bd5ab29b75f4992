"""What a stage's account has once, for all models."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from constructs import Construct

from configuration import Application, Model, Stage
from constructs.mlops.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.archive import Archive
from constructs.mlops.buckets import Bucket, LogBucket
from constructs.mlops.dashboard import Dashboard
from constructs.mlops.encryption_key import EncryptionKey
from constructs.mlops.first_records import FirstRecords
from constructs.mlops.handler import PowertoolsLayer
from constructs.mlops.ledger import Ledger
from constructs.mlops.monitor_functions import AnalyzerLayer, CaptureMonitor, ScheduledMonitor
from constructs.mlops.release_controller import ReleaseController
from constructs.mlops.release_role import ReleaseRole
from constructs.mlops.retrain_controller import RetrainController


class Platform(cdk.Stack):
    """Key, buckets, alerts, ledger, the controllers and monitors with their rules, and the first release records."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        stage: Stage,
        models: Sequence[Model],
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, env=env, description=f"{application.name} in {stage.name}: what models share"
        )
        app, retention = application.name, application.log_retention_days
        self.key = EncryptionKey(self, "Encryption", app=app).key
        logs = LogBucket(self, "AccessLogs").bucket
        self.data = Bucket(self, "Data", key=self.key, logs=logs).bucket
        self.artifacts = Bucket(self, "Artifacts", key=self.key, logs=logs).bucket
        self.alerts = AlertTopic(self, "Alerts", key=self.key, emails=application.alert_emails).topic
        undelivered = DeadLetterQueue(self, "Undelivered", holds="Undelivered events", key=self.key, alerts=self.alerts)
        failures = DeadLetterQueue(self, "Failures", holds="Failed calls", key=self.key, alerts=self.alerts)
        ledger = Ledger(self, "Ledger", key=self.key).table
        powertools = PowertoolsLayer(self, "Powertools").layer
        controller = ReleaseController(
            self,
            "Release",
            app=app,
            stage=stage.name,
            key=self.key,
            artifacts=self.artifacts,
            ledger=ledger,
            alerts=self.alerts,
            release_role=ReleaseRole(self, "ReleaseRole", app=app, stage=stage.name, key=self.key).role,
            powertools=powertools,
            failures=failures.queue,
            undelivered=undelivered.queue,
            log_retention_days=retention,
        )
        layer = AnalyzerLayer(self, "Analyzer").layer
        capture = CaptureMonitor(
            self,
            "Capture",
            app=app,
            stage=stage.name,
            key=self.key,
            data=self.data,
            artifacts=self.artifacts,
            ledger=ledger,
            alerts=self.alerts,
            powertools=powertools,
            layer=layer,
            failures=failures.queue,
            undelivered=undelivered.queue,
            log_retention_days=retention,
        )
        scheduled = ScheduledMonitor(
            self,
            "Monitor",
            app=app,
            stage=stage.name,
            key=self.key,
            data=self.data,
            artifacts=self.artifacts,
            ledger=ledger,
            powertools=powertools,
            layer=layer,
            failures=failures.queue,
            undelivered=undelivered.queue,
            log_retention_days=retention,
        )
        self.monitor = scheduled.handler.function
        retrain = RetrainController(
            self,
            "Retrain",
            app=app,
            stage=stage.name,
            key=self.key,
            data=self.data,
            ledger=ledger,
            alerts=self.alerts,
            powertools=powertools,
            failures=failures.queue,
            undelivered=undelivered.queue,
            log_retention_days=retention,
        )
        archive = Archive(
            self,
            "Archive",
            app=app,
            stage=stage.name,
            key=self.key,
            artifacts=self.artifacts,
            ledger=ledger,
            powertools=powertools,
            failures=failures.queue,
            undelivered=undelivered.queue,
            log_retention_days=retention,
        )
        records = FirstRecords(
            self,
            "Records",
            app=app,
            stage=stage.name,
            key=self.key,
            powertools=powertools,
            failures=failures.queue,
            log_retention_days=retention,
        )
        for model in models:
            records.add(model.name)
        Dashboard(
            self,
            "Dashboard",
            app=app,
            functions=[one.handler.function for one in (controller, capture, scheduled, retrain, archive, records)],
            queues=[undelivered.queue, failures.queue, capture.dead_letters],
            watched={model.name: f"{app}-{model.name}-{stage.name}" for model in models if model.monitoring},
        )
        cdk.CfnOutput(self, "LedgerTableName", value=ledger.table_name)
        self._export()

    def _export(self) -> None:
        """Export what models' stacks use, whether or not there is a model.

        Left to itself CDK exports what is used at the moment: without the last model the exports would go first, and
        CloudFormation refuses to delete an export that the model's stacks, still there, import.
        """
        for value in (
            self.key.key_arn,
            self.data.bucket_name,
            self.data.bucket_arn,
            self.artifacts.bucket_name,
            self.artifacts.bucket_arn,
            self.alerts.topic_arn,
            self.monitor.function_arn,
        ):
            self.export_value(value)
        cdk.CfnOutput(self, "DataBucketName", value=self.data.bucket_name)
        cdk.CfnOutput(self, "ArtifactBucketName", value=self.artifacts.bucket_name)
        cdk.CfnOutput(self, "AlertTopicArn", value=self.alerts.topic_arn)
