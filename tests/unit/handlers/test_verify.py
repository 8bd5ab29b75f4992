"""VerificationRow: a success is written once for the next stage, a failure is notified and stops the release there."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from shared.canonical import canonical_json, sha256_of
from shared.clients import Clients
from shared.environment import VerifyEnvironment
from shared.release_policy import VerificationBounds
from shared.release_record import release_id
from shared.verification import VerificationRow, VerificationRows, VerificationStatus
from verify.judge import Call, judge, percentile
from verify.verifier import ReleaseVerifier, parse_request

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUCKET = "artifacts"
PAYLOAD = b'1,"a,b"\n2,c\n3,\n'
SCORES = [0.25, 0.5, 0.75]
BOUNDS = VerificationBounds(latency_ms=100, error_percent=1, tolerance=0.001)
POLICY = json.dumps({"verify": {"latency_ms": 100, "error_percent": 1, "tolerance": 0.001}})

Answer = Callable[[bytes], str]


def answer(body: bytes) -> str:
    """Answer as the evaluated model does: the score depends on the row's number."""
    rows = body.decode().splitlines()
    return "".join(f"{int(row[0]) / 4}\n" for row in rows)


class Aws(Clients):
    """moto's services, and a simulated endpoint. Clients are created under the test's credentials."""

    def __init__(self) -> None:
        self.answer: Answer = answer
        self.config = "config-1"
        self.asked: list[bytes] = []
        self.release = ""

    @cached_property
    def sagemaker(self) -> Any:
        url = f"s3://{BUCKET}/releases/churn/{self.release}/model.tar.gz"
        return SimpleNamespace(
            describe_endpoint=lambda **_: {"EndpointStatus": "InService", "EndpointConfigName": self.config},
            describe_endpoint_config=lambda **_: {"ProductionVariants": [{"ModelName": "model"}]},
            describe_model=lambda **_: {"PrimaryContainer": {"ModelDataUrl": url}},
        )

    @cached_property
    def sagemaker_runtime(self) -> Any:
        def invoke_endpoint(*, Body: bytes, ContentType: str, Accept: str, EndpointName: str) -> Any:
            assert (ContentType, Accept, EndpointName) == ("text/csv", "text/csv", "evergreen-churn-staging")
            self.asked.append(Body)
            return {"Body": io.BytesIO(self.answer(Body).encode())}

        return SimpleNamespace(invoke_endpoint=invoke_endpoint)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        clients = Aws()
        clients.s3.create_bucket(Bucket=BUCKET)
        clients.sns.create_topic(Name="alerts")
        clients.ssm.put_parameter(Name="/evergreen/churn/staging/policy", Value=POLICY, Type="String")
        clients.dynamodb.create_table(
            TableName="ledger",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        )
        release(clients, SCORES)
        yield clients


def release(aws: Aws, scores: object, payload: bytes = PAYLOAD) -> None:
    """Copy a release as the release controller does, and let the endpoint serve it."""
    record = canonical_json(
        {
            "sample_payload": {"sha256": sha256_of(PAYLOAD), "content_type": "text/csv"},
            "evaluation": {} if scores is None else {"payload_scores": scores},
        }
    )
    aws.release = release_id(7, sha256_of(record))
    for name, body in (("record.json", record), ("payload.csv", payload)):
        aws.s3.put_object(Bucket=BUCKET, Key=f"releases/churn/{aws.release}/{name}", Body=body)


def verify(aws: Aws, release: str = "", seconds: float = 0.01) -> str:
    topic = aws.sns.list_topics()["Topics"][0]["TopicArn"]
    environment = VerifyEnvironment("evergreen", "staging", "ledger", BUCKET, topic)
    clock = itertools.count(step=seconds)
    verifier = ReleaseVerifier(aws, environment, now=lambda: NOW, clock=lambda: next(clock))
    return verifier.verify("churn", release or aws.release)


def verified(aws: Aws) -> dict[str, Any] | None:
    try:
        answered = aws.s3.get_object(Bucket=BUCKET, Key=f"releases/churn/{aws.release}/verified.json")
    except aws.s3.exceptions.NoSuchKey:
        return None
    return cast("dict[str, Any]", json.loads(answered["Body"].read()))


def row(aws: Aws) -> VerificationRow | None:
    return VerificationRows(aws.dynamodb, "ledger", model="churn", stage="staging").read(aws.release)


def test_what_answers_as_evaluated_is_verified(aws: Aws) -> None:
    verify(aws)
    written = verified(aws)
    assert written == {
        "version": 1,
        "release_id": aws.release,
        "stage": "staging",
        "endpoint": "evergreen-churn-staging",
        "rows": 3,
        "latency_ms": {"p50": 10.0, "p95": 10.0},
        "errors": 0,
        "largest_difference": 0.0,
        "at": NOW.isoformat(),
    }
    known = row(aws)
    assert known is not None
    assert known.status == VerificationStatus.PASSED
    # The whole payload first, as it was registered; then each row by itself, quoted as it was.
    assert aws.asked[:4] == [PAYLOAD, b'1,"a,b"\n', b"2,c\n", b"3,\n"]


def test_a_second_verification_changes_nothing_that_passed(aws: Aws) -> None:
    verify(aws)
    before = verified(aws)
    verify(aws, seconds=0.02)
    aws.answer = lambda _: "nonsense\n"
    assert "was verified before" in verify(aws)
    VerificationRows(aws.dynamodb, "ledger", model="churn", stage="staging").write(
        VerificationRow(aws.release, VerificationStatus.ASKED, NOW, "again")
    )
    known = row(aws)
    assert known is not None
    assert (verified(aws), known.status) == (before, VerificationStatus.PASSED)


def test_another_answer_than_the_evaluations_goes_no_further(aws: Aws) -> None:
    aws.answer = lambda body: answer(body).replace("0.5", "0.502")
    assert "row 2 was answered with 0.502 and the evaluation scored 0.5" in verify(aws)
    known = row(aws)
    assert known is not None
    assert (verified(aws), known.status) == (None, VerificationStatus.FAILED)


def test_without_recorded_scores_agreement_is_left_out_and_said(aws: Aws) -> None:
    release(aws, None)
    assert "the record has no payload_scores" in verify(aws)
    written = verified(aws)
    assert written is not None
    assert written["largest_difference"] is None


@pytest.mark.parametrize("scores", [[0.25, None, 0.75], ["a", "b", "c"], [[0.25]], {"0": 0.25}, "high", 0.5, [True]])
def test_scores_that_are_not_numbers_end_the_verification_with_a_sentence(aws: Aws, scores: object) -> None:
    release(aws, scores)
    assert "is not verified: its payload_scores must be" in verify(aws)
    known = row(aws)
    assert known is not None
    assert known.status == VerificationStatus.FAILED
    assert not aws.asked


def test_a_release_that_is_not_live_is_left_alone(aws: Aws) -> None:
    assert "so v6-00000000 is not verified now" in verify(aws, "v6-00000000")
    assert not aws.asked


def test_an_endpoint_that_moved_meanwhile_proves_nothing(aws: Aws) -> None:
    def move(body: bytes) -> str:
        aws.config = "config-2"
        return answer(body)

    aws.answer = move
    assert "the result is not known" in verify(aws)
    assert (verified(aws), row(aws)) == (None, None)


def test_a_changed_payload_is_no_proof(aws: Aws) -> None:
    release(aws, SCORES, payload=b"1,a\n")
    assert "payload.csv is not what was registered" in verify(aws)
    assert not aws.asked
    assert verified(aws) is None


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "ModelError", "Message": "500"}}, "InvokeEndpoint"),
        ReadTimeoutError(endpoint_url="endpoint"),
    ],
)
def test_errors_of_the_endpoint_are_counted(aws: Aws, failure: Exception) -> None:
    def fails_in_three_of_hundred(body: bytes) -> str:
        if len(aws.asked) in (10, 20, 30):
            raise failure
        return answer(body)

    aws.answer = fails_in_three_of_hundred
    assert "3 of 101 requests failed, at most 1 % may" in verify(aws)
    assert verified(aws) is None


def test_a_mistake_of_ours_is_no_verdict_on_the_model(aws: Aws) -> None:
    def denied(_: bytes) -> str:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "InvokeEndpoint")

    aws.answer = denied
    with pytest.raises(ClientError):
        verify(aws)
    assert row(aws) is None


def calls(*answers: str | None, rows: int = 1, seconds: float = 0.01) -> list[Call]:
    return [Call(index, rows, seconds, text, "timeout") for index, text in enumerate(answers)]


@pytest.mark.parametrize(
    ("made", "scores", "problem"),
    [
        (calls("0.1\n", "0.2\n"), [0.1, 0.2], ""),
        (calls("0.1,0.9\n", "0.2,0.8\n"), [0.1, 0.2], ""),
        (calls("0.1\n", "0.2009\n"), [0.1, 0.2], ""),
        (calls("0.1\n", "0.3\n"), [0.1, 0.2], "row 2 was answered with 0.3"),
        (calls("0.1\n", "nan\n"), [0.1, 0.2], "row 2 was answered with 'nan', which is not a number"),
        (calls("0.1\n", "late\n"), [0.1, 0.2], "'late', which is not a number"),
        (calls("late\n", "early\n"), None, ""),
        (calls("0.1\n", ""), None, "1 rows were sent and 0 answered"),
        (calls("0.1\n", "0.2\n0.3\n"), [0.1, 0.2], "1 rows were sent and 2 answered"),
        (calls("0.1\n", None), [0.1, 0.2], "1 of 2 requests failed, at most 1 % may, the first with timeout"),
        (calls("0.1\n", "0.2\n", seconds=0.2), [0.1, 0.2], "95th percentile of latency is 200 ms"),
        (calls("0.1\n", "0.2\n"), [0.1], "recorded 1 scores for the 2 rows"),
    ],
)
def test_each_bound_is_judged_and_named(made: list[Call], scores: list[float] | None, problem: str) -> None:
    outcome = judge(made, scores, 2, BOUNDS)
    assert problem in "; ".join(outcome.problems)
    assert bool(problem) == bool(outcome.problems)


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, percent) for percent in (50, 95, 100)] == [50, 95, 100]
    assert percentile([], 95) == 0


@pytest.mark.parametrize("event", [{}, {"model": "churn"}, {"model": "a", "release_id": "b", "c": 1}, []])
def test_what_is_no_request_is_refused(event: object) -> None:
    with pytest.raises(ValueError, match="a request must be"):
        parse_request(event)
