"""The alert topic, and dead-letter queues with their alarm."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import Grantee, acknowledge


class AlertTopic(Construct):
    """The topic for alarms, rollbacks, quarantines and failures, with its subscribers."""

    def __init__(self, scope: Construct, construct_id: str, *, key: EncryptionKey, emails: Sequence[str]) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(self, "Topic", master_key=key.key, enforce_ssl=True)
        self.arn = self.topic.topic_arn
        # A topic policy replaces the default one, which let the account's alarms publish.
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            )
        )
        for index, email in enumerate(emails):
            sns.Subscription(
                self,
                f"Email{index}",
                topic=self.topic,
                protocol=sns.SubscriptionProtocol.EMAIL,
                endpoint=email,
            )

    def grant_publish(self, grantee: Grantee) -> None:
        """Allow publishing alerts."""
        grantee.allow(["sns:Publish"], on=[self.arn])


class DeadLetterQueue(Construct):
    """A queue for messages that could not be handled, and an alarm while it holds any."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        holds: str,
        key: EncryptionKey,
        alerts: AlertTopic,
        of_queue: bool = False,
        fifo: bool = False,
    ) -> None:
        """Define the queue and its alarm.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            holds: What its messages are, in the plural, for the alarm's description.
            key: The stage's key.
            alerts: Receives the alarm.
            of_queue: Whether it serves another queue; cdk-nag recognises such a dead-letter queue by itself.
            fifo: Whether that queue is first in, first out. Its dead-letter queue must be, too.
        """
        super().__init__(scope, construct_id)
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key.key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
            # None, not False, for a standard queue: CloudFormation refuses the property there.
            fifo=fifo or None,
        )
        if not of_queue:
            acknowledge(
                self.queue,
                "SQS3",
                reason="This queue is itself a dead-letter queue: of rule targets, or of asynchronous function calls.",
            )
        self.alarm = cloudwatch.CfnAlarm(
            self,
            "Alarm",
            alarm_description=f"{holds} are in a dead-letter queue. Read the queue, fix the cause, then resend them.",
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="QueueName", value=self.queue.queue_name)],
            statistic="Maximum",
            period=60,
            evaluation_periods=1,
            threshold=0,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[alerts.arn],
        )

    def take_undelivered(self, rule: events.CfnRule) -> None:
        """Receive the events that a rule which CDK wrote cannot hand to its target within an hour."""
        rule.add_property_override("Targets.0.DeadLetterConfig.Arn", self.queue.queue_arn)
        rule.add_property_override(
            "Targets.0.RetryPolicy", {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 20}
        )
        self.queue.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.queue.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": rule.attr_arn}},
            )
        )

    def grant_send(self, grantee: Grantee) -> None:
        """Allow sending messages."""
        grantee.allow(["sqs:SendMessage"], on=[self.queue.queue_arn])
