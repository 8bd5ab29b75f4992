"""CodeCommit's repositories and CodeConnections' connections, as far as a pipeline's deployment needs them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from localcloud.cloud import Cloud
from localcloud.errors import AwsError
from localcloud.json_api import Document, Identify, JsonApi, Operation
from localcloud.source.repositories import Repositories, SourceError

_REPOSITORY, _CONNECTION = "CodeCommitRepository", "CodeConnection"
CONNECTION_SERVICES = ("codeconnections", "codestar-connections")


class Source:
    """The services `codecommit`, `codeconnections` and, by its old name, `codestar-connections`."""

    def __init__(self, cloud: Cloud, repositories: Repositories, identify: Identify) -> None:
        self._cloud, self._store, self._repositories = cloud, cloud.store, repositories
        self.apis = {
            "codecommit": JsonApi(
                "codecommit",
                {
                    "CreateRepository": self._create_repository,
                    "GetRepository": self._get_repository,
                    "DeleteRepository": self._delete_repository,
                    "ListRepositories": self._list_repositories,
                    "GetBranch": self._get_branch,
                    "GetCommit": self._get_commit,
                    "ListBranches": self._list_branches,
                },
                identify,
            ),
            **{service: JsonApi(service, self._connections(service), identify) for service in CONNECTION_SERVICES},
        }

    def close(self) -> None:
        """End the services' threads."""
        for api in self.apis.values():
            api.close()

    def _create_repository(self, request: Mapping[str, Any], _caller: str) -> Document:
        name = request["repositoryName"]
        if self._store.get(_REPOSITORY, name):
            raise AwsError("RepositoryNameExistsException", f"Repository named {name} already exists")
        try:
            repository = self._repositories.ensure(name)
        except SourceError as error:
            raise AwsError("InvalidRepositoryNameException", str(error)) from error
        now = self._cloud.clock.now().timestamp()
        metadata = {
            "accountId": self._cloud.account,
            "repositoryId": str(uuid.uuid4()),
            "repositoryName": name,
            "repositoryDescription": request.get("description", ""),
            "defaultBranch": "main",
            "creationDate": now,
            "lastModifiedDate": now,
            "cloneUrlHttp": f"file://{repository.path}",
            "Arn": f"arn:aws:codecommit:{self._cloud.region}:{self._cloud.account}:{name}",
        }
        self._store.put(_REPOSITORY, name, metadata)
        return {"repositoryMetadata": metadata}

    def _repository(self, name: str) -> Document:
        found = self._store.get(_REPOSITORY, name)
        if found is None:
            raise AwsError("RepositoryDoesNotExistException", f"{name} does not exist")
        return found

    def _get_repository(self, request: Mapping[str, Any], _caller: str) -> Document:
        return {"repositoryMetadata": self._repository(request["repositoryName"])}

    def _delete_repository(self, request: Mapping[str, Any], _caller: str) -> Document:
        """Delete the record; the bare repository stays, because it may hold the only copy of someone's work."""
        found = self._store.get(_REPOSITORY, request["repositoryName"])
        self._store.delete(_REPOSITORY, request["repositoryName"])
        return {"repositoryId": found["repositoryId"]} if found else {}

    def _list_repositories(self, _request: Mapping[str, Any], _caller: str) -> Document:
        known = self._store.list(_REPOSITORY)
        return {"repositories": [{"repositoryName": name, "repositoryId": one["repositoryId"]} for name, one in known]}

    def _get_branch(self, request: Mapping[str, Any], _caller: str) -> Document:
        for member in ("repositoryName", "branchName"):  # the model requires neither, the service both
            if not request.get(member):
                kind = member.removesuffix("Name").capitalize()
                raise AwsError(f"{kind}NameRequiredException", f"{member} is required")
        name, branch = self._repository(request["repositoryName"])["repositoryName"], request["branchName"]
        commit = self._repositories.ensure(name).branches().get(branch)
        if commit is None:
            raise AwsError("BranchDoesNotExistException", f"{branch} does not exist")
        return {"branch": {"branchName": branch, "commitId": commit}}

    def _get_commit(self, request: Mapping[str, Any], _caller: str) -> Document:
        name = self._repository(request["repositoryName"])["repositoryName"]
        try:
            commit = self._repositories.ensure(name).commit(request["commitId"])
        except SourceError as error:
            raise AwsError("CommitIdDoesNotExistException", f"{request['commitId']} does not exist") from error
        people = {
            "author": (commit.author, commit.email, commit.author_date),
            "committer": (commit.committer, commit.committer_email, commit.committer_date),
        }
        people_documents = {
            who: {"name": one, "email": mail, "date": _git_date(when)} for who, (one, mail, when) in people.items()
        }
        members = {"commitId": commit.id, "treeId": commit.tree, "parents": list(commit.parents)}
        return {"commit": {**members, **people_documents, "message": commit.message, "additionalData": ""}}

    def _list_branches(self, request: Mapping[str, Any], _caller: str) -> Document:
        name = self._repository(request["repositoryName"])["repositoryName"]
        return {"branches": sorted(self._repositories.ensure(name).branches())}

    def _connections(self, service: str) -> dict[str, Operation]:
        def create(request: Mapping[str, Any], _caller: str) -> Document:
            arn = f"arn:aws:{service}:{self._cloud.region}:{self._cloud.account}:connection/{uuid.uuid4()}"
            connection = {
                "ConnectionName": request["ConnectionName"],
                "ConnectionArn": arn,
                "ProviderType": request.get("ProviderType", "GitHub"),
                "OwnerAccountId": self._cloud.account,
                "ConnectionStatus": "AVAILABLE",  # on AWS PENDING, until a person completes it in the console
                "HostArn": request.get("HostArn"),
            }
            self._store.put(_CONNECTION, arn, connection)
            return {"ConnectionArn": arn, "Tags": request.get("Tags", [])}

        def get(request: Mapping[str, Any], _caller: str) -> Document:
            found = self._store.get(_CONNECTION, request["ConnectionArn"])
            if found is None:
                raise AwsError("ResourceNotFoundException", f"Connection {request['ConnectionArn']} not found")
            return {"Connection": found}

        def delete(request: Mapping[str, Any], _caller: str) -> Document:
            self._store.delete(_CONNECTION, request["ConnectionArn"])
            return {}

        def every(request: Mapping[str, Any], _caller: str) -> Document:
            wanted = request.get("ProviderTypeFilter")
            known = [one for _, one in self._store.list(_CONNECTION)]
            return {"Connections": [one for one in known if wanted in (None, one["ProviderType"])]}

        return {
            "CreateConnection": create,
            "GetConnection": get,
            "DeleteConnection": delete,
            "ListConnections": every,
        }


def _git_date(iso: str) -> str:
    """Return a time as CodeCommit writes it: `1484167798 -0800`."""
    moment = datetime.fromisoformat(iso)
    return f"{int(moment.timestamp())} {moment:%z}"
