"""Lambda actions: the function gets a job and ends it with `PutJobSuccessResult` or `PutJobFailureResult`."""

from __future__ import annotations

import json

from localcloud.codepipeline.action_runner import ActionContext

_SECONDS = 20 * 60  # without a result the action fails after this time


def function(context: ActionContext) -> bool:
    """Invoke the function with the job, or again where its last call returned a continuation token."""
    if context.notes.get("invoked"):
        return False  # invoked before a restart; the result has not arrived
    token = context.notes.get("continuationToken")
    expires = context.notes.get("expires") or context.cloud.clock.now().timestamp() + _SECONDS
    context.note(expires=expires, invoked=True)
    context.client("lambda").invoke(
        FunctionName=context.require("FunctionName"),
        InvocationType="Event",
        Payload=json.dumps({"CodePipeline.job": _job(context, token)}).encode(),
    )
    return False


def _job(context: ActionContext, token: str | None) -> dict[str, object]:
    """Return the job (AWS CodePipeline User Guide, "Invoke an AWS Lambda function", "Example JSON event")."""
    data: dict[str, object] = {
        "actionConfiguration": {"configuration": dict(context.configuration)},
        "inputArtifacts": [_artifact(name, location) for name, location in context.inputs.items()],
        "outputArtifacts": [_artifact(name, location) for name, location in context.outputs.items()],
        "artifactCredentials": {
            "accessKeyId": context.credentials["AWS_ACCESS_KEY_ID"],
            "secretAccessKey": context.credentials["AWS_SECRET_ACCESS_KEY"],
            "sessionToken": context.credentials["AWS_SESSION_TOKEN"],
        },
    }
    if token:
        data["continuationToken"] = token
    if context.key_id:
        data["encryptionKey"] = {"id": context.key_id, "type": "KMS"}
    return {"id": context.action["actionExecutionId"], "accountId": context.cloud.account, "data": data}


def _artifact(name: str, artifact: object) -> dict[str, object]:
    assert isinstance(artifact, dict)
    location = {"type": "S3", "s3Location": {"bucketName": artifact["bucket"], "objectKey": artifact["key"]}}
    return {"name": name, "revision": None, "location": location}
