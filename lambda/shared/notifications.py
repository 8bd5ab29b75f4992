"""Notifications to the people who are responsible for a model, and the rule that each is sent once.

An alert is read by an on-call engineer: what happened, what Evergreen did about it, what to do. A `Notification` is an
alert on a topic that may hold for days. A row of the ledger keeps its `NotificationState`, so that the topic is sent
once, again as news or as a reminder, and never by two invocations at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

# SNS limits a subject to 100 ASCII characters.
_SUBJECT_CHARACTERS = 100
# Publishing takes seconds. An older claim belongs to an invocation that died.
CLAIM_EXPIRES_AFTER = timedelta(minutes=16)
# The shortest time between two notifications on one topic with different details.
_NEWS_INTERVAL = timedelta(hours=1)

NO_ACTION = "No action needed"


@dataclass(frozen=True)
class Alert:
    """A message to the people who are responsible for a model. Each part is one sentence without its period.

    Attributes:
        event: What happened.
        response: What Evergreen did about it; "" where the event says it.
        action: What to do.
    """

    event: str
    response: str = ""
    action: str = NO_ACTION

    @property
    def text(self) -> str:
        """The sentences of the alert. The event starts in lower case: it follows the names of model and stage."""
        return " ".join(f"{part.rstrip('.')}." for part in (self.event, self.response, self.action) if part)


class AlertPublisher:
    """Publishes alerts about one model to the stage's alert topic."""

    def __init__(self, sns: SNSClient, topic_arn: str, *, model: str, stage: str) -> None:
        self._sns = sns
        self._topic_arn = topic_arn
        self._about = f"{model} in {stage}"

    def publish(self, subject: str, alert: Alert) -> None:
        """Publish an alert.

        Args:
            subject: The step or topic; the runbook has a heading for each. The subject line starts with model and
                stage.
            alert: The message.
        """
        line = f"{self._about}: {subject}".encode("ascii", "replace").decode()
        self._sns.publish(
            TopicArn=self._topic_arn, Subject=line[:_SUBJECT_CHARACTERS], Message=f"{self._about}: {alert.text}"
        )


@dataclass(frozen=True)
class Notification:
    """An alert on a topic.

    Attributes:
        topic: The kind of event, with a `#` and an id where it is about one run or request.
        detail: The subject within the topic. Another detail is news.
    """

    topic: str
    detail: str
    alert: Alert

    @property
    def subject(self) -> str:
        """The topic without an id."""
        return self.topic.partition("#")[0]


@dataclass(frozen=True)
class NotificationState:
    """The last notification on a topic.

    Attributes:
        detail: The detail that was sent.
        at: When.
        sent: False between the claim and the publication.
        resolved: A later look found that the topic no longer holds.
    """

    detail: str
    at: datetime
    sent: bool = True
    resolved: bool = False


@dataclass(frozen=True)
class Reminders:
    """The shortest time until a topic is sent again.

    Attributes:
        recurring: After the topic was resolved and holds again.
        continuing: While the topic holds.
    """

    recurring: timedelta
    continuing: timedelta


def is_due(state: NotificationState | None, notification: Notification, reminders: Reminders, now: datetime) -> bool:
    """Return whether to send a notification: at first sight, as news, when it recurs, or as a reminder."""
    if state is None:
        return True
    age = now - state.at
    if not state.sent:
        return age >= CLAIM_EXPIRES_AFTER
    if state.detail != notification.detail:
        return age >= _NEWS_INTERVAL
    return age >= (reminders.recurring if state.resolved else reminders.continuing)


def resolved_topics(
    states: Mapping[str, NotificationState], topics: Sequence[str], holding: Sequence[Notification]
) -> tuple[str, ...]:
    """Return those of `topics` that were sent and no longer hold."""
    held = {notification.topic for notification in holding}
    return tuple(topic for topic in topics if topic in states and topic not in held and not states[topic].resolved)
