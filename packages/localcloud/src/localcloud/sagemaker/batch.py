"""Splitting a transform job's objects into requests, and assembling the responses.

Source: "Use Batch Transform" and `CreateTransformJob` (SageMaker API Reference).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_MEGABYTE = 1 << 20
_DEFAULT_PAYLOAD_MB = 6


class TooLargeError(Exception):
    """A record does not fit into a request; the message is the job's failure reason."""


def payloads(request: Mapping[str, Any], body: bytes) -> Iterator[bytes]:
    """Split an object into requests: whole, line by line, or as many lines as fit into `MaxPayloadInMB`.

    Raises:
        TooLargeError: a record is larger than `MaxPayloadInMB`.
    """
    limit = request.get("MaxPayloadInMB", _DEFAULT_PAYLOAD_MB) * _MEGABYTE or float("inf")
    if request["TransformInput"].get("SplitType", "None") == "None":
        records = [body]
    else:
        records = [line for line in body.splitlines(keepends=True) if line.strip()]
    single = request.get("BatchStrategy", "MultiRecord") == "SingleRecord"
    packed: list[bytes] = []
    size = 0
    for record in records:
        if len(record) > limit:
            raise TooLargeError(f"ClientError: a record of {len(record)} bytes exceeds MaxPayloadInMB")
        if packed and (single or size + len(record) > limit):
            yield b"".join(packed)
            packed, size = [], 0
        packed.append(record)
        size += len(record)
    if packed:
        yield b"".join(packed)


def assembled(request: Mapping[str, Any], answers: Sequence[bytes]) -> bytes:
    """Join the responses of one object; with `AssembleWith` `Line` each starts on a line of its own."""
    if request["TransformOutput"].get("AssembleWith", "None") == "None":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


def transform(request: Mapping[str, Any], body: bytes, invoke: Callable[[bytes], bytes]) -> bytes:
    """Return one object's output.

    `MaxConcurrentTransforms` requests run at a time; the responses keep their order.

    Args:
        request: the `CreateTransformJob` request.
        body: the object.
        invoke: sends one request body to the model and returns the response body.

    Raises:
        TooLargeError: a record is larger than `MaxPayloadInMB`.
    """
    with ThreadPoolExecutor(request.get("MaxConcurrentTransforms") or 1, thread_name_prefix="transform") as pool:
        return assembled(request, list(pool.map(invoke, payloads(request, body))))
