"""Triggers: the executions that a push starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from localcloud_support.codepipeline_service import CodePipelineHarness, Document, action, stage_of

from localcloud.globs import matches
from localcloud.source.repositories import Repository

BUILD = stage_of("Build", action("Compile"))
_ZERO = "0" * 40


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def pushed(harness: CodePipelineHarness, tmp_path: Path) -> tuple[Repository, str, str]:
    """Return a repository with two commits; the second one changes only `models/a/train.py`."""
    context = tmp_path / "work"
    context.mkdir()
    _git(context, "init", "-q", "-b", "main")
    for name in ("README.md", "models/a/train.py"):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text("1")
    _git(context, "add", ".")
    _git(context, "commit", "-qm", "one")
    (context / "models/a/train.py").write_text("2")
    _git(context, "commit", "-qam", "two")
    repository = harness.repositories.ensure("team/code")
    for hook in ("pre-receive", "post-receive"):
        (repository.path / "hooks" / hook).unlink()  # no gateway here
    _git(context, "push", "-q", str(repository.path), "main")
    return repository, _git(context, "rev-parse", "main~1"), _git(context, "rev-parse", "main")


def _trigger(**push: Document) -> Document:
    configuration = {"sourceActionName": "Push", "push": [push]}
    return {"providerType": "CodeStarSourceConnection", "gitConfiguration": configuration}


@pytest.mark.parametrize(
    ("triggers", "reference", "starts"),
    [
        ([], "refs/heads/main", True),
        ([], "refs/heads/other", False),
        ([_trigger(branches={"includes": ["release/*"]})], "refs/heads/main", False),
        ([_trigger(branches={"includes": ["release/*"]})], "refs/heads/release/1", True),
        ([_trigger(branches={"includes": ["**"], "excludes": ["main"]})], "refs/heads/main", False),
        ([_trigger(filePaths={"includes": ["models/**"]})], "refs/heads/main", True),
        ([_trigger(filePaths={"includes": ["docs/**"]})], "refs/heads/main", False),
        ([_trigger(filePaths={"includes": ["**"], "excludes": ["models/**"]})], "refs/heads/main", False),
        ([_trigger(tags={"includes": ["v*"]})], "refs/tags/v1", True),
        ([_trigger(tags={"includes": ["v*"]})], "refs/heads/main", False),
    ],
)
def test_a_push_starts_pipelines_whose_filters_match(
    harness: CodePipelineHarness,
    pushed: tuple[Repository, str, str],
    triggers: list[Document],
    reference: str,
    starts: bool,
) -> None:
    harness.create(BUILD, triggers=triggers)
    repository, old, new = pushed
    harness.triggers.pushed(repository, reference, old, new)
    executions = harness.records.executions("p")
    assert (len(executions) == 2) is starts
    if starts:
        assert executions[1]["sourceOverrides"] == {"Push": new}
        assert executions[1]["trigger"]["triggerType"] == "WebhookV2"
        harness.wait_until_settled(2)


def test_a_push_to_another_repository_starts_nothing(
    harness: CodePipelineHarness, pushed: tuple[Repository, str, str]
) -> None:
    harness.create(BUILD)
    other = harness.repositories.ensure("elsewhere")
    assert harness.triggers.pushed(other, "refs/heads/main", _ZERO, pushed[2]) == []


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**/*", "a/b.txt", True),
        ("**/*", "b.txt", True),
        ("*", "a/b.txt", False),
        ("a/*.txt", "a/b.txt", True),
        ("a/*.txt", "a/c/b.txt", False),
        ("{a,b}/**", "b/c/d", True),
        ("a.txt", "axtxt", False),
        ("a/**/z", "a/z", True),
    ],
)
def test_a_star_stays_within_a_folder_and_two_do_not(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected
