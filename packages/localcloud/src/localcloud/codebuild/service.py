"""CodeBuild's API, and the builds that run."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.codebuild.projects import Projects, check
from localcloud.codebuild.records import BuildRecords
from localcloud.codebuild.reports import Reports
from localcloud.codebuild.run import RUNNING, BuildRun
from localcloud.errors import AwsError
from localcloud.json_api import Document, Identify, JsonApi, page
from localcloud.roles import Roles
from localcloud.runtime import orphans
from localcloud.source.repositories import Repositories

_SHUTDOWN_SECONDS = 10.0
# Member of a build → StartBuild's member that overrides the project's value.
_OVERRIDES = {
    "artifacts": "artifactsOverride",
    "secondaryArtifacts": "secondaryArtifactsOverride",
    "secondarySources": "secondarySourcesOverride",
    "secondarySourceVersions": "secondarySourcesVersionOverride",
    "timeoutInMinutes": "timeoutInMinutesOverride",
    "queuedTimeoutInMinutes": "queuedTimeoutInMinutesOverride",
    "serviceRole": "serviceRoleOverride",
    "encryptionKey": "encryptionKeyOverride",
}
_KNOWN = {
    "projectName", "sourceVersion", "idempotencyToken", "environmentVariablesOverride", "buildspecOverride",
    "cacheOverride", "debugSessionEnabled", "imageOverride", "computeTypeOverride", *_OVERRIDES.values(),
}  # fmt: skip


class CodeBuild:
    """The service `codebuild`."""

    def __init__(self, cloud: Cloud, roles: Roles, repositories: Repositories, identify: Identify) -> None:
        self._cloud, self._roles, self._repositories = cloud, roles, repositories
        self._records, self._reports, self._projects = BuildRecords(cloud), Reports(cloud), Projects(cloud)
        self._runs: dict[str, BuildRun] = {}
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(max(2, os.cpu_count() or 2))
        self.api = JsonApi(
            "codebuild",
            {
                **self._projects.operations,
                **self._reports.operations,
                "StartBuild": self._start,
                "StopBuild": self._stop,
                "BatchGetBuilds": self._get_builds,
                "ListBuilds": self._list,
                "ListBuildsForProject": self._list_for_project,
            },
            identify,
        )

    def under_way(self) -> list[str]:
        """Return descriptions of the builds that have not ended."""
        return [f"build {build['id']}" for build in self._records.running()]

    def recover(self) -> None:
        """End the processes that a killed gateway left behind, and fail their builds; call this at the start."""
        for key, record in self._cloud.store.list(RUNNING):
            orphans.end(record)
            self._cloud.store.delete(RUNNING, key)
        for build in self._records.running():
            self._records.fail_lost(build)

    def shutdown(self) -> None:
        """Stop all builds."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop("FAULT")
        for run in runs:
            run.thread.join(_SHUTDOWN_SECONDS)
        self.api.close()

    def _start(self, request: Mapping[str, Any], _caller: str) -> Document:
        unknown = sorted(set(request) - _KNOWN)
        if unknown:
            raise AwsError("InvalidInputException", f"The local cloud does not support {unknown[0]} of StartBuild")
        token = request.get("idempotencyToken")
        with self._lock:
            known = self._cloud.store.get("CodeBuildToken", token) if token else None
            if known is not None:
                return {"build": self._records.get(known["id"])}
            build = self._build(request)
            self._records.put(build)
            if token:
                self._cloud.store.put("CodeBuildToken", token, {"id": build["id"]})
            run = BuildRun(
                self._cloud, self._roles, self._records, self._reports, self._repositories, self._slots, build
            )
            self._runs = {id_: one for id_, one in self._runs.items() if one.thread.is_alive()}
            self._runs[build["id"]] = run
            run.thread.start()
        return {"build": build}

    def _build(self, request: Mapping[str, Any]) -> Document:
        project = self._projects.get(request["projectName"])
        name, number = project["name"], len(self._records.all(project["name"])) + 1
        source = dict(project["source"])
        if request.get("buildspecOverride"):
            source["buildspec"] = request["buildspecOverride"]
        version = request.get("sourceVersion")
        if source["type"] == "CODEPIPELINE" and not str(version).startswith("arn:aws:s3:::"):
            raise AwsError(
                "InvalidInputException",
                f"Project {name} has a source of type CODEPIPELINE: only a pipeline can start it",
            )
        environment = dict(project["environment"])
        variables = {one["name"]: one for one in environment.get("environmentVariables", [])}
        variables |= {one["name"]: one for one in request.get("environmentVariablesOverride", [])}
        environment["environmentVariables"] = list(variables.values())
        identity = f"{name}:{uuid.uuid4()}"
        arn = f"arn:aws:codebuild:{self._cloud.region}:{self._cloud.account}:build/{identity}"
        now = self._records.now()
        given = {member: request.get(override, project.get(member)) for member, override in _OVERRIDES.items()}
        build = {
            **{member: value for member, value in given.items() if value is not None},
            "id": identity,
            "arn": arn,
            "buildNumber": number,
            "startTime": now,
            "currentPhase": "SUBMITTED",
            "buildStatus": "IN_PROGRESS",
            "sourceVersion": version,
            "resolvedSourceVersion": version,
            "projectName": name,
            "phases": [{"phaseType": "SUBMITTED", "phaseStatus": "SUCCEEDED", "startTime": now, "endTime": now}],
            "source": source,
            "cache": {"type": "NO_CACHE"},
            "environment": environment,
            "logs": self._logs(project, identity),
            "buildComplete": False,
            "initiator": _initiator(given["artifacts"] or {}, version),
        }
        check({**build, "environment": environment})
        return build

    def _logs(self, project: Mapping[str, Any], identity: str) -> Document:
        settings = project.get("logsConfig", {}).get("cloudWatchLogs", {})
        group = settings.get("groupName") or f"/aws/codebuild/{project['name']}"
        stream = identity.rpartition(":")[2]
        if settings.get("streamName"):
            stream = f"{settings['streamName']}/{stream}"
        arn = f"arn:aws:logs:{self._cloud.region}:{self._cloud.account}:log-group:{group}:log-stream:{stream}"
        return {
            "groupName": group,
            "streamName": stream,
            "cloudWatchLogsArn": arn,
            "cloudWatchLogs": {"status": "ENABLED", "groupName": group, "streamName": stream},
            "deepLink": f"file://{self._cloud.state_dir}/codebuild/logs/{identity.replace(':', '/')}.log",
        }

    def _stop(self, request: Mapping[str, Any], _caller: str) -> Document:
        build = self._records.get(request["id"])
        if build is None:
            raise AwsError("ResourceNotFoundException", f"Build {request['id']} cannot be found")
        with self._lock:
            run = self._runs.get(build["id"])
        if run is not None and not build["buildComplete"]:
            run.stop()
        return {"build": build}

    def _get_builds(self, request: Mapping[str, Any], _caller: str) -> Document:
        known = {one: self._records.get(one) for one in request["ids"]}
        return {
            "builds": [build for build in known.values() if build],
            "buildsNotFound": [one for one, build in known.items() if not build],
        }

    def _list(self, request: Mapping[str, Any], _caller: str) -> Document:
        return self._page([build["id"] for build in self._records.all()], request)

    def _list_for_project(self, request: Mapping[str, Any], _caller: str) -> Document:
        project = self._projects.get(request["projectName"])
        return self._page([build["id"] for build in self._records.all(project["name"])], request)

    @staticmethod
    def _page(ids: list[str], request: Mapping[str, Any]) -> Document:
        newest_first = request.get("sortOrder", "DESCENDING") == "DESCENDING"
        found, token = page(ids if newest_first else ids[::-1], request)
        return {"ids": found, "nextToken": token}


def _initiator(artifacts: Mapping[str, Any], version: Any) -> str:
    """Return `codepipeline/<name>` for a pipeline's artifact, whose key starts with the pipeline's name, or `user`."""
    if artifacts.get("type") != "CODEPIPELINE":
        return "user"
    return f"codepipeline/{str(version).removeprefix('arn:aws:s3:::').split('/')[1]}"
