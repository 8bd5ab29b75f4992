"""Executions in stages, and the effects of their actions' results."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from localcloud_support.codepipeline_service import ApiError, CodePipelineHarness, action, stage_of, structure, until

_EVENTS = Path(__file__).parent / "fixtures" / "events"
BUILD, DEPLOY = stage_of("Build", action("Compile")), stage_of("Deploy", action("Ship"))
APPROVE = stage_of("Release", action("Approve", "Manual", "Approval"))


def _hold(harness: CodePipelineHarness, name: str) -> threading.Event:
    harness.blocked[name] = threading.Event()
    return harness.blocked[name]


def test_queued_executions_run_in_the_order_of_their_start(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, DEPLOY)
    harness.ran.clear()
    gate = _hold(harness, "Compile")
    harness.start()
    until(lambda: "Compile 2" in harness.ran)
    harness.start(), harness.start()
    until(lambda: len(harness.stage("Build").get("inboundExecutions", [])) == 2 or None)
    assert [name for name in harness.ran if name.startswith("Compile")] == ["Compile 2"]
    gate.set()
    assert harness.wait_until_settled(4) == ["Succeeded"] * 4
    assert [name for name in harness.ran if name.startswith("Compile")] == ["Compile 2", "Compile 3", "Compile 4"]


def test_a_newer_execution_supersedes_a_waiting_one(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, mode="SUPERSEDED")
    gate = _hold(harness, "Compile")
    harness.start()
    until(lambda: "Compile 2" in harness.ran)
    harness.start()
    until(lambda: harness.stage("Build").get("inboundExecutions"))
    harness.start()
    until(lambda: [one["status"] for one in harness.records.executions("p")][2] == "Superseded")
    gate.set()
    assert harness.wait_until_settled(4) == ["Succeeded", "Succeeded", "Superseded", "Succeeded"]


def test_actions_of_one_run_order_run_in_parallel_before_the_next_order(harness: CodePipelineHarness) -> None:
    gates = _hold(harness, "A"), _hold(harness, "B")
    harness.call(
        "CreatePipeline",
        pipeline=structure(stage_of("Build", action("A"), action("B"), action("After", runOrder=2))),
    )
    until(lambda: {"A 1", "B 1"} <= set(harness.ran))
    gates[0].set()
    until(lambda: harness.stage("Build")["actionStates"][0]["latestExecution"]["status"] == "Succeeded")
    assert "After 1" not in harness.ran
    gates[1].set()
    assert harness.wait_until_settled(1) == ["Succeeded"]
    assert harness.ran[-1] == "After 1"


def test_a_retry_runs_only_the_failed_actions_and_continues(harness: CodePipelineHarness) -> None:
    harness.failing["B"] = 1
    harness.create(stage_of("Build", action("A"), action("B")), DEPLOY)
    execution = harness.records.executions("p")[0]["pipelineExecutionId"]
    assert harness.status(execution) == "Failed"
    request = {"pipelineName": "p", "stageName": "Build", "pipelineExecutionId": execution}
    harness.call("RetryStageExecution", **request, retryMode="FAILED_ACTIONS")
    assert harness.wait_until_settled(1) == ["Succeeded"]
    assert sorted(harness.ran) == ["A 1", "B 1", "B 1", "Push 1", "Ship 1"]
    with pytest.raises(ApiError, match="not in a failed state"):
        harness.call("RetryStageExecution", **request, retryMode="ALL_ACTIONS")


def test_a_stage_that_a_newer_execution_has_entered_cannot_be_retried(harness: CodePipelineHarness) -> None:
    harness.failing["Compile"] = 1
    harness.create(BUILD)
    execution = harness.records.executions("p")[0]["pipelineExecutionId"]
    harness.start()
    harness.wait_until_settled(2)
    with pytest.raises(ApiError) as refused:
        harness.call(
            "RetryStageExecution",
            pipelineName="p",
            stageName="Build",
            pipelineExecutionId=execution,
            retryMode="ALL_ACTIONS",
        )
    assert refused.value.code == "NotLatestPipelineExecutionException"


def test_a_rollback_runs_one_stage_with_the_earlier_executions_commit(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, DEPLOY)
    target = harness.records.executions("p")[0]["pipelineExecutionId"]
    harness.ran.clear()
    made = harness.call("RollbackStage", pipelineName="p", stageName="Deploy", targetPipelineExecutionId=target)
    assert harness.wait_until_settled(2) == ["Succeeded", "Succeeded"]
    assert harness.ran == ["Ship 2"]
    found = harness.call("GetPipelineExecution", pipelineName="p", pipelineExecutionId=made["pipelineExecutionId"])
    assert found["pipelineExecution"]["executionType"] == "ROLLBACK"
    assert found["pipelineExecution"]["rollbackMetadata"] == {"rollbackTargetPipelineExecutionId": target}
    with pytest.raises(ApiError, match="source stage"):
        harness.call("RollbackStage", pipelineName="p", stageName="Source", targetPipelineExecutionId=target)


def test_a_failed_stage_is_rolled_back_automatically(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, stage_of("Deploy", action("Ship"), onFailure={"result": "ROLLBACK"}))
    harness.failing["Ship"] = 1
    harness.start()
    assert harness.wait_until_settled(3) == ["Succeeded", "Failed", "Succeeded"]
    assert harness.records.executions("p")[2]["trigger"]["triggerType"] == "AutomatedRollback"


def test_an_update_cancels_running_executions_after_their_stage(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, DEPLOY)
    harness.ran.clear()
    gate = _hold(harness, "Compile")
    harness.start()
    until(lambda: "Compile 2" in harness.ran)
    harness.start()  # has entered only the source stage when the update comes
    until(lambda: harness.stage("Build").get("inboundExecutions"))
    updated = structure(BUILD, DEPLOY, stage_of("More", action("Extra")))
    harness.call("UpdatePipeline", pipeline=updated)
    restarted = harness.start()  # as CloudFormation does for RestartExecutionOnUpdate
    gate.set()
    assert harness.wait_until_settled(4) == ["Succeeded", "Cancelled", "Cancelled", "Succeeded"]
    assert harness.status(restarted) == "Succeeded"
    assert [name for name in harness.ran if name.startswith(("Ship", "Extra"))] == ["Ship 4", "Extra 4"]


def test_a_stopped_execution_starts_no_further_action(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, DEPLOY)
    gate = _hold(harness, "Compile")
    execution = harness.start()
    until(lambda: "Compile 2" in harness.ran)
    harness.call("StopPipelineExecution", pipelineName="p", pipelineExecutionId=execution, reason="enough")
    assert harness.status(execution) == "Stopping"
    gate.set()
    assert harness.wait_until_settled(2)[1] == "Stopped"
    assert "Ship 2" not in harness.ran


def test_the_result_of_an_abandoned_action_is_ignored(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, DEPLOY)
    gate = _hold(harness, "Compile")
    execution = harness.start()
    until(lambda: "Compile 2" in harness.ran)
    harness.call("StopPipelineExecution", pipelineName="p", pipelineExecutionId=execution, abandon=True)
    assert harness.wait_until_settled(2)[1] == "Stopped"
    gate.set()
    statuses = [one["status"] for one in harness.records.actions("p", execution)]
    assert statuses == ["Succeeded", "Abandoned"]


def test_a_disabled_transition_blocks_executions_until_it_is_enabled(harness: CodePipelineHarness) -> None:
    harness.create(BUILD, DEPLOY)
    harness.ran.clear()
    where = {"pipelineName": "p", "stageName": "Deploy", "transitionType": "Inbound"}
    harness.call("DisableStageTransition", **where, reason="frozen")
    harness.start()
    until(lambda: harness.stage("Deploy").get("inboundExecutions"))
    assert harness.stage("Deploy")["inboundTransitionState"]["disabledReason"] == "frozen"
    assert "Ship 2" not in harness.ran
    harness.call("EnableStageTransition", **where)
    assert harness.wait_until_settled(2)[1] == "Succeeded"


def test_an_approval_needs_its_token_and_is_given_once(harness: CodePipelineHarness) -> None:
    harness.call("CreatePipeline", pipeline=structure(APPROVE, DEPLOY))
    token = until(lambda: harness.stage("Release")["actionStates"][0].get("latestExecution", {}).get("token"))
    request = {"pipelineName": "p", "stageName": "Release", "actionName": "Approve"}
    result = {"summary": "looks good", "status": "Approved"}
    with pytest.raises(ApiError) as refused:
        harness.call("PutApprovalResult", **request, token="00000000-0000-4000-8000-000000000000", result=result)
    assert refused.value.code == "InvalidApprovalTokenException"
    harness.call("PutApprovalResult", **request, token=token, result=result)
    assert harness.wait_until_settled(1) == ["Succeeded"]
    with pytest.raises(ApiError) as again:
        harness.call("PutApprovalResult", **request, token=token, result=result)
    assert again.value.code == "ApprovalAlreadyCompletedException"


def test_a_rejection_fails_the_stage(harness: CodePipelineHarness) -> None:
    harness.call("CreatePipeline", pipeline=structure(APPROVE, DEPLOY))
    token = until(lambda: harness.stage("Release")["actionStates"][0].get("latestExecution", {}).get("token"))
    harness.call(
        "PutApprovalResult",
        pipelineName="p",
        stageName="Release",
        actionName="Approve",
        token=token,
        result={"summary": "no", "status": "Rejected"},
    )
    assert harness.wait_until_settled(1) == ["Failed"]
    assert "Ship 1" not in harness.ran


def test_a_restart_continues_from_the_documents(harness: CodePipelineHarness) -> None:
    harness.blocked["Compile"] = threading.Event()
    harness.call("CreatePipeline", pipeline=structure(BUILD, DEPLOY))
    until(lambda: "Compile 1" in harness.ran)
    harness.runner.close()  # like the end of the process: no result is stored
    harness.runner.engine.shutdown()
    harness.api.close()
    harness.blocked["Compile"].set()
    harness.build()
    harness.runner.engine.recover()
    assert harness.wait_until_settled(1) == ["Succeeded"]
    assert harness.ran == ["Push 1", "Compile 1", "Compile 1", "Ship 1"]


def test_variables_reach_later_actions_and_missing_variables_fail(harness: CodePipelineHarness) -> None:
    good = action("Compile", configuration={"ProjectName": "at-#{Push.CommitId}"})
    bad = action("Ship", configuration={"ProjectName": "#{Push.Nothing}"})
    harness.create(stage_of("Build", good), stage_of("Deploy", bad))
    assert harness.wait_until_settled(1) == ["Failed"]
    details = harness.call("ListActionExecutions", pipelineName="p")["actionExecutionDetails"]
    by_name = {one["actionName"]: one for one in details}
    assert by_name["Compile"]["input"]["resolvedConfiguration"]["ProjectName"] == "at-latest"
    assert "#{Push.Nothing}" in by_name["Ship"]["output"]["executionResult"]["errorDetails"]["message"]


@pytest.mark.parametrize("kind", ["action", "stage", "execution_failed"])
def test_events_have_the_shape_that_aws_sends(harness: CodePipelineHarness, kind: str) -> None:
    harness.failing["Compile"] = 1
    harness.create(BUILD)
    wanted = json.loads((_EVENTS / f"codepipeline_{kind}.json").read_text())
    found = [body for detail_type, body in harness.events if detail_type == wanted["detail-type"]]
    assert found
    for body in found:
        assert wanted["detail"].keys() <= body["detail"].keys()
        assert body["source"] == wanted["source"]
        assert body["resources"] == ["arn:aws:codepipeline:us-east-1:000000000000:p"]
    assert found[-1]["detail"]["state"] == "FAILED"
