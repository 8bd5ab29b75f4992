"""Actions that end by an API call: manual approvals by a person, Lambda actions by their function."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from localcloud.codepipeline.action_runner import ActionRunner
from localcloud.codepipeline.records import Records
from localcloud.errors import AwsError
from localcloud.json_api import Document, Operations

_CONTINUE_SECONDS = 5.0  # AWS continues a job after about half a minute


class ExternalResults:
    """The operations `PutApprovalResult`, `PutJobSuccessResult` and `PutJobFailureResult`, and timeouts."""

    def __init__(self, records: Records, runner: ActionRunner) -> None:
        self._records, self._runner = records, runner
        self.operations: Operations = {
            "PutApprovalResult": self._approve,
            "PutJobSuccessResult": self._succeed,
            "PutJobFailureResult": self._fail,
        }

    def expire(self) -> None:
        """Fail the actions whose result did not arrive in time."""
        now = self._records.now()
        for action in self._records.actions():
            if action["status"] == "InProgress" and action["notes"].get("expires", now) < now:
                self._end(action, "Failed", {"errorDetails": {"code": "TimeoutError", "message": "No result in time"}})

    def _approve(self, request: Mapping[str, Any], caller: str) -> Document:
        name, stage_name, action_name = request["pipelineName"], request["stageName"], request["actionName"]
        structure = self._records.pipeline(name)["pipeline"]
        stage = next((one for one in structure["stages"] if one["name"] == stage_name), None)
        if stage is None:
            raise AwsError("StageNotFoundException", f"The pipeline has no stage named {stage_name}")
        if all(one["name"] != action_name for one in stage["actions"]):
            raise AwsError("ActionNotFoundException", f"The stage {stage_name} has no action named {action_name}")
        found = [one for one in self._records.actions(name) if one["notes"].get("token") == request["token"]]
        if not found or (found[0]["stageName"], found[0]["actionName"]) != (stage_name, action_name):
            raise AwsError("InvalidApprovalTokenException", "The token does not belong to an approval of this action")
        if found[0]["status"] != "InProgress":
            raise AwsError("ApprovalAlreadyCompletedException", "The approval was already given or rejected")
        result = request["result"]
        approved = result["status"] == "Approved"
        execution_result: Document = {"externalExecutionSummary": result["summary"]}
        if not approved:
            execution_result["errorDetails"] = {"code": "JobFailed", "message": f"Rejected by {caller}"}
        action = {**found[0], "updatedBy": caller}
        self._end(action, "Succeeded" if approved else "Failed", execution_result)
        return {"approvedAt": self._records.now()}

    def _succeed(self, request: Mapping[str, Any], _caller: str) -> Document:
        action = self._job(request["jobId"])
        if request.get("continuationToken"):
            notes = {**action["notes"], "continuationToken": request["continuationToken"], "invoked": False}
            action["notes"] = notes
            self._records.note_action(action, notes=notes)
            timer = threading.Timer(_CONTINUE_SECONDS, self._runner.run, [action])
            timer.daemon = True
            timer.start()
            return {}
        details = request.get("executionDetails", {})
        result = {
            "externalExecutionId": details.get("externalExecutionId", ""),
            "externalExecutionSummary": details.get("summary", ""),
        }
        self._end(action, "Succeeded", result, request.get("outputVariables", {}))
        return {}

    def _fail(self, request: Mapping[str, Any], _caller: str) -> Document:
        details = request["failureDetails"]
        error = {"code": details["type"], "message": details["message"]}
        result = {"externalExecutionId": details.get("externalExecutionId", ""), "errorDetails": error}
        self._end(self._job(request["jobId"]), "Failed", result)
        return {}

    def _job(self, job_id: str) -> Document:
        action = self._records.job(job_id)
        if action["status"] != "InProgress" or "invoked" not in action["notes"]:
            raise AwsError("InvalidJobStateException", f"The job {job_id} is not in progress")
        return action

    def _end(self, action: Document, status: str, result: Document, variables: Mapping[str, str] | None = None) -> None:
        outputs = action["notes"].get("outputs", {}) if status == "Succeeded" else {}
        action["output"] = {
            "outputArtifacts": [{"name": name, "s3location": location} for name, location in outputs.items()],
            "executionResult": result,
            "outputVariables": dict(variables or {}),
        }
        self._runner.engine.end_action(action, status)
