"""Manual approvals: a token, a notification, and a person."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from localcloud.codepipeline.work import Work

SECONDS = 7 * 86400  # an approval that nobody gives fails after seven days


def approval(work: Work) -> bool:
    """Ask; `PutApprovalResult` ends the action."""
    if work.notes.get("token"):
        return False  # asked before the restart
    token = str(uuid.uuid4())
    expires = work.cloud.clock.now().timestamp() + 60 * work.action["declaration"].get(
        "timeoutInMinutes", SECONDS // 60
    )
    topic = work.configuration.get("NotificationArn")
    if topic:
        work.client("sns").publish(
            TopicArn=topic,
            Subject=f"APPROVAL NEEDED: AWS CodePipeline {work.action['pipelineName']}"[:100],
            Message=json.dumps(_message(work, token, expires)),
        )
    work.note(token=token, expires=expires)
    return False


def _message(work: Work, token: str, expires: float) -> dict[str, object]:
    """Source: AWS CodePipeline User Guide, "JSON data format for manual approval notifications"."""
    action, configuration = work.action, work.configuration
    given = {
        "customData": configuration.get("CustomData"),
        "externalEntityLink": configuration.get("ExternalEntityLink"),
    }
    return {
        "region": work.cloud.region,
        "consoleLink": f"{work.cloud.endpoint_url}/codepipeline/{action['pipelineName']}",
        "approval": {
            "pipelineName": action["pipelineName"],
            "stageName": action["stageName"],
            "actionName": action["actionName"],
            "token": token,
            "expires": datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "approvalReviewLink": f"{work.cloud.endpoint_url}/codepipeline/{action['pipelineName']}",
            **{name: value for name, value in given.items() if value},
        },
    }
