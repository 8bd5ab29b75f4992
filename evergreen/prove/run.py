"""The steps of a proof in their order, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from evergreen.cdk import CdkError
from evergreen.errors import FailedError
from evergreen.prove import deployment, monitors, releases, removal, training
from evergreen.prove.proof import Proof
from evergreen.prove.waiting import StepError

_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException"}
)
_UNREACHABLE = (
    CredentialRetrievalError,
    HTTPClientError,
    NoConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)


class PausedError(FailedError):
    """Credentials or network are gone, which is no answer of AWS's. The same command continues."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: A stable name, in the state file.
        title: What it does, for people.
        run: Does it. It may be repeated at any time after an interruption.
    """

    name: str
    title: str
    run: Callable[[Proof], None]


STEPS = (
    Step("account", "Check the account: bootstrap, quotas, Model Monitor", deployment.check_account),
    Step("synthesise", "Synthesise the application", deployment.synthesise),
    Step("deploy", "Deploy the stacks with the CDK CLI", deployment.deploy),
    Step("upload", "Upload two months of flights", deployment.upload),
    Step("train", "Train the first version", training.train_first),
    Step("release", "Approve and release the first version", releases.release_first),
    Step("invoke", "Send good and malformed requests", monitors.invoke),
    Step("capture", "Wait for captured data and their verdict", monitors.judge_captured),
    Step("train-bad", "Train the bad version", training.finish_bad),
    Step("rollback", "Release the bad version, which its alarm rolls back", releases.release_bad),
    Step("train-good", "Train a second good version", training.finish_good),
    Step("canary", "Release the second good version, with malformed requests", releases.release_good),
    Step("reject", "Reject the live version", releases.reject),
    Step("monitor", "Run monitors on demand", monitors.run_monitor),
    Step("drift", "Send more long flights, and let drift start a training", monitors.retrain_by_drift),
)
CLEANING = (
    Step("destroy", "Destroy the stacks", removal.destroy),
    Step("remove", "Delete what the stacks retain", removal.remove),
    Step("verify", "List the account: nothing is left", removal.verify),
)


def run(proof: Proof, *, keep: bool) -> None:
    """Take every step that has not ended, and delete everything in the end, whether the steps succeeded or not.

    Args:
        proof: A new proof, or one that was interrupted.
        keep: Delete nothing, neither at the end nor after a failure; a failed step is tried again the next time.

    Raises:
        FailedError: A step failed. What it deployed is deleted, unless it is kept.
        PausedError: Credentials or network are gone.
    """
    if not proof.state.failure:
        try:
            for step in STEPS:
                _take(proof, step)
        except (StepError, CdkError, ClientError) as error:
            if keep:
                raise
            proof.state.failure = str(error)
            proof.store.save(proof.state)
            proof.waits.say(f"Failed: {error}\nWhat was deployed is deleted.")
    if keep:
        return
    _delete(proof)
    if proof.state.failure:
        raise FailedError(f"The proof failed and everything is deleted: {proof.state.failure}")


def clean(proof: Proof) -> None:
    """Delete everything of a proof.

    Raises:
        FailedError: Something could not be deleted.
    """
    # An interrupted deletion is continued as one, whatever command continues it.
    proof.state.failure = proof.state.failure or "its deletion was asked for"
    proof.state.done = [name for name in proof.state.done if name not in {step.name for step in CLEANING}]
    proof.store.save(proof.state)
    _delete(proof)


def _delete(proof: Proof) -> None:
    for step in CLEANING:
        _take(proof, step)
    proof.state.finished = True
    proof.store.save(proof.state)


def _take(proof: Proof, step: Step) -> None:
    """Take a step, unless it has ended before."""
    if step.name in proof.state.done:
        return
    proof.waits.say(step.title)
    try:
        try:
            step.run(proof)
        except CdkError:
            # The CLI tells expired credentials in its own words only. This call tells them in AWS's.
            proof.client("sts").get_caller_identity()
            raise
    except ClientError as error:
        if error.response["Error"]["Code"] in _EXPIRED:
            raise PausedError(f"The credentials are no longer valid: {error}. Renew them.") from error
        raise
    except _UNREACHABLE as error:
        raise PausedError(f"AWS cannot be asked: {error}.") from error
    proof.state.done.append(step.name)
    proof.store.save(proof.state)
