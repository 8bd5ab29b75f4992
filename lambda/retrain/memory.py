"""What the controller remembers of one model, in the ledger (docs/reference/contracts.md, "Retrain ledger rows")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from retrain.world import Attempt, Flight, Request, Told
from shared.canonical import sha256_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, PutTypeDef, UniversalAttributeValueTypeDef

    Item = dict[str, UniversalAttributeValueTypeDef]

_STATE = "retrain#"
# TRIGGER and WINDOW are words that DynamoDB keeps for itself.
_SAME_ATTEMPT = "trigger_kind = :trigger AND window_id = :window"
_SAME_TOLD = "about = :about AND told_at = :at"
_DECISION = "retrain-decision#"
_DAY = 24 * 3600
_AUDIT_SECONDS = 400 * _DAY
_IDLE_SECONDS = 35 * _DAY
# A tick: the same idle decision is written once in each.
_TICK_SECONDS = 15 * 60


class Overtaken(Exception):
    """Another invocation was faster; the next one looks again."""


@dataclass(frozen=True)
class Remembered:
    """All that is remembered of one model but its verdicts."""

    attempts: tuple[Attempt, ...] = ()
    flight: Flight | None = None
    settled: frozenset[str] = frozenset()
    requests: tuple[Request, ...] = ()
    told: Mapping[str, Told] = field(default_factory=dict)


class Memory:
    """One model's retrain rows in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}

    def read(self) -> Remembered:
        """Read all of it by one query."""
        rows: dict[str, dict[str, AttributeValueTypeDef]] = {}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": self._pk, ":prefix": {"S": _STATE}},
        )
        for page in pages:
            rows |= {item["sk"]["S"].removeprefix(_STATE): item for item in page["Items"]}
        flight = rows.get("flight")
        return Remembered(
            attempts=tuple(_attempt(row) for key, row in rows.items() if key.startswith("attempt#")),
            flight=Flight(_attempt(flight), landed=flight["landed"]["BOOL"]) if flight else None,
            settled=frozenset(key.removeprefix("run#") for key in rows if key.startswith("run#")),
            requests=tuple(_request(row) for key, row in rows.items() if key.startswith("request#")),
            told={key.removeprefix("told#"): _told(row) for key, row in rows.items() if key.startswith("told#")},
        )

    def claim(self, observed: Flight | None, attempt: Attempt) -> None:
        """Take the flight for `attempt` and remember it, both or neither.

        The flight must still be the one that was observed, and landed: so two invocations that saw the same world
        cannot both start a run, however long one of them slept. The attempt must be new: what was trained is not
        trained again on the same evidence.

        Raises:
            Overtaken: either is not so.
        """
        fields = _attempt_item(attempt)
        flight: PutTypeDef = {
            "TableName": self._table,
            "Item": self._row("flight", {**fields, "landed": {"BOOL": False}}),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        if observed is not None:
            flight["ConditionExpression"] = f"{_SAME_ATTEMPT} AND landed = :landed"
            flight["ExpressionAttributeValues"] = {**_attempt_values(observed.attempt), ":landed": {"BOOL": True}}
        memory: PutTypeDef = {
            "TableName": self._table,
            "Item": self._row(f"attempt#{attempt.trigger}#{attempt.window}", fields | _ttl(attempt.at, _AUDIT_SECONDS)),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        try:
            self._dynamodb.transact_write_items(TransactItems=[{"Put": flight}, {"Put": memory}])
        except ClientError as error:
            if error.response["Error"]["Code"] in {"TransactionCanceledException", "TransactionConflictException"}:
                raise Overtaken("another invocation claimed the flight, or answered this evidence") from error
            raise

    def land(self, flight: Flight) -> None:
        """Say that the flight's run has ended.

        Raises:
            Overtaken: it is another flight by now.
        """
        row = self._row("flight", {**_attempt_item(flight.attempt), "landed": {"BOOL": True}})
        self._put_if(row, _SAME_ATTEMPT, _attempt_values(flight.attempt))

    def settle(self, run_id: str, *, status: str, reason: str, now: datetime) -> None:
        """Say that people know how a run ended."""
        fields: Item = {"status": {"S": status}, "reason": {"S": reason}, "at": {"S": now.isoformat()}}
        self._put(f"run#{run_id}", fields | _ttl(now, _AUDIT_SECONDS))

    def ask(self, request: Request) -> None:
        """Remember a request until it is answered."""
        fields: Item = {
            "trigger": {"S": request.trigger},
            "id": {"S": request.id},
            "reason": {"S": request.reason},
            "at": {"S": request.at.isoformat()},
            "commit": {"S": request.commit},
            "refused": {"S": request.refused},
            "author": {"S": request.author},
        }
        self._put(f"request#{request.trigger}#{request.id}", fields | _ttl(request.at, _AUDIT_SECONDS))

    def claim_telling(self, topic: str, observed: Told | None, about: str, now: datetime) -> None:
        """Take the right to tell about a topic.

        Raises:
            Overtaken: somebody else took it.
        """
        row = self._told_row(topic, Told(about, now, sent=False))
        if observed is None:
            self._put_if(row, "attribute_not_exists(pk)", {})
        else:
            self._put_if(row, _SAME_TOLD, _told_values(observed))

    def told(self, topic: str, told: Told) -> None:
        """Write down what was told, or that it holds no longer."""
        self._dynamodb.put_item(TableName=self._table, Item=self._told_row(topic, told))

    def lapse(self, topic: str, observed: Told) -> None:
        """Say that a topic holds no longer, unless it was just told anew."""
        row = self._told_row(topic, Told(observed.about, observed.at, observed.sent, lapsed=True))
        self._put_if(row, _SAME_TOLD, _told_values(observed))

    def write_decision(self, step: str, reason: str, *, acted: bool, now: datetime, request_id: str) -> None:
        """Write a decision down. What was done is kept 400 days under its own time; the same idleness once a tick."""
        at = now.astimezone(UTC)
        if acted:
            key = f"{at.isoformat(timespec='microseconds')}#{request_id}"
        else:
            tick = datetime.fromtimestamp(int(now.timestamp()) // _TICK_SECONDS * _TICK_SECONDS, UTC)
            key = f"{tick.isoformat()}#{sha256_of(f'{step}|{reason}'.encode())[:8]}"
        row: Item = {
            "pk": self._pk,
            "sk": {"S": f"{_DECISION}{key}"},
            "step": {"S": step},
            "reason": {"S": reason},
            "at": {"S": at.isoformat()},
            **_ttl(now, _AUDIT_SECONDS if acted else _IDLE_SECONDS),
        }
        self._dynamodb.put_item(TableName=self._table, Item=row)

    def _told_row(self, topic: str, told: Told) -> Item:
        return self._row(
            f"told#{topic}",
            {
                "about": {"S": told.about},
                "told_at": {"S": told.at.isoformat()},
                "sent": {"BOOL": told.sent},
                "lapsed": {"BOOL": told.lapsed},
                **_ttl(told.at, _AUDIT_SECONDS),
            },
        )

    def _row(self, key: str, fields: Item) -> Item:
        return {"pk": self._pk, "sk": {"S": f"{_STATE}{key}"}, **fields}

    def _put(self, key: str, fields: Item) -> None:
        self._dynamodb.put_item(TableName=self._table, Item=self._row(key, fields))

    def _put_if(self, row: Item, condition: str, values: Item) -> None:
        try:
            if values:
                self._dynamodb.put_item(
                    TableName=self._table, Item=row, ConditionExpression=condition, ExpressionAttributeValues=values
                )
            else:
                self._dynamodb.put_item(TableName=self._table, Item=row, ConditionExpression=condition)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise Overtaken("another invocation changed the row since it was read") from error
            raise


def _attempt_values(attempt: Attempt) -> Item:
    return {":trigger": {"S": attempt.trigger}, ":window": {"S": attempt.window}}


def _told_values(told: Told) -> Item:
    return {":about": {"S": told.about}, ":at": {"S": told.at.isoformat()}}


def _attempt_item(attempt: Attempt) -> Item:
    return {
        "trigger_kind": {"S": attempt.trigger},
        "window_id": {"S": attempt.window},
        "evidence": {"S": attempt.evidence},
        "at": {"S": attempt.at.isoformat()},
        "parameters": {"S": json.dumps(dict(attempt.parameters), sort_keys=True, ensure_ascii=False)},
    }


def _attempt(item: Mapping[str, AttributeValueTypeDef]) -> Attempt:
    return Attempt(
        item["trigger_kind"]["S"],
        item["window_id"]["S"],
        item["evidence"]["S"],
        datetime.fromisoformat(item["at"]["S"]),
        tuple(sorted(json.loads(item["parameters"]["S"]).items())),
    )


def _request(item: Mapping[str, AttributeValueTypeDef]) -> Request:
    at = datetime.fromisoformat(item["at"]["S"])
    trigger, identity, reason = (item[name]["S"] for name in ("trigger", "id", "reason"))
    # A row outlives a deployment: one that was written before requests had an author has none.
    author = item.get("author", {}).get("S", "")
    return Request(trigger, identity, reason, at, item["commit"]["S"], item["refused"]["S"], author)


def _told(item: Mapping[str, AttributeValueTypeDef]) -> Told:
    at = datetime.fromisoformat(item["told_at"]["S"])
    return Told(item["about"]["S"], at, item["sent"]["BOOL"], item["lapsed"]["BOOL"])


def _ttl(now: datetime, seconds: int) -> Item:
    return {"ttl": {"N": str(int(now.timestamp()) + seconds)}}
