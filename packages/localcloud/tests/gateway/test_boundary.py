"""Requests that the gateway accepts, and those that it refuses."""

from __future__ import annotations

import urllib.error
import urllib.request

import psutil
import pytest
from botocore.exceptions import ClientError

from localcloud import loopback
from localcloud.testing import LocalCloud


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("ec2", "describe_instances"),
        ("redshift", "describe_clusters"),
        ("secretsmanager", "list_secrets"),
        ("route53", "list_hosted_zones"),
        ("codedeploy", "list_applications"),
    ],
)
def test_a_service_that_is_not_run_is_refused_by_name(local: LocalCloud, service: str, operation: str) -> None:
    with pytest.raises(ClientError, match=f"does not run the service '{service}'"):
        getattr(local.client(service), operation)()


def test_each_instance_type_has_a_quota_for_each_use(local: LocalCloud) -> None:
    pages = local.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    quotas = {quota["QuotaName"]: quota["Value"] for page in pages for quota in page["Quotas"]}
    assert quotas["ml.m5.large for endpoint usage"] == quotas["ml.m5.xlarge for processing job usage"] == 20
    assert "ml.m5.3xlarge for endpoint usage" not in quotas
    with pytest.raises(ClientError, match="NoSuchResource"):
        local.client("service-quotas").list_service_quotas(ServiceCode="ec2")


def test_it_listens_on_one_loopback_port_and_nowhere_else(local: LocalCloud) -> None:
    listening = [c.laddr for c in psutil.Process(local.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", local.port)]


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config", "/_localstack/health"])
def test_ministacks_administration_is_closed(local: LocalCloud, path: str) -> None:
    local.client("ssm").put_parameter(Name="/boundary/kept", Value="1", Type="String", Overwrite=True)
    request = urllib.request.Request(f"http://127.0.0.1:{local.port}{path}", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        loopback.request(request)
    assert local.client("ssm").get_parameter(Name="/boundary/kept")["Parameter"]["Value"] == "1"


def test_an_unknown_key_is_refused(local: LocalCloud) -> None:
    with pytest.raises(ClientError, match=r"UnrecognizedClient|InvalidClientTokenId"):
        local.client("ssm", "AKIAIOSFODNN7EXAMPLE", "nothing").describe_parameters()


def test_a_branch_without_its_repository_is_a_clients_mistake(local: LocalCloud) -> None:
    with pytest.raises(ClientError, match="RepositoryNameRequiredException"):
        local.client("codecommit").get_branch(branchName="main")
