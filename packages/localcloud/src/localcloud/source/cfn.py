"""CloudFormation types of source repositories and connections, on the services' own APIs."""

from __future__ import annotations

from functools import partial
from typing import Any

from localcloud.cfn import CfnContext, CfnResource, CfnType, Properties


def _connection(client: Any, arn: str) -> CfnResource:
    known = client.get_connection(ConnectionArn=arn)["Connection"]
    return CfnResource(arn, {name: known[name] for name in ("ConnectionArn", "ConnectionStatus", "OwnerAccountId")})


def _create_connection(service: str, context: CfnContext, properties: Properties) -> CfnResource:
    members = {name: properties[name] for name in ("ConnectionName", "ProviderType", "HostArn") if name in properties}
    client = context.client(service)
    return _connection(client, client.create_connection(**members)["ConnectionArn"])


def _keep_connection(service: str, context: CfnContext, arn: str, _old: Properties, _new: Properties) -> CfnResource:
    return _connection(context.client(service), arn)


def _delete_connection(service: str, context: CfnContext, arn: str, _properties: Properties) -> None:
    context.client(service).delete_connection(ConnectionArn=arn)


def _connection_type(service: str) -> CfnType:
    return CfnType(
        create=partial(_create_connection, service),
        update=partial(_keep_connection, service),  # every property but the tags replaces
        delete=partial(_delete_connection, service),
        replace_on=frozenset({"ConnectionName", "ProviderType", "HostArn"}),
        tagged=False,
    )


def _create_repository(context: CfnContext, properties: Properties) -> CfnResource:
    if properties.get("Code"):
        raise ValueError("The local cloud does not support Code of AWS::CodeCommit::Repository; push to it instead")
    client = context.client("codecommit")
    made = client.create_repository(
        repositoryName=properties["RepositoryName"],
        repositoryDescription=properties.get("RepositoryDescription", ""),
    )["repositoryMetadata"]
    return _repository(made)


def _repository(metadata: Properties) -> CfnResource:
    return CfnResource(
        str(metadata["repositoryId"]),
        {
            "Arn": metadata["Arn"],
            "Name": metadata["repositoryName"],
            "CloneUrlHttp": metadata["cloneUrlHttp"],
            "CloneUrlSsh": metadata["cloneUrlHttp"],
        },
    )


def _keep_repository(context: CfnContext, _id: str, _old: Properties, new: Properties) -> CfnResource:
    client = context.client("codecommit")
    return _repository(client.get_repository(repositoryName=new["RepositoryName"])["repositoryMetadata"])


def _delete_repository(context: CfnContext, _id: str, properties: Properties) -> None:
    context.client("codecommit").delete_repository(repositoryName=properties["RepositoryName"])


CFN_TYPES = {
    "AWS::CodeConnections::Connection": _connection_type("codeconnections"),
    "AWS::CodeStarConnections::Connection": _connection_type("codestar-connections"),
    "AWS::CodeCommit::Repository": CfnType(
        create=_create_repository,
        update=_keep_repository,
        delete=_delete_repository,
        replace_on=frozenset({"RepositoryName"}),
        name_property="RepositoryName",
        tagged=False,
    ),
}
