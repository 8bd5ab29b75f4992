"""The order of steps: what an interruption, a failure and expired credentials do to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from evergreen.cdk import CdkError
from evergreen.errors import FailedError, UsageError
from evergreen.prove import deployment, run
from evergreen.prove.proof import Proof
from evergreen.prove.waiting import StepError
from tests.unit.prove.conftest import ACCOUNT, REGION, Scripted

Take = Callable[[Proof], None]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, Exception]]:
    """Replace the steps by three and two that report themselves; return the report, and errors to raise by step."""
    report: list[str] = []
    errors: dict[str, Exception] = {}

    def step(name: str) -> run.Step:
        def take(_: Proof) -> None:
            if name in errors:
                raise errors.pop(name)
            report.append(name)

        return run.Step(name, name, take)

    monkeypatch.setattr(run, "STEPS", tuple(map(step, ("deploy", "train", "release"))))
    monkeypatch.setattr(run, "CLEANING", tuple(map(step, ("destroy", "verify"))))
    return report, errors


Taken = tuple[list[str], dict[str, Exception]]


def expired(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "The token has expired"}}, "DescribeStacks")


def test_every_step_and_the_deletion_are_taken_once(proof: Scripted, taken: Taken) -> None:
    run.run(proof, keep=False)
    run.run(proof, keep=False)
    assert taken[0] == ["deploy", "train", "release", "destroy", "verify"]
    assert proof.store.unfinished(ACCOUNT, REGION) is None


@pytest.mark.parametrize("interrupted", ["deploy", "train", "release", "destroy", "verify"])
def test_an_interrupted_proof_continues_at_its_step(proof: Scripted, taken: Taken, interrupted: str) -> None:
    report, errors = taken
    errors[interrupted] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run.run(proof, keep=False)
    assert interrupted not in report
    run.run(proof, keep=False)
    assert report == ["deploy", "train", "release", "destroy", "verify"]


def test_a_failed_step_ends_in_the_deletion_of_everything(proof: Scripted, taken: Taken) -> None:
    report, errors = taken
    errors["train"] = StepError("the first run ended Failed: Train: out of memory")
    with pytest.raises(FailedError, match="everything is deleted: the first run ended Failed: Train: out of memory"):
        run.run(proof, keep=False)
    assert report == ["deploy", "destroy", "verify"]
    assert proof.state.finished


def test_a_deletion_that_was_interrupted_after_a_failure_is_continued(proof: Scripted, taken: Taken) -> None:
    report, errors = taken
    errors["train"], errors["destroy"] = StepError("x"), KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run.run(proof, keep=False)
    with pytest.raises(FailedError, match="everything is deleted: x"):
        run.run(proof, keep=False)
    assert report == ["deploy", "destroy", "verify"], "the failed step is not tried again"


def test_what_is_kept_is_neither_deleted_nor_given_up(proof: Scripted, taken: Taken) -> None:
    report, errors = taken
    errors["train"] = StepError("x")
    with pytest.raises(StepError):
        run.run(proof, keep=True)
    run.run(proof, keep=True)
    assert report == ["deploy", "train", "release"]
    assert proof.store.unfinished(ACCOUNT, REGION) is not None
    run.clean(proof)
    assert report[3:] == ["destroy", "verify"]


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_expired_credentials_delete_nothing_and_the_proof_continues(proof: Scripted, taken: Taken, code: str) -> None:
    report, errors = taken
    errors["train"] = expired(code)
    with pytest.raises(run.PausedError, match="no longer valid"):
        run.run(proof, keep=False)
    assert report == ["deploy"]
    run.run(proof, keep=False)
    assert report == ["deploy", "train", "release", "destroy", "verify"]


def test_a_cli_that_met_expired_credentials_deletes_nothing(proof: Scripted, taken: Taken) -> None:
    report, errors = taken

    def refuse() -> None:
        raise expired("ExpiredToken")

    proof.script("sts", get_caller_identity=refuse)
    errors["deploy"] = CdkError("`npx cdk deploy` failed: the security token included in the request is expired")
    with pytest.raises(run.PausedError):
        run.run(proof, keep=False)
    assert report == []
    assert not proof.state.failure


def test_a_cli_that_failed_otherwise_ends_in_the_deletion(proof: Scripted, taken: Taken) -> None:
    report, errors = taken
    proof.script("sts", get_caller_identity=dict)
    errors["deploy"] = CdkError("`npx cdk deploy` failed: ❌ Deployment failed")
    with pytest.raises(FailedError, match="Deployment failed"):
        run.run(proof, keep=False)
    assert report == ["destroy", "verify"]


def test_a_deletion_that_was_asked_for_is_continued_as_one(proof: Scripted, taken: Taken) -> None:
    report, errors = taken
    errors["verify"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run.clean(proof)
    with pytest.raises(FailedError, match="deletion was asked for"):
        run.run(proof, keep=False)
    assert report == ["destroy", "verify"]


def test_stacks_of_somebody_elses_are_left_alone(proof: Scripted) -> None:
    name = f"{proof.state.name}-platform-prod"
    proof.script("cloudformation", describe_stacks=lambda **_: {"Stacks": [{"StackName": name, "StackStatus": "X"}]})
    with pytest.raises(UsageError, match=f"{name}.*another name"):
        deployment.deploy(proof)
    assert proof.store.unfinished(ACCOUNT, REGION) is None


def test_a_lost_network_deletes_nothing(proof: Scripted, taken: Taken) -> None:
    report, errors = taken
    errors["release"] = EndpointConnectionError(endpoint_url="https://sagemaker.eu-west-1.amazonaws.com")
    with pytest.raises(run.PausedError):
        run.run(proof, keep=False)
    assert report == ["deploy", "train"]


def test_steps_have_names_of_their_own() -> None:
    names = [step.name for step in (*run.STEPS, *run.CLEANING)]
    assert len(names) == len(set(names))
