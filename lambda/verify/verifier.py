"""Verifies one release: looks, measures, judges, and writes down what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from shared.alerts import Alerts
from shared.canonical import canonical_json
from shared.release_policy import parse_release_policy
from shared.verification import FAILED, PASSED, Verification, Verifications, verified_key
from verify.judge import Outcome, judge
from verify.measure import measure
from verify.sample import NoSample, read_sample
from verify.serving import served

if TYPE_CHECKING:
    from shared.clients import Clients
    from verify.environment import VerifyEnvironment


def utc_now() -> datetime:
    return datetime.now(UTC)


class Verifier:
    """Verifies releases of one stage for the next.

    It may be called at any moment, any number of times: a release that is not live any more is left alone, and what
    passed once stays so.

    Args:
        now: the time of day.
        clock: seconds, monotonic.
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
        """Verify a release that is live, and say what came of it.

        Raises:
            PolicyError: the release policy is not valid.
            ClientError: AWS could not be asked; the release controller asks again.
        """
        environment = self._environment
        name = environment.release_policy_name(model)
        bounds = parse_release_policy(self._clients.ssm.get_parameter(Name=name)["Parameter"]["Value"]).verify
        if bounds is None:
            return f"{environment.stage} verifies for no other stage"
        endpoint, bucket = environment.endpoint(model), environment.artifact_bucket
        before = served(self._clients.sagemaker, endpoint, bucket, model)
        if before.release_id != release_id:
            return f"{endpoint} serves {before.release_id or 'nothing certain'}, so {release_id} is not verified now"
        try:
            sample = read_sample(self._clients.s3, bucket, model, release_id)
        except NoSample as problem:
            return self._fail(model, release_id, str(problem))
        calls = measure(self._clients.sagemaker_runtime, endpoint, sample, self._clock)
        if served(self._clients.sagemaker, endpoint, bucket, model) != before:
            return f"{endpoint} changed while {release_id} was verified, so nothing is known"
        outcome = judge(calls, sample.scores, len(sample.rows), bounds)
        if outcome.problems:
            return self._fail(model, release_id, "; ".join(outcome.problems))
        return self._pass(model, release_id, outcome)

    def _pass(self, model: str, release_id: str, outcome: Outcome) -> str:
        """Let the next stage know first: the row only ends the asking."""
        environment = self._environment
        written = {
            "version": 1,
            "release_id": release_id,
            "stage": environment.stage,
            "endpoint": environment.endpoint(model),
            "rows": outcome.rows,
            "latency_ms": {"p50": round(outcome.p50_ms, 3), "p95": round(outcome.p95_ms, 3)},
            "errors": outcome.errors,
            "largest_difference": outcome.largest_difference,
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
            # It was verified before, and the first word stays.
            if error.response["Error"]["Code"] not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise
        self._rows(model).write(Verification(release_id, PASSED, self._now(), outcome.sentence))
        return f"{release_id} is verified: {outcome.sentence}"

    def _fail(self, model: str, release_id: str, reason: str) -> str:
        """Tell, then write it down: a crash in between tells twice, never not at all."""
        stage, rows = self._environment.stage, self._rows(model)
        known = rows.read(release_id)
        if known is not None and known.outcome == PASSED:
            return f"{release_id} was verified before, and this time: {reason}"
        Alerts(self._clients.sns, self._environment.alert_topic_arn).tell(
            subject=f"{model} in {stage}: not verified",
            sentence=(
                f"{model} in {stage}: {release_id} failed its verification and goes no further, because {reason}; it "
                "stays live here: find the cause, then approve it again to have it verified again, or approve another."
            ),
        )
        rows.write(Verification(release_id, FAILED, self._now(), reason))
        return f"{release_id} is not verified: {reason}"

    def _rows(self, model: str) -> Verifications:
        environment = self._environment
        return Verifications(self._clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage)


def request_of(event: object) -> tuple[str, str]:
    """Return the model and the release that an event asks about.

    Raises:
        ValueError: it is no such request.
    """
    if not isinstance(event, dict) or set(event) != {"model", "release_id"}:
        raise ValueError(f'a request is {{"model": …, "release_id": …}}, got {json.dumps(event, default=str)[:200]}')
    return str(event["model"]), str(event["release_id"])
