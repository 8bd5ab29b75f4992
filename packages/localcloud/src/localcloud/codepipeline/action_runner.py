"""Execution of actions: the context that a provider gets, and the result that is stored."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.cloud import Cloud, RoleError
from localcloud.codepipeline.engine import Engine
from localcloud.codepipeline.records import Records
from localcloud.codepipeline.structure import resolved
from localcloud.json_api import Document
from localcloud.roles import Credentials, Roles

_PRINCIPAL = "codepipeline.amazonaws.com"
_POLL_SECONDS = 0.2


class ActionFailed(Exception):
    """The action failed, with AWS's error code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ActionInterrupted(Exception):
    """The gateway is stopping, or the action was abandoned: no result is stored."""


@dataclass
class ActionContext:
    """One action execution, for its provider.

    Attributes:
        configuration: with variables resolved.
        credentials: of the action's role, or of the pipeline's.
        inputs: artifact name → {"bucket", "key"}.
        outputs: artifact name → {"bucket", "key"}.
        key_id: the key that encrypts artifacts; None for AWS's key.
        notes: the provider's state, which survives a restart.
        note: stores members of `notes`.
        wait: pauses for seconds; raises ActionInterrupted where the action must end.
        variables: the action's output variables.
        result: the execution result.
    """

    cloud: Cloud
    roles: Roles
    execution: Document
    action: Document
    configuration: Mapping[str, str]
    credentials: Credentials
    inputs: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, Mapping[str, str]]
    key_id: str | None
    notes: Document
    note: Callable[..., None]
    wait: Callable[[float], None]
    variables: dict[str, str] = field(default_factory=dict)
    result: Document = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return a client with the action's credentials."""
        return self.roles.client(service, self.credentials)

    def require(self, name: str) -> str:
        """Return a configuration value.

        Raises:
            ActionFailed: the value is missing.
        """
        value = self.configuration.get(name)
        if not value:
            raise ActionFailed("ConfigurationError", f"The action configuration lacks {name}")
        return value

    def read(self, artifact: str) -> bytes:
        """Return an input artifact's zip.

        Raises:
            ActionFailed: the action has no such input artifact.
        """
        location = self.inputs.get(artifact)
        if location is None:
            raise ActionFailed("ConfigurationError", f"{artifact} is not an input artifact of the action")
        body: bytes = self.client("s3").get_object(Bucket=location["bucket"], Key=location["key"])["Body"].read()
        return body

    def write(self, artifact: str, body: bytes, **metadata: str) -> None:
        """Store an output artifact."""
        location = self.outputs[artifact]
        encryption = {"ServerSideEncryption": "aws:kms"}
        if self.key_id:
            encryption["SSEKMSKeyId"] = self.key_id
        self.client("s3").put_object(
            Bucket=location["bucket"], Key=location["key"], Body=body, Metadata=metadata, **encryption
        )


# Runs an action; returns False where an API call of a person or function ends it.
Provider = Callable[[ActionContext], bool]


class ActionRunner:
    """Runs action executions with the providers."""

    def __init__(self, cloud: Cloud, roles: Roles, records: Records, providers: Mapping[str, Provider]) -> None:
        self._cloud, self._roles, self._records, self._providers = cloud, roles, records, providers
        self._closed = threading.Event()
        self.engine: Engine = Engine(records, self.run)

    def close(self) -> None:
        """Interrupt all running actions."""
        self._closed.set()

    def run(self, action: Document) -> None:
        """Run one action to its end, or leave it in progress where an API call ends it."""
        provider = self._providers[action["declaration"]["actionTypeId"]["provider"]]
        context = None
        try:
            context = self._context(action)
            if not provider(context):
                return
        except ActionInterrupted:
            return
        except ActionFailed as failure:
            self._fail(action, context, failure.code, str(failure))
        except LookupError as error:
            self._fail(action, context, "InvalidActionConfiguration", str(error))
        except RoleError as error:
            self._fail(
                action, context, "PermissionError", f"CodePipeline is not authorized to perform AssumeRole. {error}"
            )
        except ClientError as error:
            code = error.response["Error"].get("Code", "Error")
            denied = code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
            self._fail(action, context, "PermissionError" if denied else code, str(error))
        except BotoCoreError as error:
            self._fail(action, context, "InternalError", str(error))
        else:
            self._finish(action, context, "Succeeded")

    def _fail(self, action: Document, context: ActionContext | None, code: str, message: str) -> None:
        if context is None:
            action["output"] = {"executionResult": {"errorDetails": {"code": code, "message": message}}}
            self.engine.end_action(action, "Failed")
            return
        context.result["errorDetails"] = {"code": code, "message": message}
        self._finish(action, context, "Failed")

    def _finish(self, action: Document, context: ActionContext, status: str) -> None:
        action["output"] = {
            "outputArtifacts": [{"name": name, "s3location": location} for name, location in context.outputs.items()]
            if status == "Succeeded"
            else [],
            "executionResult": context.result,
            "outputVariables": context.variables,
        }
        self.engine.end_action(action, status)

    def _context(self, action: Document) -> ActionContext:
        execution = self._records.execution(action["pipelineName"], action["pipelineExecutionId"])
        declaration, structure = action["declaration"], self._records.structure(execution)
        store = structure.get("artifactStore") or dict(structure.get("artifactStores", {})).get(self._cloud.region, {})
        configuration = resolved(
            declaration.get("configuration", {}),
            {
                **execution["outputVariables"],
                "variables": execution["variables"],
                "codepipeline": {
                    "PipelineExecutionId": execution["pipelineExecutionId"],
                    "PipelineArn": self._records.arn(execution["pipelineName"]),
                },
            },
        )
        inputs = {one["name"]: execution["artifacts"][one["name"]] for one in declaration.get("inputArtifacts", [])}
        outputs = action["notes"].setdefault(
            "outputs",
            {
                one["name"]: {
                    "bucket": store.get("location", ""),
                    "key": f"{execution['pipelineName']}/{one['name']}/{secrets.token_hex(4)}",
                }
                for one in declaration.get("outputArtifacts", [])
            },
        )
        action["input"] = {
            "actionTypeId": declaration["actionTypeId"],
            "configuration": declaration.get("configuration", {}),
            "resolvedConfiguration": configuration,
            "roleArn": declaration.get("roleArn"),
            "region": self._cloud.region,
            "inputArtifacts": [{"name": name, "s3location": location} for name, location in inputs.items()],
            "namespace": declaration.get("namespace"),
        }
        self._records.note_action(action, input=action["input"], notes=action["notes"])
        return ActionContext(
            cloud=self._cloud,
            roles=self._roles,
            execution=execution,
            action=action,
            configuration=configuration,
            credentials=self._credentials(structure["roleArn"], declaration.get("roleArn"), execution),
            inputs=inputs,
            outputs=outputs,
            key_id=(store.get("encryptionKey") or {}).get("id"),
            notes=action["notes"],
            note=lambda **members: self._note(action, members),
            wait=lambda seconds: self._wait(action, seconds),
        )

    def _credentials(self, pipeline_role: str, action_role: str | None, execution: Document) -> Credentials:
        session = execution["pipelineExecutionId"]
        credentials = self._roles.assume(pipeline_role, _PRINCIPAL, session)
        if action_role is None or action_role == pipeline_role:
            return credentials
        return self._roles.assume_further(credentials, action_role, session)

    def _note(self, action: Document, members: Mapping[str, Any]) -> None:
        action["notes"].update(members)
        self._records.note_action(action, notes=action["notes"])

    def _wait(self, action: Document, seconds: float = _POLL_SECONDS) -> None:
        """Pause between two polls.

        Raises:
            ActionInterrupted: the gateway is stopping, or the action is not in progress any more.
        """
        if self._closed.wait(seconds):
            raise ActionInterrupted
        known = self._records.action(action["pipelineName"], action["pipelineExecutionId"], action["actionExecutionId"])
        if known is None or known["status"] != "InProgress":
            raise ActionInterrupted
