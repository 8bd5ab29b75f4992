"""One message a model: turn an event into messages, and handle messages one model at a time.

A controller's function has two sources. EventBridge sends events and ticks, which are turned into messages at once. A
queue sends the messages back, one model each. The queue is first in, first out for each model, so no two invocations
look at the same model, and a bound on the concurrency keeps a burst within AWS's rates. A message is a hint, as an
event is: it names the model to look at and carries no state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from shared.log import logger
from shared.reconcile import TICK_SOURCE, hinted_models

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

# SendMessageBatch takes ten messages.
_BATCH = 10
_DEDUPLICATION_CHARACTERS = 128


class NotSentError(Exception):
    """Some messages were not accepted. The event is retried; what was accepted is deduplicated."""


def is_event(event: Mapping[str, Any]) -> bool:
    """Return whether an invocation is an event or a tick of EventBridge. Anything else is a direct invocation."""
    return isinstance(event.get("source"), str)


def is_batch(event: Mapping[str, Any]) -> bool:
    """Return whether an invocation brings messages of a queue."""
    records = event.get("Records")
    return isinstance(records, list) and all(
        isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in records
    )


def model_of(event: Mapping[str, Any], app: str, stage: str) -> str | None:
    """Return the model that an event is about, from the event alone; None where it cannot be told.

    Args:
        event: The event.
        app: The application.
        stage: The stage of the function.
    """
    if event.get("source") == TICK_SOURCE:
        return None
    detail = event.get("detail")
    detail = detail if isinstance(detail, dict) else {}
    name, of_stage = f"{re.escape(app)}-(.+)", f"{re.escape(app)}-(.+)-{re.escape(stage)}"
    patterns = (
        (detail.get("ModelPackageGroupName"), name),
        (detail.get("EndpointName"), of_stage),
        (detail.get("alarmName"), rf"{of_stage}-.+"),
        (detail.get("stack-id"), rf"arn:.+:stack/{re.escape(app)}-(?:serving|monitoring)-(.+)-{re.escape(stage)}/.+"),
        (detail.get("pipelineArn"), rf"arn:.+:pipeline/{name}"),
        ((detail.get("object") or {}).get("key"), r"releases/([^/]+)/.+"),
    )
    for value, pattern in patterns:
        match = re.fullmatch(pattern, value) if isinstance(value, str) else None
        if match:
            return match.group(1)
    return None


def dispatch(
    sqs: SQSClient,
    queue_url: str,
    event: Mapping[str, Any],
    *,
    app: str,
    stage: str,
    models: Callable[[], Iterable[str]],
    invocation: str,
) -> dict[str, str]:
    """Send a message for each model that an event is about; for each model of the stage where that cannot be told.

    Args:
        sqs: The client.
        queue_url: The queue.
        event: The event or the tick.
        app: The application.
        stage: The stage.
        models: Lists the models. It is called for ticks, and for events that name no model.
        invocation: The id of the invocation. Lambda's retry has the same, so its messages are deduplicated.

    Returns:
        `queued` by model.

    Raises:
        NotSentError: The queue did not accept all messages.
    """
    named = model_of(event, app, stage)
    wanted = [named] if named else hinted_models(models(), event)
    for first in range(0, len(wanted), _BATCH):
        batch = wanted[first : first + _BATCH]
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": str(index),
                "MessageBody": json.dumps({"model": model}),
                "MessageGroupId": model,
                "MessageDeduplicationId": f"{invocation}-{model}"[:_DEDUPLICATION_CHARACTERS],
            }
            for index, model in enumerate(batch)
        ]
        failed = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries).get("Failed", [])
        if failed:
            names = ", ".join(batch[int(one["Id"])] for one in failed)
            raise NotSentError(f"the queue did not accept the messages of {names}: {failed[0].get('Message', '')}")
    return dict.fromkeys(wanted, "queued")


def handle_batch(event: Mapping[str, Any], reconcile: Callable[[str], object]) -> dict[str, list[dict[str, str]]]:
    """Reconcile the model of each message, and return the messages to receive again.

    Args:
        event: The messages.
        reconcile: Reconciles one model. It raises what a retry can mend.

    Returns:
        Lambda's partial batch response. After a failure, later messages of the same model are returned too: their order
        is kept.
    """
    failed: list[dict[str, str]] = []
    blocked: set[str] = set()
    for record in event["Records"]:
        group = record.get("attributes", {}).get("MessageGroupId", "")
        try:
            if group in blocked:
                raise NotSentError(f"an earlier message of {group} failed")
            reconcile(json.loads(record["body"])["model"])
        except Exception:
            logger.exception("the message is received again", group=group)
            blocked.add(group)
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
