"""What a transform job does with its objects: cut into requests, asked, put together again.

Source: "Use Batch Transform" and `CreateTransformJob` (SageMaker API Reference).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_MEGABYTE = 1 << 20
_DEFAULT_PAYLOAD_MB = 6


class TooLargeError(Exception):
    """A record does not fit into a request; the text is the job's failure reason."""


def payloads(request: Mapping[str, Any], body: bytes) -> Iterator[bytes]:
    """Cut an object into requests: whole, line by line, or as many lines as fit into `MaxPayloadInMB`.

    Raises:
        TooLargeError: one record is larger than that.
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
    """Put the answers of one object together, each on lines of its own where `AssembleWith` is `Line`."""
    if request["TransformOutput"].get("AssembleWith", "None") == "None":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


def transform(request: Mapping[str, Any], body: bytes, ask: Callable[[bytes], bytes]) -> bytes:
    """One object's output; requests go out `MaxConcurrentTransforms` at a time, answers keep their order."""
    with ThreadPoolExecutor(request.get("MaxConcurrentTransforms") or 1, thread_name_prefix="transform") as pool:
        return assembled(request, list(pool.map(ask, payloads(request, body))))
