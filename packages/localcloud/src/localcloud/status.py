"""The report of `localcloud status`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from localcloud.ministack_adapter import environment
from localcloud.process import Running
from localcloud.source.repositories import Repositories

_NEWEST_BUILDS = 100  # what one request of BatchGetBuilds takes


def look(gateway: Running, health: Mapping[str, Any], state: Path) -> dict[str, Any]:
    """Ask the gateway what runs: stacks, endpoints, jobs, pipelines, builds, repositories."""
    url = f"http://127.0.0.1:{gateway.port}"
    make: Any = boto3.session.Session().client  # its overloads want a literal service name
    where = {
        "endpoint_url": url,
        "region_name": environment.REGION,
        "aws_access_key_id": environment.ROOT_KEY,
        "aws_secret_access_key": environment.root_secret(state),
        "config": Config(proxies={}),
    }

    def everything(service: str, operation: str, **request: str) -> dict[str, Any]:
        found: dict[str, Any] = make(service, **where).get_paginator(operation).paginate(**request).build_full_result()
        return found

    stacks = everything("cloudformation", "describe_stacks")["Stacks"]
    endpoints = everything("sagemaker", "list_endpoints")["Endpoints"]
    training = everything("sagemaker", "list_training_jobs", StatusEquals="InProgress")
    processing = everything("sagemaker", "list_processing_jobs", StatusEquals="InProgress")
    pipelines = everything("codepipeline", "list_pipelines")["pipelines"]
    codebuild = make("codebuild", **where)
    builds = everything("codebuild", "list_builds")["ids"][:_NEWEST_BUILDS]
    found = codebuild.batch_get_builds(ids=builds)["builds"] if builds else []
    return {
        "running": True,
        "url": url,
        "pid": gateway.pid,
        "port": gateway.port,
        "uptime_seconds": round(time.time() - gateway.started, 1),
        "state": health["state"],
        "isolation": health["isolation"],
        "stacks": [{"name": one["StackName"], "status": one["StackStatus"]} for one in stacks],
        "endpoints": [{"name": one["EndpointName"], "status": one["EndpointStatus"]} for one in endpoints],
        "jobs": [
            *({"name": one["TrainingJobName"], "kind": "training"} for one in training["TrainingJobSummaries"]),
            *({"name": one["ProcessingJobName"], "kind": "processing"} for one in processing["ProcessingJobSummaries"]),
        ],
        "pipelines": [_pipeline(make("codepipeline", **where), one["name"]) for one in pipelines],
        "builds": [
            {"name": one["id"], "phase": one["currentPhase"], "log": one["logs"]["deepLink"].removeprefix("file://")}
            for one in found
            if not one["buildComplete"]
        ],
        "remotes": [
            {"name": one.name, "path": str(one.path)} for one in Repositories(Path(str(health["state"]))).all()
        ],
    }


def _pipeline(client: Any, name: str) -> dict[str, Any]:
    """Return a pipeline's newest execution, and open approvals with the token that `put-approval-result` takes."""
    newest = client.list_pipeline_executions(pipelineName=name, maxResults=1)["pipelineExecutionSummaries"]
    status = newest[0]["status"] if newest else "never ran"
    state = client.get_pipeline_state(name=name)
    under_way, approvals = [], []
    for stage in state["stageStates"]:
        for action in stage["actionStates"]:
            seen = action.get("latestExecution", {})
            if seen.get("status") == "InProgress":
                place = {"stage": stage["stageName"], "action": action["actionName"]}
                under_way.append(f"{place['stage']}/{place['action']}")
                if seen.get("token"):
                    approvals.append({**place, "token": seen["token"]})
            if seen.get("status") == "Failed" and status == "Failed":
                under_way.append(f"{stage['stageName']}/{action['actionName']} failed")
    says = "  ".join([status, *under_way, *(f"waits for approval {one['action']}" for one in approvals)])
    return {"name": name, "status": status, "says": says, "approvals": approvals}


def text(seen: Mapping[str, Any]) -> str:
    """Format the report for a person."""
    uptime = time.strftime("%H:%M:%S", time.gmtime(seen["uptime_seconds"]))
    return "\n".join(
        [
            f"Up: {seen['url']}  pid {seen['pid']}  uptime {uptime}  state {seen['state']}",
            f"Containers: {seen['isolation']}",
            *_section("Stacks", [(one["name"], one["status"]) for one in seen["stacks"]]),
            *_section("Endpoints", [(one["name"], one["status"]) for one in seen["endpoints"]]),
            *_section("Running jobs", [(one["name"], one["kind"]) for one in seen["jobs"]]),
            *_section("Pipelines", [(one["name"], one["says"]) for one in seen["pipelines"]]),
            *_section("Running builds", [(one["name"], f"{one['phase']}  {one['log']}") for one in seen["builds"]]),
            *_section("Git (git remote add local PATH)", [(one["name"], one["path"]) for one in seen["remotes"]]),
        ]
    )


def _section(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{title}:" if rows else f"{title}: none", *(f"  {name:<{width}}  {status}" for name, status in rows)]
