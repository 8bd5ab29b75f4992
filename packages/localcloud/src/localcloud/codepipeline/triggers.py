"""Triggers: a push starts the pipelines whose source is the branch, subject to their triggers' filters.

Source: AWS CodePipeline User Guide, "Filter triggers on code push or pull requests".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.codepipeline.control import defaults
from localcloud.codepipeline.engine import Engine
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.structure import sources
from localcloud.globs import matches
from localcloud.source.repositories import Repository, short

_HEADS, _TAGS = "refs/heads/", "refs/tags/"


@dataclass(frozen=True)
class _Push:
    """A pushed reference.

    Attributes:
        reference: `refs/heads/…` or `refs/tags/…`.
        old: the commit before the push.
        new: the commit after it.
    """

    repository: Repository
    reference: str
    old: str
    new: str


class Triggers:
    """CodePipeline's detection of changes; CodeCommit's events arrive through EventBridge rules instead."""

    def __init__(self, records: Records, engine: Engine) -> None:
        self._records, self._engine = records, engine

    def pushed(self, repository: Repository, reference: str, old: str, new: str) -> list[str]:
        """Start the pipelines that a push triggers; return the lines to print to the user who pushed."""
        push = _Push(repository, reference, old, new)
        lines = []
        for document in self._records.pipelines():
            structure = document["pipeline"]
            for action in sources(structure):
                configuration = action.get("configuration", {})
                full_name = configuration.get("FullRepositoryId") or configuration.get("RepositoryName", "")
                if short(full_name) == repository.name:
                    lines += self._start_if_triggered(structure, action, push)
        return lines

    def started_by_rule(self, name: str, rule_arn: str) -> None:
        """Start a pipeline that is the target of an EventBridge rule."""
        structure = self._records.pipeline(name)["pipeline"]
        trigger = {"triggerType": "CloudWatchEvent", "triggerDetail": rule_arn}
        self._engine.start(name, trigger, variables=defaults(structure))

    def _start_if_triggered(self, structure: Mapping[str, Any], action: Mapping[str, Any], push: _Push) -> list[str]:
        name, provider = structure["name"], action["actionTypeId"]["provider"]
        kind = "WebhookV2" if provider == "CodeStarSourceConnection" else "PollForSourceChanges"
        if not _is_triggered(structure, action, push):
            if provider == "CodeCommit" and push.reference == _HEADS + str(action["configuration"].get("BranchName")):
                return [f"Pipeline {name} follows this branch by its EventBridge rule"]
            return [f"Pipeline {name} does not follow this push ({push.reference}): its branch or filters exclude it"]
        execution = self._engine.start(
            name,
            {"triggerType": kind, "triggerDetail": f"{push.repository.name} {push.reference} {push.new}"},
            sourceOverrides={action["name"]: push.new} if kind == "WebhookV2" else {},
            variables=defaults(structure),
        )
        return [
            f"Pipeline {name} started: execution {execution['pipelineExecutionId']}",
            "  look: localcloud status",
            f"  or:   aws codepipeline get-pipeline-state --name {name}",
        ]


def _is_triggered(structure: Mapping[str, Any], action: Mapping[str, Any], push: _Push) -> bool:
    configuration = action.get("configuration", {})
    filters = [
        trigger["gitConfiguration"]
        for trigger in structure.get("triggers", [])
        if trigger["gitConfiguration"]["sourceActionName"] == action["name"]
    ]
    if filters:
        entries = [entry for one in filters for entry in one.get("push", [])]
        return any(_matches_filters(entry, push) for entry in entries)
    # Without triggers a connection detects changes by default, and CodeCommit is polled by default.
    switch = "DetectChanges" if "FullRepositoryId" in configuration else "PollForSourceChanges"
    on = str(configuration.get(switch, "true")).lower() == "true"
    return on and push.reference == _HEADS + str(configuration.get("BranchName"))


def _matches_filters(entry: Mapping[str, Any], push: _Push) -> bool:
    """Return whether all filters of an entry match; tags and branches exclude each other."""
    if push.reference.startswith(_TAGS):
        return "tags" in entry and _includes(entry["tags"], [push.reference.removeprefix(_TAGS)])
    if "tags" in entry:
        return False
    if not _includes(entry.get("branches", {}), [push.reference.removeprefix(_HEADS)]):
        return False
    return "filePaths" not in entry or _includes(entry["filePaths"], push.repository.changed_files(push.old, push.new))


def _includes(patterns: Mapping[str, Sequence[str]], names: Sequence[str]) -> bool:
    """Return whether a name is included and not excluded; without includes every name is included."""
    includes, excludes = patterns.get("includes") or ["**"], patterns.get("excludes") or []
    return any(
        any(matches(one, name) for one in includes) and not any(matches(one, name) for one in excludes)
        for name in names
    )
