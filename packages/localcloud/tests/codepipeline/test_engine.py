"""Which execution goes where, and what its actions' ends make of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from tests.localcloud.codepipeline.conftest import ApiError, World, action, stage_of, structure, until

_EVENTS = Path(__file__).parent / "fixtures" / "events"
BUILD, DEPLOY = stage_of("Build", action("Compile")), stage_of("Deploy", action("Ship"))
APPROVE = stage_of("Release", action("Approve", "Manual", "Approval"))


def _hold(world: World, name: str) -> threading.Event:
    world.held[name] = threading.Event()
    return world.held[name]


def test_queued_executions_take_their_turns_in_order_of_arrival(world: World) -> None:
    world.create(BUILD, DEPLOY)
    world.ran.clear()
    gate = _hold(world, "Compile")
    world.start()
    until(lambda: "Compile 2" in world.ran)
    world.start(), world.start()
    until(lambda: len(world.stage("Build").get("inboundExecutions", [])) == 2 or None)
    assert [name for name in world.ran if name.startswith("Compile")] == ["Compile 2"]
    gate.set()
    assert world.settled(4) == ["Succeeded"] * 4
    assert [name for name in world.ran if name.startswith("Compile")] == ["Compile 2", "Compile 3", "Compile 4"]


def test_a_superseding_pipeline_drops_what_waits_before_a_newer_one(world: World) -> None:
    world.create(BUILD, mode="SUPERSEDED")
    gate = _hold(world, "Compile")
    world.start()
    until(lambda: "Compile 2" in world.ran)
    world.start()
    until(lambda: world.stage("Build").get("inboundExecutions"))
    world.start()
    until(lambda: [one["status"] for one in world.records.executions("p")][2] == "Superseded")
    gate.set()
    assert world.settled(4) == ["Succeeded", "Succeeded", "Superseded", "Succeeded"]


def test_actions_of_one_run_order_run_together_and_the_next_after_them(world: World) -> None:
    gates = _hold(world, "A"), _hold(world, "B")
    world.call(
        "CreatePipeline",
        pipeline=structure(stage_of("Build", action("A"), action("B"), action("After", runOrder=2))),
    )
    until(lambda: {"A 1", "B 1"} <= set(world.ran))
    gates[0].set()
    until(lambda: world.stage("Build")["actionStates"][0]["latestExecution"]["status"] == "Succeeded")
    assert "After 1" not in world.ran
    gates[1].set()
    assert world.settled(1) == ["Succeeded"]
    assert world.ran[-1] == "After 1"


def test_a_retry_runs_the_failed_actions_only_and_carries_on(world: World) -> None:
    world.failing["B"] = 1
    world.create(stage_of("Build", action("A"), action("B")), DEPLOY)
    execution = world.records.executions("p")[0]["pipelineExecutionId"]
    assert world.status(execution) == "Failed"
    request = {"pipelineName": "p", "stageName": "Build", "pipelineExecutionId": execution}
    world.call("RetryStageExecution", **request, retryMode="FAILED_ACTIONS")
    assert world.settled(1) == ["Succeeded"]
    assert sorted(world.ran) == ["A 1", "B 1", "B 1", "Push 1", "Ship 1"]
    with pytest.raises(ApiError, match="not in a failed state"):
        world.call("RetryStageExecution", **request, retryMode="ALL_ACTIONS")


def test_a_stage_that_a_newer_execution_has_entered_cannot_be_retried(world: World) -> None:
    world.failing["Compile"] = 1
    world.create(BUILD)
    execution = world.records.executions("p")[0]["pipelineExecutionId"]
    world.start()
    world.settled(2)
    with pytest.raises(ApiError) as refused:
        world.call(
            "RetryStageExecution",
            pipelineName="p",
            stageName="Build",
            pipelineExecutionId=execution,
            retryMode="ALL_ACTIONS",
        )
    assert refused.value.code == "NotLatestPipelineExecutionException"


def test_a_rollback_runs_the_one_stage_with_the_earlier_executions_commit(world: World) -> None:
    world.create(BUILD, DEPLOY)
    target = world.records.executions("p")[0]["pipelineExecutionId"]
    world.ran.clear()
    made = world.call("RollbackStage", pipelineName="p", stageName="Deploy", targetPipelineExecutionId=target)
    assert world.settled(2) == ["Succeeded", "Succeeded"]
    assert world.ran == ["Ship 2"]
    found = world.call("GetPipelineExecution", pipelineName="p", pipelineExecutionId=made["pipelineExecutionId"])
    assert found["pipelineExecution"]["executionType"] == "ROLLBACK"
    assert found["pipelineExecution"]["rollbackMetadata"] == {"rollbackTargetPipelineExecutionId": target}
    with pytest.raises(ApiError, match="source stage"):
        world.call("RollbackStage", pipelineName="p", stageName="Source", targetPipelineExecutionId=target)


def test_a_stage_rolls_itself_back_to_its_last_success(world: World) -> None:
    world.create(BUILD, stage_of("Deploy", action("Ship"), onFailure={"result": "ROLLBACK"}))
    world.failing["Ship"] = 1
    world.start()
    assert world.settled(3) == ["Succeeded", "Failed", "Succeeded"]
    assert world.records.executions("p")[2]["trigger"]["triggerType"] == "AutomatedRollback"


def test_an_update_cancels_what_is_under_way_at_the_end_of_its_stage(world: World) -> None:
    world.create(BUILD, DEPLOY)
    world.ran.clear()
    gate = _hold(world, "Compile")
    world.start()
    until(lambda: "Compile 2" in world.ran)
    world.start()  # has been in no stage but the source's when the update comes
    until(lambda: world.stage("Build").get("inboundExecutions"))
    updated = structure(BUILD, DEPLOY, stage_of("More", action("Extra")))
    world.call("UpdatePipeline", pipeline=updated)
    restarted = world.start()  # what CloudFormation does for RestartExecutionOnUpdate
    gate.set()
    assert world.settled(4) == ["Succeeded", "Cancelled", "Cancelled", "Succeeded"]
    assert world.status(restarted) == "Succeeded"
    assert [name for name in world.ran if name.startswith(("Ship", "Extra"))] == ["Ship 4", "Extra 4"]


def test_a_stopped_execution_begins_nothing_more(world: World) -> None:
    world.create(BUILD, DEPLOY)
    gate = _hold(world, "Compile")
    execution = world.start()
    until(lambda: "Compile 2" in world.ran)
    world.call("StopPipelineExecution", pipelineName="p", pipelineExecutionId=execution, reason="enough")
    assert world.status(execution) == "Stopping"
    gate.set()
    assert world.settled(2)[1] == "Stopped"
    assert "Ship 2" not in world.ran


def test_an_abandoned_action_does_not_come_back(world: World) -> None:
    world.create(BUILD, DEPLOY)
    gate = _hold(world, "Compile")
    execution = world.start()
    until(lambda: "Compile 2" in world.ran)
    world.call("StopPipelineExecution", pipelineName="p", pipelineExecutionId=execution, abandon=True)
    assert world.settled(2)[1] == "Stopped"
    gate.set()
    statuses = [one["status"] for one in world.records.actions("p", execution)]
    assert statuses == ["Succeeded", "Abandoned"]


def test_a_disabled_transition_holds_executions_until_it_is_enabled(world: World) -> None:
    world.create(BUILD, DEPLOY)
    world.ran.clear()
    where = {"pipelineName": "p", "stageName": "Deploy", "transitionType": "Inbound"}
    world.call("DisableStageTransition", **where, reason="frozen")
    world.start()
    until(lambda: world.stage("Deploy").get("inboundExecutions"))
    assert world.stage("Deploy")["inboundTransitionState"]["disabledReason"] == "frozen"
    assert "Ship 2" not in world.ran
    world.call("EnableStageTransition", **where)
    assert world.settled(2)[1] == "Succeeded"


def test_an_approval_is_given_once_and_only_with_its_token(world: World) -> None:
    world.call("CreatePipeline", pipeline=structure(APPROVE, DEPLOY))
    token = until(lambda: world.stage("Release")["actionStates"][0].get("latestExecution", {}).get("token"))
    request = {"pipelineName": "p", "stageName": "Release", "actionName": "Approve"}
    result = {"summary": "looks good", "status": "Approved"}
    with pytest.raises(ApiError) as refused:
        world.call("PutApprovalResult", **request, token="00000000-0000-4000-8000-000000000000", result=result)
    assert refused.value.code == "InvalidApprovalTokenException"
    world.call("PutApprovalResult", **request, token=token, result=result)
    assert world.settled(1) == ["Succeeded"]
    with pytest.raises(ApiError) as again:
        world.call("PutApprovalResult", **request, token=token, result=result)
    assert again.value.code == "ApprovalAlreadyCompletedException"


def test_a_rejection_fails_the_stage(world: World) -> None:
    world.call("CreatePipeline", pipeline=structure(APPROVE, DEPLOY))
    token = until(lambda: world.stage("Release")["actionStates"][0].get("latestExecution", {}).get("token"))
    world.call(
        "PutApprovalResult",
        pipelineName="p",
        stageName="Release",
        actionName="Approve",
        token=token,
        result={"summary": "no", "status": "Rejected"},
    )
    assert world.settled(1) == ["Failed"]
    assert "Ship 1" not in world.ran


def test_a_restart_carries_on_where_the_documents_are(world: World) -> None:
    world.held["Compile"] = threading.Event()
    world.call("CreatePipeline", pipeline=structure(BUILD, DEPLOY))
    until(lambda: "Compile 1" in world.ran)
    world.worker.close()  # as an end of the process: nothing is written down
    world.worker.engine.shutdown()
    world.api.close()
    world.held["Compile"].set()
    world.build()
    world.worker.engine.recover()
    assert world.settled(1) == ["Succeeded"]
    assert world.ran == ["Push 1", "Compile 1", "Compile 1", "Ship 1"]


def test_variables_of_earlier_actions_reach_later_ones_and_missing_ones_fail(world: World) -> None:
    good = action("Compile", configuration={"ProjectName": "at-#{Push.CommitId}"})
    bad = action("Ship", configuration={"ProjectName": "#{Push.Nothing}"})
    world.create(stage_of("Build", good), stage_of("Deploy", bad))
    assert world.settled(1) == ["Failed"]
    details = world.call("ListActionExecutions", pipelineName="p")["actionExecutionDetails"]
    by_name = {one["actionName"]: one for one in details}
    assert by_name["Compile"]["input"]["resolvedConfiguration"]["ProjectName"] == "at-latest"
    assert "#{Push.Nothing}" in by_name["Ship"]["output"]["executionResult"]["errorDetails"]["message"]


@pytest.mark.parametrize("kind", ["action", "stage", "execution_failed"])
def test_events_have_the_shape_that_aws_sends(world: World, kind: str) -> None:
    world.failing["Compile"] = 1
    world.create(BUILD)
    wanted = json.loads((_EVENTS / f"codepipeline_{kind}.json").read_text())
    found = [body for detail_type, body in world.events if detail_type == wanted["detail-type"]]
    assert found
    for body in found:
        assert wanted["detail"].keys() <= body["detail"].keys()
        assert body["source"] == wanted["source"]
        assert body["resources"] == ["arn:aws:codepipeline:us-east-1:000000000000:p"]
    assert found[-1]["detail"]["state"] == "FAILED"
