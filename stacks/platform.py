"""The resources that all models of a stage share."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from constructs import Construct

from configuration import Application, Model, Stage
from constructs.mlops.delivery.delivery_role import DeliveryRole
from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.buckets import ArtifactBucket, Bucket, LogBucket
from constructs.mlops.foundation.cross_account_access import CrossAccountAccess
from constructs.mlops.foundation.dashboard import Dashboard
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.handler import PowertoolsLayer, StageResources
from constructs.mlops.foundation.ledger import LedgerTable
from constructs.mlops.foundation.stage_references import Neighbours
from constructs.mlops.monitoring.analyzer_layer import AnalyzerLayer
from constructs.mlops.monitoring.functions import CaptureFunction, ScheduledFunction
from constructs.mlops.retraining.hub_services import HubServices
from constructs.mlops.serving.initial_records import InitialReleaseRecords
from constructs.mlops.serving.release_controller import ReleaseController
from constructs.mlops.serving.release_role import ReleaseRole
from constructs.mlops.serving.verify_function import VerifyFunction


class PlatformStack(cdk.Stack):
    """Key, buckets, alerts and ledger, and the functions that release and monitor models; in the hub also retraining.

    The hub is the last stage. Its account also has the registry, the archive and the approvers.
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
        app = application.name
        super().__init__(
            scope,
            construct_id,
            stack_name=construct_id,
            env=env,
            description=f"The resources that all models of {app} share in {stage.name}",
        )
        self.neighbours = Neighbours.of(application, stage, own_account=self.account)
        self.key = EncryptionKey(self, "Encryption", app=app)
        logs = LogBucket(self, "AccessLogs")
        self.data = Bucket(self, "Data", key=self.key, logs=logs)
        self.artifacts = ArtifactBucket(
            self, "Artifacts", key=self.key, logs=logs, name=self.neighbours.artifact_bucket_name
        )
        self.alerts = AlertTopic(self, "Alerts", key=self.key, emails=application.alert_emails)
        undelivered = DeadLetterQueue(self, "Undelivered", holds="Undelivered events", key=self.key, alerts=self.alerts)
        failures = DeadLetterQueue(self, "Failures", holds="Failed invocations", key=self.key, alerts=self.alerts)
        self.ledger = LedgerTable(self, "Ledger", key=self.key)
        resources = StageResources(
            app=app,
            stage=stage.name,
            key=self.key,
            data=self.data,
            artifacts=self.artifacts,
            ledger=self.ledger,
            alerts=self.alerts,
            powertools=PowertoolsLayer(self, "Powertools").layer,
            failures=failures,
            undelivered=undelivered,
            log_retention_days=application.log_retention_days,
        )
        analyzer = AnalyzerLayer(self, "Analyzer").layer
        verifier = VerifyFunction(self, "Verify", resources=resources) if self.neighbours.following else None
        release = ReleaseController(
            self,
            "Release",
            resources=resources,
            neighbours=self.neighbours,
            release_role=ReleaseRole(self, "ReleaseRole", app=app, stage=stage.name, key=self.key).role,
            verifier=verifier,
        )
        capture = CaptureFunction(self, "Capture", resources=resources, layer=analyzer)
        self.monitor = ScheduledFunction(self, "Monitor", resources=resources, layer=analyzer).handler
        records = InitialReleaseRecords(self, "Records", resources=resources, models=[model.name for model in models])
        prefixes = sorted({model.data.prefix for model in models})
        hub = (
            HubServices(self, "Hub", resources=resources, raw_prefixes=prefixes or ["raw/"])
            if self.neighbours.is_hub
            else None
        )
        CrossAccountAccess(
            self, "CrossAccount", neighbours=self.neighbours, artifacts=self.artifacts, undelivered=undelivered
        )
        outputs = {
            "LedgerTableName": self.ledger.name,
            "DataBucketName": self.data.name,
            "ArtifactBucketName": self.artifacts.name,
            "AlertTopicArn": self.alerts.arn,
        }
        if hub:
            outputs["RetrainFunctionName"] = hub.retrain.function.function_name
        if application.delivery:
            outputs["DeliveryRoleArn"] = DeliveryRole(
                self,
                "Delivery",
                app=app,
                stage=stage.name,
                hub_account=self.neighbours.hub.account,
                ledger=self.ledger,
                key=self.key,
                retrain=hub.retrain if hub else None,
            ).role.role_arn
        handlers = [release.handler, capture.handler, self.monitor, records.handler]
        handlers += [verifier.handler] if verifier else []
        handlers += [hub.retrain, hub.archive] if hub else []
        queues = [undelivered, failures, capture.dead_letters, release.queue.dead_letters]
        queues += [hub.retrain_queue.dead_letters] if hub else []
        Dashboard(
            self,
            "Dashboard",
            app=app,
            functions=[handler.function for handler in handlers],
            queues=[one.queue for one in queues],
            monitored={model.name: f"{app}-{model.name}-{stage.name}" for model in models if model.monitoring},
        )
        for name, value in outputs.items():
            cdk.CfnOutput(self, name, value=value)
        self._export()

    def _export(self) -> None:
        """Export what the models' stacks import, whether or not there is a model.

        CDK by itself exports only what is imported. With the last model the exports would go before the model's stacks,
        and CloudFormation refuses to delete an export that a stack still imports.
        """
        for value in (
            self.key.arn,
            self.data.name,
            self.data.arn,
            self.artifacts.name,
            self.artifacts.arn,
            self.alerts.arn,
            self.monitor.arn,
        ):
            self.export_value(value)
