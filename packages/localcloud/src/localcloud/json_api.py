"""HTTP handling of services with AWS's JSON protocol: validated requests, and errors as AWS writes them."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localcloud.errors import AwsError
from localcloud.shapes import serialised, service_model, validated

Document = dict[str, Any]
# (validated request, ARN of the caller) → response
Operation = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
Operations = Mapping[str, Operation]
# (headers with lower-case names) → (ARN, principal id) of who signed the request
Identify = Callable[[Mapping[str, str]], tuple[str, str]]
HttpResponse = tuple[int, dict[str, str], bytes]
_log = logging.getLogger(__name__)


class JsonApi:
    """Answers a service's HTTP requests by operation name; each runs on a thread, so it may call the gateway.

    Args:
        service: botocore's name of the service.
    """

    def __init__(self, service: str, operations: Operations, identify: Identify) -> None:
        self._service, self._operations, self._identify = service, operations, identify
        self._content_type = f"application/x-amz-json-{service_model(service).metadata['jsonVersion']}"
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix=service)

    async def handle(
        self, _method: str, _path: str, headers: Mapping[str, str], body: bytes, _query: Mapping[str, Any]
    ) -> HttpResponse:
        """Answer one HTTP request."""
        lower = {name.lower(): value for name, value in headers.items()}
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, lower, body)

    def close(self) -> None:
        """Wait for running requests and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _answer(self, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            response = self._call(operation, headers, body)
        except AwsError as error:
            return self._error(error)
        except Exception:  # noqa: BLE001 (a bug becomes an InternalFailure, and is logged)
            _log.exception("%s %s", self._service, operation)
            return self._error(AwsError("InternalFailure", f"The local cloud failed in {operation}; see its log.", 500))
        return 200, self._headers(), json.dumps(response).encode()

    def _call(self, operation: str, headers: Mapping[str, str], body: bytes) -> Document:
        handler = self._operations.get(operation)
        if handler is None:
            raise AwsError(
                "UnknownOperationException",
                f"The local cloud does not support the {self._service} operation {operation}.",
            )
        try:
            raw = json.loads(body or b"{}")
        except ValueError as error:
            raise AwsError("SerializationException", "The request body is not valid JSON.") from error
        request = validated(self._service, operation, raw)
        return serialised(self._service, operation, handler(request, self._identify(headers)[0]))

    def _headers(self) -> dict[str, str]:
        return {"content-type": self._content_type, "x-amzn-requestid": str(uuid.uuid4())}

    def _error(self, error: AwsError) -> HttpResponse:
        body = {"__type": error.code, "message": error.message, **error.members}
        return error.status, {**self._headers(), "x-amzn-errortype": error.code}, json.dumps(body).encode()


def page(items: list[Any], request: Mapping[str, Any], default: int = 100) -> tuple[list[Any], str | None]:
    """Cut a list by `maxResults` and `nextToken` (an offset); return the page and the next token.

    Raises:
        AwsError: InvalidNextTokenException.
    """
    token = str(request.get("nextToken") or "0")
    if not token.isdecimal():
        raise AwsError("InvalidNextTokenException", f"The next token {token} is not valid.")
    start = int(token)
    end = start + int(request.get("maxResults") or default)
    return items[start:end], str(end) if end < len(items) else None
