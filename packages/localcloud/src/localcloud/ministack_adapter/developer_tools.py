"""IAM for CodePipeline, CodeBuild, CodeCommit and CodeConnections: namespaces, resources and passed roles.

Sources: the Service Authorization Reference's pages on these services.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# ministack's name of a service (also the name its requests are signed for) → prefix of its requests' targets
TARGETS = {
    "codebuild": "CodeBuild_20161006.",
    "codecommit": "CodeCommit_20150413.",
    "codeconnections": "com.amazonaws.codeconnections.CodeConnections_20231201.",
    "codepipeline": "CodePipeline_20150709.",
    "codestar-connections": "com.amazonaws.codestar.connections.CodeStar_connections_20191201.",
}
_BUILDS = {"BatchGetBuilds": "ids", "StopBuild": "id"}
_GROUPS = {"BatchGetReportGroups": "reportGroupArns", "ListReportsForReportGroup": "reportGroupArn"}
_REPORTS = {"BatchGetReports": "reportArns", "DescribeTestCases": "reportArn"}


def passed_role(service: str, request: Mapping[str, Any]) -> str | None:
    """Return the role that a request passes to the service, which needs `iam:PassRole`."""
    if service == "codepipeline":
        role = (request.get("pipeline") or {}).get("roleArn")
    else:
        role = request.get("serviceRole") or request.get("serviceRoleOverride")
    return str(role) if role else None


def resource(service: str, operation: str, request: Mapping[str, Any], region: str, account: str) -> str:
    """Return the ARN that a policy must allow; `*` for an operation without a resource."""
    prefix = f"arn:aws:{service}:{region}:{account}:"
    if service == "codepipeline":
        return _pipeline_resource(operation, request, prefix)
    if service == "codebuild":
        return _build_resource(operation, request, prefix)
    if service == "codecommit":
        return f"{prefix}{request['repositoryName']}" if request.get("repositoryName") else "*"
    return str(request.get("ConnectionArn") or "*")


def _pipeline_resource(operation: str, request: Mapping[str, Any], prefix: str) -> str:
    if request.get("resourceArn"):
        return str(request["resourceArn"])
    name = request.get("pipelineName") or request.get("name") or (request.get("pipeline") or {}).get("name")
    if not name or operation in ("PutJobSuccessResult", "PutJobFailureResult"):
        return "*"
    parts = [str(name)]
    if operation in ("DisableStageTransition", "EnableStageTransition", "RetryStageExecution", "PutApprovalResult"):
        parts.append(str(request.get("stageName", "")))
    if operation == "PutApprovalResult":
        parts.append(str(request.get("actionName", "")))
    return prefix + "/".join(parts)


def _build_resource(operation: str, request: Mapping[str, Any], prefix: str) -> str:
    if operation in _BUILDS:
        build = _first(request.get(_BUILDS[operation])).rpartition("build/")[2]
        return f"{prefix}project/{build.partition(':')[0]}"
    if operation in _GROUPS:
        return _first(request.get(_GROUPS[operation])) or "*"
    if operation in _REPORTS:
        report = _first(request.get(_REPORTS[operation]))
        return report.rpartition(":")[0].replace(":report/", ":report-group/") or "*"
    if operation == "CreateReportGroup":
        return f"{prefix}report-group/{request.get('name', '')}"
    if operation == "DeleteReportGroup":
        return str(request.get("arn", "*"))
    name = request.get("projectName") or request.get("name") or _first(request.get("names"))
    return f"{prefix}project/{str(name).rpartition('/')[2]}" if name else "*"


def _first(value: Any) -> str:
    if isinstance(value, list):
        return str(value[0]) if value else ""
    return str(value or "")
