"""The queue of the models that a controller has to look at."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs.mlops.foundation.alerts import DeadLetterQueue
from constructs.mlops.foundation.handler import Handler, StageResources

_ATTEMPTS = 3
# At about a second a look, a thousand models take two minutes. More at once would exceed SageMaker's rates.
_MAXIMUM_CONCURRENCY = 10
_LATE = cdk.Duration.minutes(45)


class ModelQueue(Construct):
    """A queue with one message a model between a controller's events and its function.

    The model is the message group, so that two invocations never look at the same model and a slow model delays no
    other one. A message that fails three times goes to a dead-letter queue; the next tick brings the model again.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        handler: Handler,
        timeout: cdk.Duration,
        resources: StageResources,
        task: str,
    ) -> None:
        """Define the queue, its dead-letter queue, and the event source mapping.

        Args:
            scope: The parent.
            construct_id: The id within the parent.
            handler: The function that sends and handles the messages.
            timeout: The function's timeout.
            resources: The stage's shared resources.
            task: What the function does with a model, a verb, for the alarms' descriptions.
        """
        super().__init__(scope, construct_id)
        self.dead_letters = DeadLetterQueue(
            self,
            "Failed",
            holds=f"Models that could not be looked at to {task} them",
            key=resources.key,
            alerts=resources.alerts,
            of_queue=True,
            fifo=True,
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            fifo=True,
            # High throughput: limits count by message group.
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=resources.key.key,
            enforce_ssl=True,
            # While a message is invisible, no other one of its model is received. So it is not six times the timeout,
            # as Lambda recommends for batches: a message is a batch of its own, and the concurrency has no other bound.
            visibility_timeout=cdk.Duration.seconds(timeout.to_seconds() + 60),
            retention_period=cdk.Duration.days(1),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters.queue, max_receive_count=_ATTEMPTS),
        )
        handler.function.add_environment("MODEL_QUEUE_URL", self.queue.queue_url)
        lambda_.CfnEventSourceMapping(
            self,
            "Source",
            function_name=handler.function.function_arn,
            event_source_arn=self.queue.queue_arn,
            batch_size=1,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config=lambda_.CfnEventSourceMapping.ScalingConfigProperty(
                maximum_concurrency=_MAXIMUM_CONCURRENCY
            ),
        ).node.add_dependency(handler.role)
        handler.allow(
            [
                "sqs:SendMessage",
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ChangeMessageVisibility",
            ],
            on=[self.queue.queue_arn],
        )
        cloudwatch.CfnAlarm(
            self,
            "Late",
            alarm_description=f"Models to {task} have waited over an hour. Read the function's log.",
            namespace="AWS/SQS",
            metric_name="ApproximateAgeOfOldestMessage",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="QueueName", value=self.queue.queue_name)],
            statistic="Maximum",
            period=300,
            evaluation_periods=3,
            threshold=_LATE.to_seconds(),
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[resources.alerts.arn],
        )
