"""Send a release's payload to its endpoint, once as a whole, then row by row, and measure the latency."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from verify.judge import Call

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from verify.sample import Sample

REQUESTS = 100
# Together with the longest answer, reading and writing, this stays below the function's timeout.
MEASURING_SECONDS = 150
# Errors of the caller prove nothing about the model.
_CALLER_ERRORS = frozenset(
    {"AccessDeniedException", "ValidationError", "ValidationException", "UnrecognizedClientException"}
)


def measure(
    runtime: SageMakerRuntimeClient, endpoint: str, sample: Sample, clock: Callable[[], float]
) -> tuple[Call, ...]:
    """Send the payload as one request, which warms the model up and shows the answer's shape, then row by row.

    Args:
        runtime: SageMaker's runtime.
        endpoint: The endpoint's name.
        sample: The payload.
        clock: Seconds, monotonic.

    Raises:
        ClientError: The call itself was wrong, so the endpoint was not measured.
    """
    count = len(sample.rows)
    began = clock()
    calls = [_call(runtime, endpoint, sample, 0, count, clock, timed=False)]
    for number in range(REQUESTS):
        if clock() - began > MEASURING_SECONDS:
            break
        calls.append(_call(runtime, endpoint, sample, number % count, 1, clock, timed=True))
    return tuple(calls)


def _call(
    runtime: SageMakerRuntimeClient,
    endpoint: str,
    sample: Sample,
    first: int,
    rows: int,
    clock: Callable[[], float],
    *,
    timed: bool,
) -> Call:
    began = clock()
    answer, error = None, ""
    try:
        answered = runtime.invoke_endpoint(
            EndpointName=endpoint,
            ContentType=sample.content_type,
            Accept="text/csv",
            Body=sample.body(first, rows),
        )
        answer = answered["Body"].read().decode()
    except ClientError as refusal:
        if refusal.response["Error"]["Code"] in _CALLER_ERRORS:
            raise
        error = _one_line(refusal)
    except (BotoCoreError, UnicodeDecodeError) as failure:
        error = _one_line(failure)
    return Call(first, rows, clock() - began, answer, error, timed)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
