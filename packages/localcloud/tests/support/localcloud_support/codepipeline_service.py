"""CodePipeline without a gateway: its API on a store, with fake providers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from localcloud.cloud import Clock, Cloud
from localcloud.codepipeline.action_runner import ActionContext, ActionFailed, ActionRunner
from localcloud.codepipeline.catalog import Catalog
from localcloud.codepipeline.control import Control
from localcloud.codepipeline.external_results import ExternalResults
from localcloud.codepipeline.history import History
from localcloud.codepipeline.providers import approval
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.triggers import Triggers
from localcloud.json_api import JsonApi
from localcloud.source.repositories import Repositories
from localcloud.store import Store

ACCOUNT, REGION = "000000000000", "us-east-1"
Document = dict[str, Any]
T = TypeVar("T")


class ApiError(Exception):
    """An error response of the API."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PermissiveRoles:
    """Roles that may do everything; no request is sent."""

    def assume(self, role_arn: str, principal: str, session: str) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": role_arn, "AWS_SECRET_ACCESS_KEY": session, "AWS_SESSION_TOKEN": principal}

    def assume_further(self, credentials: Mapping[str, str], role_arn: str, session: str) -> Mapping[str, str]:
        return self.assume(role_arn, credentials["AWS_ACCESS_KEY_ID"], session)

    def client(self, service: str, credentials: Mapping[str, str] | None) -> Any:
        raise AssertionError(f"unexpected request for a client of {service}")

    def denied(self, credentials: Mapping[str, str], action: str, resource: str) -> str | None:
        return None


class CodePipelineHarness:
    """CodePipeline with actions that a test can block or let fail.

    Attributes:
        blocked: by action name, an event that lets the action end.
        failing: by action name, the number of times that the action fails.
        ran: `<action name> <number of the execution>` of every action that ran.
    """

    def __init__(self, folder: Path) -> None:
        self.events: list[tuple[str, Document]] = []
        self.store = Store(folder / "localcloud.db")
        self.repositories = Repositories(folder)
        self.cloud = Cloud(
            state_dir=folder,
            endpoint_url="http://127.0.0.1:1",
            region=REGION,
            account=ACCOUNT,
            store=self.store,
            clock=Clock(),
            client=lambda *_, **__: None,
            emit=self._emit,
            put_logs=lambda *_: None,
            role_environment=lambda _: {},
        )
        self.blocked: dict[str, threading.Event] = {}
        self.failing: dict[str, int] = {}
        self.ran: list[str] = []
        self.build()

    def build(self) -> None:
        """Start or restart the service on the store."""
        self.records = Records(self.cloud)
        providers = {"CodeStarSourceConnection": self._source, "CodeBuild": self._act, "Manual": approval}
        self.runner = ActionRunner(self.cloud, PermissiveRoles(), self.records, providers)
        engine = self.runner.engine
        self.triggers = Triggers(self.records, engine)
        operations = {
            **Catalog(self.cloud, self.records, engine, self.repositories).operations,
            **Control(self.records, engine).operations,
            **History(self.records).operations,
            **ExternalResults(self.records, self.runner).operations,
        }
        self.api = JsonApi("codepipeline", operations, lambda _: (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT))

    def _emit(self, source: str, kind: str, resources: Sequence[str], detail: Mapping[str, Any]) -> None:
        body = {"source": source, "detail-type": kind, "resources": list(resources), "detail": dict(detail)}
        self.events.append((kind, json.loads(json.dumps(body))))

    def _source(self, context: ActionContext) -> bool:
        context.variables["CommitId"] = context.execution["sourceOverrides"].get(context.action["actionName"], "latest")
        return self._act(context)

    def _act(self, context: ActionContext) -> bool:
        name = context.action["actionName"]
        self.ran.append(f"{name} {context.execution['sequence']}")
        gate = self.blocked.get(name)
        while gate is not None and not gate.is_set():
            context.wait(0.01)
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            raise ActionFailed("JobFailed", f"{name} fails in this test")
        return True

    def call(self, operation: str, **request: Any) -> Document:
        headers = {"X-Amz-Target": f"CodePipeline_20150709.{operation}"}
        status, _, body = asyncio.run(self.api.handle("POST", "/", headers, json.dumps(request).encode(), {}))
        answer: Document = json.loads(body)
        if status != 200:
            raise ApiError(answer["__type"], answer["message"])
        return answer

    def create(self, *stages: Document, mode: str = "QUEUED", **members: Any) -> None:
        """Create a pipeline `p` of a source and these stages, and wait until its first execution has ended."""
        self.call("CreatePipeline", pipeline=structure(*stages, mode=mode, **members))
        self.wait_until_settled(1)

    def start(self) -> str:
        return str(self.call("StartPipelineExecution", name="p")["pipelineExecutionId"])

    def status(self, execution_id: str) -> str:
        found = self.call("GetPipelineExecution", pipelineName="p", pipelineExecutionId=execution_id)
        return str(found["pipelineExecution"]["status"])

    def wait_until_settled(self, count: int) -> list[str]:
        """Wait until `count` executions have ended; return their statuses, oldest first."""

        def check() -> list[str] | None:
            seen = [one["status"] for one in self.records.executions("p")]
            return seen if len(seen) >= count and not {"InProgress", "Stopping"} & set(seen) else None

        return until(check)

    def stage(self, name: str) -> Document:
        states: list[Document] = self.call("GetPipelineState", name="p")["stageStates"]
        return next(one for one in states if one["stageName"] == name)

    def close(self) -> None:
        for gate in self.blocked.values():
            gate.set()
        self.runner.close()
        self.runner.engine.shutdown()
        self.api.close()


def until(check: Callable[[], T | None], seconds: float = 10) -> T:
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)


def action(name: str, provider: str = "CodeBuild", category: str = "Build", **members: Any) -> Document:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    given = {"inputArtifacts": [{"name": "Code"}]} if category == "Build" else {}
    return {"name": name, "actionTypeId": kind, **given, **members}


def stage_of(name: str, *actions: Document, **members: Any) -> Document:
    return {"name": name, "actions": list(actions), **members}


def structure(*stages: Document, mode: str = "QUEUED", **members: Any) -> Document:
    source = action(
        "Push",
        "CodeStarSourceConnection",
        "Source",
        configuration={"ConnectionArn": "arn:c", "FullRepositoryId": "team/code", "BranchName": "main"},
        outputArtifacts=[{"name": "Code"}],
        namespace="Push",
    )
    return {
        "name": "p",
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/pipeline",
        "artifactStore": {"type": "S3", "location": "artifacts"},
        "pipelineType": "V2",
        "executionMode": mode,
        "stages": [stage_of("Source", source), *stages],
        **members,
    }
