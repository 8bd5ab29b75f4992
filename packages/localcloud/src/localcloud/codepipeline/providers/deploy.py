"""CloudFormation actions: change sets and stacks, through the API with the action's role.

Source: AWS CodePipeline User Guide, "AWS CloudFormation deploy action reference".
"""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from typing import Any

from botocore.exceptions import ClientError

from localcloud.codepipeline.action_runner import ActionContext, ActionFailed

_POLL_SECONDS = 0.2
_MAX_BODY_BYTES = 51200  # bytes of a template in a request; larger templates are passed by URL
_NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
_FAILED_STACKS = frozenset(
    {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"}
)
Stack = dict[str, Any]


def deploy(context: ActionContext) -> bool:
    """Run the action's mode."""
    action = _Deployment(context)
    mode = context.require("ActionMode")
    modes = {
        "CHANGE_SET_REPLACE": action.replace_change_set,
        "CHANGE_SET_EXECUTE": action.execute_change_set,
        "CREATE_UPDATE": action.create_or_update,
        "REPLACE_ON_FAILURE": action.replace_on_failure,
        "DELETE_ONLY": action.delete,
    }
    modes[mode]()
    return True


class _Deployment:
    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._client = context.client("cloudformation")
        self._name = context.require("StackName")

    def replace_change_set(self) -> None:
        """Replace the change set; a change set without changes is not a failure."""
        change_set = self._context.require("ChangeSetName")
        stack = self._stack()
        is_new = stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS"
        if stack is not None and self._change_set(change_set) is not None:
            self._client.delete_change_set(StackName=self._name, ChangeSetName=change_set)
            while self._change_set(change_set) is not None:
                self._context.wait(_POLL_SECONDS)
        with self._template() as template:
            made = self._client.create_change_set(
                StackName=self._name,
                ChangeSetName=change_set,
                ChangeSetType="CREATE" if is_new else "UPDATE",
                **template,
                **self._settings(),
            )
            self._context.result["externalExecutionId"] = made["Id"]
            while True:
                seen = self._change_set(change_set) or {"Status": "FAILED", "StatusReason": "it was deleted"}
                if seen["Status"] in ("CREATE_COMPLETE", "FAILED"):
                    break
                self._context.wait(_POLL_SECONDS)
        if seen["Status"] == "FAILED" and not _is_empty(seen):
            raise ActionFailed("JobFailed", f"Change set {change_set} failed: {seen.get('StatusReason')}")
        self._context.result["externalExecutionSummary"] = f"Change set {change_set} was created."

    def execute_change_set(self) -> None:
        """Execute the change set that an earlier action created."""
        change_set = self._context.require("ChangeSetName")
        if not self._context.notes.get("begun"):
            seen = self._change_set(change_set)
            if seen is None:
                raise ActionFailed("JobFailed", f"ChangeSet [{change_set}] of stack {self._name} does not exist")
            if _is_empty(seen):
                self._context.result["externalExecutionSummary"] = "The change set contains no changes."
                self._end(self._stack() or {})
                return
            self._client.execute_change_set(StackName=self._name, ChangeSetName=change_set)
            self._context.note(started=True)
        self._end(self._wait_until_stable())

    def create_or_update(self) -> None:
        """Create or update the stack; an update without changes is not a failure."""
        if not self._context.notes.get("begun"):
            stack = self._stack()
            with self._template() as template:
                request = {"StackName": self._name, **template, **self._settings()}
                try:
                    if stack is None:
                        self._client.create_stack(**request)
                    else:
                        self._client.update_stack(**request)
                except ClientError as error:
                    if not any(text in str(error) for text in _NOTHING_TO_DO):
                        raise
                    self._end(stack or {})
                    return
                self._context.note(started=True)
        self._end(self._wait_until_stable())

    def replace_on_failure(self) -> None:
        """Delete a failed stack, then create or update it."""
        stack = self._stack()
        if stack is not None and stack["StackStatus"] in _FAILED_STACKS and not self._context.notes.get("begun"):
            self._delete()
        self.create_or_update()

    def delete(self) -> None:
        """Delete the stack, if it exists."""
        if self._stack() is not None:
            self._delete()

    def _delete(self) -> None:
        role = self._context.configuration.get("RoleArn")
        self._client.delete_stack(StackName=self._name, **({"RoleARN": role} if role else {}))
        while True:
            stack = self._stack()
            if stack is None:
                return
            if stack["StackStatus"] == "DELETE_FAILED":
                raise ActionFailed("JobFailed", f"Stack {self._name}: {self._reason(stack)}")
            self._context.wait(_POLL_SECONDS)

    def _wait_until_stable(self) -> Stack:
        while True:
            stack = self._stack()
            if stack is None:
                raise ActionFailed("JobFailed", f"Stack {self._name} does not exist")
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                return stack
            self._context.wait(_POLL_SECONDS)

    def _end(self, stack: Stack) -> None:
        """Set the action's outputs from the stack.

        Raises:
            ActionFailed: the stack failed; the message is the reason.
        """
        status = stack.get("StackStatus", "")
        self._context.result["externalExecutionId"] = stack.get("StackId", "")
        if status not in _GOOD and status != "UPDATE_ROLLBACK_COMPLETE":
            raise ActionFailed("JobFailed", f"Stack {self._name} is {status}: {self._reason(stack)}")
        if status == "UPDATE_ROLLBACK_COMPLETE" and self._context.notes.get("begun"):
            raise ActionFailed("JobFailed", f"Stack {self._name} was rolled back: {self._reason(stack)}")
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
        self._context.variables |= outputs
        self._context.result.setdefault("externalExecutionSummary", f"Deployment {status}")
        if self._context.outputs and self._context.configuration.get("OutputFileName"):
            body = io.BytesIO()
            with zipfile.ZipFile(body, "w") as archive:
                archive.writestr(self._context.configuration["OutputFileName"], json.dumps(outputs))
            self._context.write(next(iter(self._context.outputs)), body.getvalue())

    def _reason(self, stack: Stack) -> str:
        """Return the first failure in the stack's events."""
        try:
            events = self._client.describe_stack_events(StackName=stack.get("StackId") or self._name)["StackEvents"]
        except ClientError:
            return str(stack.get("StackStatusReason", ""))  # the role may not read events
        for event in reversed(events[:200]):
            own = event.get("PhysicalResourceId") == event.get("StackId")
            if event["ResourceStatus"].endswith("_FAILED") and not own and event.get("ResourceStatusReason"):
                return f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
        return str(stack.get("StackStatusReason", ""))

    def _stack(self) -> Stack | None:
        try:
            found: Stack = self._client.describe_stacks(StackName=self._name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return found

    def _change_set(self, name: str) -> Stack | None:
        try:
            found: Stack = self._client.describe_change_set(StackName=self._name, ChangeSetName=name)
        except ClientError as error:
            if error.response["Error"].get("Code") in ("ChangeSetNotFound", "ChangeSetNotFoundException"):
                return None
            if "does not exist" in str(error):
                return None
            raise
        return found

    def _template(self) -> _Template:
        return _Template(self._context, self._file(self._context.require("TemplatePath")))

    def _file(self, path: str) -> str:
        """Return the content of `artifact::file`."""
        artifact, _, name = path.partition("::")
        with zipfile.ZipFile(io.BytesIO(self._context.read(artifact))) as archive:
            try:
                return archive.read(name).decode()
            except KeyError as error:
                raise ActionFailed(
                    "ConfigurationError", f"File [{name}] does not exist in artifact [{artifact}]"
                ) from error

    def _settings(self) -> dict[str, Any]:
        """Return the request's parameters, tags, stack policy, capabilities and role."""
        configuration = self._context.configuration
        document: dict[str, Any] = {}
        if configuration.get("TemplateConfiguration"):
            document = json.loads(self._file(configuration["TemplateConfiguration"]))
        parameters = {
            **document.get("Parameters", {}),
            **json.loads(configuration.get("ParameterOverrides") or "{}"),
        }
        request: dict[str, Any] = {
            "Parameters": [{"ParameterKey": key, "ParameterValue": str(value)} for key, value in parameters.items()],
            "Capabilities": [one.strip() for one in configuration.get("Capabilities", "").split(",") if one.strip()],
            "Tags": [{"Key": key, "Value": str(value)} for key, value in document.get("Tags", {}).items()],
        }
        if document.get("StackPolicy") and configuration["ActionMode"] != "CHANGE_SET_REPLACE":
            request["StackPolicyBody"] = json.dumps(document["StackPolicy"])
        if configuration.get("RoleArn"):
            request["RoleARN"] = configuration["RoleArn"]
        return request


class _Template:
    """A template for a request; a large one is stored in the artifact bucket while the request needs it."""

    def __init__(self, context: ActionContext, body: str) -> None:
        self._context, self._body = context, body
        self._bucket = next(iter(context.inputs.values()))["bucket"]
        self._key: str | None = None

    def __enter__(self) -> dict[str, str]:
        if len(self._body.encode()) <= _MAX_BODY_BYTES:
            return {"TemplateBody": self._body}
        self._key = f"{self._context.action['pipelineName']}/templates/{uuid.uuid4()}"
        # CodePipeline passes templates itself, so the action's role needs no permission for it.
        self._context.roles.client("s3", None).put_object(Bucket=self._bucket, Key=self._key, Body=self._body.encode())
        return {"TemplateURL": f"{self._context.cloud.endpoint_url}/{self._bucket}/{self._key}"}

    def __exit__(self, *_: object) -> None:
        if self._key is not None:
            self._context.roles.client("s3", None).delete_object(Bucket=self._bucket, Key=self._key)


def _is_empty(change_set: Stack) -> bool:
    reason = str(change_set.get("StatusReason", ""))
    return change_set["Status"] == "FAILED" and any(text in reason for text in _NOTHING_TO_DO)
