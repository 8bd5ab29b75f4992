"""Lambda actions: the function gets a job, and ends it by `PutJobSuccessResult` or `PutJobFailureResult`."""

from __future__ import annotations

import json

from localcloud.codepipeline.work import Work

SECONDS = 20 * 60  # without a result the action fails


def function(work: Work) -> bool:
    """Hand the job over; asked again where an earlier call of the function asked to be continued."""
    if work.notes.get("invoked"):
        return False  # before a restart; its result is still to come
    token = work.notes.get("continuationToken")
    expires = work.notes.get("expires") or work.cloud.clock.now().timestamp() + SECONDS
    work.note(expires=expires, invoked=True)
    work.client("lambda").invoke(
        FunctionName=work.require("FunctionName"),
        InvocationType="Event",
        Payload=json.dumps({"CodePipeline.job": _job(work, token)}).encode(),
    )
    return False


def _job(work: Work, token: str | None) -> dict[str, object]:
    """Source: AWS CodePipeline User Guide, "Invoke an AWS Lambda function", "Example JSON event"."""
    data: dict[str, object] = {
        "actionConfiguration": {"configuration": dict(work.configuration)},
        "inputArtifacts": [_artifact(name, place) for name, place in work.inputs.items()],
        "outputArtifacts": [_artifact(name, place) for name, place in work.outputs.items()],
        "artifactCredentials": {
            "accessKeyId": work.credentials["AWS_ACCESS_KEY_ID"],
            "secretAccessKey": work.credentials["AWS_SECRET_ACCESS_KEY"],
            "sessionToken": work.credentials["AWS_SESSION_TOKEN"],
        },
    }
    if token:
        data["continuationToken"] = token
    if work.key_id:
        data["encryptionKey"] = {"id": work.key_id, "type": "KMS"}
    return {"id": work.action["actionExecutionId"], "accountId": work.cloud.account, "data": data}


def _artifact(name: str, place: object) -> dict[str, object]:
    assert isinstance(place, dict)
    location = {"type": "S3", "s3Location": {"bucketName": place["bucket"], "objectKey": place["key"]}}
    return {"name": name, "revision": None, "location": location}
