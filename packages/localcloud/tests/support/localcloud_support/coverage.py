"""The README's coverage tables, from what a running gateway answers to every operation that botocore knows."""

from __future__ import annotations

import http.client
import json
import re
from collections import defaultdict

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from ministack.services.cloudformation import provisioners

from localcloud.application_autoscaling import CFN_TYPES as SCALING_TYPES
from localcloud.codebuild import CFN_TYPES as CODEBUILD_TYPES
from localcloud.codepipeline import CFN_TYPES as CODEPIPELINE_TYPES
from localcloud.ministack_adapter import cfn_checks
from localcloud.ministack_adapter.environment import REGION, ROOT_KEY, root_secret
from localcloud.sagemaker import CFN_TYPES as SAGEMAKER_TYPES
from localcloud.source.cfn import CFN_TYPES as SOURCE_TYPES
from localcloud.testing import LocalCloud

# The services that are the local cloud's own: botocore's name, and the name in the table.
_SERVICES = {
    "codepipeline": "CodePipeline",
    "codebuild": "CodeBuild",
    "codecommit": "CodeCommit",
    "codeconnections": "CodeConnections",
    "application-autoscaling": "Application Auto Scaling",
    "service-quotas": "Service Quotas",
}
_VERB = re.compile(r"^((?:Batch)?[A-Z][a-z]+)(.*)$")


def sagemaker_table(cloud: LocalCloud) -> str:
    """Return the table of SageMaker's operations by resource."""
    verbs: dict[str, list[str]] = defaultdict(list)
    for operation in _supported(cloud, "sagemaker"):
        match = _VERB.match(operation)
        assert match is not None, operation
        noun = match[2] if match[2].endswith(("ies", "ss")) else match[2].removesuffix("s")
        verbs[noun or "(several)"].append(match[1])
    rows = [f"| {resource} | {', '.join(sorted(verbs[resource]))} |" for resource in sorted(verbs)]
    return "\n".join(["| resource | operations |", "|---|---|", *rows])


def other_services_table(cloud: LocalCloud) -> str:
    """Return the table of the other services that are the local cloud's own."""
    rows = [f"| {title} | {', '.join(_supported(cloud, service))} |" for service, title in _SERVICES.items()]
    return "\n".join(["| service | operations |", "|---|---|", *rows])


def cloudformation_table() -> str:
    """Return the table of CloudFormation's resource types by service."""
    own = {*SAGEMAKER_TYPES, *SCALING_TYPES, *CODEBUILD_TYPES, *CODEPIPELINE_TYPES, *SOURCE_TYPES}
    types: dict[str, list[str]] = defaultdict(list)
    for name in sorted({*provisioners._RESOURCE_HANDLERS, *own}):
        service, _, kind = name.rpartition("::")
        if service in cfn_checks.SERVICES:
            types[service].append(kind)
    rows = [f"| `{service}` | {', '.join(types[service])} |" for service in sorted(types)]
    return "\n".join(["| resource types | |", "|---|---|", *rows])


def _supported(cloud: LocalCloud, service: str) -> list[str]:
    """Return the operations that the gateway knows; it checks the name before the (here empty) request."""
    model = botocore.session.get_session().get_service_model(service)
    signer = SigV4Auth(Credentials(ROOT_KEY, root_secret(cloud.state)), model.signing_name, REGION)
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=30)
    known = []
    for operation in model.operation_names:
        headers = {
            "X-Amz-Target": f"{model.metadata['targetPrefix']}.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        signed = AWSRequest("POST", f"{cloud.url}/", headers, b"{}")
        signer.add_auth(signed)
        connection.request("POST", "/", b"{}", dict(signed.headers.items()))
        answer = json.loads(connection.getresponse().read() or b"{}")
        if answer.get("__type") != "UnknownOperationException":
            known.append(str(operation))
    connection.close()
    return known
