"""Leases, quarantine, approvals and decisions in one DynamoDB table (docs/reference/contracts.md, "Ledger")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef

_LEASE = "lease"
_QUARANTINE = "quarantine#"
_APPROVAL = "approval#"
_DECISION_SECONDS = 400 * 24 * 3600


class LeaseLost(Exception):
    """Somebody else took or changed the lease since it was read; whoever holds it goes on."""


@dataclass(frozen=True)
class Lease:
    """The right to change one model's stage.

    Attributes:
        owner: who holds it; the release controller's start with `release-controller/`.
        purpose: `prepare`, `release` or `rollback` (the controller's), or a deployer's own word.
        release_id: what is being released.
        previous: the release record to restore.
        acquired_at: epoch seconds.
        expires_at: epoch seconds; from then on anybody may take it.
        stack_updated_at: the stack's LastUpdatedTime when the lease was taken ("" for never): another one means that
            the stack has moved since, whatever the clocks say.
        endpoint_config: the endpoint's configuration when the lease was taken ("" for none): what a rollback goes
            back to.
    """

    owner: str
    purpose: str
    release_id: str
    previous: str
    acquired_at: int
    expires_at: int
    stack_updated_at: str = ""
    endpoint_config: str = ""


@dataclass(frozen=True)
class Quarantine:
    """A version that may not be deployed until a person approves it again."""

    version: int
    reason: str
    at: datetime
    package_arn: str

    def bars(self, modified_at: datetime) -> bool:
        """Whether it still holds for a package that was last edited then: a later edit frees it."""
        return modified_at <= self.at


@dataclass(frozen=True)
class Approval:
    """Who approved a version, as it was first seen: the registry itself only knows the last edit.

    Attributes:
        approver: a principal's ARN or a Studio profile's name, "unknown" where SageMaker does not say.
        at: of the approval, by SageMaker's clock.
        description: what the approver wrote.
    """

    version: int
    approver: str
    at: datetime
    description: str


@dataclass(frozen=True)
class Decision:
    """What was decided, and why."""

    step: str
    reason: str
    desired: str
    actual: str
    approver: str


class Ledger:
    """One model's rows of the ledger in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}

    def lease(self) -> Lease | None:
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"pk": self._pk, "sk": {"S": _LEASE}}, ConsistentRead=True
        ).get("Item")
        if item is None:
            return None
        return Lease(
            owner=_text(item, "owner"),
            purpose=_text(item, "purpose"),
            release_id=_text(item, "release_id"),
            previous=_text(item, "previous"),
            acquired_at=_number(item, "acquired_at"),
            expires_at=_number(item, "expires_at"),
            stack_updated_at=_text(item, "stack_updated_at"),
            endpoint_config=_text(item, "endpoint_config"),
        )

    def swap_lease(self, observed: Lease | None, wanted: Lease) -> None:
        """Write `wanted` where `observed` is still what the table holds.

        Raises:
            LeaseLost: the table holds something else by now.
        """
        condition, names, values = _unchanged(observed)
        item: dict[str, UniversalAttributeValueTypeDef] = {
            "pk": self._pk,
            "sk": {"S": _LEASE},
            "owner": {"S": wanted.owner},
            "purpose": {"S": wanted.purpose},
            "release_id": {"S": wanted.release_id},
            "previous": {"S": wanted.previous},
            "acquired_at": {"N": str(wanted.acquired_at)},
            "expires_at": {"N": str(wanted.expires_at)},
            "stack_updated_at": {"S": wanted.stack_updated_at},
            "endpoint_config": {"S": wanted.endpoint_config},
        }
        try:
            if names:
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                )
            else:
                self._dynamodb.put_item(TableName=self._table, Item=item, ConditionExpression=condition)
        except ClientError as error:
            raise _lost_or(error) from error

    def release_lease(self, held: Lease) -> None:
        """Delete the lease where `held` is still what the table holds.

        Raises:
            LeaseLost: the table holds something else by now.
        """
        condition, names, values = _unchanged(held)
        try:
            self._dynamodb.delete_item(
                TableName=self._table,
                Key={"pk": self._pk, "sk": {"S": _LEASE}},
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            raise _lost_or(error) from error

    def quarantined(self) -> dict[int, Quarantine]:
        """Return the quarantine by version."""
        return {
            version: Quarantine(
                version, _text(item, "reason"), datetime.fromisoformat(item["at"]["S"]), _text(item, "package_arn")
            )
            for version, item in self._by_version(_QUARANTINE)
        }

    def quarantine(self, entry: Quarantine) -> None:
        """Put a version into quarantine, anew where it was in before: only an approval after this failure frees it."""
        self._dynamodb.put_item(
            TableName=self._table,
            Item={
                "pk": self._pk,
                "sk": {"S": f"{_QUARANTINE}{entry.version:06d}"},
                "reason": {"S": entry.reason},
                "at": {"S": entry.at.isoformat()},
                "package_arn": {"S": entry.package_arn},
            },
        )

    def approvals(self) -> dict[int, Approval]:
        """Return the approvals that were seen, by version."""
        return {
            version: Approval(
                version, _text(item, "approver"), datetime.fromisoformat(item["at"]["S"]), _text(item, "description")
            )
            for version, item in self._by_version(_APPROVAL)
        }

    def remember_approval(self, approval: Approval) -> None:
        """Keep an approval; a later one of the same version replaces it, an earlier one never does."""
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": self._pk,
                    "sk": {"S": f"{_APPROVAL}{approval.version:06d}"},
                    "approver": {"S": approval.approver},
                    "at": {"S": _iso(approval.at)},
                    "description": {"S": approval.description},
                },
                ConditionExpression="attribute_not_exists(pk) OR #at < :at",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues={":at": {"S": _iso(approval.at)}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def last_decision(self) -> Decision | None:
        found = self._dynamodb.query(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": self._pk, ":prefix": {"S": "decision#"}},
            ScanIndexForward=False,
            Limit=1,
        )["Items"]
        if not found:
            return None
        return Decision(*(_text(found[0], name) for name in Decision.__dataclass_fields__))

    def write_decision(self, decision: Decision, *, now: datetime, request_id: str) -> None:
        """Write a decision; rows are never changed, and go 400 days later."""
        item: dict[str, UniversalAttributeValueTypeDef] = {
            "pk": self._pk,
            "sk": {"S": f"decision#{_iso(now)}#{request_id}"},
            "ttl": {"N": str(int(now.timestamp()) + _DECISION_SECONDS)},
        }
        for name in Decision.__dataclass_fields__:
            item[name] = {"S": getattr(decision, name)}
        self._dynamodb.put_item(TableName=self._table, Item=item)

    def _by_version(self, prefix: str) -> Iterator[tuple[int, dict[str, AttributeValueTypeDef]]]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": self._pk, ":prefix": {"S": prefix}},
        )
        for page in pages:
            for item in page["Items"]:
                yield int(item["sk"]["S"].removeprefix(prefix)), item


def _iso(moment: datetime) -> str:
    """Microseconds in UTC, so that text sorts as time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _unchanged(observed: Lease | None) -> tuple[str, dict[str, str], dict[str, UniversalAttributeValueTypeDef]]:
    """Say "the row is still `observed`" as a condition expression.

    Who, why, since when and until when is an identity: one invocation never takes a lease twice for the same purpose.
    """
    if observed is None:
        return "attribute_not_exists(pk)", {}, {}
    return (
        "#owner = :owner AND #purpose = :purpose AND acquired_at = :acquired AND expires_at = :expires",
        {"#owner": "owner", "#purpose": "purpose"},
        {
            ":owner": {"S": observed.owner},
            ":purpose": {"S": observed.purpose},
            ":acquired": {"N": str(observed.acquired_at)},
            ":expires": {"N": str(observed.expires_at)},
        },
    )


def _lost_or(error: ClientError) -> Exception:
    if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
        return LeaseLost("the lease was taken or changed by somebody else since it was read")
    return error


def _text(item: dict[str, AttributeValueTypeDef], name: str) -> str:
    return item.get(name, {}).get("S", "")


def _number(item: dict[str, AttributeValueTypeDef], name: str) -> int:
    return int(float(item.get(name, {}).get("N", "0")))
