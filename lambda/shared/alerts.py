"""Alerts: one sentence to the people who answer for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

# SNS limits a subject to 100 ASCII characters.
_SUBJECT_CHARACTERS = 100


class Alerts:
    """Tell the stage's alert topic."""

    def __init__(self, sns: SNSClient, topic_arn: str) -> None:
        self._sns = sns
        self._topic_arn = topic_arn

    def tell(self, *, subject: str, sentence: str) -> None:
        """Publish one sentence that names model, stage, version, reason and what to do."""
        ascii_subject = subject.encode("ascii", "replace").decode()
        self._sns.publish(TopicArn=self._topic_arn, Subject=ascii_subject[:_SUBJECT_CHARACTERS], Message=sentence)
