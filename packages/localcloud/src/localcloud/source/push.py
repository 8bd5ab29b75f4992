"""Pushes, as a repository's hook reports them: loopback only, with the root's secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.source.repositories import Repositories, Repository

Reply = tuple[int, dict[str, Any], bytes]
# (repository, reference, old commit, new commit) → lines for the person who pushed
OnPush = Callable[[Repository, str, str, str], list[str]]
_NOTHING = "0" * 40


class PushAdmin:
    """Answers `POST {"repository", "updates": [[old, new, ref], …]}`: emits CodeCommit's event and starts pipelines.

    Args:
        is_allowed: Tells from a request's headers whether it has the root's secret.
        on_push: CodePipeline's own detection of changes (connections and polled CodeCommit sources).
    """

    def __init__(
        self, cloud: Cloud, repositories: Repositories, on_push: OnPush, is_allowed: Callable[[Mapping[str, str]], bool]
    ) -> None:
        self._cloud, self._repositories, self._on_push = cloud, repositories, on_push
        self._is_allowed = is_allowed

    async def handle(self, method: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        if not self._is_allowed(headers):
            return _reply(403, {"error": "the request does not carry the root's secret"})
        if method != "POST":
            return _reply(405, {"error": f"{method} is not allowed here"})
        try:
            request = json.loads(body)
            repository = self._repositories.find(request["repository"])
            updates = [(str(old), str(new), str(reference)) for old, new, reference in request["updates"]]
        except (ValueError, KeyError, TypeError) as error:
            return _reply(400, {"error": f"not a push: {error}"})
        if repository is None:
            return _reply(404, {"error": f"there is no repository {request['repository']}"})
        return _reply(200, {"lines": await asyncio.to_thread(self._pushed, repository, updates)})

    def _pushed(self, repository: Repository, updates: list[tuple[str, str, str]]) -> list[str]:
        lines = []
        for old, new, reference in updates:
            self._emit_event(repository, reference, old, new)
            lines += self._on_push(repository, reference, old, new)
        return lines or [f"No pipeline was started by this push to {repository.name} (see the README, Delivery)"]

    def _emit_event(self, repository: Repository, reference: str, old: str, new: str) -> None:
        """Emit CodeCommit's event, which starts the pipelines of the CDK's CodeCommit sources."""
        kind, name = ("branch", reference.removeprefix("refs/heads/"))
        if reference.startswith("refs/tags/"):
            kind, name = "tag", reference.removeprefix("refs/tags/")
        detail = {
            "callerUserArn": f"arn:aws:iam::{self._cloud.account}:root",
            "commitId": new,
            "event": "referenceCreated" if old == _NOTHING else "referenceUpdated",
            "oldCommitId": old,
            "referenceFullName": reference,
            "referenceName": name,
            "referenceType": kind,
            "repositoryId": repository.name,
            "repositoryName": repository.name,
        }
        arn = f"arn:aws:codecommit:{self._cloud.region}:{self._cloud.account}:{repository.name}"
        self._cloud.emit("aws.codecommit", "CodeCommit Repository State Change", [arn], detail)


def _reply(status: int, document: Mapping[str, Any]) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()
