"""Fixtures: moto's S3 under the real runtime; processes, namespaces and files are real."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from localcloud.cloud import Clock, Cloud
from localcloud.store import Store
from localcloud_support.containers import BUCKET, DENIED_ROLE, DenyingClient, FakeAws, Jobs


# Not session-scoped: moto keeps its state while an outer mock is open, and other tests need an empty account.
@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def aws(tmp_path: Path, s3: Any) -> Iterator[FakeAws]:
    logged: dict[tuple[str, str], list[str]] = defaultdict(list)

    def client(service: str, *, role_arn: str | None = None) -> Any:
        assert service == "s3"
        return DenyingClient() if role_arn == DENIED_ROLE else s3

    cloud = Cloud(
        state_dir=tmp_path / "state",
        endpoint_url="http://127.0.0.1:1",
        region="us-east-1",
        account="000000000000",
        store=Store(tmp_path / "state" / "store.sqlite"),
        clock=Clock(),
        client=client,
        emit=lambda *_: None,
        put_logs=lambda group, stream, lines: logged[group, stream].extend(line for _, line in lines),
        role_environment=lambda _: {"AWS_ACCESS_KEY_ID": "ASIA", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
    )
    made = FakeAws(cloud, s3, logged)
    yield made
    cloud.store.close()
    for key in made.keys():  # noqa: SIM118
        s3.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def jobs(aws: FakeAws) -> Iterator[Jobs]:
    running = Jobs(aws)
    yield running
    running.runner.shutdown()
