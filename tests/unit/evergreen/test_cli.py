"""The command line starts quickly, and reports expected errors in one line with the documented exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from moto import mock_aws

from evergreen.cli import run
from evergreen.errors import FailedError
from evergreen.target import Place, Target
from tests.unit.evergreen.conftest import Fixture

COMMANDS = (
    "check", "schema", "pipeline", "status", "ledger", "logs", "approve", "reject", "alarms", "queues", "reconcile",
    "preflight", "prove", "demo", "delivery",
)  # fmt: skip


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.split("Commands:\n")[1].splitlines() if line]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        *([name] for name in COMMANDS),
        ["pipeline", "show"],
        *(["queues", name] for name in ("list", "show", "purge")),
        *(["delivery", name] for name in ("lease", "train")),
    ],
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: evergreen ")


def test_help_imports_nothing_that_takes_long(root: Path) -> None:
    heavy = ("boto3", "botocore", "configuration", "pipelines.definition", "sagemaker", "sklearn", "rich.console")
    code = f"import sys; import evergreen.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["status", "--bogus"],
        ["status", "--target", "azure"],
        ["status", "--target", "aws", "--stage", "nope"],
        ["approve", "flight-delays", "zero"],
        ["ledger", "gossip", "flight-delays"],
        ["logs", "release", "--since", "yesterday", "--target", "aws"],
        ["logs", "release", "--follow", "--json"],
        ["pipeline", "show", "nope"],
        ["demo", "--full", "--until", "live"],
        ["delivery", "lease", "give", "--stage", "nope", "--owner", "me", "--target", "aws"],
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws():
        assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1, output.err


def test_a_mistake_in_evergreen_yaml_is_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evergreen.yaml").write_text("name: evergreen\nstages: []\n")
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path / "evergreen.yaml"))
    assert run(["status", "--target", "aws"]) == 2
    assert "stages" in capsys.readouterr().err


def test_a_local_cloud_that_does_not_run_is_said_with_how_to_start_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--state", str(tmp_path / "state"), "--port", "4999"]) == 2
    assert capsys.readouterr().err == (
        f"There is no local cloud in {tmp_path / 'state'} yet. "
        "Start it with `make up`, or set --target aws to use your account.\n"
    )
    assert run(["status", "--state", str(tmp_path), "--port", "4999"]) == 2
    assert capsys.readouterr().err == (
        "The local cloud does not run at http://127.0.0.1:4999. "
        "Start it with `make up`, or set --target aws to use your account.\n"
    )


def test_a_stage_that_is_not_deployed_is_said_with_how_to_deploy_it(
    account: Fixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evergreen.yaml").write_text("name: evergreen\nstages: [{name: test, region: us-east-1}]\n")
    monkeypatch.setenv("EVERGREEN_CONFIG", str(tmp_path / "evergreen.yaml"))
    assert run(["ledger", "decisions", "flight-delays", "--target", "aws"]) == 2
    assert capsys.readouterr().err == "Stage test is not deployed. Deploy it with `make deploy TARGET=aws`.\n"


def test_a_failure_is_exit_code_1_and_ctrl_c_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_place: Place, _region: str) -> None:
        raise FailedError("it failed")

    monkeypatch.setattr(Place, "session", fail)
    assert run(["status"]) == 1
    assert capsys.readouterr().err == "it failed\n"

    def interrupt(_place: Place, _region: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Place, "session", interrupt)
    assert run(["status"]) == 130


def test_what_nobody_expected_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(_place: Place, _region: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Place, "session", break_down)
    with pytest.raises(ZeroDivisionError):
        run(["status"])


def test_the_target_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def session(place: Place, _region: str) -> None:
        seen.append(place.target)
        raise FailedError

    monkeypatch.setattr(Place, "session", session)
    run(["status"])
    monkeypatch.setenv("TARGET", "aws")
    run(["status"])
    assert seen == [Target.LOCAL, Target.AWS]


def test_check_prints_json_and_nothing_else(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--models", "tests/fixtures/application/models", "check", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["application"] == "evergreen"
    assert output.err == ""
