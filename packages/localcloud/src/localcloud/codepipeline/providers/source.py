"""Source actions: a commit of a local repository becomes the pipeline's first artifact."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

from localcloud.codebuild.artifacts import CLONE_REFERENCE, REVISION
from localcloud.codepipeline.work import ActionFailed, Work
from localcloud.source.repositories import Commit, Repositories, Repository, SourceError

_USE = ("codestar-connections:UseConnection", "codeconnections:UseConnection")
_CODE_COMMIT = (
    "codecommit:GetBranch",
    "codecommit:GetCommit",
    "codecommit:UploadArchive",
    "codecommit:GetUploadArchiveStatus",
)


def connection(work: Work, repositories: Repositories) -> bool:
    """`CodeStarSourceConnection`: the repository of the full id's last part, whatever the connection."""
    arn, full_name = work.require("ConnectionArn"), work.require("FullRepositoryId")
    denials = [work.roles.denied(work.credentials, action, arn) for action in _USE]
    if all(denials):  # AWS takes the permission under the service's old and new name
        raise ActionFailed("PermissionError", str(denials[0]))
    commit = _take(work, repositories, full_name, [(action, arn) for action in _USE])
    work.variables |= {
        "AuthorDate": commit.author_date,
        "AuthorDisplayName": commit.author,
        "AuthorEmail": commit.email,
        "AuthorId": "",
        "BranchName": work.require("BranchName"),
        "CommitId": commit.id,
        "CommitMessage": commit.message,
        "ConnectionArn": arn,
        "FullRepositoryName": full_name,
        "ProviderType": "GitHub",
    }
    work.result["externalExecutionSummary"] = json.dumps(
        {"ProviderType": "GitHub", "CommitMessage": commit.message.partition("\n")[0]}
    )
    return True


def code_commit(work: Work, repositories: Repositories) -> bool:
    """`CodeCommit`: the repository of that name."""
    name = work.require("RepositoryName")
    arn = f"arn:aws:codecommit:{work.cloud.region}:{work.cloud.account}:{name}"
    for action in _CODE_COMMIT:
        denied = work.roles.denied(work.credentials, action, arn)
        if denied:
            raise ActionFailed("PermissionError", denied)
    commit = _take(work, repositories, name, [("codecommit:GitPull", arn)])
    work.variables |= {
        "AuthorDate": commit.author_date,
        "BranchName": work.require("BranchName"),
        "CommitId": commit.id,
        "CommitMessage": commit.message,
        "CommitterDate": commit.committer_date,
        "RepositoryName": name,
    }
    work.result["externalExecutionSummary"] = commit.message.partition("\n")[0]
    return True


def _take(work: Work, repositories: Repositories, full_name: str, to_clone: list[tuple[str, str]]) -> Commit:
    """Put the commit that started the execution, or the branch's latest, into the action's artifact.

    Args:
        to_clone: (action, resource) of which a build's role needs one, where the artifact is to be cloned.
    """
    try:
        repository = repositories.ensure(full_name)
        wanted = work.execution["sourceOverrides"].get(work.action["actionName"]) or work.require("BranchName")
        commit = repository.commit(wanted)
    except SourceError as error:
        raise ActionFailed("ConfigurationError", str(error)) from error
    artifact = next(iter(work.outputs))
    body = _archive(repository, commit.id)
    if work.configuration.get("OutputArtifactFormat", "CODE_ZIP") == "CODEBUILD_CLONE_REF":
        body = _reference(repository.name, commit.id, to_clone)
    work.write(artifact, body, **{REVISION: commit.id})
    work.note(
        revision={
            "name": artifact,
            "revisionId": commit.id,
            "revisionSummary": commit.message.partition("\n")[0],
            "created": work.cloud.clock.now().timestamp(),
            "actionName": work.action["actionName"],
        }
    )
    work.result["externalExecutionId"] = commit.id
    return commit


def _archive(repository: Repository, commit_id: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="localcloud-") as folder:
        file = Path(folder) / "source.zip"
        repository.archive(commit_id, file)
        return file.read_bytes()


def _reference(repository: str, commit_id: str, permissions: list[tuple[str, str]]) -> bytes:
    """A full clone's artifact: CodeBuild clones what it refers to."""
    wanted = {"repository": repository, "commit": commit_id, "permissions": permissions}
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(CLONE_REFERENCE, json.dumps(wanted))
    return body.getvalue()
