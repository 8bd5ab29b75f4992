"""The accelerated clock and delivery: it waits for what is under way, and stops where a person must decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivering import Work, deploy_pipeline, deployed, ended, executions

from localcloud.testing import Accelerated, free_port, until


@pytest.fixture
def accelerated(tmp_path: Path) -> Iterator[Accelerated]:
    cloud = Accelerated(free_port(), tmp_path / "state")
    cloud.up()
    yield cloud
    cloud.run("down", "--purge")


def test_the_clock_waits_for_builds_and_stops_at_an_approval(accelerated: Accelerated, tmp_path: Path) -> None:
    deploy_pipeline(accelerated, "slow", approve=True)
    Work(accelerated, tmp_path / "work", "slow").push("sleep 2", "one")
    until(lambda: executions(accelerated, "slow"))
    held = accelerated.clock_command("advance", "--by", "1h")
    assert held.returncode == 4
    assert "approval of pipeline slow/Deploy/Approve" in held.stdout + held.stderr
    seen = json.loads(accelerated.run("status", "--json").stdout)
    approval = seen["pipelines"][0]["approvals"][0]
    assert seen["builds"] == []
    accelerated.client("codepipeline").put_approval_result(
        pipelineName="slow",
        stageName=approval["stage"],
        actionName=approval["action"],
        token=approval["token"],
        result={"summary": "yes", "status": "Approved"},
    )
    assert ended(accelerated, "slow", 1) == ["Succeeded"]
    assert deployed(accelerated, "slow") == "one"
    assert executions(accelerated, "slow")[0]["startTime"].year == 2013
