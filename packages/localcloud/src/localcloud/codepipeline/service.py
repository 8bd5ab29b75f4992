"""The service CodePipeline: its API and its background work."""

from __future__ import annotations

import threading
from functools import partial

from localcloud.cloud import Cloud
from localcloud.codepipeline import providers
from localcloud.codepipeline.action_runner import ActionRunner
from localcloud.codepipeline.catalog import Catalog
from localcloud.codepipeline.control import Control
from localcloud.codepipeline.external_results import ExternalResults
from localcloud.codepipeline.history import History
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.triggers import Triggers
from localcloud.json_api import Identify, JsonApi
from localcloud.roles import Roles
from localcloud.source.repositories import Repositories

_POLL_SECONDS = 1.0


class CodePipeline:
    """The service `codepipeline`."""

    def __init__(self, cloud: Cloud, roles: Roles, repositories: Repositories, identify: Identify) -> None:
        self._records = records = Records(cloud)
        self._runner = ActionRunner(
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
        engine = self._runner.engine
        self._external_results = ExternalResults(records, self._runner)
        self.triggers = Triggers(records, engine)
        self.api = JsonApi(
            "codepipeline",
            {
                **Catalog(cloud, records, engine, repositories).operations,
                **Control(records, engine).operations,
                **History(records).operations,
                **self._external_results.operations,
            },
            identify,
        )
        self._seen: tuple[int, list[tuple[str, bool]]] = (-1, [])
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._expire_regularly, name="codepipeline-expiries", daemon=True)

    def recover(self) -> None:
        """Continue executions after a restart; call this once the gateway accepts requests."""
        self._runner.engine.recover()
        self._clock.start()

    def shutdown(self) -> None:
        """Stop; the next `recover` continues executions that were in progress."""
        self._closed.set()
        if self._clock.is_alive():
            self._clock.join()
        self._runner.close()
        self._runner.engine.shutdown()
        self.api.close()

    def under_way(self) -> list[str]:
        """Return the running actions, without those that wait for a person."""
        return [name for name, waits in self._actions_in_progress() if not waits]

    def approvals(self) -> list[str]:
        """Return the manual approvals that wait for a person."""
        return [f"approval of {name}" for name, waits in self._actions_in_progress() if waits]

    def _actions_in_progress(self) -> list[tuple[str, bool]]:
        """Return (action in progress, whether it waits for a person).

        The clock asks often, so documents are read again only after a change.
        """
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

    def _expire_regularly(self) -> None:
        while not self._closed.wait(_POLL_SECONDS):
            self._external_results.expire()
