"""A pipeline of `aws_cdk.pipelines` deploys and updates itself, with the real CDK CLI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localcloud_support.pipelines import git

from localcloud.testing import LocalCloud, wait_until

TESTS, ROOT = Path(__file__).parents[1], Path(__file__).parents[4]
_APP = TESTS / "codepipeline" / "fixtures" / "app"
_CLI = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
_PROGRAMS = TESTS / "codepipeline" / "fixtures" / "programs"  # an npm that asks no registry

pytestmark = [
    pytest.mark.loop,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not _CLI.exists(), reason="needs the CDK CLI in the repository's node_modules"),
]


class App:
    """The fixture's application in a work tree of its own."""

    def __init__(self, local: LocalCloud, folder: Path) -> None:
        self.folder, self._local = folder, local
        shutil.copytree(_APP, folder, ignore=shutil.ignore_patterns("__pycache__", "cdk.out"))
        git(folder, "init", "-q", "-b", "main")

    def has(self, *stages: str) -> None:
        """Give the application these stages, without assets."""
        (self.folder / "settings.json").write_text(json.dumps({"stages": list(stages), "asset": False}))
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-qm", " ".join(stages))

    def cdk(self, *words: str) -> None:
        home = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = {
            **home,
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._local.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": self._local.environment["AWS_SECRET_ACCESS_KEY"],
            "AWS_REGION": "us-east-1",
            "CDK_VALIDATION": "false",
        }
        done = subprocess.run(
            [str(_CLI), *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """Yield a gateway whose builds find that npm."""
    monkeypatch.setenv("PATH", f"{_PROGRAMS}:{os.environ['PATH']}")
    monkeypatch.setenv("LOCALCLOUD_READ_ONLY", str(ROOT / "node_modules"))
    with LocalCloud(tmp_path / "state") as cloud:
        yield cloud


def _approve(codepipeline: Any, stage: str) -> None:
    def token() -> Any:
        actions = codepipeline.list_action_executions(pipelineName="hello")["actionExecutionDetails"]
        # The first execution, of the pipeline's creation, found nothing to build.
        failed = [one["output"] for one in actions if one["status"] == "Failed" and one["stageName"] != "Source"]
        assert not failed
        states = codepipeline.get_pipeline_state(name="hello")["stageStates"]
        known = {seen["stageName"]: seen["actionStates"][0].get("latestExecution", {}) for seen in states}
        return known.get(stage, {}).get("token")

    codepipeline.put_approval_result(
        pipelineName="hello",
        stageName=stage,
        actionName=f"Approve{stage}",
        token=wait_until(token, 200),
        result={"summary": "yes", "status": "Approved"},
    )


def test_a_pushed_stage_is_added_by_the_pipeline_itself_and_deployed(own: LocalCloud, tmp_path: Path) -> None:
    app = App(own, tmp_path / "app")
    app.has("Staging")
    app.cdk("bootstrap", "aws://000000000000/us-east-1")
    app.cdk("deploy", "--require-approval", "never", "Delivery")
    app.has("Staging", "Production")
    git(app.folder, "remote", "add", "local", own.run("remote", "hello").stdout.strip())
    assert "Pipeline hello started" in git(app.folder, "push", "local", "main").stderr
    codepipeline = own.client("codepipeline")
    _approve(codepipeline, "Staging")
    _approve(codepipeline, "Production")

    def ended() -> list[dict[str, Any]] | None:
        found = codepipeline.list_pipeline_executions(pipelineName="hello")["pipelineExecutionSummaries"]
        return found if not [one for one in found if one["status"] == "InProgress"] else None

    after_the_first = wait_until(ended, 100)[:2]
    assert [one["status"] for one in after_the_first] == ["Succeeded", "Cancelled"]
    assert after_the_first[1]["trigger"]["triggerType"] == "WebhookV2"
    parameters = own.client("ssm").get_parameters(Names=["/hello/Staging", "/hello/Production"])["Parameters"]
    assert {one["Value"] for one in parameters} == {"Greeting"}
