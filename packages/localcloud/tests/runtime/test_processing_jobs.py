"""Processing jobs under the container contract, with scripts written for SageMaker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from localcloud_support.containers import BUCKET, DENIED_ROLE, FakeAws, Jobs, processing

from localcloud.runtime import images
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.images import environments

ABALONE = "\n".join(f"{'MFI'[i % 3]},{0.1 * i:.2f},{0.2 * i:.2f},{'' if i == 3 else 0.3},{i % 9}" for i in range(40))
SCRIPT = "/opt/ml/processing/input/code/"


def test_a_script_with_hard_coded_paths_runs_unmodified(aws: FakeAws, jobs: Jobs) -> None:
    raw = aws.put("raw/abalone.csv", ABALONE)
    entrypoint = ["python3", SCRIPT + "preprocess_abalone.py"]
    request = processing(
        "abalone",
        entrypoint,
        inputs={"raw": raw, "code": aws.put_script("preprocess_abalone.py")},
        outputs={"train": f"s3://{BUCKET}/p/train", "validation": f"s3://{BUCKET}/p/validation/"},
    )
    request["AppSpecification"]["ContainerArguments"] = ["--train-share", "0.5"]
    update = jobs.run("processing", request)
    assert update.failure_reason is None
    assert (update.status, update.exit_message) == ("Completed", "Completed: 40 rows")
    assert len(aws.get("p/train/train.csv").splitlines()) == 20
    assert len(aws.get("p/validation/validation.csv").splitlines()) == 20
    assert "Reading /opt/ml/processing/input/raw/abalone.csv" in aws.log_text()
    (group, stream) = next(iter(aws.logged))
    assert group == "/aws/sagemaker/ProcessingJobs"
    assert stream.startswith("abalone/algo-1-")


@pytest.mark.usefixtures("namespaces")
def test_a_container_sees_its_own_files_and_not_the_gateways_environment(
    aws: FakeAws, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "1")
    seen = _report_environment(aws, jobs, "around")
    assert seen["opt_ml"] == ["code", "config", "output", "processing"]
    # A repository below /tmp is visible, because it holds the interpreter; .python belongs to the fork server.
    interpreter = Path(sys.prefix)
    assert [name for name in seen["tmp"] if name != ".python"] == (
        [interpreter.parts[2]] if interpreter.is_relative_to("/tmp") else []
    )
    assert "GATEWAY_SECRET" not in seen["environment"]
    assert seen["environment"]["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert seen["environment"]["MINE"] == "yes"
    assert seen["config"]["resourceconfig.json"]["hosts"] == ["algo-1"]
    assert seen["config"]["processingjobconfig.json"]["ProcessingJobName"] == "around"


@pytest.mark.usefixtures("namespaces")
def test_network_isolation_leaves_loopback_only_and_no_credentials(aws: FakeAws, jobs: Jobs) -> None:
    seen = _report_environment(aws, jobs, "isolated", NetworkConfig={"EnableNetworkIsolation": True})
    assert seen["interfaces"] == ["lo"]
    assert not {"AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"} & set(seen["environment"])


def _report_environment(aws: FakeAws, jobs: Jobs, name: str, **changes: Any) -> Any:
    request = processing(
        name,
        ["/miniconda3/bin/python3", SCRIPT + "report_environment.py"],
        inputs={"code": aws.put_script("report_environment.py")},
        outputs={"seen": f"s3://{BUCKET}/seen"},
        Environment={"MINE": "yes"},
        **changes,
    )
    update = jobs.run("processing", request)
    assert update.failure_reason is None
    return json.loads(aws.get("seen/seen.json"))


@pytest.mark.parametrize(
    ("prefix", "files"),
    [
        ("tree", ["a.csv", "deep/b.csv"]),
        ("tree/", ["a.csv", "deep/b.csv"]),
        ("tree/a.csv", ["a.csv"]),
        ("tr", ["tree/a.csv", "tree/deep/b.csv"]),
    ],
)
@pytest.mark.usefixtures("namespaces")
def test_an_s3_prefix_is_downloaded_with_sagemakers_layout(
    aws: FakeAws, jobs: Jobs, prefix: str, files: list[str]
) -> None:
    aws.put("tree/a.csv", "1")
    aws.put("tree/deep/b.csv", "2")
    aws.put("tree/", "")
    find = ["sh", "-c", "cd /opt/ml/processing/input/x && find . -type f | sort > /opt/ml/processing/out/list"]
    request = processing("prefix", find, inputs={"x": f"s3://{BUCKET}/{prefix}"}, outputs={"out": f"s3://{BUCKET}/o"})
    assert jobs.run("processing", request).status == "Completed"
    assert aws.get("o/list").decode().split() == [f"./{name}" for name in files]


@pytest.mark.usefixtures("namespaces")
def test_a_manifest_names_the_objects_to_download(aws: FakeAws, jobs: Jobs) -> None:
    for name in ("one", "two", "three"):
        aws.put(f"m/{name}", name)
    manifest = aws.put("manifest.json", json.dumps([{"prefix": f"s3://{BUCKET}/m/"}, "one", "three"]))
    copy = ["sh", "-c", "ls /opt/ml/processing/input/x > /opt/ml/processing/out/list"]
    request = processing("manifest", copy, inputs={"x": manifest}, outputs={"out": f"s3://{BUCKET}/o"})
    request["ProcessingInputs"][0]["S3Input"]["S3DataType"] = "ManifestFile"
    assert jobs.run("processing", request).failure_reason is None
    assert aws.get("o/list").decode().split() == ["one", "three"]


def test_an_empty_prefix_fails_the_job_with_sagemakers_message(aws: FakeAws, jobs: Jobs) -> None:
    request = processing("empty", ["true"], inputs={"x": f"s3://{BUCKET}/nothing"})
    update = jobs.run("processing", request)
    assert update.status == "Failed"
    assert str(update.failure_reason).startswith(
        f'ClientError: No S3 objects found under S3 URL "s3://{BUCKET}/nothing" given in input data source.'
    )


def test_a_role_that_may_not_read_fails_the_job_with_access_denied(aws: FakeAws, jobs: Jobs) -> None:
    request = processing("denied", ["true"], inputs={"x": aws.put("a", "1")}, RoleArn=DENIED_ROLE)
    reason = str(jobs.run("processing", request).failure_reason)
    assert "AccessDenied" in reason
    assert DENIED_ROLE in reason


@pytest.mark.usefixtures("namespaces")
def test_a_missing_output_bucket_fails_the_job(jobs: Jobs) -> None:
    write = ["sh", "-c", "echo 1 > /opt/ml/processing/out/f"]
    update = jobs.run("processing", processing("lost", write, outputs={"out": "s3://nonesuch/o"}))
    reason = "NoSuchBucket (404): The specified bucket does not exist (s3://nonesuch/o/f)"
    assert update.failure_reason == f"ClientError: Data upload failed:{reason}"


@pytest.mark.usefixtures("namespaces")
def test_a_failing_containers_message_is_the_failure_reason(jobs: Jobs) -> None:
    script = "echo 'Error: Encoding mismatch' > /opt/ml/output/message; exit 255"
    update = jobs.run("processing", processing("message", ["sh", "-c", script]))
    assert update.failure_reason == "AlgorithmError: Error: Encoding mismatch, exit code: 255"
    assert update.exit_message == "Error: Encoding mismatch\n"


@pytest.mark.usefixtures("pid_namespace")
def test_a_job_over_its_time_limit_is_stopped_with_all_its_processes(aws: FakeAws, jobs: Jobs) -> None:
    request = processing("slow", ["sh", "-c", "setsid sleep 4713 & sleep 4713"])
    request["StoppingCondition"]["MaxRuntimeInSeconds"] = 1
    update = jobs.run("processing", request)
    assert (update.status, update.failure_reason) == ("Stopped", None)
    assert update.ended_at is not None
    assert update.training_started_at is not None
    assert (update.ended_at - update.training_started_at).total_seconds() < 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"AppSpecification": {"ImageUri": "123.dkr.ecr.us-east-1.amazonaws.com/mine:1"}}, "mine:1"),
        (
            {"AppSpecification": {"ImageUri": "1.dkr/sagemaker-debugger-rules"}},
            "sagemaker-debugger-rules",
        ),
        (
            {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large"}}},
            "InstanceCount 2",
        ),
        (
            {"ProcessingInputs": [{"InputName": "q", "DatasetDefinition": {"LocalPath": "/opt/ml/processing/q"}}]},
            "DatasetDefinition (input q)",
        ),
        ({"ProcessingInputs": [{"InputName": "q", "S3Input": {"S3Uri": "s3://b/k", "LocalPath": "/etc"}}]}, "'/etc'"),
        (
            {"AppSpecification": {"ImageUri": "sagemaker-scikit-learn", "ContainerEntrypoint": ["nonesuch"]}},
            "nonesuch: No such file",
        ),
    ],
)
def test_unsupported_requests_are_rejected_by_name(jobs: Jobs, change: dict[str, Any], named: str) -> None:
    update = jobs.run("processing", processing("refused", ["true"]) | change)
    assert update.status == "Failed"
    assert named in str(update.failure_reason)


def test_an_environment_that_cannot_be_made_fails_the_job_with_uvs_reason(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: str) -> str:
        raise ContainerError("error: the registry cannot be reached")

    monkeypatch.setattr(environments, "_uv", offline)
    monkeypatch.setattr(
        environments.Environment, "made", property(lambda self: self.lock is None or self.root.parent != tmp_path)
    )
    monkeypatch.setattr(images, "environment", lambda lock: environments.Environment(tmp_path / "none", lock))
    update = jobs.run("processing", processing("bare", ["true"]))
    assert update.failure_reason == "error: the registry cannot be reached"
    assert any("Making the environment of" in one.status_message for one in jobs.updates["bare"])


def test_a_jobs_files_are_removed(aws: FakeAws, jobs: Jobs) -> None:
    jobs.run("processing", processing("tidy", ["sh", "-c", "mkdir -m 0 /opt/ml/processing/x"]))
    assert list((aws.cloud.state_dir / "runtime" / "jobs").iterdir()) == []
    assert aws.cloud.store.list("RuntimeJob") == []
