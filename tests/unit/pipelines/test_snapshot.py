"""What a snapshot fixes, and what it refuses."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from pipelines.steps import snapshot as step

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

DATA, ARTIFACTS, RECORD = "data", "artifacts", "/evergreen/flight-delays/prod/release"
CHAMPION = "arn:aws:sagemaker:us-east-1:123456789012:model-package/evergreen-flight-delays/3"
SETTINGS = step.Settings(
    model="flight-delays",
    raw_prefix="flight-delays/raw/",
    data_bucket=DATA,
    artifact_bucket=ARTIFACTS,
    code_uri=f"s3://{ARTIFACTS}/asset.zip",
    release_parameter=RECORD,
    window_start="latest",
    window_end="latest",
    window_days=4,
    holdout_days=2,
    trigger="manual",
)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account of moto's."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield


@pytest.fixture
def s3(aws: None) -> S3Client:
    """Buckets with six days of data and the code's asset."""
    client = boto3.client("s3", region_name="us-east-1")
    for bucket in (DATA, ARTIFACTS):
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for day in range(1, 7):
        put(client, f"dt=2013-01-{day:02}/flights.csv", f"day {day}")
    client.put_object(Bucket=ARTIFACTS, Key="asset.zip", Body=asset({"train.py": "train", "lib/a.py": "a"}))
    return client


@pytest.fixture
def ssm(aws: None) -> SSMClient:
    """A release record before the first release."""
    client = boto3.client("ssm", region_name="us-east-1")
    client.put_parameter(Name=RECORD, Value="none|none|none|none", Type="String")
    return client


def put(s3: S3Client, name: str, body: str) -> None:
    s3.put_object(Bucket=DATA, Key=f"flight-delays/raw/{name}", Body=body.encode())


def asset(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def read(s3: S3Client, uri: str) -> Any:
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def test_the_window_ends_at_the_newest_day_and_its_last_days_are_the_holdout(s3: S3Client, ssm: SSMClient) -> None:
    result = step.snapshot(s3, ssm, SETTINGS)
    manifest = read(s3, result["manifest_uri"])
    assert manifest["window"] == {"start": "2013-01-03", "end": "2013-01-06"}
    assert manifest["holdout"] == {"start": "2013-01-05", "end": "2013-01-06"}
    assert [(one["key"].split("/")[2], one["split"]) for one in manifest["objects"]] == [
        ("dt=2013-01-03", "train"),
        ("dt=2013-01-04", "train"),
        ("dt=2013-01-05", "holdout"),
        ("dt=2013-01-06", "holdout"),
    ]


def test_a_manifest_names_each_object_by_version_hash_and_size_and_is_named_by_its_own_hash(
    s3: S3Client, ssm: SSMClient
) -> None:
    result = step.snapshot(s3, ssm, SETTINGS)
    assert result["manifest_uri"].split("/")[-2] == result["manifest_sha256"]
    key = result["manifest_uri"].removeprefix(f"s3://{ARTIFACTS}/")
    body = s3.get_object(Bucket=ARTIFACTS, Key=key)["Body"].read()
    assert hashlib.sha256(body).hexdigest() == result["manifest_sha256"]
    one = json.loads(body)["objects"][0]
    head = s3.head_object(Bucket=DATA, Key=one["key"])
    assert one == {
        "key": "flight-delays/raw/dt=2013-01-03/flights.csv",
        "version_id": head["VersionId"],
        "sha256": hashlib.sha256(b"day 3").hexdigest(),
        "size": 5,
        "split": "train",
    }


def test_splits_are_in_the_form_that_sagemaker_fetches(s3: S3Client, ssm: SSMClient) -> None:
    result = step.snapshot(s3, ssm, SETTINGS)
    prefix = {"prefix": f"s3://{DATA}/flight-delays/raw/"}
    assert read(s3, result["train_manifest_uri"]) == [prefix, "dt=2013-01-03/flights.csv", "dt=2013-01-04/flights.csv"]
    assert read(s3, result["holdout_manifest_uri"]) == [
        prefix,
        "dt=2013-01-05/flights.csv",
        "dt=2013-01-06/flights.csv",
    ]


def test_the_same_data_and_code_give_the_same_addresses_and_write_nothing_twice(s3: S3Client, ssm: SSMClient) -> None:
    assert step.snapshot(s3, ssm, SETTINGS) == step.snapshot(s3, ssm, SETTINGS)
    versions = s3.list_object_versions(Bucket=ARTIFACTS)["Versions"]
    assert len({version["Key"] for version in versions}) == len(versions)


def test_a_corrected_object_is_another_dataset_and_a_deleted_one_is_gone(s3: S3Client, ssm: SSMClient) -> None:
    before = step.snapshot(s3, ssm, SETTINGS)
    put(s3, "dt=2013-01-03/flights.csv", "corrected")
    s3.delete_object(Bucket=DATA, Key="flight-delays/raw/dt=2013-01-04/flights.csv")
    after = step.snapshot(s3, ssm, SETTINGS)
    assert after["manifest_sha256"] != before["manifest_sha256"]
    objects = read(s3, after["manifest_uri"])["objects"]
    assert objects[0]["sha256"] == hashlib.sha256(b"corrected").hexdigest()
    assert len(objects) == 3


def test_more_objects_than_one_page_holds_are_all_found(
    s3: S3Client, ssm: SSMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = s3.get_paginator("list_object_versions")

    class SmallPages:
        def paginate(self, **arguments: Any) -> Any:
            return pages.paginate(**arguments, PaginationConfig={"PageSize": 2})

    monkeypatch.setattr(s3, "get_paginator", lambda _: SmallPages())
    assert len(read(s3, step.snapshot(s3, ssm, SETTINGS)["manifest_uri"])["objects"]) == 4


def test_a_hash_that_s3_keeps_of_the_whole_content_is_not_computed_again(s3: S3Client) -> None:
    s3.put_object(Bucket=DATA, Key="k", Body=b"content", ChecksumAlgorithm="SHA256")
    version = s3.head_object(Bucket=DATA, Key="k")["VersionId"]
    one = step.RawObject("k", version, 7, date(2013, 1, 1), date(2013, 1, 1), stored_checksum=True)
    s3.get_object = None  # type: ignore[assignment,method-assign]
    assert step.hashed(s3, DATA, one).sha256 == hashlib.sha256(b"content").hexdigest()


def test_months_are_partitions_too_and_count_where_they_fit_wholly(s3: S3Client, ssm: SSMClient) -> None:
    for month in ("2013-03", "2013-04", "2013-05"):
        put(s3, f"dt={month}/flights.csv", month)
    settings = replace(SETTINGS, window_start="2013-03-02", window_end="2013-05-31", holdout_days=31)
    manifest = read(s3, step.snapshot(s3, ssm, settings)["manifest_uri"])
    assert [(one["key"].split("/")[2], one["split"]) for one in manifest["objects"]] == [
        ("dt=2013-04", "train"),
        ("dt=2013-05", "holdout"),
    ]


def test_code_is_kept_under_its_hash_wherever_the_asset_lay(s3: S3Client, ssm: SSMClient) -> None:
    result = step.snapshot(s3, ssm, SETTINGS)
    prefix = result["code_uri"].removeprefix(f"s3://{ARTIFACTS}/")
    assert prefix == f"code/flight-delays/{result['code_sha256']}/"
    kept = {one["Key"].removeprefix(prefix) for one in s3.list_objects_v2(Bucket=ARTIFACTS, Prefix=prefix)["Contents"]}
    assert kept == {"train.py", "lib/a.py"}
    repacked = asset({"lib/a.py": "a", "train.py": "train", "__pycache__/a.pyc": "x"})
    s3.put_object(Bucket=ARTIFACTS, Key="moved.zip", Body=repacked)
    moved = step.snapshot(s3, ssm, replace(SETTINGS, code_uri=f"s3://{ARTIFACTS}/moved.zip"))
    assert moved["code_sha256"] == result["code_sha256"]


def test_before_the_first_release_there_is_no_champion_and_its_folder_says_so(s3: S3Client, ssm: SSMClient) -> None:
    result = step.snapshot(s3, ssm, SETTINGS)
    assert result["champion_package_arn"] == "none"
    assert read(s3, f"{result['champion_uri']}none.json") == {"champion": None}


def test_the_champion_is_the_live_release(s3: S3Client, ssm: SSMClient) -> None:
    ssm.put_parameter(Name=RECORD, Value=f"v3-0123abcd|image@sha256:1|{CHAMPION}|abc", Type="String", Overwrite=True)
    s3.put_object(Bucket=ARTIFACTS, Key="releases/flight-delays/v3-0123abcd/model.tar.gz", Body=b"model")
    result = step.snapshot(s3, ssm, SETTINGS)
    assert result["champion_package_arn"] == CHAMPION
    assert result["champion_uri"] == f"s3://{ARTIFACTS}/releases/flight-delays/v3-0123abcd/"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw_prefix": "other/raw/"}, r"no raw objects under s3://data/other/raw/dt=…/"),
        ({"window_end": "2012-12-31"}, "no data from 2012-12-28 to 2012-12-31 .* it has 2013-01-01 to 2013-01-06"),
        ({"window_end": "2013-01-08", "window_days": 5}, "the holdout is empty: no data from 2013-01-07 to 2013-01-08"),
        ({"window_start": "2012-12-01", "window_end": "2013-01-01", "holdout_days": 1}, "nothing to train on"),
        ({"holdout_days": 4}, "a holdout of 4 days leaves nothing to train on"),
        ({"window_end": "January"}, "WindowStart and WindowEnd are YYYY-MM-DD or latest: .*January"),
        ({"trigger": 'a "quoted" one'}, "Trigger .* may hold letters"),
        ({"release_parameter": "/nowhere"}, "the release record /nowhere does not exist"),
        ({"code_uri": "s3://artifacts/gone.zip"}, "the code s3://artifacts/gone.zip cannot be read: .*NoSuchKey"),
    ],
)
def test_what_a_person_has_to_put_right_is_said_in_one_line(
    s3: S3Client, ssm: SSMClient, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(step.SnapshotError, match=message) as raised:
        step.snapshot(s3, ssm, replace(SETTINGS, **changes))
    assert "\n" not in str(raised.value)


def test_a_partition_that_is_no_date_is_refused_by_its_key(s3: S3Client, ssm: SSMClient) -> None:
    put(s3, "dt=2013-13-01/flights.csv", "x")
    with pytest.raises(step.SnapshotError, match=r"raw/dt=2013-13-01/flights\.csv: the partition .* is not a day"):
        step.snapshot(s3, ssm, SETTINGS)


def test_a_bucket_without_versions_cannot_fix_a_dataset(s3: S3Client, ssm: SSMClient) -> None:
    s3.create_bucket(Bucket="plain")
    s3.put_object(Bucket="plain", Key="flight-delays/raw/dt=2013-01-01/flights.csv", Body=b"x")
    with pytest.raises(step.SnapshotError, match="has no version"):
        step.snapshot(s3, ssm, replace(SETTINGS, data_bucket="plain"))


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py"])
def test_code_cannot_be_written_outside_its_folder(name: str) -> None:
    with pytest.raises(step.SnapshotError, match="points out of it"):
        step.code_files(asset({name: "evil"}))


def test_a_release_record_that_names_a_lost_artefact_is_refused(s3: S3Client, ssm: SSMClient) -> None:
    ssm.put_parameter(Name=RECORD, Value=f"v3-0123abcd|image|{CHAMPION}|abc", Type="String", Overwrite=True)
    with pytest.raises(step.SnapshotError, match=r"releases/flight-delays/v3-0123abcd/model\.tar\.gz is gone"):
        step.snapshot(s3, ssm, SETTINGS)
