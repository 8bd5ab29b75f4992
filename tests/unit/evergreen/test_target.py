"""A command for the local cloud can reach nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from evergreen.target import Place, Target, local_environment


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """Yield the port of something that listens, in an environment of a person with an account."""
    # Every AWS variable is restored at the end, also those that the session sets.
    for name in (*local_environment(None, tmp_path), "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of an account")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def test_the_variables_of_an_account_are_replaced(port: int, tmp_path: Path) -> None:
    session = Place(Target.LOCAL, port, tmp_path).session("us-east-1")
    assert os.environ["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{port}"
    assert "AWS_PROFILE" not in os.environ
    assert "AWS_SESSION_TOKEN" not in os.environ
    assert session.client("sts").meta.endpoint_url == f"http://127.0.0.1:{port}"
    credentials = session.get_credentials()
    assert credentials is not None
    assert credentials.access_key == "test"


def test_the_variables_of_an_account_are_left_alone_for_that_account(port: int, tmp_path: Path) -> None:
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE")  # boto3 looks the profile up
        patch.delenv("AWS_ENDPOINT_URL")
        session = Place(Target.AWS, port, tmp_path).session("us-east-1")
        assert session.client("sts").meta.endpoint_url.endswith(".amazonaws.com")
    assert dict(os.environ) == before
