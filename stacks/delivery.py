"""The delivery of code to the stages."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from configuration import Application, Delivery
from constructs.mlops.delivery.delivery_alerts import DeliveryAlerts
from constructs.mlops.delivery.delivery_pipeline import DeliveryPipeline
from constructs.mlops.delivery.delivery_store import DeliveryStore
from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.buckets import LogBucket
from constructs.mlops.foundation.encryption_key import EncryptionKey


class DeliveryStack(cdk.Stack):
    """The pipeline that tests, synthesises, deploys each stage and requests trainings.

    It has a key and an alert topic of its own, so that it can report a failed deployment of the platform.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        delivery: Delivery,
        cli_version: str,
        env: cdk.Environment,
    ) -> None:
        super().__init__(
            scope, construct_id, stack_name=construct_id, env=env, description=f"Delivers {application.name}"
        )
        key = EncryptionKey(self, "Encryption", app=application.name)
        store = DeliveryStore(self, "Store", key=key, logs=LogBucket(self, "AccessLogs"))
        alerts = AlertTopic(self, "Alerts", key=key, emails=application.alert_emails)
        undelivered = DeadLetterQueue(self, "Undelivered", holds="Events of the delivery", key=key, alerts=alerts)
        self.pipeline = DeliveryPipeline(
            self,
            "Pipeline",
            application=application,
            delivery=delivery,
            cli_version=cli_version,
            store=store,
            alerts=alerts,
            undelivered=undelivered,
        )
        DeliveryAlerts(self, "Failures", pipeline_name=self.pipeline.name, alerts=alerts, undelivered=undelivered)
        cdk.CfnOutput(self, "PipelineName", value=self.pipeline.name)
        cdk.CfnOutput(self, "AlertTopicArn", value=alerts.arn)
        if self.pipeline.repository:
            cdk.CfnOutput(self, "CloneUrl", value=self.pipeline.repository.repository_clone_url_http)
