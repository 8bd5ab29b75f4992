"""CodeBuild actions: a build with the pipeline's artifacts, through the API and the action's role."""

from __future__ import annotations

import json
from typing import Any

from localcloud.codebuild.artifacts import s3_arn
from localcloud.codepipeline.work import ActionFailed, Work

_LOOK_SECONDS = 0.3


def build(work: Work) -> bool:
    """Start the project's build, or find the one that was started before a kill, and wait for its end."""
    client = work.client("codebuild")
    started = client.start_build(**_request(work))["build"]
    work.result |= {"externalExecutionId": started["id"], "externalExecutionUrl": started["logs"]["deepLink"]}
    work.note(externalExecutionId=started["id"])
    while True:
        seen = client.batch_get_builds(ids=[started["id"]])["builds"][0]
        if seen["buildComplete"]:
            break
        work.wait(_LOOK_SECONDS)
    work.result["logStreamARN"] = seen["logs"].get("cloudWatchLogsArn")
    if seen["buildStatus"] != "SUCCEEDED":
        raise ActionFailed("JobFailed", _reason(seen))
    work.variables |= {one["name"]: one["value"] for one in seen.get("exportedEnvironmentVariables", [])}
    return True


def _request(work: Work) -> dict[str, Any]:
    """StartBuild with the artifacts' places; the token makes a second call find the first one's build."""
    primary = work.configuration.get("PrimarySource") or next(iter(work.inputs), None)
    if primary is None or primary not in work.inputs:
        raise ActionFailed("ConfigurationError", f"PrimarySource {primary} is no input artifact of the action")
    others = [name for name in work.inputs if name != primary]
    request: dict[str, Any] = {
        "projectName": work.require("ProjectName"),
        "idempotencyToken": work.action["actionExecutionId"],
        "sourceVersion": s3_arn(**work.inputs[primary]),
        "environmentVariablesOverride": _variables(work),
        "secondarySourcesOverride": [{"type": "CODEPIPELINE", "sourceIdentifier": name} for name in others],
        "secondarySourcesVersionOverride": [
            {"sourceIdentifier": name, "sourceVersion": s3_arn(**work.inputs[name])} for name in others
        ],
    }
    if work.key_id:
        request["encryptionKeyOverride"] = work.key_id
    places = {name: f"{place['bucket']}/{place['key']}" for name, place in work.outputs.items()}
    if len(places) == 1:
        request["artifactsOverride"] = {"type": "CODEPIPELINE", "location": next(iter(places.values()))}
    else:
        request["artifactsOverride"] = {"type": "CODEPIPELINE"}
        request["secondaryArtifactsOverride"] = [
            {"type": "CODEPIPELINE", "artifactIdentifier": name, "location": place} for name, place in places.items()
        ]
    return request


def _variables(work: Work) -> list[dict[str, str]]:
    given = json.loads(work.configuration.get("EnvironmentVariables") or "[]")
    return [{"name": one["name"], "value": one["value"], "type": one.get("type", "PLAINTEXT")} for one in given]


def _reason(build_: Any) -> str:
    contexts = [
        f"{context.get('statusCode', '')}: {context.get('message', '')}"
        for phase in build_["phases"]
        for context in phase.get("contexts", [])
        if phase.get("phaseStatus") not in (None, "SUCCEEDED")
    ]
    return f"Build terminated with state: {build_['buildStatus']}. {' '.join(contexts)}".strip()
