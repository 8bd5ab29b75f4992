"""Source actions: they store a commit of a local repository as the pipeline's first artifact."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

from localcloud.codebuild.artifacts import CLONE_REFERENCE, REVISION
from localcloud.codepipeline.action_runner import ActionContext, ActionFailed
from localcloud.source.repositories import Commit, Repositories, Repository, SourceError

_CODE_COMMIT = (
    "codecommit:GetBranch",
    "codecommit:GetCommit",
    "codecommit:UploadArchive",
    "codecommit:GetUploadArchiveStatus",
)


def connection(context: ActionContext, repositories: Repositories) -> bool:
    """Run `CodeStarSourceConnection`: the last part of the full repository id names the local repository."""
    arn, full_name = context.require("ConnectionArn"), context.require("FullRepositoryId")
    # The action's prefix is that of the ARN: the service was renamed.
    service = "codestar-connections" if arn.startswith("arn:aws:codestar-connections:") else "codeconnections"
    use = f"{service}:UseConnection"
    denied = context.roles.denied(context.credentials, use, arn)
    if denied:
        raise ActionFailed("PermissionError", denied)
    commit = _write_source(context, repositories, full_name, [(use, arn)])
    context.variables |= {
        "AuthorDate": commit.author_date,
        "AuthorDisplayName": commit.author,
        "AuthorEmail": commit.email,
        "AuthorId": "",
        "BranchName": context.require("BranchName"),
        "CommitId": commit.id,
        "CommitMessage": commit.message,
        "ConnectionArn": arn,
        "FullRepositoryName": full_name,
        "ProviderType": "GitHub",
    }
    context.result["externalExecutionSummary"] = json.dumps(
        {"ProviderType": "GitHub", "CommitMessage": commit.message.partition("\n")[0]}
    )
    return True


def code_commit(context: ActionContext, repositories: Repositories) -> bool:
    """Run `CodeCommit`: the local repository has the same name."""
    name = context.require("RepositoryName")
    arn = f"arn:aws:codecommit:{context.cloud.region}:{context.cloud.account}:{name}"
    for action in _CODE_COMMIT:
        denied = context.roles.denied(context.credentials, action, arn)
        if denied:
            raise ActionFailed("PermissionError", denied)
    commit = _write_source(context, repositories, name, [("codecommit:GitPull", arn)])
    context.variables |= {
        "AuthorDate": commit.author_date,
        "BranchName": context.require("BranchName"),
        "CommitId": commit.id,
        "CommitMessage": commit.message,
        "CommitterDate": commit.committer_date,
        "RepositoryName": name,
    }
    context.result["externalExecutionSummary"] = commit.message.partition("\n")[0]
    return True


def _write_source(
    context: ActionContext, repositories: Repositories, full_name: str, to_clone: list[tuple[str, str]]
) -> Commit:
    """Store the commit that started the execution, or the branch's latest one, as the action's artifact.

    Args:
        context: the action.
        repositories: the local repositories.
        full_name: the repository.
        to_clone: (action, resource) pairs; a build's role needs one of them to clone the artifact.
    """
    try:
        repository = repositories.ensure(full_name)
        wanted = context.execution["sourceOverrides"].get(context.action["actionName"]) or context.require("BranchName")
        commit = repository.commit(wanted)
    except SourceError as error:
        raise ActionFailed("ConfigurationError", str(error)) from error
    artifact = next(iter(context.outputs))
    body = _archive(repository, commit.id)
    if context.configuration.get("OutputArtifactFormat", "CODE_ZIP") == "CODEBUILD_CLONE_REF":
        body = _reference(repository.name, commit.id, to_clone)
    context.write(artifact, body, **{REVISION: commit.id})
    context.note(
        revision={
            "name": artifact,
            "revisionId": commit.id,
            "revisionSummary": commit.message.partition("\n")[0],
            "created": context.cloud.clock.now().timestamp(),
            "actionName": context.action["actionName"],
        }
    )
    context.result["externalExecutionId"] = commit.id
    return commit


def _archive(repository: Repository, commit_id: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="localcloud-") as folder:
        file = Path(folder) / "source.zip"
        repository.archive(commit_id, file)
        return file.read_bytes()


def _reference(repository: str, commit_id: str, permissions: list[tuple[str, str]]) -> bytes:
    """Return an artifact that refers to a commit, which CodeBuild clones."""
    wanted = {"repository": repository, "commit": commit_id, "permissions": permissions}
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(CLONE_REFERENCE, json.dumps(wanted))
    return body.getvalue()
