"""The commands read what is deployed, and approve and reject versions in the hub's registry."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from evergreen import ledger
from evergreen.cli import run
from evergreen.commands.ledger import Kind, line
from evergreen.deployed import short_name
from shared.steps import Step
from tests.unit.evergreen.conftest import MODEL, REGION, Fixture

AWS = ["--target", "aws"]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with `--json`. Return its document."""
    assert run([*arguments, "--json", *AWS]) == 0
    return json.loads(capsys.readouterr().out)


def text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command. Return its output."""
    assert run([*arguments, *AWS]) == 0
    return capsys.readouterr().out


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record the requests that change a version, and hand them on."""
    seen: list[dict[str, Any]] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def record(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        if operation == "UpdateModelPackage":
            seen.append(request)
            if "ModelLifeCycle" in request:
                return {}  # moto does not know it
        return call(client, operation, request)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    return seen


def approval(arn: str) -> str:
    return boto3.client("sagemaker", REGION).describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"]


class TestStatus:
    def test_before_the_first_release(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        ((found,),) = [stage["models"] for stage in answer(capsys, "status")]
        assert (found["model"], found["version"], found["release"], found["deployment"]) == (MODEL, None, "none", "")
        assert text(capsys, "status") == f"{MODEL} in prod: nothing released yet\n"

    def test_everything_that_a_person_must_know(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        account.register("Approved")
        account.register()
        account.release("v1-0123abcd|image|arn:1|sha")
        account.write("lease", owner="release-controller/1", purpose="release", release_id="v2-0123abcd")
        account.write("quarantine#000003", reason="the alarm fired", at="2026-01-01T00:00:00+00:00")
        for day, status in (("01", "OK"), ("02", "Drift")):
            account.write(
                f"verdict#2026-01-{day}T00:00:00+00:00#data_quality",
                kind="data_quality",
                status=status,
                window_end=f"2026-01-{day}T00:00:00+00:00",
                evidence="temp drifted",
            )
        account.write("retrain#told#drift", about="temp", told_at="2026-01-02T00:00:00+00:00", sent=True, lapsed=False)
        account.write("retrain#told#run#1", about="", told_at="2026-01-01T00:00:00+00:00", sent=True, lapsed=False)
        account.write("retrain#told#labels", about="", told_at="2026-01-01T00:00:00+00:00", sent=True, lapsed=True)
        ((found,),) = [stage["models"] for stage in answer(capsys, "status", MODEL)]
        assert (found["version"], found["pending"], found["quarantined"]) == (1, [2], [3])
        assert found["deployment"] == "release v2-0123abcd"
        assert [(one["kind"], one["status"]) for one in found["verdicts"]] == [("data_quality", "Drift")]
        assert [one["topic"] for one in found["notifications"]] == ["drift"]
        printed = text(capsys, "status", MODEL)
        assert f"version 2 waits: evergreen approve {MODEL} 2" in printed
        assert "data_quality   Drift to 2026-01-02T00:00: temp drifted" in printed

    def test_an_unknown_model_is_a_mistake(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["status", "nope", *AWS]) == 2
        assert capsys.readouterr().err == "There is no model 'nope' in prod.\n"

    def test_a_stage_in_another_account_is_named_and_not_read(
        self, account: Fixture, configuration_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        staged = two_stages(configuration_file, tmp_path)
        monkeypatch.setenv("EVERGREEN_CONFIG", str(staged))
        staging, prod = answer(capsys, "status")
        assert staging["models"] == []
        assert "111111111111" in staging["reason"]
        assert [one["model"] for one in prod["models"]] == [MODEL]


def two_stages(configuration_file: Path, folder: Path, release: str = "") -> Path:
    """Write an application with the stages staging (another account) and prod (moto's). Return its file."""
    prod = f'name: prod\n    account: "123456789012"\n{release}'
    staging = '  - {name: staging, account: "111111111111", region: us-east-1}\n'
    original = configuration_file.read_text(encoding="utf-8")
    changed = original.replace("name: prod\n    account: null\n", prod).replace("stages:\n", f"stages:\n{staging}")
    path = folder / "evergreen.yaml"
    path.write_text(changed, encoding="utf-8")
    return path


class TestLedger:
    def test_the_steps_that_the_demo_looks_for_are_the_controllers(self) -> None:
        assert ledger.DEPLOYED == Step.DEPLOY
        assert ledger.ROLLED_BACK == Step.ROLL_BACK
        assert ledger.RUN_STARTED == Step.START
        assert ledger.RUN_ENDED == Step.REPORT_RUN
        assert ledger.REQUEST_REFUSED == Step.REFUSE
        assert {Step.NOTHING, Step.WAIT, Step.OVERTAKEN} == ledger.IDLE

    def test_decisions_to_do_nothing_are_left_out_unless_asked_for(
        self, account: Fixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        account.write("decision#2026-01-01T00:00:00+00:00#a", step="Deploy", reason="version 1 is approved")
        for hour in range(1, 9):
            account.write(f"decision#2026-01-01T0{hour}:00:00+00:00#b", step="Wait", reason="the stack is updating")
        shown = answer(capsys, "ledger", "decisions", MODEL, "--last", "3")
        assert [row["step"] for row in shown] == ["Deploy"]
        shown = answer(capsys, "ledger", "decisions", MODEL, "--last", "3", "--all")
        assert [row["step"] for row in shown] == ["Wait"] * 3

    def test_decisions_of_both_controllers_in_the_order_of_time(
        self, account: Fixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        account.write("decision#2026-01-01T00:00:00+00:00#a", step="Deploy", reason="version 1 is approved")
        account.write(
            "retrain-decision#2026-01-02T00:00:00+00:00#b",
            step="Start", reason="data drifted", at="2026-01-02T00:00:00+00:00",
        )  # fmt: skip
        account.write("decision#2026-01-03T00:00:00+00:00#c", step="Hold", reason="nothing approved is left")
        assert text(capsys, "ledger", "decisions", MODEL, "--last", "2").splitlines() == [
            "2026-01-02T00:00:00+00:00  retrain  Start  data drifted",
            "2026-01-03T00:00:00+00:00  release  Hold  nothing approved is left",
        ]
        rows = answer(capsys, "ledger", "decisions", MODEL)
        assert [row["step"] for row in rows] == ["Deploy", "Start", "Hold"]

    def test_only_the_newest_rows(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        for day in range(1, 10):
            end = f"2026-01-0{day}T00:00:00+00:00"
            account.write(f"verdict#{end}#bias", kind="bias", status="OK", window_end=end, evidence="fair")
        rows = answer(capsys, "ledger", "verdicts", MODEL, "--last", "3")
        assert [row["window_end"][8:10] for row in rows] == ["07", "08", "09"]

    def test_no_rows_are_said_for_people_and_an_empty_list_for_programs(
        self, account: Fixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert text(capsys, "ledger", "quarantine", MODEL) == f"{MODEL} in prod has no quarantine\n"
        assert answer(capsys, "ledger", "quarantine", MODEL) == []

    def test_a_model_that_is_not_deployed_is_a_mistake(
        self, account: Fixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["ledger", "decisions", "nope", *AWS]) == 2
        assert capsys.readouterr().err == f"Stage prod has no model 'nope'; it has {MODEL}.\n"

    @pytest.mark.parametrize(
        ("kind", "row", "expected"),
        [
            (Kind.QUARANTINE, {"sk": "quarantine#000006", "at": "T", "reason": "why"}, "T  version 6  why"),
            (
                Kind.APPROVALS,
                {"sk": "approval#000006", "at": "T", "approver": "ada", "description": ""},
                "T  version 6  ada",
            ),
            (
                Kind.VERIFICATIONS,
                {"sk": "verification#v6-1", "at": "T", "outcome": "failed", "reason": "slow"},
                "T  v6-1  failed  slow",
            ),
            (
                Kind.VERDICTS,
                {"sk": "verdict#E#bias", "window_end": "E", "kind": "bias", "status": "OK", "report": "s3://r"},
                "E  bias  OK  s3://r",
            ),
        ],
    )
    def test_a_row_is_a_line(self, kind: Kind, row: dict[str, str], expected: str) -> None:
        assert line(kind, row) == expected


class TestLogs:
    def test_messages_of_the_last_hour_with_their_tracebacks(
        self, account: Fixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        record = json.dumps({"level": "ERROR", "message": "reconcile failed", "exception": "Traceback\nValueError"})
        now = datetime.now(UTC)
        account.log("/release", now - timedelta(hours=2), "too old")
        assert text(capsys, "logs", "release") == "release logged nothing in the last 1h\n"
        boto3.client("logs", REGION).create_log_stream(logGroupName="/release", logStreamName="two")
        boto3.client("logs", REGION).put_log_events(
            logGroupName="/release",
            logStreamName="two",
            logEvents=[
                {"timestamp": int(1000 * now.timestamp()) - 5000, "message": record},
                {"timestamp": int(1000 * now.timestamp()) - 4000, "message": "END RequestId: 1"},
            ],
        )
        printed = text(capsys, "logs", "release").splitlines()
        assert printed[0].endswith("ERROR   reconcile failed")
        assert printed[1:] == ["Traceback", "ValueError"]
        assert [event["message"] for event in answer(capsys, "logs", "release", "--since", "1d")] == [
            "too old",
            record,
            "END RequestId: 1",
        ]

    def test_an_unknown_function_is_said_with_the_known_ones(
        self, account: Fixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["logs", "nope", *AWS]) == 2
        assert capsys.readouterr().err == "Stage prod has no function 'nope'; it has release, retrain.\n"

    @pytest.mark.parametrize(
        ("logical", "short"),
        [
            ("ReleaseHandlerLogs156D302B", "release"),
            ("CaptureUnreadQueue839B4A50", "capture-unread"),
            ("UndeliveredQueue47FA64CB", "undelivered"),
            ("RetrainHandlerFunction980C9E58", "retrain"),
        ],
    )
    def test_resources_are_known_by_short_names(self, logical: str, short: str) -> None:
        assert short_name(logical) == short


class TestQueues:
    def test_messages_are_counted_shown_and_purged(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        sqs = boto3.client("sqs", REGION)
        url = sqs.get_queue_url(QueueName="failures")["QueueUrl"]
        sqs.send_message(
            QueueUrl=url,
            MessageBody="an event",
            MessageAttributes={"RULE": {"DataType": "String", "StringValue": "tick"}},
        )
        counts = {one["queue"]: one["waiting"] for one in answer(capsys, "queues", "list")}
        assert counts == {"capture-unread": 0, "failures": 1}
        assert text(capsys, "queues", "show", "failures") == "RULE=tick  an event\n"
        assert answer(capsys, "queues", "show", "failures")[0]["body"] == "an event", "it stays in the queue"
        text(capsys, "queues", "purge", "failures")
        assert text(capsys, "queues", "show", "failures") == "failures is empty\n"


class TestAlarms:
    def test_only_the_applications_alarms_in_alarm(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        cloudwatch = boto3.client("cloudwatch", REGION)
        for name in ("evergreen-a", "evergreen-b", "other"):
            cloudwatch.put_metric_alarm(
                AlarmName=name, ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Threshold=1,
                MetricName="m", Namespace="n", Period=60, Statistic="Sum",
            )  # fmt: skip
        assert text(capsys, "alarms") == "No alarm is in ALARM\n"
        for name in ("evergreen-a", "other"):
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="three periods above 1")
        (found,) = answer(capsys, "alarms")
        assert (found["alarm"], found["text"]) == ("evergreen-a", "three periods above 1")
        assert "evergreen-a  three periods above 1" in text(capsys, "alarms")


class TestApproval:
    def test_approve_says_account_and_region_and_changes_the_registry(
        self, account: Fixture, updates: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        arn = account.register()
        assert run(["approve", MODEL, "1", "--note", "better", *AWS]) == 0
        output = capsys.readouterr()
        assert output.err.startswith("Account 123456789012, region us-east-1, as arn:aws:")
        assert output.out == f"Approved: {arn}\n"
        assert updates == [{"ModelPackageArn": arn, "ModelApprovalStatus": "Approved", "ApprovalDescription": "better"}]
        assert approval(arn) == "Approved"

    def test_reject(self, account: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
        arn = account.register("Approved")
        document = answer(capsys, "reject", MODEL, "1")
        assert (document["approval_before"], document["approval"]) == ("Approved", "Rejected")
        assert approval(arn) == "Rejected"

    def test_a_version_that_does_not_exist_is_a_mistake(
        self, account: Fixture, updates: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["approve", MODEL, "7", *AWS]) == 2
        assert "no version 7 of flight-delays" in capsys.readouterr().err
        assert updates == []

    def test_credentials_of_another_account_than_the_hubs_change_nothing(
        self, account: Fixture, updates: list[dict[str, Any]], configuration_file: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        account.register()
        other = two_stages(configuration_file, tmp_path)
        other.write_text(other.read_text().replace("123456789012", "222222222222"))
        monkeypatch.setenv("EVERGREEN_CONFIG", str(other))
        assert run(["approve", MODEL, "1", *AWS]) == 2
        assert "Use credentials of 222222222222" in capsys.readouterr().err
        assert updates == []

    def test_a_stage_that_wants_a_description_refuses_an_approval_without_one(
        self, account: Fixture, updates: list[dict[str, Any]], configuration_file: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        arn = account.register()
        release = "    release: {four_eyes: true, description_required: true}\n"
        monkeypatch.setenv("EVERGREEN_CONFIG", str(two_stages(configuration_file, tmp_path, release)))
        assert run(["approve", MODEL, "1", *AWS]) == 2
        assert (
            capsys.readouterr().err == "Stage prod refuses approvals without a description; say why with --note TEXT.\n"
        )
        assert updates == []
        assert "refuses the approval of the model's author" in text(capsys, "approve", MODEL, "1", "--note", "better")
        assert approval(arn) == "Approved"

    def test_a_stage_with_life_cycle_approval_needs_a_second_one(
        self, account: Fixture, updates: list[dict[str, Any]], configuration_file: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        arn = account.register()
        release = "    release: {approval: life-cycle}\n"
        monkeypatch.setenv("EVERGREEN_CONFIG", str(two_stages(configuration_file, tmp_path, release)))
        assert run(["approve", MODEL, "1", "--stage", "prod", *AWS]) == 2
        assert "not approved in the registry: evergreen approve flight-delays 1" in capsys.readouterr().err
        assert updates == []
        assert f"also waits for: evergreen approve {MODEL} 1 --stage prod" in text(capsys, "approve", MODEL, "1")
        text(capsys, "approve", MODEL, "1", "--stage", "prod", "--note", "measured in staging")
        assert updates[1] == {
            "ModelPackageArn": arn,
            "ModelLifeCycle": {
                "Stage": "Production",
                "StageStatus": "Approved",
                "StageDescription": "measured in staging",
            },
        }

    def test_a_stage_with_the_registrys_approval_takes_no_other(
        self, account: Fixture, updates: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        account.register("Approved")
        assert run(["approve", MODEL, "1", "--stage", "prod", *AWS]) == 2
        assert "takes the registry's approval" in capsys.readouterr().err
        assert updates == []
