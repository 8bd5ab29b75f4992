"""What a stage's account has once, for all models."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from configuration import Application, Model, Stage
from constructs.mlops.delivery.delivery_role import DeliveryRole
from constructs.mlops.foundation.across_accounts import (
    AdmittedEvents,
    Foreigner,
    ForwardedEvents,
    admit_reader_of_verifications,
    admit_readers_of_what_was_registered,
    approvals,
    artifact_bucket_name,
    events_role_name,
    may_read_the_hub,
    may_read_verifications,
    release_role_name,
    rename,
    verifications,
)
from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.approver import Approver
from constructs.mlops.foundation.buckets import Bucket, LogBucket
from constructs.mlops.foundation.dashboard import Dashboard
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.handler import Handler, PowertoolsLayer, StageResources
from constructs.mlops.foundation.ledger import Ledger
from constructs.mlops.foundation.permissions import arn
from constructs.mlops.monitoring.monitor_functions import AnalyzerLayer, CaptureMonitor, ScheduledMonitor
from constructs.mlops.retraining.archive import Archive
from constructs.mlops.retraining.retrain_controller import RetrainController
from constructs.mlops.serving.first_records import FirstRecords
from constructs.mlops.serving.release_controller import ReleaseController
from constructs.mlops.serving.release_role import ReleaseRole
from constructs.mlops.serving.verification import Verifier
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
        named = self.verified_bucket(stage) if application.after(stage) else None
        self.artifacts = Bucket(self, "Artifacts", key=self.key, logs=logs, name=named).bucket
        self.alerts = AlertTopic(self, "Alerts", key=self.key, emails=application.alert_emails).topic
        undelivered = DeadLetterQueue(self, "Undelivered", holds="Undelivered events", key=self.key, alerts=self.alerts)
        failures = DeadLetterQueue(self, "Failures", holds="Failed calls", key=self.key, alerts=self.alerts)
        self.ledger = Ledger(self, "Ledger", key=self.key).table
        resources = StageResources(
            app=app,
            stage=stage.name,
            key=self.key,
            data=self.data,
            artifacts=self.artifacts,
            ledger=self.ledger,
            alerts=self.alerts,
            powertools=PowertoolsLayer(self, "Powertools").layer,
            failures=failures.queue,
            undelivered=undelivered.queue,
            log_retention_days=application.log_retention_days,
        )
        layer = AnalyzerLayer(self, "Analyzer").layer
        verifier = None
        if application.after(stage):
            verifier = Verifier(self, "Verify", resources=resources)
        self.release = ReleaseController(
            self,
            "Release",
            resources=resources,
            release_role=ReleaseRole(self, "ReleaseRole", app=app, stage=stage.name, key=self.key).role,
            registry_arn_prefix=arn(self, "sagemaker", "", account=self._account(application.stage)).removesuffix(":"),
            verifier=verifier,
            verified_bucket=self.verified_bucket(application.before(stage)),
        )
        capture = CaptureMonitor(self, "Capture", resources=resources, layer=layer)
        scheduled = ScheduledMonitor(self, "Monitor", resources=resources, layer=layer)
        self.monitor = scheduled.handler.function
        records = FirstRecords(self, "Records", resources=resources)
        for model in models:
            records.add(model.name)
        handlers = [self.release.handler, capture.handler, scheduled.handler, records.handler]
        if verifier:
            handlers.append(verifier.handler)
        retrain = None
        if stage is application.stage:
            retrain, archive = self._train(resources)
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
            watched={model.name: f"{app}-{model.name}-{stage.name}" for model in models if model.monitoring},
        )
        cdk.CfnOutput(self, "LedgerTableName", value=self.ledger.table_name)
        self._export()

    def _train(self, resources: StageResources) -> tuple[Handler, Handler]:
        """What the hub has besides."""
        retrain = RetrainController(self, "Retrain", resources=resources)
        archive = Archive(self, "Archive", resources=resources)
        Approver(self, "Approver", app=resources.app)
        cdk.CfnOutput(self, "RetrainFunctionName", value=retrain.handler.function.function_name)
        return retrain.handler, archive.handler

    def verified_bucket(self, stage: Stage | None) -> str | None:
        """The artifact bucket of a stage that verifies for another; None where there is no such stage."""
        return artifact_bucket_name(self._application.name, stage.name, self._account(stage)) if stage else None

    def _account(self, stage: Stage) -> str:
        """A stage's account; where none is given all stages share this one."""
        return stage.account or self.account

    def _meet_other_stages(self, undelivered: sqs.IQueue) -> None:
        """Read in the hub and in the stage before."""
        application, stage, role = self._application, self._stage, self.release.handler.role
        app, hub, before = application.name, application.stage, application.before(self._stage)
        rename(role, release_role_name(app, stage.name))
        if before and (bucket := self.verified_bucket(before)):
            may_read_verifications(role, bucket=bucket, account=self._account(before))
        if stage is not hub:
            may_read_the_hub(role, app=app, hub_stack=f"{app}-platform-{hub.name}", account=self._account(hub))
        if len({one.account for one in application.stages}) > 1:
            self._meet_other_accounts(undelivered)

    def _meet_other_accounts(self, undelivered: sqs.IQueue) -> None:
        """Admit who reads here, hand on the events that concern them, and admit theirs."""
        application, stage = self._application, self._stage
        app, hub = application.name, application.stage
        before, after = application.before(stage), application.after(stage)
        if after and after.account and after.account != stage.account:
            admit_reader_of_verifications(self.artifacts, self.encryption, reader(application, after))
            self._tell(
                [after.account], verifications(self.artifacts.bucket_name), "A release was verified", undelivered
            )
        if stage is hub and (foreigners := readers(application)):
            admit_readers_of_what_was_registered(self.artifacts, self.encryption, foreigners)
            accounts = sorted({one.account for one in foreigners})
            self._tell(accounts, approvals(app), "Someone approved or rejected a version", undelivered)
        for teller, source in ((hub, "aws.sagemaker"), (before, "aws.s3")):
            if teller and teller.account and teller.account != stage.account:
                AdmittedEvents(
                    self,
                    f"From{teller.name.title()}",
                    statement_id=f"{app}-{teller.name}",
                    forwarder=Foreigner(teller.account, events_role_name(app, teller.name)),
                    source=source,
                )

    def _tell(
        self, accounts: list[str], pattern: events.EventPattern, description: str, undelivered: sqs.IQueue
    ) -> None:
        ForwardedEvents(
            self,
            "Told",
            role_name=events_role_name(self._application.name, self._stage.name),
            description=description,
            pattern=pattern,
            accounts=accounts,
            undelivered=undelivered,
        )

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
