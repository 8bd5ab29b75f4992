"""Verify one release: observe, measure, judge, and record the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.canonical import canonical_json
from shared.clock import utc_now
from shared.errors import object_exists
from shared.notifications import Alert, AlertPublisher
from shared.release_policy import parse_release_policy
from shared.verification import VerificationRow, VerificationRows, VerificationStatus, verified_key
from verify.judge import VerificationResult, judge
from verify.measure import measure
from verify.sample import SampleError, read_sample
from verify.serving import served_release

if TYPE_CHECKING:
    from shared.clients import Clients
    from shared.environment import VerifyEnvironment

# The alert's subject, and a heading of the runbook.
NOT_VERIFIED = "not verified"


class ReleaseVerifier:
    """Verifies releases of one stage for the next.

    It may be called at any moment, any number of times. A release that is no longer live is not verified, and a passed
    verification stays passed.

    Args:
        clients: AWS.
        environment: The function's environment.
        now: The time of day.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        clients: Clients,
        environment: VerifyEnvironment,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._now = now
        self._clock = clock

    def verify(self, model: str, release_id: str) -> str:
        """Verify a live release and return the result in a sentence.

        Raises:
            PolicyError: The release policy is not valid.
            ClientError: A call to AWS failed. The release controller repeats the request.
        """
        environment = self._environment
        name = environment.release_policy_name(model)
        bounds = parse_release_policy(self._clients.ssm.get_parameter(Name=name)["Parameter"]["Value"]).verify
        if bounds is None:
            return f"{environment.stage} verifies for no other stage"
        endpoint, bucket = environment.endpoint(model), environment.artifact_bucket
        before = served_release(self._clients.sagemaker, endpoint, bucket, model)
        if before.release_id != release_id:
            return f"{endpoint} serves {before.release_id or 'no certain release'}, so {release_id} is not verified now"
        try:
            sample = read_sample(self._clients.s3, bucket, model, release_id)
        except SampleError as problem:
            return self._fail(model, release_id, str(problem))
        calls = measure(self._clients.sagemaker_runtime, endpoint, sample, self._clock)
        if served_release(self._clients.sagemaker, endpoint, bucket, model) != before:
            return f"{endpoint} changed while {release_id} was verified, so the result is not known"
        result = judge(calls, sample.scores, len(sample.rows), bounds)
        if result.problems:
            return self._fail(model, release_id, "; ".join(result.problems))
        return self._pass(model, release_id, result)

    def _pass(self, model: str, release_id: str, result: VerificationResult) -> str:
        """Write the object for the next stage first. The row only ends the requests."""
        environment = self._environment
        written = {
            "version": 1,
            "release_id": release_id,
            "stage": environment.stage,
            "endpoint": environment.endpoint(model),
            "rows": result.rows,
            "latency_ms": {"p50": round(result.p50_ms, 3), "p95": round(result.p95_ms, 3)},
            "errors": result.errors,
            "largest_difference": result.largest_difference,
            "at": self._now().astimezone(UTC).isoformat(),
        }
        try:
            self._clients.s3.put_object(
                Bucket=environment.artifact_bucket,
                Key=verified_key(model, release_id),
                Body=canonical_json(written),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except ClientError as error:
            # It was verified before, and the first result stays.
            if not object_exists(error):
                raise
        self._rows(model).write(VerificationRow(release_id, VerificationStatus.PASSED, self._now(), result.sentence))
        return f"{release_id} is verified: {result.sentence}"

    def _fail(self, model: str, release_id: str, reason: str) -> str:
        """Send the alert, then record the failure: a crash in between repeats the alert and never loses it."""
        stage, rows = self._environment.stage, self._rows(model)
        known = rows.read(release_id)
        if known is not None and known.status == VerificationStatus.PASSED:
            return f"{release_id} was verified before, and this time: {reason}"
        alert = Alert(
            event=f"{release_id} failed its verification, because {reason}",
            response=f"It stays live in {stage}, and Evergreen does not release it to the next stage",
            action="Find the cause. Then approve it again to repeat the verification, or approve another version",
        )
        topic = self._environment.alert_topic_arn
        AlertPublisher(self._clients.sns, topic, model=model, stage=stage).publish(NOT_VERIFIED, alert)
        rows.write(VerificationRow(release_id, VerificationStatus.FAILED, self._now(), reason))
        return f"{release_id} is not verified: {reason}"

    def _rows(self, model: str) -> VerificationRows:
        environment = self._environment
        return VerificationRows(self._clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)


def parse_request(event: object) -> tuple[str, str]:
    """Return the model and the release in a request.

    Raises:
        ValueError: The event is not a request.
    """
    if not isinstance(event, dict) or set(event) != {"model", "release_id"}:
        raise ValueError(
            f'a request must be {{"model": …, "release_id": …}}, got {json.dumps(event, default=str)[:200]}'
        )
    return str(event["model"]), str(event["release_id"])
