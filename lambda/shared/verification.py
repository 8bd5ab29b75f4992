"""The verification row: what became of a release's verification in a stage (docs/reference/contracts.md, "Stages").

The release controller asks for a verification and reads the answer; the verify function writes it. The next stage reads
neither: it reads the object `verified.json` beside the release, which is written once, and only where it passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import UniversalAttributeValueTypeDef

ASKED, PASSED, FAILED = "asked", "passed", "failed"


@dataclass(frozen=True)
class Verification:
    """How far the verification of one release is.

    Attributes:
        outcome: `asked`, `passed` or `failed`.
        at: when it became so.
        reason: what failed, or what was measured, in one sentence.
    """

    release_id: str
    outcome: str
    at: datetime
    reason: str


class Verifications:
    """One model's verification rows in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}

    def read(self, release_id: str) -> Verification | None:
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"pk": self._pk, "sk": self._sk(release_id)}, ConsistentRead=True
        ).get("Item")
        if item is None:
            return None
        at = datetime.fromisoformat(item["at"]["S"])
        return Verification(release_id, item["outcome"]["S"], at, item["reason"]["S"])

    def write(self, verification: Verification) -> None:
        """Write how far it is; the last word counts, but what passed stays so."""
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": self._pk,
                    "sk": self._sk(verification.release_id),
                    "outcome": {"S": verification.outcome},
                    "at": {"S": verification.at.astimezone(UTC).isoformat()},
                    "reason": {"S": verification.reason},
                },
                ConditionExpression="attribute_not_exists(pk) OR outcome <> :passed",
                ExpressionAttributeValues={":passed": {"S": PASSED}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def _sk(self, release_id: str) -> UniversalAttributeValueTypeDef:
        return {"S": f"verification#{release_id}"}


def verified_key(model: str, release_id: str) -> str:
    """Return where a release's verification lies in its stage's artifact bucket."""
    return f"releases/{model}/{release_id}/verified.json"
