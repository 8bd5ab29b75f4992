"""CloudFormation's CodeBuild types, on the service's API."""

from __future__ import annotations

from typing import Any

from localcloud.cfn import CfnContext, CfnResource, CfnType, Properties
from localcloud.cfn_requests import request_of
from localcloud.shapes import operation_model


def _project_request(operation: str, context: CfnContext, properties: Properties) -> dict[str, Any]:
    model = operation_model("codebuild", operation).input_shape
    assert model is not None  # both operations have an input
    request: dict[str, Any] = request_of(model, {"Name": context.physical_name, **properties})
    if any(properties.get("Triggers", {}).get(name) for name in ("Webhook", "BuildType", "FilterGroups")):
        raise ValueError("The local cloud's CodeBuild does not support webhooks (Triggers)")
    return request


def _project(project: Properties) -> CfnResource:
    return CfnResource(str(project["name"]), {"Arn": project["arn"]})


def _create_project(context: CfnContext, properties: Properties) -> CfnResource:
    request = _project_request("CreateProject", context, properties)
    return _project(context.client("codebuild").create_project(**request)["project"])


def _update_project(context: CfnContext, name: str, _old: Properties, new: Properties) -> CfnResource:
    request = {**_project_request("UpdateProject", context, new), "name": name}
    return _project(context.client("codebuild").update_project(**request)["project"])


def _delete_project(context: CfnContext, name: str, _properties: Properties) -> None:
    context.client("codebuild").delete_project(name=name)


def _create_group(context: CfnContext, properties: Properties) -> CfnResource:
    model = operation_model("codebuild", "CreateReportGroup").input_shape
    assert model is not None
    request = request_of(model, {"Name": context.physical_name, **properties})
    group = context.client("codebuild").create_report_group(**request)["reportGroup"]
    return CfnResource(group["arn"], {"Arn": group["arn"]})


def _keep_group(_context: CfnContext, arn: str, _old: Properties, _new: Properties) -> CfnResource:
    return CfnResource(arn, {"Arn": arn})


def _delete_group(context: CfnContext, arn: str, properties: Properties) -> None:
    delete_reports = str(properties.get("DeleteReports", "false")).lower() == "true"
    context.client("codebuild").delete_report_group(arn=arn, deleteReports=delete_reports)


CFN_TYPES = {
    "AWS::CodeBuild::Project": CfnType(
        create=_create_project,
        update=_update_project,
        delete=_delete_project,
        replace_on=frozenset({"Name"}),
        name_property="Name",
        max_name_length=150,
    ),
    "AWS::CodeBuild::ReportGroup": CfnType(
        create=_create_group,
        update=_keep_group,
        delete=_delete_group,
        replace_on=frozenset({"Name", "Type", "ExportConfig"}),
        name_property="Name",
        max_name_length=128,
    ),
}
