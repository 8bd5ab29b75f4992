"""Registration of our CloudFormation types with ministack's engine, and marking of its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services.cloudformation import _stacks, changesets, provisioners, stacks

from localcloud.cfn import CfnContext, CfnResource, CfnType, Describe
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.snapshots import Snapshots

ClientFor = Callable[[str, str | None], Any]

# ministack's state name of the service behind a resource type.
_STATE_OF = {
    "AWS::ApplicationAutoScaling": "application_autoscaling",
    "AWS::CloudWatch": "cloudwatch",
    "AWS::DynamoDB": "dynamodb",
    "AWS::ECR": "ecr",
    "AWS::Events": "eventbridge",
    "AWS::IAM": "iam",
    "AWS::KMS": "kms",
    "AWS::Lambda": "lambda",
    "AWS::Logs": "cloudwatch_logs",
    "AWS::S3": "s3",
    "AWS::SNS": "sns",
    "AWS::SQS": "sqs",
    "AWS::SSM": "ssm",
    "AWS::Scheduler": "scheduler",
}


def install(types: Mapping[str, CfnType], client_for: ClientFor, describe: Describe, snapshots: Snapshots) -> None:
    """Register the types.

    Args:
        types: Resource type → its handlers.
        client_for: (service, role ARN or None) → the client that a handler acts with.
        describe: The Describe operations of our own services, in process.
        snapshots: Saves what the engine changes.
    """
    for name, cfn_type in types.items():
        _register(name, cfn_type, client_for, snapshots)
        _register_import(name, cfn_type, describe, snapshots)
    wrap(changesets, "_import_ref", lambda theirs: lambda name, id_: _name(id_) if name in types else theirs(name, id_))
    wrap(stacks, "_runs_on_worker_thread", lambda theirs: lambda name: name in types or theirs(name))
    back = {name for name, cfn_type in types.items() if cfn_type.sent_back}
    wrap(stacks, "_sends_back_failed_update", lambda theirs: lambda name: name in back or theirs(name))
    for operation in ("_provision_resource", "_update_resource", "_delete_resource"):
        wrap(provisioners, operation, _marking_changes(snapshots))


def _register(name: str, cfn_type: CfnType, client_for: ClientFor, snapshots: Snapshots) -> None:
    def context(stack_name: str, logical_id: str) -> CfnContext:
        role = (_stacks.get(stack_name) or {}).get("_role_arn")
        return CfnContext(
            stack_name=stack_name,
            logical_id=logical_id,
            physical_name=physical_name(stack_name, logical_id, cfn_type.max_name_length),
            client=lambda service: client_for(service, role),
        )

    def create(logical_id: str, properties: Mapping[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        given = properties.get(cfn_type.name_property) if cfn_type.name_property else None
        where = context(stack_name, logical_id)
        with ProgressNote(snapshots, stack_name, logical_id, name, str(given or where.physical_name), properties):
            return _pair(cfn_type.create(where, properties))

    def update(
        physical_id: str,
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        stack_name: str,
        logical_id: str,
    ) -> tuple[str, dict[str, Any]]:
        with ProgressNote(snapshots, stack_name, logical_id, name, physical_id, new):
            return _pair(cfn_type.update(context(stack_name, logical_id), physical_id, old, new))

    def delete(physical_id: str, properties: Mapping[str, Any], logical_id: str) -> None:
        stack_name = next(
            (tag["Value"] for tag in properties.get("Tags") or [] if tag.get("Key") == "aws:cloudformation:stack-name"),
            "",
        ) or _stack_of(physical_id)
        cfn_type.delete(context(stack_name, logical_id), physical_id, properties)

    provisioners._RESOURCE_HANDLERS[name] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
        "delete_with_logical_id": True,
    }
    provisioners._REPLACING_PROPERTIES[name] = tuple(sorted(cfn_type.replace_on))
    if cfn_type.tagged:
        provisioners._STACK_TAG_PROPERTY[name] = ("Tags", "list")
    if cfn_type.name_property:
        provisioners._CUSTOM_NAME_REPLACEMENT[name] = {"name": cfn_type.name_property}


def _register_import(name: str, cfn_type: CfnType, describe: Describe, snapshots: Snapshots) -> None:
    """Let a change set with `ImportExistingResources` adopt the resource that has the template's name."""
    read, key = cfn_type.read, cfn_type.name_property
    if read is None or key is None:
        return

    def adopt(identifier: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        found = read(describe, identifier[key])
        if found is None:
            raise ValueError(str(problem(identifier[key])))
        snapshots.mark("cloudformation")
        return _pair(found)

    def problem(given: str) -> str | None:
        found = read(describe, given)
        return None if found else f"Resource of type '{name}' with identifier '{given}' was not found."

    provisioners._RESOURCE_HANDLERS[name]["import"] = adopt
    changesets._IMPORT_LOOKUPS[name] = ((key,), problem)


def _name(physical_id: str) -> str:
    """Return a resource's name from its physical id, which may be an ARN."""
    return physical_id.rpartition("/")[2]


def physical_name(stack_name: str, logical_id: str, limit: int) -> str:
    """Return CloudFormation's name for a resource without one, within the limit and without a trailing hyphen."""
    return str(provisioners._physical_name(stack_name, logical_id, max_len=limit))


def _pair(resource: CfnResource) -> tuple[str, dict[str, Any]]:
    return resource.physical_id, dict(resource.attributes)


class ProgressNote:
    """Notes on the stack's record which resource a worker thread is making, for a start after a kill.

    The resource is durable at once, in another store, so the note is saved first. After a kill in between, the next
    start finds a half-made resource by its name.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        stack_name: str,
        logical_id: str,
        resource_type: str,
        physical_id: str,
        properties: Mapping[str, Any],
    ) -> None:
        self._snapshots = snapshots
        self._stack = _stacks.get(stack_name)
        self._logical_id = logical_id
        self._note = {"ResourceType": resource_type, "PhysicalResourceId": physical_id, "Properties": dict(properties)}

    def __enter__(self) -> None:
        if self._stack is not None:
            self._stack["_under_way"] = {**self._stack.get("_under_way", {}), self._logical_id: self._note}
            self._snapshots.save({"cloudformation"})

    def __exit__(self, *_: object) -> None:
        if self._stack is not None:
            notes = dict(self._stack.get("_under_way", {}))
            notes.pop(self._logical_id, None)
            self._stack["_under_way"] = notes


def _stack_of(physical_id: str) -> str:
    """Return the stack that holds a resource: ministack does not name it for a deletion."""
    for stack in list(_stacks.values()):
        for record in list(stack.get("_resources", {}).values()):
            if record.get("PhysicalResourceId") == physical_id:
                return str(stack["StackName"])
    return ""


def _marking_changes(snapshots: Snapshots) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(resource_type: str, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(resource_type, *args, **kwargs)
            finally:
                snapshots.mark("cloudformation")
                state = _STATE_OF.get(resource_type.rpartition("::")[0])
                if state:
                    snapshots.mark(state)

        return run

    return make
