"""CodePipeline without a gateway: its API over a store, with providers that tests play."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from localcloud.cloud import Clock, Cloud
from localcloud.codepipeline.catalog import Catalog
from localcloud.codepipeline.control import Control
from localcloud.codepipeline.decisions import Decisions
from localcloud.codepipeline.history import History
from localcloud.codepipeline.providers import approval
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.triggers import Triggers
from localcloud.codepipeline.work import ActionFailed, Work, Worker
from localcloud.json_api import JsonApi
from localcloud.source.repositories import Repositories
from localcloud.store import Store

ACCOUNT, REGION = "000000000000", "us-east-1"
Document = dict[str, Any]
T = TypeVar("T")


class ApiError(Exception):
    """What the API refused, with its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AnyRole:
    """Every role may do everything; nothing is sent."""

    def assume(self, role_arn: str, principal: str, session: str) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": role_arn, "AWS_SECRET_ACCESS_KEY": session, "AWS_SESSION_TOKEN": principal}

    def assume_further(self, credentials: Mapping[str, str], role_arn: str, session: str) -> Mapping[str, str]:
        return self.assume(role_arn, credentials["AWS_ACCESS_KEY_ID"], session)

    def client(self, service: str, credentials: Mapping[str, str] | None) -> Any:
        raise AssertionError(f"nobody asked for a client of {service}")

    def denied(self, credentials: Mapping[str, str], action: str, resource: str) -> str | None:
        return None


class CodePipelineHarness:
    """A pipeline service; `held` actions go on until they are let go, `failing` ones fail that often."""

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
        self.held: dict[str, threading.Event] = {}
        self.failing: dict[str, int] = {}
        self.ran: list[str] = []
        self.build()

    def build(self) -> None:
        """Start the service, or start it again, on what the store holds."""
        self.records = Records(self.cloud)
        providers = {"CodeStarSourceConnection": self._source, "CodeBuild": self._act, "Manual": approval}
        self.worker = Worker(self.cloud, AnyRole(), self.records, providers)
        engine = self.worker.engine
        self.triggers = Triggers(self.records, engine)
        operations = {
            **Catalog(self.cloud, self.records, engine, self.repositories).operations,
            **Control(self.records, engine).operations,
            **History(self.records).operations,
            **Decisions(self.records, self.worker).operations,
        }
        self.api = JsonApi("codepipeline", operations, lambda _: (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT))

    def _emit(self, source: str, kind: str, resources: Sequence[str], detail: Mapping[str, Any]) -> None:
        body = {"source": source, "detail-type": kind, "resources": list(resources), "detail": dict(detail)}
        self.events.append((kind, json.loads(json.dumps(body))))

    def _source(self, work: Work) -> bool:
        work.variables["CommitId"] = work.execution["sourceOverrides"].get(work.action["actionName"], "latest")
        return self._act(work)

    def _act(self, work: Work) -> bool:
        name = work.action["actionName"]
        self.ran.append(f"{name} {work.execution['sequence']}")
        gate = self.held.get(name)
        while gate is not None and not gate.is_set():
            work.wait(0.01)
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            raise ActionFailed("JobFailed", f"{name} was told to fail")
        return True

    def call(self, operation: str, **request: Any) -> Document:
        headers = {"X-Amz-Target": f"CodePipeline_20150709.{operation}"}
        status, _, body = asyncio.run(self.api.handle("POST", "/", headers, json.dumps(request).encode(), {}))
        answer: Document = json.loads(body)
        if status != 200:
            raise ApiError(answer["__type"], answer["message"])
        return answer

    def create(self, *stages: Document, mode: str = "QUEUED", **members: Any) -> None:
        """A pipeline `p` of a source and these stages, whose first execution has ended."""
        self.call("CreatePipeline", pipeline=structure(*stages, mode=mode, **members))
        self.settled(1)

    def start(self) -> str:
        return str(self.call("StartPipelineExecution", name="p")["pipelineExecutionId"])

    def status(self, execution_id: str) -> str:
        found = self.call("GetPipelineExecution", pipelineName="p", pipelineExecutionId=execution_id)
        return str(found["pipelineExecution"]["status"])

    def settled(self, count: int) -> list[str]:
        """The statuses of `count` executions, oldest first, once none is under way."""

        def look() -> list[str] | None:
            seen = [one["status"] for one in self.records.executions("p")]
            return seen if len(seen) >= count and not {"InProgress", "Stopping"} & set(seen) else None

        return until(look)

    def stage(self, name: str) -> Document:
        states: list[Document] = self.call("GetPipelineState", name="p")["stageStates"]
        return next(one for one in states if one["stageName"] == name)

    def close(self) -> None:
        for gate in self.held.values():
            gate.set()
        self.worker.close()
        self.worker.engine.shutdown()
        self.api.close()


def until(look: Callable[[], T | None], seconds: float = 10) -> T:
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen"
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
