"""The verification row: the progress of a release's verification in a stage (docs/reference/contracts.md, "Stages").

The release controller requests a verification and reads the result; the verify function writes it. The next stage reads
neither. It reads the object `verified.json` beside the release, which is written once and only after success.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.errors import is_failed_condition
from shared.rows import SCHEMA_VERSION, moment, read_rows, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import UniversalAttributeValueTypeDef


class VerificationStatus(StrEnum):
    """The status of a verification. Its values are an audit schema."""

    ASKED = "asked"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class VerificationRow:
    """The verification of one release.

    Attributes:
        at: When it got this status.
        reason: The failure or the measurement, in one sentence.
    """

    release_id: str
    status: VerificationStatus
    at: datetime
    reason: str


class VerificationRows:
    """One model's verification rows in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}

    def read(self, release_id: str) -> VerificationRow | None:
        """Return a release's verification, None where none was requested."""
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"pk": self._pk, "sk": self._sk(release_id)}, ConsistentRead=True
        ).get("Item")
        if item is None:
            return None
        # A row that cannot be read counts as none: the verification is requested again.
        rows, _ = read_rows(
            [item],
            lambda row: VerificationRow(
                release_id, VerificationStatus(row["outcome"]["S"]), moment(row, "at"), text(row, "reason")
            ),
        )
        return rows[0] if rows else None

    def write(self, verification: VerificationRow) -> None:
        """Write a verification over an earlier one. A passed verification is never overwritten."""
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": self._pk,
                    "sk": self._sk(verification.release_id),
                    "outcome": {"S": verification.status},
                    "at": {"S": verification.at.astimezone(UTC).isoformat()},
                    "reason": {"S": verification.reason},
                    **SCHEMA_VERSION,
                },
                ConditionExpression="attribute_not_exists(pk) OR outcome <> :passed",
                ExpressionAttributeValues={":passed": {"S": VerificationStatus.PASSED}},
            )
        except ClientError as error:
            if not is_failed_condition(error):
                raise

    def _sk(self, release_id: str) -> UniversalAttributeValueTypeDef:
        return {"S": f"verification#{release_id}"}


def verified_key(model: str, release_id: str) -> str:
    """Return the key of a release's verification in its stage's artifact bucket."""
    return f"releases/{model}/{release_id}/verified.json"
