"""The release rows of the ledger: lease, quarantine, approvals, decisions (docs/reference/contracts.md, "Ledger")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.errors import Overtaken, is_failed_condition
from shared.rows import SCHEMA_VERSION, flag, moment, number, read_rows, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UniversalAttributeValueTypeDef

_LEASE = "lease"
_UNFINISHED = "unfinished"
LEASE_OWNER_PREFIX = "release-controller/"
_QUARANTINE = "quarantine#"
_APPROVAL = "approval#"
_MONITORS = "monitors"
_WAITING = "waiting"
_DECISION_SECONDS = 400 * 24 * 3600


class LeaseLost(Overtaken):
    """Another invocation or deployer took or changed the lease after it was read."""


class LeasePurpose(StrEnum):
    """The release controller's purposes of a lease. Other deployers use words of their own."""

    PREPARE = "prepare"
    RELEASE = "release"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Lease:
    """The right to change one model's stage.

    Attributes:
        owner: The holder. The release controller's owners start with `release-controller/`.
        purpose: A `LeasePurpose`, or another deployer's own word.
        release_id: The release under way.
        previous: The release record to restore.
        acquired_at: Epoch seconds.
        expires_at: Epoch seconds. From then on anyone may take the lease.
        stack_updated_at: The stack's LastUpdatedTime when the lease was taken, "" for never. A different time proves
            that the stack was updated since, independent of any clock.
        endpoint_config: The endpoint's configuration when the lease was taken, "" for none. A rollback returns to it.
    """

    owner: str
    purpose: str
    release_id: str
    previous: str
    acquired_at: int
    expires_at: int
    stack_updated_at: str = ""
    endpoint_config: str = ""

    @property
    def is_controllers(self) -> bool:
        """True if the release controller holds it. Only the release controller ends such a lease."""
        return self.owner.startswith(LEASE_OWNER_PREFIX)


@dataclass(frozen=True)
class Quarantine:
    """A version that must not be deployed until a person approves it again."""

    version: int
    reason: str
    at: datetime
    package_arn: str

    def applies_to(self, modified_at: datetime) -> bool:
        """Return whether it still applies to a package with this last edit. A later edit ends the quarantine."""
        return modified_at <= self.at


@dataclass(frozen=True)
class Approval:
    """The first observed approval of a version. The registry itself records the last edit only.

    Attributes:
        approver: A principal's ARN or a Studio profile's name; "unknown" where SageMaker does not name one.
        at: Time of the approval, by SageMaker's clock.
        description: The approver's text.
    """

    version: int
    approver: str
    at: datetime
    description: str


@dataclass(frozen=True)
class ReleaseDecision:
    """A decision of the release controller, as the ledger records it.

    Attributes:
        step: A `Step`.
        desired: The desired release or version, "none" where there is none.
        actual: The release that is live, "none" or "unknown".
        approver: The approver of the desired version.
    """

    step: str
    reason: str
    desired: str
    actual: str
    approver: str


@dataclass(frozen=True)
class MonitorFailure:
    """The last update of the monitors, which failed.

    Attributes:
        reason: Why, as CloudFormation says it, without the ids of the request.
        closed: AWS does not offer Model Monitor to this account. Only a deployment can change that.
        at: When it was observed.
        stack_updated_at: The stack's LastUpdatedTime then. Another one proves that somebody deployed the stack since.
    """

    reason: str
    closed: bool
    at: datetime
    stack_updated_at: str

    def is_news(self, earlier: MonitorFailure | None) -> bool:
        """Return whether people do not know this failure yet."""
        if earlier is None or self.closed is not earlier.closed:
            return True
        return not self.closed and self.reason != earlier.reason


class ReleaseLedger:
    """One model's release rows in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}

    def lease(self) -> Lease | None:
        """Return the lease, None where it is free."""
        return self._read_lease(_LEASE)

    def unfinished(self) -> Lease | None:
        """Return the release that was begun and not ended, None for none. It outlives its lease."""
        return self._read_lease(_UNFINISHED)

    def _read_lease(self, key: str) -> Lease | None:
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"pk": self._pk, "sk": {"S": key}}, ConsistentRead=True
        ).get("Item")
        if item is None:
            return None
        return Lease(
            owner=text(item, "owner"),
            purpose=text(item, "purpose"),
            release_id=text(item, "release_id"),
            previous=text(item, "previous"),
            acquired_at=int(number(item, "acquired_at")),
            expires_at=int(number(item, "expires_at")),
            stack_updated_at=text(item, "stack_updated_at"),
            endpoint_config=text(item, "endpoint_config"),
        )

    def write_unfinished(self, lease: Lease) -> None:
        """Record what to restore if the release fails, apart from the lease. Call it before the record is changed."""
        self._dynamodb.put_item(TableName=self._table, Item=self._lease_item(_UNFINISHED, lease))

    def finish(self, lease: Lease) -> None:
        """Delete the row of an unfinished release, unless it is already that of a later one."""
        try:
            self._dynamodb.delete_item(
                TableName=self._table,
                Key={"pk": self._pk, "sk": {"S": _UNFINISHED}},
                ConditionExpression="acquired_at = :acquired AND release_id = :release",
                ExpressionAttributeValues={
                    ":acquired": {"N": str(lease.acquired_at)},
                    ":release": {"S": lease.release_id},
                },
            )
        except ClientError as error:
            if not is_failed_condition(error):
                raise

    def _lease_item(self, key: str, lease: Lease) -> dict[str, UniversalAttributeValueTypeDef]:
        return {
            "pk": self._pk,
            "sk": {"S": key},
            "owner": {"S": lease.owner},
            "purpose": {"S": lease.purpose},
            "release_id": {"S": lease.release_id},
            "previous": {"S": lease.previous},
            "acquired_at": {"N": str(lease.acquired_at)},
            "expires_at": {"N": str(lease.expires_at)},
            "stack_updated_at": {"S": lease.stack_updated_at},
            "endpoint_config": {"S": lease.endpoint_config},
            **SCHEMA_VERSION,
        }

    def swap_lease(self, observed: Lease | None, wanted: Lease) -> None:
        """Replace `observed` by `wanted`.

        Raises:
            LeaseLost: The lease is no longer the observed one.
        """
        condition, names, values = _unchanged(observed)
        item = self._lease_item(_LEASE, wanted)
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
        """Delete the lease.

        Raises:
            LeaseLost: The lease is no longer the one held.
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
        """Return the quarantine entries by version."""
        rows, _ = read_rows(self._items(_QUARANTINE), _quarantine)
        return {row.version: row for row in rows}

    def quarantine(self, entry: Quarantine) -> None:
        """Quarantine a version, again where it was quarantined before. Only a later approval ends the quarantine."""
        self._dynamodb.put_item(
            TableName=self._table,
            Item={
                "pk": self._pk,
                "sk": {"S": f"{_QUARANTINE}{entry.version:06d}"},
                "reason": {"S": entry.reason},
                "at": {"S": entry.at.isoformat()},
                "package_arn": {"S": entry.package_arn},
                **SCHEMA_VERSION,
            },
        )

    def approvals(self) -> dict[int, Approval]:
        """Return the observed approvals by version."""
        rows, _ = read_rows(self._items(_APPROVAL), _approval)
        return {row.version: row for row in rows}

    def write_approval(self, approval: Approval) -> None:
        """Write an approval. A later one of the same version replaces it, an earlier one never does."""
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": self._pk,
                    "sk": {"S": f"{_APPROVAL}{approval.version:06d}"},
                    "approver": {"S": approval.approver},
                    "at": {"S": _iso(approval.at)},
                    "description": {"S": approval.description},
                    **SCHEMA_VERSION,
                },
                ConditionExpression="attribute_not_exists(pk) OR #at < :at",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues={":at": {"S": _iso(approval.at)}},
            )
        except ClientError as error:
            if not is_failed_condition(error):
                raise

    def monitor_failure(self) -> MonitorFailure | None:
        """Return the failure of the monitors' last update, None where it did not fail."""
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"pk": self._pk, "sk": {"S": _MONITORS}}, ConsistentRead=True
        ).get("Item")
        if item is None:
            return None
        return MonitorFailure(
            reason=text(item, "reason"),
            closed=flag(item, "closed"),
            at=moment(item, "at") if "at" in item else datetime.min.replace(tzinfo=UTC),
            stack_updated_at=text(item, "stack_updated_at"),
        )

    def write_monitor_failure(self, failure: MonitorFailure) -> None:
        """Write the failure of the monitors' last update over an earlier one."""
        self._dynamodb.put_item(
            TableName=self._table,
            Item={
                "pk": self._pk,
                "sk": {"S": _MONITORS},
                "reason": {"S": failure.reason},
                "closed": {"BOOL": failure.closed},
                "at": {"S": _iso(failure.at)},
                "stack_updated_at": {"S": failure.stack_updated_at},
                **SCHEMA_VERSION,
            },
        )

    def clear_monitor_failure(self) -> None:
        """Delete the failure: the monitors are up to date, or there are none."""
        self._dynamodb.delete_item(TableName=self._table, Key={"pk": self._pk, "sk": {"S": _MONITORS}})

    def last_decision(self) -> ReleaseDecision | None:
        """Return the newest decision, None before the first one."""
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
        return ReleaseDecision(*(text(found[0], name) for name in ReleaseDecision.__dataclass_fields__))

    def write_decision(self, decision: ReleaseDecision, *, now: datetime, request_id: str) -> None:
        """Write a decision. Rows are never changed and expire after 400 days."""
        item: dict[str, UniversalAttributeValueTypeDef] = {
            "pk": self._pk,
            "sk": {"S": f"decision#{_iso(now)}#{request_id}"},
            "ttl": {"N": str(int(now.timestamp()) + _DECISION_SECONDS)},
            **SCHEMA_VERSION,
        }
        for name in ReleaseDecision.__dataclass_fields__:
            item[name] = {"S": getattr(decision, name)}
        self._dynamodb.put_item(TableName=self._table, Item=item)

    def unreadable(self) -> tuple[str, ...]:
        """Return the rows that cannot be read, with what is wrong with each."""
        return read_rows(self._items(_QUARANTINE), _quarantine)[1] + read_rows(self._items(_APPROVAL), _approval)[1]

    def waiting(self) -> tuple[str, datetime] | None:
        """Return what is awaited and since when; None where nothing is."""
        item = self._dynamodb.get_item(
            TableName=self._table, Key={"pk": self._pk, "sk": {"S": _WAITING}}, ConsistentRead=True
        ).get("Item")
        if item is None or not read_rows([item], lambda row: moment(row, "since"))[0]:
            return None
        return text(item, "awaited"), moment(item, "since")

    def write_waiting(self, awaited: str, since: datetime) -> None:
        """Record what is awaited and since when."""
        self._dynamodb.put_item(
            TableName=self._table,
            Item={
                "pk": self._pk,
                "sk": {"S": _WAITING},
                "awaited": {"S": awaited},
                "since": {"S": _iso(since)},
                **SCHEMA_VERSION,
            },
        )

    def _items(self, prefix: str) -> Iterator[dict[str, AttributeValueTypeDef]]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": self._pk, ":prefix": {"S": prefix}},
        )
        for page in pages:
            yield from page["Items"]


def _quarantine(item: Mapping[str, AttributeValueTypeDef]) -> Quarantine:
    """Return a quarantine. One whose time cannot be read never ends: it must not be lifted by a damaged row."""
    at, _ = read_rows([item], lambda row: moment(row, "at"))
    version = int(item["sk"]["S"].removeprefix(_QUARANTINE))
    ends = at[0] if at else datetime.max.replace(tzinfo=UTC)
    return Quarantine(version, text(item, "reason"), ends, text(item, "package_arn"))


def _approval(item: Mapping[str, AttributeValueTypeDef]) -> Approval:
    version = int(item["sk"]["S"].removeprefix(_APPROVAL))
    return Approval(version, text(item, "approver"), moment(item, "at"), text(item, "description"))


def _iso(at: datetime) -> str:
    """Return microseconds in UTC, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _unchanged(observed: Lease | None) -> tuple[str, dict[str, str], dict[str, UniversalAttributeValueTypeDef]]:
    """Return the condition that the row is still `observed`: expression, names and values.

    Owner, purpose and both times identify a lease: one invocation never takes it twice for the same purpose.
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
    if is_failed_condition(error):
        return LeaseLost("another invocation or deployer took or changed the lease after it was read")
    return error
