"""Manual approvals: a token and a notification."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from localcloud.codepipeline.action_runner import ActionContext

_SECONDS = 7 * 86400  # an approval without a result fails after seven days


def approval(context: ActionContext) -> bool:
    """Request an approval; `PutApprovalResult` ends the action."""
    if context.notes.get("token"):
        return False  # requested before a restart
    token = str(uuid.uuid4())
    expires = context.cloud.clock.now().timestamp() + 60 * context.action["declaration"].get(
        "timeoutInMinutes", _SECONDS // 60
    )
    topic = context.configuration.get("NotificationArn")
    if topic:
        context.client("sns").publish(
            TopicArn=topic,
            Subject=f"APPROVAL NEEDED: AWS CodePipeline {context.action['pipelineName']}"[:100],
            Message=json.dumps(_message(context, token, expires)),
        )
    context.note(token=token, expires=expires)
    return False


def _message(context: ActionContext, token: str, expires: float) -> dict[str, object]:
    """Return the notification (AWS: "JSON data format for manual approval notifications")."""
    action, configuration = context.action, context.configuration
    given = {
        "customData": configuration.get("CustomData"),
        "externalEntityLink": configuration.get("ExternalEntityLink"),
    }
    return {
        "region": context.cloud.region,
        "consoleLink": f"{context.cloud.endpoint_url}/codepipeline/{action['pipelineName']}",
        "approval": {
            "pipelineName": action["pipelineName"],
            "stageName": action["stageName"],
            "actionName": action["actionName"],
            "token": token,
            "expires": datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "approvalReviewLink": f"{context.cloud.endpoint_url}/codepipeline/{action['pipelineName']}",
            **{name: value for name, value in given.items() if value},
        },
    }
