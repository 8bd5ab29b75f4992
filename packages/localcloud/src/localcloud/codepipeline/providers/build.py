"""CodeBuild actions: a build with the pipeline's artifacts, through the API with the action's role."""

from __future__ import annotations

import json
from typing import Any

from localcloud.codebuild.artifacts import s3_arn
from localcloud.codepipeline.action_runner import ActionContext, ActionFailed

_POLL_SECONDS = 0.3


def build(context: ActionContext) -> bool:
    """Start the project's build, or find the one started before a restart, and wait for its end."""
    client = context.client("codebuild")
    started = client.start_build(**_request(context))["build"]
    context.result |= {"externalExecutionId": started["id"], "externalExecutionUrl": started["logs"]["deepLink"]}
    context.note(externalExecutionId=started["id"])
    while True:
        seen = client.batch_get_builds(ids=[started["id"]])["builds"][0]
        if seen["buildComplete"]:
            break
        context.wait(_POLL_SECONDS)
    context.result["logStreamARN"] = seen["logs"].get("cloudWatchLogsArn")
    if seen["buildStatus"] != "SUCCEEDED":
        raise ActionFailed("JobFailed", _reason(seen))
    context.variables |= {one["name"]: one["value"] for one in seen.get("exportedEnvironmentVariables", [])}
    return True


def _request(context: ActionContext) -> dict[str, Any]:
    """Return the StartBuild request with the artifacts' locations; the token makes repeated calls return one build."""
    primary = context.configuration.get("PrimarySource") or next(iter(context.inputs), None)
    if primary is None or primary not in context.inputs:
        raise ActionFailed("ConfigurationError", f"PrimarySource {primary} is not an input artifact of the action")
    others = [name for name in context.inputs if name != primary]
    request: dict[str, Any] = {
        "projectName": context.require("ProjectName"),
        "idempotencyToken": context.action["actionExecutionId"],
        "sourceVersion": s3_arn(**context.inputs[primary]),
        "environmentVariablesOverride": _variables(context),
        "secondarySourcesOverride": [{"type": "CODEPIPELINE", "sourceIdentifier": name} for name in others],
        "secondarySourcesVersionOverride": [
            {"sourceIdentifier": name, "sourceVersion": s3_arn(**context.inputs[name])} for name in others
        ],
    }
    if context.key_id:
        request["encryptionKeyOverride"] = context.key_id
    locations = {name: f"{output['bucket']}/{output['key']}" for name, output in context.outputs.items()}
    if len(locations) == 1:
        request["artifactsOverride"] = {"type": "CODEPIPELINE", "location": next(iter(locations.values()))}
    else:
        request["artifactsOverride"] = {"type": "CODEPIPELINE"}
        request["secondaryArtifactsOverride"] = [
            {"type": "CODEPIPELINE", "artifactIdentifier": name, "location": location}
            for name, location in locations.items()
        ]
    return request


def _variables(context: ActionContext) -> list[dict[str, str]]:
    given = json.loads(context.configuration.get("EnvironmentVariables") or "[]")
    return [{"name": one["name"], "value": one["value"], "type": one.get("type", "PLAINTEXT")} for one in given]


def _reason(build_: Any) -> str:
    contexts = [
        f"{context.get('statusCode', '')}: {context.get('message', '')}"
        for phase in build_["phases"]
        for context in phase.get("contexts", [])
        if phase.get("phaseStatus") not in (None, "SUCCEEDED")
    ]
    return f"Build terminated with state: {build_['buildStatus']}. {' '.join(contexts)}".strip()
