"""What the registration record says, and when it is not written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from pipelines.steps import record as step

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

DATA, ARTIFACTS = "data", "artifacts"
RUN = f"s3://{ARTIFACTS}/runs/flight-delays/abc123def456"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"
PAYLOAD = b"UA,EWR,IAH\n"
SHAP = b'{"explanations": {"kernel_shap": {"label0": {"global_shap_values": {"temp": 0.5}}}}}'
BIAS = b"""{"post_training_bias_metrics": {"facets": {"origin": [
    {"value_or_threshold": "JFK", "metrics": [{"name": "DPPL", "value": 0.1}]}]}}}"""
EVALUATION = {"metrics": {"auc": 0.7}, "champion_metrics": None, "rows": 10, "verdict": "auc 0.7000 on 10 rows"}
BASELINES = ("data-quality/statistics.json", "bias/analysis.json", "explainability/analysis.json")
KEYS = [f"flight-delays/raw/dt=2013-01-0{day}/flights.csv" for day in (1, 2)]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    """Two raw objects, and what a run leaves before its record is written."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        for bucket in (DATA, ARTIFACTS):
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for uri, body in (
            (f"{RUN}/Train/job/output/model.tar.gz", b"model"),
            (f"{RUN}/Evaluate/evaluation/evaluation.json", json.dumps(EVALUATION).encode()),
            (f"{RUN}/Preprocess/payload/payload.csv", PAYLOAD),
            (f"{RUN}/Baseline/baselines/data-quality/statistics.json", b'{"version": 0.0}'),
            (f"{RUN}/Baseline/baselines/bias/analysis.json", BIAS),
            (f"{RUN}/Baseline/baselines/explainability/analysis.json", SHAP),
        ):
            put(client, uri, body)
        yield client


STARTER = "arn:aws:sts::123456789012:assumed-role/scientist/ada"


def record(s3: S3Client, settings: step.Settings, created_by: object = None) -> dict[str, str]:
    """The step, over a pipeline execution that somebody started."""
    described = {"CreatedBy": created_by or {"IamIdentity": {"Arn": STARTER}}}
    asked = SimpleNamespace(describe_pipeline_execution=lambda PipelineExecutionArn: described)
    return step.record(s3, cast("SageMakerClient", asked), settings)


def put(s3: S3Client, uri: str, body: bytes) -> None:
    bucket, key = step.place(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=body)


@pytest.fixture
def settings(s3: S3Client) -> step.Settings:
    """The arguments of a run over both objects."""
    versions = [s3.put_object(Bucket=DATA, Key=key, Body=b"flights")["VersionId"] for key in KEYS]
    objects = [{"key": key, "version_id": version} for key, version in zip(KEYS, versions, strict=True)]
    manifest = step.canonical({"objects": objects})
    uri = f"s3://{ARTIFACTS}/datasets/flight-delays/{sha256(manifest)}/manifest.json"
    put(s3, uri, manifest)
    environment = {
        "MODEL": "flight-delays",
        "DATA_BUCKET": DATA,
        "ARTIFACT_BUCKET": ARTIFACTS,
        "EXECUTION_ID": "abc123def456",
        "EXECUTION_ARN": "arn:aws:sagemaker:us-east-1:123456789012:pipeline/flight-delays/execution/abc123def456",
        "COMMIT_ID": "0123abc",
        "AUTHOR": "ada@example.com",
        "TRIGGER": "drift",
        "EVIDENCE": 'alarm "drift"',
        "SEED": "7",
        "MANIFEST_URI": uri,
        "MANIFEST_SHA256": sha256(manifest),
        "CODE_URI": f"s3://{ARTIFACTS}/code/flight-delays/c0de/",
        "CODE_SHA256": "c0de",
        "CHAMPION": "none",
        "ARTIFACT_URI": f"{RUN}/Train/job/output/model.tar.gz",
        "EVALUATION_URI": f"{RUN}/Evaluate/evaluation/evaluation.json",
        "PAYLOAD_URI": f"{RUN}/Preprocess/payload/payload.csv",
        "BASELINES_URI": f"{RUN}/Baseline/baselines",
        "BASELINES": ",".join(BASELINES),
        "DESCRIPTION": "Whether a flight is late",
        "OWNER": "flight-operations",
        "IMAGE": IMAGE,
        "ENVIRONMENT": '{"SAGEMAKER_PROGRAM": "inference.py"}',
        "CONTENT_TYPES": '["text/csv"]',
        "RESPONSE_TYPES": '["text/csv"]',
        "PARAMETER_max_depth": "5",
    }
    return step.Settings.read(environment)


def body_of(s3: S3Client, uri: str) -> bytes:
    return step.read(s3, uri)


def test_the_record_is_the_one_of_the_contract(s3: S3Client, settings: step.Settings) -> None:
    result = record(s3, settings)
    body = body_of(s3, result["record_uri"])
    assert result["record_uri"] == f"s3://{ARTIFACTS}/packages/flight-delays/abc123def456/record.json"
    assert result["record_sha256"] == sha256(body)
    specification: dict[str, Any] = {
        "content_types": ["text/csv"],
        "environment": {"SAGEMAKER_PROGRAM": "inference.py"},
        "image": IMAGE,
        "model_data_url": settings.artifact_uri,
        "response_types": ["text/csv"],
    }
    canonical = json.dumps(specification, sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(body) == {
        "version": 1,
        "model": "flight-delays",
        "execution_arn": settings.execution_arn,
        "commit": "0123abc",
        "author": "ada@example.com",
        "started_by": STARTER,
        "trigger": {"kind": "drift", "evidence": 'alarm "drift"'},
        "artifact": {"uri": settings.artifact_uri, "sha256": sha256(b"model")},
        "inference_specification_sha256": sha256(canonical),
        "code": {"uri": settings.code_uri, "sha256": "c0de"},
        "dataset": {"manifest_uri": settings.manifest_uri, "sha256": settings.manifest_sha256, "objects": 2},
        "parameters": {"max_depth": "5"},
        "seed": 7,
        "evaluation": EVALUATION,
        "champion": {"package_arn": None},
        "sample_payload": {
            "uri": f"s3://{ARTIFACTS}/packages/flight-delays/abc123def456/payload.csv",
            "content_type": "text/csv",
            "sha256": sha256(PAYLOAD),
        },
        "baselines": {
            file: {
                "uri": f"s3://{ARTIFACTS}/packages/flight-delays/abc123def456/baselines/{file}",
                "sha256": sha256(body),
            }
            for file, body in zip(BASELINES, (b'{"version": 0.0}', BIAS, SHAP), strict=True)
        },
    }
    for file, address in json.loads(body)["baselines"].items():
        assert sha256(body_of(s3, address["uri"])) == address["sha256"], file


def test_a_package_gets_metadata_that_it_can_hold_and_a_payload_in_an_archive(
    s3: S3Client, settings: step.Settings
) -> None:
    result = record(s3, settings)
    assert {name: result[name] for name in ("release_code", "trigger")} == {"release_code": "c0de", "trigger": "drift"}
    assert all(len(value) <= 256 for name, value in result.items() if name != "model_card")
    packed = body_of(s3, result["sample_payload_uri"])
    assert result["sample_payload_uri"].endswith(".tar.gz")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        member = tar.extractfile("payload.csv")
        assert member is not None
        assert member.read() == PAYLOAD


@pytest.mark.parametrize(
    ("created_by", "started_by"),
    [
        ({"IamIdentity": {"Arn": STARTER}}, STARTER),
        ({"UserProfileName": "ada", "IamIdentity": {"Arn": "arn:aws:sts::1:assumed-role/studio/SageMaker"}}, "ada"),
        ({"DomainId": "d-1"}, ""),
    ],
)
def test_the_record_knows_who_made_the_model(
    s3: S3Client, settings: step.Settings, created_by: dict[str, object], started_by: str
) -> None:
    written = json.loads(body_of(s3, record(s3, settings, created_by)["record_uri"]))
    assert (written["author"], written["started_by"]) == ("ada@example.com", started_by)


def test_a_run_that_no_commit_asked_for_has_no_author(s3: S3Client, settings: step.Settings) -> None:
    written = json.loads(body_of(s3, record(s3, replace(settings, author="none"))["record_uri"]))
    assert written["author"] == ""


def test_a_baseline_that_was_not_written_registers_nothing(s3: S3Client, settings: step.Settings) -> None:
    with pytest.raises(step.RecordError, match=r"the baseline step did not write model-quality/statistics\.json"):
        record(s3, replace(settings, baselines="model-quality/statistics.json"))


def test_a_model_without_monitors_has_no_baselines(s3: S3Client, settings: step.Settings) -> None:
    result = record(s3, replace(settings, baselines="none", baselines_uri="none"))
    assert json.loads(body_of(s3, result["record_uri"]))["baselines"] == {}


def test_every_version_has_a_card_with_its_bias_and_attributions(s3: S3Client, settings: step.Settings) -> None:
    result = record(s3, settings)
    card = body_of(s3, f"s3://{ARTIFACTS}/packages/flight-delays/abc123def456/card.json").decode()
    assert result["model_card"] == card, "the package carries the same one"
    assert json.loads(card)["intended_uses"]["purpose_of_model"] == "Whether a flight is late"
    assert "origin JFK DPPL" in card
    assert '"temp"' in card


def test_a_champion_is_named(s3: S3Client, settings: step.Settings) -> None:
    result = record(s3, replace(settings, champion="arn:aws:sagemaker:…/3"))
    assert json.loads(body_of(s3, result["record_uri"]))["champion"] == {"package_arn": "arn:aws:sagemaker:…/3"}


def test_a_retried_step_finds_its_own_record(s3: S3Client, settings: step.Settings) -> None:
    assert record(s3, settings) == record(s3, settings)


def test_a_record_is_never_overwritten(s3: S3Client, settings: step.Settings) -> None:
    first = body_of(s3, record(s3, settings)["record_uri"])
    with pytest.raises(step.RecordError, match=r"record\.json exists with other content"):
        record(s3, replace(settings, commit_id="another"))
    assert body_of(s3, f"s3://{ARTIFACTS}/packages/flight-delays/abc123def456/record.json") == first


@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_data_that_changed_during_the_run_is_never_registered(
    s3: S3Client, settings: step.Settings, change: str
) -> None:
    if change == "overwritten":
        s3.put_object(Bucket=DATA, Key=KEYS[1], Body=b"flights")
    else:
        s3.delete_object(Bucket=DATA, Key=KEYS[1])
    with pytest.raises(step.RecordError, match=r"1 of 2 raw objects changed during the run, first .*2013-01-02"):
        record(s3, settings)
    assert "Contents" not in s3.list_objects_v2(Bucket=ARTIFACTS, Prefix="packages/")


def test_a_manifest_that_was_exchanged_is_refused(s3: S3Client, settings: step.Settings) -> None:
    put(s3, settings.manifest_uri, b'{"objects": []}')
    with pytest.raises(step.RecordError, match="is not what the snapshot wrote"):
        record(s3, settings)


@pytest.mark.parametrize("scores", [[0.5, None], ["a"], {"0": 1}, "high", [True]])
def test_scores_that_a_verification_could_not_compare_register_nothing(
    s3: S3Client, settings: step.Settings, scores: object
) -> None:
    bucket, _, key = settings.evaluation_uri.removeprefix("s3://").partition("/")
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps({"payload_scores": scores}).encode())
    with pytest.raises(step.RecordError, match=r"payload_scores of evaluation\.json must be a list of numbers"):
        record(s3, settings)
