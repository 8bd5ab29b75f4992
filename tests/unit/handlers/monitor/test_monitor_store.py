"""The windows of a release, on moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from drift_analyzer.jsonio import dumps
from monitor.window_store import WindowStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def s3() -> Iterator[S3Client]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        client.create_bucket(Bucket="artifacts")
        yield client


def test_of_a_long_past_the_last_verdicts_alone_are_read(s3: S3Client) -> None:
    store = WindowStore(s3, "artifacts", "monitoring/flights/v1")
    for window in range(20):
        store.put(window, "verdict.json", dumps({"window": window}), "application/json")
    read: list[str] = []
    s3.meta.events.register("before-call.s3.GetObject", lambda params, **_: read.append(params["url_path"]))
    assert [verdict["window"] for verdict in store.verdicts_before(15)] == [12, 13, 14]
    assert len(read) == 3
