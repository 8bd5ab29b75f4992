"""CloudFormation's CodePipeline type, on the service's API."""

from __future__ import annotations

from typing import Any

from localcloud.cfn import CfnContext, CfnResource, CfnType, Properties
from localcloud.cfn_requests import request_of
from localcloud.shapes import service_model


def _structure(context: CfnContext, properties: Properties, name: str | None = None) -> dict[str, Any]:
    given = dict(properties)
    stores = given.pop("ArtifactStores", None)
    if stores:  # a list in a template, a map by region in the API
        given["ArtifactStores"] = {one["Region"]: one["ArtifactStore"] for one in stores}
    given["Name"] = name or given.get("Name") or context.physical_name
    structure: dict[str, Any] = request_of(service_model("codepipeline").shape_for("PipelineDeclaration"), given)
    return structure


def _tags(properties: Properties) -> list[dict[str, str]]:
    return [{"key": tag["Key"], "value": str(tag["Value"])} for tag in properties.get("Tags") or []]


def _resource(context: CfnContext, name: str) -> CfnResource:
    version = context.client("codepipeline").get_pipeline(name=name)["pipeline"]["version"]
    return CfnResource(name, {"Version": str(version)})


def _create(context: CfnContext, properties: Properties) -> CfnResource:
    client = context.client("codepipeline")
    structure = _structure(context, properties)
    client.create_pipeline(pipeline=structure, tags=_tags(properties))
    _set_transitions(client, structure["name"], {}, properties)
    return _resource(context, structure["name"])


def _update(context: CfnContext, name: str, old: Properties, new: Properties) -> CfnResource:
    client = context.client("codepipeline")
    structure = _structure(context, new, name)
    if structure != _structure(context, old, name):
        client.update_pipeline(pipeline=structure)
        if str(new.get("RestartExecutionOnUpdate", "false")).lower() == "true":
            client.start_pipeline_execution(name=name)
    arn = client.get_pipeline(name=name)["metadata"]["pipelineArn"]
    removed = {tag["key"] for tag in _tags(old)} - {tag["key"] for tag in _tags(new)}
    if removed:
        client.untag_resource(resourceArn=arn, tagKeys=sorted(removed))
    if _tags(new):
        client.tag_resource(resourceArn=arn, tags=_tags(new))
    _set_transitions(client, name, old, new)
    return _resource(context, name)


def _set_transitions(client: Any, name: str, old: Properties, new: Properties) -> None:
    before = {one["StageName"] for one in old.get("DisableInboundStageTransitions") or []}
    after = {one["StageName"]: one["Reason"] for one in new.get("DisableInboundStageTransitions") or []}
    for stage in sorted(before - set(after)):
        client.enable_stage_transition(pipelineName=name, stageName=stage, transitionType="Inbound")
    for stage, reason in after.items():
        client.disable_stage_transition(pipelineName=name, stageName=stage, transitionType="Inbound", reason=reason)


def _delete(context: CfnContext, name: str, _properties: Properties) -> None:
    context.client("codepipeline").delete_pipeline(name=name)


CFN_TYPES = {
    "AWS::CodePipeline::Pipeline": CfnType(
        create=_create,
        update=_update,
        delete=_delete,
        replace_on=frozenset({"Name"}),
        name_property="Name",
        max_name_length=100,
    ),
}
