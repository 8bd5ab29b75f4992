"""What a push starts: pipelines whose source is the branch, through their triggers' filters where they have any.

Source: AWS CodePipeline User Guide, "Filter triggers on code push or pull requests".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.codepipeline.control import defaults
from localcloud.codepipeline.engine import Engine
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.structure import sources
from localcloud.globs import matches
from localcloud.source.repositories import Repository, short

_HEADS, _TAGS = "refs/heads/", "refs/tags/"


class Triggers:
    """CodePipeline's own detection of changes; CodeCommit's events come through the pipelines' EventBridge rules."""

    def __init__(self, records: Records, engine: Engine) -> None:
        self._records, self._engine = records, engine

    def pushed(self, repository: Repository, reference: str, old: str, new: str) -> list[str]:
        """Start what a push starts; return what to tell who pushed."""
        lines = []
        for document in self._records.pipelines():
            structure = document["pipeline"]
            for action in sources(structure):
                configuration = action.get("configuration", {})
                full_name = configuration.get("FullRepositoryId") or configuration.get("RepositoryName", "")
                if short(full_name) == repository.name:
                    lines += self._consider(structure, action, repository, reference, old, new)
        return lines

    def started_by_rule(self, name: str, rule_arn: str) -> None:
        """An EventBridge rule has the pipeline as its target."""
        structure = self._records.pipeline(name)["pipeline"]
        trigger = {"triggerType": "CloudWatchEvent", "triggerDetail": rule_arn}
        self._engine.start(name, trigger, variables=defaults(structure))

    def _consider(
        self,
        structure: Mapping[str, Any],
        action: Mapping[str, Any],
        repository: Repository,
        reference: str,
        old: str,
        new: str,
    ) -> list[str]:
        name, provider = structure["name"], action["actionTypeId"]["provider"]
        kind = "WebhookV2" if provider == "CodeStarSourceConnection" else "PollForSourceChanges"
        if not self._wanted(structure, action, repository, reference, old, new):
            if provider == "CodeCommit" and reference == _HEADS + str(action["configuration"].get("BranchName")):
                return [f"Pipeline {name} follows this branch by its EventBridge rule"]
            return [f"Pipeline {name} does not follow this push ({reference}): its branch or filters say otherwise"]
        execution = self._engine.start(
            name,
            {"triggerType": kind, "triggerDetail": f"{repository.name} {reference} {new}"},
            sourceOverrides={action["name"]: new} if kind == "WebhookV2" else {},
            variables=defaults(structure),
        )
        return [
            f"Pipeline {name} started: execution {execution['pipelineExecutionId']}",
            "  look: localcloud status",
            f"  or:   aws codepipeline get-pipeline-state --name {name}",
        ]

    @staticmethod
    def _wanted(
        structure: Mapping[str, Any],
        action: Mapping[str, Any],
        repository: Repository,
        reference: str,
        old: str,
        new: str,
    ) -> bool:
        configuration = action.get("configuration", {})
        filters = [
            trigger["gitConfiguration"]
            for trigger in structure.get("triggers", [])
            if trigger["gitConfiguration"]["sourceActionName"] == action["name"]
        ]
        if filters:
            entries = [entry for one in filters for entry in one.get("push", [])]
            return any(_passes(entry, repository, reference, old, new) for entry in entries)
        # Without triggers a connection detects changes by default, CodeCommit is polled by default.
        switch = "DetectChanges" if "FullRepositoryId" in configuration else "PollForSourceChanges"
        on = str(configuration.get(switch, "true")).lower() == "true"
        return on and reference == _HEADS + str(configuration.get("BranchName"))


def _passes(entry: Mapping[str, Any], repository: Repository, reference: str, old: str, new: str) -> bool:
    """All of an entry's filters hold; tags and branches exclude each other."""
    if reference.startswith(_TAGS):
        return "tags" in entry and _chosen(entry["tags"], [reference.removeprefix(_TAGS)])
    if "tags" in entry:
        return False
    if not _chosen(entry.get("branches", {}), [reference.removeprefix(_HEADS)]):
        return False
    return "filePaths" not in entry or _chosen(entry["filePaths"], repository.changed_files(old, new))


def _chosen(patterns: Mapping[str, Sequence[str]], names: Sequence[str]) -> bool:
    """Some name is included and not excluded; without includes every name is."""
    includes, excludes = patterns.get("includes") or ["**"], patterns.get("excludes") or []
    return any(
        any(matches(one, name) for one in includes) and not any(matches(one, name) for one in excludes)
        for name in names
    )
