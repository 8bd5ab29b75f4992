"""Topics that were told: one mechanism for all controllers to send each topic once until it is resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.errors import Overtaken, is_failed_condition
from shared.notifications import (
    AlertPublisher,
    Notification,
    NotificationState,
    Reminders,
    is_due,
    resolved_topics,
)
from shared.rows import SCHEMA_VERSION, flag, moment, read_rows, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef

    Item = dict[str, UniversalAttributeValueTypeDef]

_SAME = "about = :about AND told_at = :at"
_SECONDS = 400 * 24 * 3600
# A topic that was resolved and holds again is news; one that still holds is not.
ONCE = Reminders(recurring=timedelta(0), continuing=timedelta(days=3650))


class ToldTopics:
    """One model's rows of what was told in one stage.

    Args:
        dynamodb: The client.
        table: The ledger.
        model: The model.
        stage: The stage.
        prefix: The beginning of the rows' sort keys, one for each controller.
    """

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str, prefix: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}
        self._prefix = prefix

    def read(self) -> dict[str, NotificationState]:
        """Return the states by topic."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": self._pk, ":prefix": {"S": self._prefix}},
        )
        states, _ = read_rows((item for page in pages for item in page["Items"]), self.parse)
        return dict(states)

    def parse(self, item: Mapping[str, AttributeValueTypeDef]) -> tuple[str, NotificationState]:
        """Return the topic and the state of a row."""
        state = NotificationState(
            text(item, "about"),
            moment(item, "told_at"),
            flag(item, "sent", default=True),
            flag(item, "lapsed"),
        )
        return item["sk"]["S"].removeprefix(self._prefix), state

    def claim(self, observed: NotificationState | None, notification: Notification, now: datetime) -> None:
        """Claim the right to send a notification.

        Raises:
            Overtaken: Another invocation claimed it.
        """
        self._put_if(notification.topic, NotificationState(notification.detail, now, sent=False), observed)

    def write(self, topic: str, state: NotificationState) -> None:
        """Record the state of a topic."""
        self._dynamodb.put_item(TableName=self._table, Item=self._row(topic, state))

    def resolve(self, topic: str, observed: NotificationState) -> None:
        """Record that a topic no longer holds.

        Raises:
            Overtaken: The topic was just sent again.
        """
        self._put_if(topic, replace(observed, resolved=True), observed)

    def _put_if(self, topic: str, state: NotificationState, observed: NotificationState | None) -> None:
        row = self._row(topic, state)
        try:
            if observed is None:
                self._dynamodb.put_item(TableName=self._table, Item=row, ConditionExpression="attribute_not_exists(pk)")
                return
            self._dynamodb.put_item(
                TableName=self._table,
                Item=row,
                ConditionExpression=_SAME,
                ExpressionAttributeValues={
                    ":about": {"S": observed.detail},
                    ":at": {"S": observed.at.isoformat()},
                },
            )
        except ClientError as error:
            if is_failed_condition(error):
                raise Overtaken("another invocation changed the row after it was read") from error
            raise

    def _row(self, topic: str, state: NotificationState) -> Item:
        return {
            "pk": self._pk,
            "sk": {"S": f"{self._prefix}{topic}"},
            "about": {"S": state.detail},
            "told_at": {"S": state.at.isoformat()},
            "sent": {"BOOL": state.sent},
            "lapsed": {"BOOL": state.resolved},
            "ttl": {"N": str(int(state.at.timestamp()) + _SECONDS)},
            **SCHEMA_VERSION,
        }


class Notifier:
    """Sends each topic once until it is resolved, whoever looks meanwhile.

    Args:
        topics: The rows.
        alerts: Publishes the alerts.
        reminders: When a topic is sent again.
        now: The clock.
    """

    def __init__(
        self, topics: ToldTopics, alerts: AlertPublisher, now: Callable[[], datetime], *, reminders: Reminders = ONCE
    ) -> None:
        self._topics = topics
        self._alerts = alerts
        self._now = now
        self._reminders = reminders

    def notify(self, states: Mapping[str, NotificationState], notification: Notification) -> bool:
        """Send a notification if it is due. Only the claimant sends it; the claim of a dead invocation is taken over.

        Returns:
            Whether it was sent.
        """
        observed, now = states.get(notification.topic), self._now()
        if not is_due(observed, notification, self._reminders, now):
            return False
        try:
            self._topics.claim(observed, notification, now)
        except Overtaken:
            return False
        self._alerts.publish(notification.subject, notification.alert)
        self._topics.write(notification.topic, NotificationState(notification.detail, now))
        return True

    def resolve(
        self, states: Mapping[str, NotificationState], topics: Sequence[str], holding: Sequence[Notification]
    ) -> None:
        """Record which of these topics were told and no longer hold. If one was just sent again, it does hold."""
        for topic in resolved_topics(states, topics, holding):
            try:
                self._topics.resolve(topic, states[topic])
            except Overtaken:
                continue
