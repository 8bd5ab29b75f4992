"""CodePipeline's API over its parts."""

from __future__ import annotations

import threading
from functools import partial

from localcloud.cloud import Cloud
from localcloud.codepipeline import providers
from localcloud.codepipeline.catalog import Catalog
from localcloud.codepipeline.control import Control
from localcloud.codepipeline.decisions import Decisions
from localcloud.codepipeline.history import History
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.triggers import Triggers
from localcloud.codepipeline.work import Worker
from localcloud.json_api import Identify, JsonApi
from localcloud.roles import Roles
from localcloud.source.repositories import Repositories

_LOOK_SECONDS = 1.0


class CodePipeline:
    """The service `codepipeline`."""

    def __init__(self, cloud: Cloud, roles: Roles, repositories: Repositories, identify: Identify) -> None:
        self._records = records = Records(cloud)
        self._worker = Worker(
            cloud,
            roles,
            records,
            {
                "CodeStarSourceConnection": partial(providers.connection, repositories=repositories),
                "CodeCommit": partial(providers.code_commit, repositories=repositories),
                "CodeBuild": providers.build,
                "CloudFormation": providers.deploy,
                "Manual": providers.approval,
                "Lambda": providers.function,
            },
        )
        engine = self._worker.engine
        self._decisions = Decisions(records, self._worker)
        self.triggers = Triggers(records, engine)
        self.api = JsonApi(
            "codepipeline",
            {
                **Catalog(cloud, records, engine, repositories).operations,
                **Control(records, engine).operations,
                **History(records).operations,
                **self._decisions.operations,
            },
            identify,
        )
        self._seen: tuple[int, list[tuple[str, bool]]] = (-1, [])
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._watch, name="codepipeline-expiries", daemon=True)

    def recover(self) -> None:
        """At boot, when the gateway answers: carry executions on."""
        self._worker.engine.recover()
        self._clock.start()

    def shutdown(self) -> None:
        """Stop; what was under way is carried on by the next `recover`."""
        self._closed.set()
        if self._clock.is_alive():
            self._clock.join()
        self._worker.close()
        self._worker.engine.shutdown()
        self.api.close()

    def under_way(self) -> list[str]:
        """Actions that do something now; those that wait for a person do not."""
        return [name for name, waits in self._look() if not waits]

    def approvals(self) -> list[str]:
        """Manual approvals that wait for a person."""
        return [f"approval of {name}" for name, waits in self._look() if waits]

    def _look(self) -> list[tuple[str, bool]]:
        """(action in progress, whether it waits for a person); read anew only after a change: the clock asks often."""
        revision = self._records.revision
        if self._seen[0] != revision:
            actions = [action for action in self._records.actions() if action["status"] == "InProgress"]
            names = ("pipelineName", "stageName", "actionName")
            seen = [
                (f"pipeline {'/'.join(action[name] for name in names)}", bool(action["notes"].get("token")))
                for action in actions
            ]
            self._seen = (revision, seen)
        return self._seen[1]

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            self._decisions.expire()
