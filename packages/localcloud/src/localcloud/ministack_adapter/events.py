"""The event bus as on AWS: service events, retries, dead-letter queues, alarm state changes; and log lines.

Sources: "Event retry policy and using dead-letter queues" (Amazon EventBridge User Guide), "Alarm events and
EventBridge" (Amazon CloudWatch User Guide).
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from ministack.core import iam_evaluator, responses
from ministack.core.arn import parse_arn
from ministack.services import cloudwatch, cloudwatch_logs, eventbridge, lambda_svc, sns, sqs

from localcloud.cloud import RoleError
from localcloud.errors import AwsError
from localcloud.ministack_adapter import encryption, schedule_targets
from localcloud.ministack_adapter.deliveries import DeliveryError
from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.keys import Refusal
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.snapshots import Snapshots

_log = logging.getLogger(__name__)
_SERVICE = "events.amazonaws.com"
_RETRY_BASE, _RETRY_LIMIT = 1.0, 30.0  # seconds; AWS waits longer, up to 24 hours in all
_AWS_ATTEMPTS = 185


class Bus:
    """Puts events of AWS services on the default bus, from any thread."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._client_for: Callable[[str, str], Any] | None = None
        self._start_pipeline: Callable[[str, str, str], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """Replace ministack's delivery to targets, and emit an event for each alarm state change."""
        wrap(eventbridge, "_invoke_target", lambda _: self._deliver)
        wrap(cloudwatch, "_record_history", self._with_alarm_events)

    def set_scheduler_clients(self, client_for: Callable[[str, str], Any]) -> None:
        """Set how Scheduler's targets are called: (service, role ARN) → a client with that role's rights."""
        self._client_for = client_for

    def set_pipeline_starter(self, start: Callable[[str, str, str], None]) -> None:
        """Set how a rule starts a pipeline: (pipeline ARN, target's role ARN, rule ARN)."""
        self._start_pipeline = start

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver events on this loop from now on."""
        self._loop = loop

    def emit(self, source: str, detail_type: str, resources: Sequence[str], detail: Mapping[str, Any]) -> None:
        """Emit one event. Like AWS's service events it is best effort and arrives shortly afterwards."""
        entry = {
            "Source": source,
            "DetailType": detail_type,
            "Resources": list(resources),
            "Detail": json.dumps(detail, default=str),
        }
        if self._loop is None or self._loop.is_closed():
            _log.warning("event %s of %s was lost: the bus is not running", detail_type, source)
            return
        self._loop.call_soon_threadsafe(self._put, entry)

    def _put(self, entry: dict[str, Any]) -> None:
        with responses.request_scope(ACCOUNT, REGION):
            eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    def _deliver(self, target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
        """Deliver an event; ministack's `_invoke_target` forgets an event that its target refuses."""
        view = view or eventbridge._pattern_event_view(event)
        payload = _payload(target, rule, view)
        # The dead letter of a rule holds the event, that of a schedule the target's input.
        original = payload if _is_schedule(rule) else json.dumps(view.event_with_detail())
        try:
            self._attempt(target, event, rule, payload)
        except DeliveryError as error:
            if error.lasting:
                self._give_up(target, rule, original, error, attempts=0)
                return
            threading.Thread(
                target=self._retry, args=(target, event, rule, payload, original), name="event-retry", daemon=True
            ).start()

    def _retry(
        self, target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], payload: str, original: str
    ) -> None:
        policy = target.get("RetryPolicy") or {}
        attempts = int(policy.get("MaximumRetryAttempts", _AWS_ATTEMPTS))
        deadline = time.monotonic() + float(policy.get("MaximumEventAgeInSeconds", 86400))
        error = DeliveryError("INTERNAL_ERROR", "not attempted", lasting=False)
        made = 0
        while made < attempts:
            pause = min(_RETRY_BASE * 2**made, _RETRY_LIMIT)
            if time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
            made += 1
            try:
                with responses.request_scope(ACCOUNT, REGION):
                    self._attempt(target, event, rule, payload)
                return
            except DeliveryError as failed:
                error = failed
                if failed.lasting:
                    break
        with responses.request_scope(ACCOUNT, REGION):
            self._give_up(target, rule, original, error, attempts=made)

    def _attempt(self, target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], payload: str) -> None:
        arn = str(target.get("Arn", ""))
        if _is_schedule(rule) and self._client_for is not None:
            schedule_targets.call(self._client_for, target, payload)
            return
        spec = parse_arn(arn)
        if spec.account_id != ACCOUNT or spec.region != REGION:
            raise DeliveryError("INVALID_PARAMETER", f"{arn} is in another account or region", lasting=True)
        if spec.service == "lambda":
            _to_function(arn, payload, str(rule.get("Arn", "")))
            self._snapshots.mark("lambda")
        elif spec.service == "sqs":
            _to_queue(arn, payload, str(rule.get("Arn", "")), target.get("SqsParameters") or {})
            self._snapshots.mark("sqs")
        elif spec.service == "sns":
            _to_topic(arn, payload, str(rule.get("Arn", "")))
            self._snapshots.mark("sns")
        elif spec.service == "codepipeline" and self._start_pipeline is not None:
            try:
                self._start_pipeline(arn, str(target.get("RoleArn", "")), str(rule.get("Arn", "")))
            except (AwsError, RoleError, PermissionError) as refused:
                raise DeliveryError("NO_PERMISSIONS", str(refused), lasting=True) from refused
        elif spec.service == "logs":
            group = spec.resource.removeprefix("log-group:").removesuffix(":*")
            put_logs(group, str(uuid.uuid4()), [(int(time.time() * 1000), payload)])
            self._snapshots.mark("cloudwatch_logs")
        elif spec.service == "events" and spec.resource.startswith("event-bus/"):
            path = set(event.get("_DispatchPath") or [])
            eventbridge._dispatch_to_event_bus(spec, event, rule, path, None)
        else:
            raise DeliveryError(
                "INVALID_PARAMETER", f"rule targets of the service {spec.service} are not run here", lasting=True
            )

    def _give_up(
        self, target: dict[str, Any], rule: dict[str, Any], original: str, error: DeliveryError, attempts: int
    ) -> None:
        dead_letters = (target.get("DeadLetterConfig") or {}).get("Arn")
        rule_arn, target_arn = str(rule.get("Arn", "")), str(target.get("Arn", ""))
        _log.warning("rule %s could not deliver an event to %s: %s", rule_arn, target_arn, error)
        if not dead_letters:
            return
        if _is_schedule(rule) and self._client_for is not None:
            try:
                schedule_targets.send_dead_letter(self._client_for, target, original, rule_arn, error, attempts)
            except (ClientError, RoleError) as lost:
                _log.error("the dead-letter queue %s refused an event of %s: %s", dead_letters, rule_arn, lost)
            return
        attributes = {
            "RULE_ARN": rule_arn,
            "TARGET_ARN": target_arn,
            "ERROR_CODE": error.code,
            "ERROR_MESSAGE": str(error),
            "RETRY_ATTEMPTS": str(attempts),
            "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
        }
        try:
            _to_queue(str(dead_letters), original, rule_arn, {}, attributes)
            self._snapshots.mark("sqs")
        except DeliveryError as lost:
            _log.error("the dead-letter queue %s refused an event of rule %s: %s", dead_letters, rule_arn, lost)

    def _with_alarm_events(self, original: Callable[..., None]) -> Callable[..., None]:
        def record(
            name: str, old: str, new: str, reason: str, alarm_type: str = "MetricAlarm", reason_data: Any = None
        ) -> None:
            original(name, old, new, reason, alarm_type, reason_data)
            self._snapshots.mark("cloudwatch")
            if old == new:  # the entry of the alarm's creation
                return
            alarm = cloudwatch._alarms.get(name) or cloudwatch._composite_alarms.get(name) or {}
            self.emit(
                "aws.cloudwatch",
                "CloudWatch Alarm State Change",
                [_alarm_arn(name)],
                alarm_event(name, alarm, old, new, reason, reason_data),
            )

        return record


def alarm_event(
    name: str, alarm: Mapping[str, Any], old: str, new: str, reason: str, reason_data: Any = None
) -> dict[str, Any]:
    """Return the `detail` of "CloudWatch Alarm State Change"."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    state: dict[str, Any] = {"value": new, "reason": reason, "timestamp": now}
    if reason_data is not None:
        state["reasonData"] = reason_data if isinstance(reason_data, str) else json.dumps(reason_data)
    configuration: dict[str, Any] = {}
    if alarm.get("AlarmDescription"):
        configuration["description"] = alarm["AlarmDescription"]
    if alarm.get("AlarmRule"):
        configuration["alarmRule"] = alarm["AlarmRule"]
    else:
        configuration["metrics"] = _alarm_metrics(alarm)
    return {
        "alarmName": name,
        "configuration": configuration,
        "previousState": {"value": old, "reason": "", "timestamp": now},
        "state": state,
    }


def _alarm_metrics(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    if alarm.get("Metrics"):
        return [{"id": metric.get("Id"), "returnData": metric.get("ReturnData", True)} for metric in alarm["Metrics"]]
    metric = {
        "namespace": alarm.get("Namespace", ""),
        "name": alarm.get("MetricName", ""),
        "dimensions": {pair["Name"]: pair["Value"] for pair in alarm.get("Dimensions") or []},
    }
    stat = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    return [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, _alarm_arn(str(alarm.get("AlarmName", ""))))),
            "metricStat": {"metric": metric, "period": int(alarm.get("Period", 60)), "stat": stat},
            "returnData": True,
        }
    ]


def put_logs(group: str, stream: str, lines: Sequence[tuple[int, str]]) -> None:
    """Append (milliseconds since epoch, line) pairs, creating log group and stream."""
    with responses.request_scope(ACCOUNT, REGION):
        if group not in cloudwatch_logs._log_groups:
            cloudwatch_logs._create_log_group({"logGroupName": group})
        if stream not in cloudwatch_logs._log_groups[group]["streams"]:
            cloudwatch_logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
        for start in range(0, len(lines), 1000):
            entries = [{"timestamp": at, "message": line} for at, line in lines[start : start + 1000]]
            status, _, body = cloudwatch_logs._put_log_events(
                {"logGroupName": group, "logStreamName": stream, "logEvents": entries}
            )
            if status != 200:
                raise RuntimeError(f"log lines for {group}/{stream} were refused: {body!r}")


def _is_schedule(rule: Mapping[str, Any]) -> bool:
    return str(rule.get("Arn", "")).startswith("arn:aws:scheduler:")


def _payload(target: Mapping[str, Any], rule: dict[str, Any], view: Any) -> str:
    if target.get("InputTransformer"):
        return str(eventbridge._apply_input_transformer(target["InputTransformer"], rule, view))
    if target.get("Input"):
        return str(target["Input"])
    value: Any = view.event_with_detail()
    for part in str(target.get("InputPath") or "$").removeprefix("$").split("."):
        if part:
            value = value.get(part) if isinstance(value, Mapping) else None
    return json.dumps(value)


def _to_function(arn: str, payload: str, rule_arn: str) -> None:
    func, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not func or not config:
        raise DeliveryError("RESOURCE_NOT_FOUND", f"Function not found: {arn}", lasting=True)
    _require_permission(func.get("policy"), "lambda:InvokeFunction", str(config["FunctionArn"]), rule_arn, name)
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(func, config), json.loads(payload))


def _to_queue(
    arn: str,
    payload: str,
    rule_arn: str,
    parameters: Mapping[str, Any],
    attributes: Mapping[str, str] | None = None,
) -> None:
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise DeliveryError("RESOURCE_NOT_FOUND", f"The queue {arn} does not exist", lasting=True)
    _require_permission(queue["attributes"].get("Policy"), "sqs:SendMessage", arn, rule_arn, arn)
    _require_key(encryption.queue_refusal(arn, _SERVICE, {}), arn)
    before = len(queue["messages"])
    eventbridge._dispatch_to_sqs(parse_arn(arn), payload, dict(parameters))
    if attributes and len(queue["messages"]) > before:
        queue["messages"][-1]["message_attributes"] = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }


def _to_topic(arn: str, payload: str, rule_arn: str) -> None:
    topic = sns._topic_by_arn_any_scope(arn)
    if topic is None:
        raise DeliveryError("RESOURCE_NOT_FOUND", f"The topic {arn} does not exist", lasting=True)
    _require_permission(topic.get("attributes", {}).get("Policy"), "sns:Publish", arn, rule_arn, arn)
    _require_key(encryption.topic_refusal(arn, _SERVICE, {}), arn)
    try:
        sns.publish_internal(arn, payload, "")
    except sns.SnsPublishError as refused:
        raise DeliveryError("INVALID_PARAMETER", str(refused), lasting=True) from refused


def _require_permission(policy: Any, action: str, resource: str, rule_arn: str, name: str) -> None:
    """Check the target's resource policy; without an Allow the event goes to the dead-letter queue."""
    context = iam_evaluator.EvalContext(
        principal_arn=_SERVICE,
        principal_type="Service",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        source_ip="127.0.0.1",
        secure_transport=True,
        service_context={"aws:sourcearn": rule_arn, "aws:sourceaccount": ACCOUNT},
    )
    if iam_evaluator.evaluate_resource_policy(policy, context, _SERVICE).decision != "Allow":
        raise DeliveryError("NO_PERMISSIONS", f"EventBridge may not {action} on {name}", lasting=True)


def _require_key(refusal: Refusal | None, target: str) -> None:
    """Refuse a target whose key does not admit EventBridge, which sends KMS no source account and no source ARN."""
    if refusal is not None:
        raise DeliveryError(
            "NO_PERMISSIONS", f"EventBridge may not encrypt for {target}: {refusal.message}", lasting=True
        )


def _alarm_arn(name: str) -> str:
    return f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"
