"""The retrain rows of the ledger (docs/reference/contracts.md, "Retrain ledger rows")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from retrain.observation import Attempt, InFlightRun, RetrainRequest, RetrainState
from shared.canonical import sha256_of
from shared.errors import Overtaken, error_code, is_failed_condition
from shared.rows import SCHEMA_VERSION, flag, moment, read_rows, text
from shared.steps import Step
from shared.told import ToldTopics

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, PutTypeDef, UniversalAttributeValueTypeDef

    Item = dict[str, UniversalAttributeValueTypeDef]

_STATE = "retrain#"
# TRIGGER and WINDOW are reserved words of DynamoDB.
_SAME_ATTEMPT = "trigger_kind = :trigger AND window_id = :window"
_DECISION = "retrain-decision#"
_DAY = 24 * 3600
_AUDIT_SECONDS = 400 * _DAY
# As long as the longest budget, which counts attempts.
_ATTEMPT_SECONDS = 3700 * _DAY
_IDLE_SECONDS = 35 * _DAY
# The controller's tick. The same idle decision is written once per tick.
_TICK_SECONDS = 15 * 60


class RetrainStore:
    """One model's retrain rows in one stage."""

    def __init__(self, dynamodb: DynamoDBClient, table: str, *, model: str, stage: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pk: UniversalAttributeValueTypeDef = {"S": f"{model}#{stage}"}
        self.topics = ToldTopics(dynamodb, table, model=model, stage=stage, prefix=f"{_STATE}told#")

    def read(self) -> RetrainState:
        """Read the state with one query."""
        rows: dict[str, dict[str, AttributeValueTypeDef]] = {}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": self._pk, ":prefix": {"S": _STATE}},
        )
        for page in pages:
            rows |= {item["sk"]["S"].removeprefix(_STATE): item for item in page["Items"]}
        in_flight = rows.get("flight")
        attempts, bad_attempts = read_rows(_with_prefix(rows, "attempt#"), _attempt)
        requests, bad_requests = read_rows(_with_prefix(rows, "request#"), _request)
        told, _ = read_rows(_with_prefix(rows, "told#"), self.topics.parse)
        return RetrainState(
            attempts=attempts,
            # It keeps a second run from starting, so a row that cannot be read fails the look instead.
            in_flight=InFlightRun(_attempt(in_flight), finished=flag(in_flight, "landed")) if in_flight else None,
            reported_runs=frozenset(key.removeprefix("run#") for key in rows if key.startswith("run#")),
            requests=requests,
            notifications=dict(told),
            unreadable=bad_attempts + bad_requests,
        )

    def write_attempt(self, observed: InFlightRun | None, attempt: Attempt) -> None:
        """Record `attempt` and make it the in-flight run, in one transaction.

        The in-flight run must still be the observed one, and finished. So two invocations with the same observation
        cannot both start a run, however long one of them slept. The attempt must be new: the same evidence is answered
        once.

        Raises:
            Overtaken: One of the two conditions does not hold.
        """
        fields = _attempt_item(attempt)
        in_flight: PutTypeDef = {
            "TableName": self._table,
            "Item": self._row("flight", {**fields, "landed": {"BOOL": False}}),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        if observed is not None:
            in_flight["ConditionExpression"] = f"{_SAME_ATTEMPT} AND landed = :landed"
            in_flight["ExpressionAttributeValues"] = {**_attempt_values(observed.attempt), ":landed": {"BOOL": True}}
        record: PutTypeDef = {
            "TableName": self._table,
            "Item": self._row(
                f"attempt#{attempt.trigger}#{attempt.window}", fields | _ttl(attempt.at, _ATTEMPT_SECONDS)
            ),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        try:
            self._dynamodb.transact_write_items(TransactItems=[{"Put": in_flight}, {"Put": record}])
        except ClientError as error:
            if error_code(error) in {"TransactionCanceledException", "TransactionConflictException"}:
                raise Overtaken("another invocation started a run, or answered this evidence") from error
            raise

    def close_run(self, in_flight: InFlightRun) -> None:
        """Record that the in-flight run has ended.

        Raises:
            Overtaken: Another run is in flight by now.
        """
        row = self._row("flight", {**_attempt_item(in_flight.attempt), "landed": {"BOOL": True}})
        self._put_if(row, _SAME_ATTEMPT, _attempt_values(in_flight.attempt))

    def write_reported_run(self, run_id: str, *, status: str, reason: str, now: datetime) -> None:
        """Record that people were notified how a run ended."""
        fields: Item = {"status": {"S": status}, "reason": {"S": reason}, "at": {"S": now.isoformat()}}
        self._put(f"run#{run_id}", fields | _ttl(now, _AUDIT_SECONDS))

    def write_request(self, request: RetrainRequest) -> None:
        """Record a request, which stays open until it is answered or refused."""
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

    def write_decision(self, step: Step, reason: str, *, acted: bool, now: datetime, request_id: str) -> None:
        """Write a decision. An action is kept 400 days under its own time; the same idle decision once per tick."""
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
            **SCHEMA_VERSION,
            **_ttl(now, _AUDIT_SECONDS if acted else _IDLE_SECONDS),
        }
        self._dynamodb.put_item(TableName=self._table, Item=row)

    def _row(self, key: str, fields: Item) -> Item:
        return {"pk": self._pk, "sk": {"S": f"{_STATE}{key}"}, **fields, **SCHEMA_VERSION}

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
            if is_failed_condition(error):
                raise Overtaken("another invocation changed the row after it was read") from error
            raise


def _with_prefix(
    rows: Mapping[str, Mapping[str, AttributeValueTypeDef]], prefix: str
) -> list[Mapping[str, AttributeValueTypeDef]]:
    return [row for key, row in rows.items() if key.startswith(prefix)]


def _attempt_values(attempt: Attempt) -> Item:
    return {":trigger": {"S": attempt.trigger}, ":window": {"S": attempt.window}}


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
        text(item, "evidence"),
        moment(item, "at"),
        tuple(sorted(json.loads(text(item, "parameters", "{}")).items())),
    )


def _request(item: Mapping[str, AttributeValueTypeDef]) -> RetrainRequest:
    trigger, identity = (item[name]["S"] for name in ("trigger", "id"))
    # Rows that were written before requests had an author have none.
    return RetrainRequest(
        trigger,
        identity,
        text(item, "reason"),
        moment(item, "at"),
        text(item, "commit"),
        text(item, "refused"),
        text(item, "author"),
    )


def _ttl(now: datetime, seconds: int) -> Item:
    return {"ttl": {"N": str(int(now.timestamp()) + seconds)}}
