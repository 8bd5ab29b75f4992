"""CodeBuild's projects; unsupported settings are rejected by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.errors import AwsError
from localcloud.json_api import Document, Operations, page

PROJECT = "CodeBuildProject"
SOURCES = frozenset({"CODEPIPELINE", "S3", "CODECOMMIT", "NO_SOURCE"})
_ARTIFACTS = frozenset({"CODEPIPELINE", "NO_ARTIFACTS"})
_VARIABLES = frozenset({"PLAINTEXT", "PARAMETER_STORE"})


class Projects:
    """The operations on projects."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._store = cloud, cloud.store
        self.operations: Operations = {
            "CreateProject": self._create,
            "UpdateProject": self._update,
            "DeleteProject": self._delete,
            "BatchGetProjects": self._get_many,
            "ListProjects": self._list,
        }

    def arn(self, name: str) -> str:
        """Return a project's ARN."""
        return f"arn:aws:codebuild:{self._cloud.region}:{self._cloud.account}:project/{name}"

    def get(self, name_or_arn: str) -> Document:
        """Return a project.

        Raises:
            AwsError: ResourceNotFoundException.
        """
        found = self._store.get(PROJECT, name_or_arn.rpartition("/")[2])
        if found is None:
            raise AwsError("ResourceNotFoundException", f"Project cannot be found: {self.arn(name_or_arn)}")
        return found

    def _create(self, request: Mapping[str, Any], _caller: str) -> Document:
        name = request["name"]
        if self._store.get(PROJECT, name):
            raise AwsError("ResourceAlreadyExistsException", f"Project already exists: {self.arn(name)}")
        check(request)
        now = self._cloud.clock.now().timestamp()
        project = {
            "timeoutInMinutes": 60,
            "queuedTimeoutInMinutes": 480,
            "encryptionKey": f"arn:aws:kms:{self._cloud.region}:{self._cloud.account}:alias/aws/s3",
            "cache": {"type": "NO_CACHE"},
            **request,
            "arn": self.arn(name),
            "created": now,
            "lastModified": now,
            "badge": {"badgeEnabled": False},
        }
        self._store.put(PROJECT, name, project)
        return {"project": project}

    def _update(self, request: Mapping[str, Any], _caller: str) -> Document:
        project = {**self.get(request["name"]), **request, "lastModified": self._cloud.clock.now().timestamp()}
        check(project)
        self._store.put(PROJECT, request["name"], project)
        return {"project": project}

    def _delete(self, request: Mapping[str, Any], _caller: str) -> Document:
        self._store.delete(PROJECT, request["name"].rpartition("/")[2])
        return {}

    def _get_many(self, request: Mapping[str, Any], _caller: str) -> Document:
        known = {name: self._store.get(PROJECT, name.rpartition("/")[2]) for name in request["names"]}
        return {
            "projects": [one for one in known.values() if one],
            "projectsNotFound": [name for name, one in known.items() if not one],
        }

    def _list(self, request: Mapping[str, Any], _caller: str) -> Document:
        names, token = page([name for name, _ in self._store.list(PROJECT)], request)
        return {"projects": names, "nextToken": token}


def check(project: Mapping[str, Any]) -> None:
    """Check that a build supports all settings.

    Raises:
        AwsError: InvalidInputException that names the unsupported setting.
    """
    environment = project["environment"]
    problems = [
        (project["source"]["type"] not in SOURCES, f"a source of type {project['source']['type']}"),
        (project["artifacts"]["type"] not in _ARTIFACTS, f"artifacts of type {project['artifacts']['type']}"),
        ("WINDOWS" in environment["type"], f"the environment type {environment['type']}"),
        (bool(project.get("vpcConfig")), "vpcConfig"),
        (bool(project.get("fileSystemLocations")), "fileSystemLocations"),
        (bool(project.get("buildBatchConfig")), "buildBatchConfig"),
        (bool(environment.get("fleet")), "fleets"),
        *(
            (variable.get("type", "PLAINTEXT") not in _VARIABLES, f"a variable of type {variable.get('type')}")
            for variable in environment.get("environmentVariables", [])
        ),
    ]
    for is_unsupported, what in problems:
        if is_unsupported:
            raise AwsError("InvalidInputException", f"The local cloud's CodeBuild does not support {what}")
