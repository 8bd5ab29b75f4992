"""What a stage's account has once, for all models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from configuration import Application, Model, Stage
from constructs.mlops.across_accounts import (
    AdmittedRegistryEvents,
    ForwardedRegistryEvents,
    admit_reader_of_verifications,
    admit_readers_of_what_was_registered,
    artifact_bucket_name,
    may_read_the_hub,
    may_read_verifications,
    release_role_name,
    rename,
)
from constructs.mlops.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.approver import Approver
from constructs.mlops.archive import Archive
from constructs.mlops.buckets import Bucket, LogBucket
from constructs.mlops.dashboard import Dashboard
from constructs.mlops.delivery_role import DeliveryRole
from constructs.mlops.encryption_key import EncryptionKey
from constructs.mlops.first_records import FirstRecords
from constructs.mlops.handler import Handler, PowertoolsLayer
from constructs.mlops.ledger import Ledger
from constructs.mlops.monitor_functions import AnalyzerLayer, CaptureMonitor, ScheduledMonitor
from constructs.mlops.release_controller import ReleaseController
from constructs.mlops.release_role import ReleaseRole
from constructs.mlops.retrain_controller import RetrainController
from stacks.readers import reader, readers


class Platform(cdk.Stack):
    """Key, buckets, alerts and ledger; what serves and watches models; in the hub also what trains them anew.

    The hub is the last stage's account: registry, retraining, archive and approvers are there.
    """

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
            scope,
            construct_id,
            stack_name=construct_id,
            env=env,
            description=f"{application.name} in {stage.name}: what models share",
        )
        app = application.name
        self._application, self._stage = application, stage
        self.encryption = EncryptionKey(self, "Encryption", app=app).key
        self.key: kms.IKey = self.encryption
        logs = LogBucket(self, "AccessLogs").bucket
        self.data = Bucket(self, "Data", key=self.key, logs=logs).bucket
        verified = artifact_bucket_name(app, stage.name, self.account) if application.after(stage) else None
        self.artifacts = Bucket(self, "Artifacts", key=self.key, logs=logs, name=verified).bucket
        self.alerts = AlertTopic(self, "Alerts", key=self.key, emails=application.alert_emails).topic
        undelivered = DeadLetterQueue(self, "Undelivered", holds="Undelivered events", key=self.key, alerts=self.alerts)
        failures = DeadLetterQueue(self, "Failures", holds="Failed calls", key=self.key, alerts=self.alerts)
        self.ledger = Ledger(self, "Ledger", key=self.key).table
        common: dict[str, Any] = {
            "app": app,
            "stage": stage.name,
            "key": self.key,
            "powertools": PowertoolsLayer(self, "Powertools").layer,
            "failures": failures.queue,
            "log_retention_days": application.log_retention_days,
        }
        judged: dict[str, Any] = {
            **common,
            "undelivered": undelivered.queue,
            "data": self.data,
            "artifacts": self.artifacts,
            "ledger": self.ledger,
            "layer": AnalyzerLayer(self, "Analyzer").layer,
        }
        self.release = ReleaseController(
            self,
            "Release",
            **common,
            undelivered=undelivered.queue,
            artifacts=self.artifacts,
            ledger=self.ledger,
            alerts=self.alerts,
            release_role=ReleaseRole(self, "ReleaseRole", app=app, stage=stage.name, key=self.key).role,
        )
        capture = CaptureMonitor(self, "Capture", **judged, alerts=self.alerts)
        scheduled = ScheduledMonitor(self, "Monitor", **judged)
        self.monitor = scheduled.handler.function
        records = FirstRecords(self, "Records", **common)
        for model in models:
            records.add(model.name)
        handlers = [one.handler for one in (self.release, capture, scheduled, records)]
        retrain = None
        if stage is application.stage:
            retrain, archive = self._train(common, undelivered.queue)
            handlers += [retrain, archive]
        if len(application.stages) > 1:
            self._meet_other_stages(undelivered.queue)
        if application.delivery:
            delivery = DeliveryRole(
                self,
                "Delivery",
                app=app,
                stage=stage.name,
                hub_account=application.stage.account or self.account,
                ledger=self.ledger,
                key=self.key,
                retrain=retrain.function if retrain else None,
            )
            cdk.CfnOutput(self, "DeliveryRoleArn", value=delivery.role.role_arn)
        Dashboard(
            self,
            "Dashboard",
            app=app,
            functions=[handler.function for handler in handlers],
            queues=[undelivered.queue, failures.queue, capture.dead_letters],
        )
        cdk.CfnOutput(self, "LedgerTableName", value=self.ledger.table_name)
        self._export()

    def _train(self, common: dict[str, Any], undelivered: sqs.IQueue) -> tuple[Handler, Handler]:
        """What the hub has besides."""
        retrain = RetrainController(
            self,
            "Retrain",
            **common,
            undelivered=undelivered,
            data=self.data,
            ledger=self.ledger,
            alerts=self.alerts,
        )
        archive = Archive(
            self, "Archive", **common, undelivered=undelivered, artifacts=self.artifacts, ledger=self.ledger
        )
        Approver(self, "Approver", app=common["app"])
        cdk.CfnOutput(self, "RetrainFunctionName", value=retrain.handler.function.function_name)
        return retrain.handler, archive.handler

    def _meet_other_stages(self, undelivered: sqs.IQueue) -> None:
        """Read in the hub and in the stage before; across accounts, admit those who read here."""
        application, stage, role = self._application, self._stage, self.release.handler.role
        app, hub = application.name, application.stage
        rename(role, release_role_name(app, stage.name))
        before, after = application.before(stage), application.after(stage)
        if before:
            account = before.account or self.account
            bucket = artifact_bucket_name(app, before.name, account)
            may_read_verifications(role, bucket=bucket, account=account)
        if after and after.account != stage.account:
            admit_reader_of_verifications(self.artifacts, self.encryption, reader(application, after))
        if stage is not hub:
            may_read_the_hub(role, app=app, hub_stack=f"{app}-platform-{hub.name}", account=hub.account or self.account)
            if hub.account and hub.account != stage.account:
                AdmittedRegistryEvents(self, "Hub", app=app, hub_account=hub.account)
        elif foreigners := readers(application):
            admit_readers_of_what_was_registered(self.artifacts, self.encryption, foreigners)
            accounts = sorted({one.account for one in foreigners})
            ForwardedRegistryEvents(self, "Stages", app=app, accounts=accounts, undelivered=undelivered)

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
