"""The loop on the local cloud, in the order of a real account: the real CLI, templates, handlers and scripts.

The tests share one local cloud and build on each other's history, as an account does: one file, so one worker.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

from evergreen import ROOT
from evergreen.demo import bad_model, flights, summary
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.replay import FIRST
from evergreen.demo.serving import await_release, live_version
from evergreen.demo.training import read_json
from evergreen.names import Names
from tests.loop.conftest import evergreen, localcloud, run_demo, selecting
from tests.unit.docs.documents import INLINE_CODE, Document

pytestmark = [pytest.mark.loop, pytest.mark.timeout(900)]

ROW = b"UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,260,12.66,0,1011.9,10"


T = TypeVar("T")


def wait_for(what: str, read: Callable[[], T | None], seconds: float = 60) -> T:
    """Poll until `read` returns something. Events reach the controllers asynchronously, as in an account."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := read()) is not None:
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def execute(cloud: LocalCloud, model: Names, **parameters: str) -> dict[str, Any]:
    """Run the pipeline to its end. Return the execution."""
    sagemaker = cloud.client("sagemaker")
    arn = sagemaker.start_pipeline_execution(
        PipelineName=model.group,
        PipelineParameters=[{"Name": name, "Value": value} for name, value in parameters.items()],
    )["PipelineExecutionArn"]

    def ended() -> dict[str, Any] | None:
        described = dict(sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn))
        return None if described["PipelineExecutionStatus"] in {"Executing", "Starting"} else described

    return wait_for(f"{arn} to end", ended, 180)


def steps(cloud: LocalCloud, execution: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listed = cloud.client("sagemaker").list_pipeline_execution_steps(
        PipelineExecutionArn=execution["PipelineExecutionArn"]
    )["PipelineExecutionSteps"]
    return {step["StepName"]: step for step in listed}


def versions(cloud: LocalCloud, model: Names) -> dict[int, dict[str, Any]]:
    """Return all packages of the model's group by version."""
    listed = cloud.client("sagemaker").list_model_packages(ModelPackageGroupName=model.group)
    return {package["ModelPackageVersion"]: package for package in listed["ModelPackageSummaryList"]}


def judge(cloud: LocalCloud, package_arn: str, status: str) -> None:
    cloud.client("sagemaker").update_model_package(
        ModelPackageArn=package_arn, ModelApprovalStatus=status, ApprovalDescription="a test's judgement"
    )


def ledger(cloud: LocalCloud, model: Names, kind: str) -> list[dict[str, Any]]:
    """Return the model's ledger rows of one kind, oldest first."""
    table = cloud.outputs(f"{model.app}-platform-{model.stage}")["LedgerTableName"]
    found = cloud.client("dynamodb").query(
        TableName=table,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
        ExpressionAttributeValues={":pk": {"S": f"{model.name}#{model.stage}"}, ":sk": {"S": f"{kind}#"}},
    )
    return list(found["Items"])


def ask(cloud: LocalCloud, model: Names, body: bytes = ROW) -> float:
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=model.endpoint, ContentType="text/csv", Accept="text/csv", Body=body
    )
    return float(answer["Body"].read())


def test_the_demo_ends_with_a_model_that_answers(demo: tuple[LocalCloud, str], model: Names) -> None:
    cloud, said = demo
    assert "The loop is running" in said
    assert 0 < ask(cloud, model) < 1
    assert live_version(cloud, model).startswith("v1-")


def test_every_line_that_the_demo_suggests_runs_as_pasted(demo: tuple[LocalCloud, str]) -> None:
    _, said = demo
    lines = [line.strip() for line in said.splitlines() if ".venv/bin/" in line and " reject " not in line]
    assert len(lines) >= 4
    for line in lines:
        done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), f"{line} printed nothing"


def test_a_second_demo_changes_nothing_and_is_fast(cloud: LocalCloud, model: Names) -> None:
    before = versions(cloud, model)
    began = time.monotonic()
    said = run_demo(cloud)
    assert versions(cloud, model) == before
    assert "Nothing is new" in said
    assert time.monotonic() - began < 90


def test_status_reports_the_live_version(cloud: LocalCloud, model: Names) -> None:
    ((stage,),) = [json.loads(evergreen(cloud, "status", model.name, "--json"))]
    (found,) = stage["models"]
    assert (found["model"], found["stage"], found["version"], found["pending"]) == (model.name, model.stage, 1, [])
    assert found["release"] == live_version(cloud, model).split("|")[0]
    assert (found["deployment"], found["trainings"], found["quarantined"]) == ("", [], [])
    assert f"{model.name} in {model.stage}: version 1 (" in evergreen(cloud, "status")


def test_the_ledger_says_why_the_first_version_is_live(cloud: LocalCloud, model: Names) -> None:
    rows = json.loads(evergreen(cloud, "ledger", "decisions", model.name, "--json"))
    assert {"Deploy", "Complete"} <= {row["step"] for row in rows}
    assert "  release  Deploy  " in evergreen(cloud, "ledger", "decisions", model.name)


def test_the_logs_of_every_function_can_be_read(cloud: LocalCloud, model: Names) -> None:
    for function in ("release", "retrain", "archive", "monitor", "capture"):
        evergreen(cloud, "logs", function)
    events = json.loads(evergreen(cloud, "logs", "release", "--since", "2d", "--json"))
    assert any(model.name in event["message"] for event in events)


def test_a_controller_can_be_run_at_any_time(cloud: LocalCloud, model: Names) -> None:
    before = live_version(cloud, model)
    for controller in ("release", "retrain"):
        assert evergreen(cloud, "reconcile", controller).startswith(f"{model.name}: ")
    assert live_version(cloud, model) == before


def test_a_package_carries_what_it_takes_to_audit_and_reproduce_it(cloud: LocalCloud, model: Names) -> None:
    package = cloud.client("sagemaker").describe_model_package(
        ModelPackageName=versions(cloud, model)[1]["ModelPackageArn"]
    )
    record = read_json(cloud, package["CustomerMetadataProperties"]["record_uri"])
    manifest = read_json(cloud, record["dataset"]["manifest_uri"])
    assert len(manifest["objects"]) == record["dataset"]["objects"] == 59
    assert all(entry["version_id"] and len(entry["sha256"]) == 64 for entry in manifest["objects"])
    assert record["evaluation"]["metrics"]["auc"] > 0.6
    assert record["commit"] == package["MetadataProperties"]["CommitId"]
    assert package["InferenceSpecification"]["Containers"][0]["ImageDigest"].startswith("sha256:")
    assert package["MetadataProperties"]["GeneratedBy"] == record["execution_arn"]


def test_capture_holds_request_and_answer_as_sagemaker_writes_them(cloud: LocalCloud, model: Names) -> None:
    bucket = cloud.outputs(f"{model.app}-platform-{model.stage}")["DataBucketName"]
    s3 = cloud.client("s3")
    prefix = f"{model.name}/capture/{model.endpoint}/AllTraffic/"

    def keys() -> list[str] | None:
        found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found] or None

    lines = s3.get_object(Bucket=bucket, Key=wait_for("data capture", keys)[0])["Body"].read().decode().splitlines()
    captured = json.loads(lines[0])
    assert captured["captureData"]["endpointInput"]["encoding"] == "CSV"
    assert 0 <= float(captured["captureData"]["endpointOutput"]["data"]) <= 1
    assert captured["eventVersion"] == "0"


def test_a_request_with_wrong_columns_is_the_callers_error(cloud: LocalCloud, model: Names) -> None:
    with pytest.raises(ClientError, match="ModelError") as refused:
        ask(cloud, model, b"UA,EWR")
    assert "15" in str(refused.value), "the message says how many columns there should be"
    assert 0 < ask(cloud, model) < 1


def test_an_oversized_body_is_refused(cloud: LocalCloud, model: Names) -> None:
    with pytest.raises(ClientError) as refused:
        ask(cloud, model, b"x" * (6 * 1024 * 1024 + 1))
    assert refused.value.response["Error"]["Code"] in {"ValidationError", "ValidationException"}


def test_the_gate_refuses_with_a_sentence_and_registers_nothing(cloud: LocalCloud, model: Names) -> None:
    before = versions(cloud, model)
    execution = execute(cloud, model, Minimum="0.99")
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "auc" in steps(cloud, execution)["Refused"]["FailureReason"].lower()
    assert versions(cloud, model) == before


def test_a_challenger_no_better_than_the_champion_is_not_registered(cloud: LocalCloud, model: Names) -> None:
    before = versions(cloud, model)
    execution = execute(cloud, model)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert "Refused" in steps(cloud, execution)
    assert versions(cloud, model) == before


def test_unchanged_steps_are_served_from_the_cache(cloud: LocalCloud, model: Names) -> None:
    execution = execute(cloud, model, MinImprovement="-1")
    ran = steps(cloud, execution)
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert "CacheHitResult" in ran["Preprocess"]
    assert "CacheHitResult" in ran["Train"]
    assert "CacheHitResult" not in ran["Snapshot"]
    assert "CacheHitResult" not in ran["Record"]


def test_approving_a_newer_version_releases_it_and_rejecting_it_goes_back(cloud: LocalCloud, model: Names) -> None:
    found = versions(cloud, model)
    first, second = found[1]["ModelPackageArn"], found[2]["ModelPackageArn"]
    (stage,) = json.loads(evergreen(cloud, "status", model.name, "--json"))
    assert stage["models"][0]["pending"] == [2]
    assert evergreen(cloud, "approve", model.name, "2", "--note", "a test's judgement") == f"Approved: {second}\n"
    assert await_release(cloud, model, second).startswith("v2-")
    document = json.loads(evergreen(cloud, "reject", model.name, "2", "--json"))
    assert (document["approval_before"], document["approval"]) == ("Approved", "Rejected")
    assert await_release(cloud, model, first).startswith("v1-")
    assert 0 < ask(cloud, model) < 1


def test_a_changed_artefact_is_refused_and_quarantined(cloud: LocalCloud, model: Names, artifact_bucket: str) -> None:
    sagemaker = cloud.client("sagemaker")
    execution = execute(cloud, model, MinImprovement="-1", Seed="77")
    arn = steps(cloud, execution)["Register"]["Metadata"]["RegisterModel"]["Arn"]
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    key = package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"].removeprefix(f"s3://{artifact_bucket}/")
    cloud.client("s3").put_object(Bucket=artifact_bucket, Key=key, Body=_archive(b"something else"))
    judge(cloud, arn, "Approved")
    rows = wait_for("the quarantine", lambda: ledger(cloud, model, "quarantine") or None)
    assert any(row["package_arn"]["S"] == arn and "SHA-256" in row["reason"]["S"] for row in rows)
    assert "  version 3  " in evergreen(cloud, "ledger", "quarantine", model.name)
    assert live_version(cloud, model).startswith("v1-")
    assert 0 < ask(cloud, model) < 1


def _archive(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("model.ubj")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def test_a_package_of_another_group_changes_nothing(cloud: LocalCloud, model: Names) -> None:
    sagemaker = cloud.client("sagemaker")
    ours = sagemaker.describe_model_package(ModelPackageName=versions(cloud, model)[1]["ModelPackageArn"])
    sagemaker.create_model_package_group(ModelPackageGroupName="somebody-elses")
    container = ours["InferenceSpecification"]["Containers"][0]
    theirs = sagemaker.create_model_package(
        ModelPackageGroupName="somebody-elses",
        InferenceSpecification={
            "Containers": [{"Image": container["Image"], "ModelDataUrl": container["ModelDataUrl"]}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        ModelApprovalStatus="PendingManualApproval",
    )["ModelPackageArn"]
    before = live_version(cloud, model)
    judge(cloud, theirs, "Approved")
    time.sleep(3)
    assert live_version(cloud, model) == before


def test_rejecting_all_that_is_approved_never_takes_the_endpoint_away(cloud: LocalCloud, model: Names) -> None:
    first = versions(cloud, model)[1]["ModelPackageArn"]
    judge(cloud, first, "Rejected")
    rows = wait_for(
        "the decision to hold",
        lambda: [row for row in ledger(cloud, model, "decision") if row["step"]["S"].lower() == "hold"] or None,
    )
    assert "approved" in rows[-1]["reason"]["S"].lower()
    assert live_version(cloud, model).startswith("v1-")
    assert 0 < ask(cloud, model) < 1
    judge(cloud, first, "Approved")


@pytest.fixture(scope="module")
def bad(cloud: LocalCloud, model: Names) -> bad_model.BadRelease:
    """Approve a version that fails a fifth of its requests, and wait for its rollback. No tick came since."""
    day = flights.raw_file(summary.folder(cloud), FIRST)
    return bad_model.roll_back(cloud, model, flights.one_by_one(flights.requests(day)))


def test_a_bad_version_gets_no_more_than_its_canary_share_and_goes_back_within_its_bake(
    cloud: LocalCloud, model: Names, bad: bad_model.BadRelease
) -> None:
    canary = bad.canary
    assert 0 < canary.reached <= canary.share * canary.asked
    assert canary.failed == pytest.approx(0.2 * canary.reached, rel=0.3)
    assert canary.lasted < canary.bake
    assert live_version(cloud, model) == bad.stays
    version = bad.package_arn.rsplit("/", 1)[1]
    alarm = f"{model.endpoint}-{bad.quarantine['reason'].split(f'{model.endpoint}-')[1].split('-5xx')[0]}-5xx"
    assert f"-v{version}-" in alarm
    # Alarm, figure, version; in one sentence, to people and in the ledger.
    for said in (bad.alert, bad.quarantine["reason"], bad.rollback["reason"]):
        assert alarm in said
        assert "breached 0.01" in said
    assert bad.alert.startswith(f"{model.name} in {model.stage}: v{version}-")


def test_a_cdk_deploy_before_the_next_tick_does_not_bring_the_bad_version_back(
    cloud: LocalCloud, model: Names, bad: bad_model.BadRelease
) -> None:
    before = cloud.client("sagemaker").describe_endpoint(EndpointName=model.endpoint)["EndpointConfigName"]
    stack = f"{model.app}-serving-{model.name}-{model.stage}"
    cloud.cdk("deploy", "--app", str(cloud.assembly), stack, "--exclusively", "--require-approval", "never")
    assert live_version(cloud, model) == bad.stays
    assert cloud.outputs(stack)["ReleaseId"] == bad.stays.split("|")[0]
    after = cloud.client("sagemaker").describe_endpoint(EndpointName=model.endpoint)
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", before)


def test_the_next_ticks_do_not_try_a_bad_version_again(
    cloud: LocalCloud, model: Names, bad: bad_model.BadRelease
) -> None:
    bad_model.require_quarantined(cloud, model, bad)
    assert 0 < ask(cloud, model) < 1


@pytest.mark.usefixtures("bad")
def test_every_command_of_the_runbook_runs_as_pasted(cloud: LocalCloud, model: Names) -> None:
    """Run each block and each command in a table that has no placeholder. None may print an error."""
    runbook = Document(ROOT / "docs" / "operations" / "runbook.md")
    quoted = {code for code in INLINE_CODE.findall(runbook.text) if code.startswith(("aws ", "evergreen "))}
    commands = [*runbook.blocks(), *sorted(code for code in quoted if "<" not in code)]
    assert len(commands) > 20
    environment = selecting(cloud) | cloud.environment | {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}

    def run(command: str) -> str:
        script = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    with ThreadPoolExecutor(3) as pool:  # none builds on another, and the CLI takes a second to start
        said = "".join(pool.map(run, commands))
    for expected in (
        "breached 0.01",
        "UPDATE_ROLLBACK_COMPLETE",
        "undelivered is purged",
        f"{model.name} in prod: version",
    ):
        assert expected in said


def test_a_killed_gateway_loses_nothing_acknowledged(cloud: LocalCloud, model: Names) -> None:
    before = versions(cloud, model)
    sagemaker = cloud.client("sagemaker")
    arn = sagemaker.start_pipeline_execution(
        PipelineName=model.group, PipelineParameters=[{"Name": "Seed", "Value": "99"}]
    )["PipelineExecutionArn"]

    def training() -> str | None:
        found = steps(cloud, {"PipelineExecutionArn": arn}).get("Train", {}).get("Metadata", {})
        return str(found["TrainingJob"]["Arn"]).rsplit("/", 1)[1] if "TrainingJob" in found else None

    # Known beforehand, and without a pause: the training is over in a second.
    pid = json.loads(localcloud(cloud, "status", "--json"))["pid"]
    name = wait_for("the training job", training, 60)
    subprocess.run(["kill", "-9", str(pid)], check=True)
    cloud.up()

    def ended() -> dict[str, Any] | None:
        job = dict(sagemaker.describe_training_job(TrainingJobName=name))
        return None if job["TrainingJobStatus"] == "InProgress" else job

    assert wait_for("the job to end", ended)["FailureReason"]
    # The step's retry policy would start it again after a minute, as in an account; this test need not wait for that.
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken="0" * 32)
    assert versions(cloud, model).items() >= before.items()
    assert wait_for("the endpoint", lambda: ask(cloud, model), 60) > 0


def test_diff_is_empty_after_all_that_and_destroy_leaves_what_the_docs_say(cloud: LocalCloud, scratch: Path) -> None:
    def cdk(*words: str) -> str:
        done = subprocess.run(
            ["npx", "cdk", *words, "--app", str(cloud.assembly)],
            cwd=ROOT,
            env=cloud.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "Number of stacks with differences: 0" in cdk("diff", "--all")
    cdk("destroy", "--all", "--force")
    left = cloud.client("cloudformation").describe_stacks()["Stacks"]
    assert [stack["StackName"] for stack in left if stack["StackName"].startswith("evergreen")] == []
    buckets = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
    assert sum(name.startswith("evergreen-platform") for name in buckets) == 3, "data, artefacts and logs are retained"
