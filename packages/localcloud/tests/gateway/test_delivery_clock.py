"""Delivery on the accelerated clock, which waits for work in progress and stops at approvals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from localcloud_support.pipelines import WorkTree, deploy_pipeline, deployed, ended, executions

from localcloud.testing import LocalCloud, wait_until


@pytest.fixture
def accelerated(tmp_path: Path) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path / "state", accelerated=True) as cloud:
        yield cloud


def test_the_clock_waits_for_builds_and_stops_at_an_approval(accelerated: LocalCloud, tmp_path: Path) -> None:
    deploy_pipeline(accelerated, "slow", approve=True)
    WorkTree(accelerated, tmp_path / "work", "slow").push("sleep 2", "one")
    wait_until(lambda: executions(accelerated, "slow"))
    held = accelerated.run("clock", "advance", "--by", "1h")
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
