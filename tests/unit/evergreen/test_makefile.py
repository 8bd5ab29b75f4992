"""Make's verbs reach the cloud that was selected, and never broaden an account's permissions without asking."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def lines(root: Path, *arguments: str) -> str:
    """Return what make would run."""
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_an_accounts_stacks_are_not_deleted_without_asking(root: Path) -> None:
    assert "--force" in lines(root, "destroy")
    in_an_account = lines(root, "destroy", "TARGET=aws")
    assert "cdk destroy" in in_an_account
    assert "--force" not in in_an_account


@pytest.mark.parametrize("verb", ["deploy", "deliver"])
def test_only_the_local_cloud_is_deployed_to_without_approval_of_broader_permissions(root: Path, verb: str) -> None:
    assert "--require-approval never" in lines(root, verb)
    in_an_account = lines(root, verb, "TARGET=aws")
    assert "cdk deploy" in in_an_account
    assert "--require-approval" not in in_an_account
    assert "localcloud" not in in_an_account.splitlines()[-1]


def test_an_account_is_asked_before_anything_is_deployed_to_it(root: Path) -> None:
    in_an_account = lines(root, "deploy", "TARGET=aws")
    order = [in_an_account.index(word) for word in ("preflight --target aws", "cdk bootstrap", "cdk deploy")]
    assert order == sorted(order)
    assert "preflight --target aws --before-deploy && " in in_an_account, "what it finds stops the deployment"
    assert "preflight" not in lines(root, "deploy")


@pytest.mark.parametrize(
    "verb", ["deploy", "deliver", "diff", "destroy", "up", "down", "status", "preflight", "prove", "demo"]
)
def test_port_and_state_select_a_local_cloud(root: Path, verb: str) -> None:
    last = lines(root, verb, "PORT=5000", "STATE=/tmp/other").splitlines()[-1]
    assert last.count("--port 5000 --state /tmp/other") >= 1
    assert last.count("localcloud ") + last.count("evergreen ") == last.count("--port 5000 --state /tmp/other")


def test_a_port_of_the_shell_selects_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8080")
    assert "8080" not in lines(root, "deploy")


def test_another_target_is_a_mistake(root: Path) -> None:
    done = subprocess.run(["make", "status", "TARGET=azure"], cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "TARGET is local or aws, got azure" in done.stderr
