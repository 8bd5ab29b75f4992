"""What is said and asked before a proof begins, and mistakes of the caller's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from evergreen.cli import run
from evergreen.prove.state import Store
from tests.unit.prove.conftest import NOW

MOTO_ACCOUNT = "123456789012"


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_REGION", "eu-west-1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        yield


def prove(folder: Path, *arguments: str) -> int:
    return run(["prove", "--target", "aws", "--folder", str(folder), *arguments])


def test_nothing_begins_before_somebody_agreed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prove(tmp_path) == 2
    printed = capsys.readouterr()
    for part in (MOTO_ACCOUNT, "region eu-west-1", "$", "hours", "arn:aws:"):
        assert part in printed.out
    assert "add --yes" in printed.err
    assert not list(tmp_path.glob("prove*/*"))


def test_there_is_nothing_to_delete_without_a_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prove(tmp_path, "--clean", "--yes") == 0
    assert "nothing to delete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--name", "prove0123abcd"], "names what --clean deletes"),
        (["--clean", "--keep"], "leave out one of the two"),
        (["--clean", "--name", "evergreen", "--yes"], "eight hexadecimal digits"),
        (["--region", "mars-north-1"], "mars-north-1"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_proof_of_another_account_is_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    foreign = store.begin("999999999999", "eu-west-1", NOW)
    store.save(foreign)
    assert prove(tmp_path, "--clean", "--yes", "--name", foreign.name) == 2
    assert "999999999999" in capsys.readouterr().err


def test_a_second_proof_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from evergreen.prove.state import Lock

    lock = Lock(tmp_path)
    assert lock.take()
    assert prove(tmp_path, "--yes") == 2
    assert "Another `evergreen prove` runs here" in capsys.readouterr().err
