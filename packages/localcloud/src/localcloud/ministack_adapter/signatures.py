"""Verification of every request's signature, before any service sees the request.

ministack verifies the signatures of users and role sessions, but lets requests of the account root, and S3 requests
without credentials, pass unchecked. Here all are checked, by its own implementation of AWS's signatures: in a header,
in a query string, over streamed chunks, with either clock (skew.py). What AWS serves without credentials, such as
objects of a public bucket, is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import ministack.app as ministack_app
from ministack.core import iam_evaluator, lambda_runtime, responses, router
from ministack.services import lambda_svc, s3

from localcloud.ministack_adapter import permissions
from localcloud.ministack_adapter.environment import ACCOUNT, REGION, ROOT_KEY
from localcloud.ministack_adapter.patching import wrap

Reply = tuple[int, dict[str, Any], bytes]

LINKS = ("/_ministack/lambda-code/", "/_ministack/lambda-layers/")
_LINK_SECONDS = 600  # as AWS's links to a function's code
_LINK_KEY = secrets.token_bytes(32)
_LARGE = 1 << 20  # bytes from which hashing would hold up other requests
_SHA256 = re.compile(r"[0-9a-f]{64}")
_checking: ContextVar[bool] = ContextVar("localcloud_checking", default=False)


def install() -> None:
    """Let ministack rely on this module, know one root key, and sign what it only pretends to sign."""
    wrap(iam_evaluator, "is_root_access_key", lambda _: lambda key: key in ("", ROOT_KEY))
    # `pin_signed_request` exempts root keys; for the check here it may not.
    wrap(iam_evaluator, "_is_root_key", lambda original: lambda key: not (key and _checking.get()) and original(key))
    ministack_app.pin_signed_request = lambda *_, **__: None  # checked already
    wrap(lambda_runtime, "execution_credentials", lambda _: _of_function)
    wrap(lambda_svc, "_presigned_code_url", _signed_link)
    wrap(lambda_svc, "_layer_content_url", _signed_link)


async def refusal(scope: Mapping[str, Any], body: bytes) -> Reply | None:
    """Return the answer to a request whose signature is missing or wrong, None where it is right.

    Args:
        scope: The request as ASGI describes it.
        body: Its body as it was sent.
    """
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    stated = headers.get("x-amz-content-sha256", "")
    if _SHA256.fullmatch(stated) and stated != await _digest(body):
        text = "The provided 'x-amz-content-sha256' header does not match what was computed."
        return _reply(scope, headers, iam_evaluator.AuthError("XAmzContentSHA256Mismatch", text))
    with responses.request_scope(ACCOUNT, REGION):
        return _check(scope, headers, body)


def _check(scope: Mapping[str, Any], headers: dict[str, str], body: bytes) -> Reply | None:
    query = _query(scope)
    raw_path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    token = _checking.set(True)
    try:
        iam_evaluator.pin_signed_request(scope["method"], raw_path, query, scope["headers"])
    finally:
        _checking.reset(token)
    pinned = iam_evaluator._signed_request.get()
    if pinned is None:
        return _reply(scope, headers, _MISSING)
    if pinned.s3_scoped:
        iam_evaluator._signed_request.set(None)
        if _service(scope, headers) != "s3":
            return _reply(scope, headers, _WRONG_SCOPE)
        refused: Reply | None = s3._verify_presigned_sigv4(scope["method"], scope["path"], headers, query)
        return refused
    iam_evaluator.pin_signed_body(body)
    checked = iam_evaluator.authenticate(pinned.access_key_id, ACCOUNT)
    return _reply(scope, headers, checked) if isinstance(checked, iam_evaluator.AuthError) else None


def link_is_signed(scope: Mapping[str, Any]) -> bool:
    """Return whether a link to code was made by this gateway and has not expired."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"))
    given = dict(pairs).get("X-Amz-Signature", "")
    unsigned = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    expires = dict(pairs).get("Expires", "")
    fresh = expires.isdigit() and int(expires) >= time.time()
    return fresh and hmac.compare_digest(given.encode(), _link_signature(scope["path"], unsigned).encode())


def _signed_link(original: Callable[..., str]) -> Callable[..., str]:
    def link(*arguments: Any) -> str:
        url = urlsplit(original(*arguments))
        pairs = [pair for pair in parse_qsl(url.query) if pair[0] != "X-Amz-Signature"]
        pairs.append(("Expires", str(int(time.time()) + _LINK_SECONDS)))
        pairs.append(("X-Amz-Signature", _link_signature(url.path, pairs)))
        return url._replace(query=urlencode(pairs)).geturl()

    return link


def _link_signature(path: str, pairs: list[tuple[str, str]]) -> str:
    return hmac.new(_LINK_KEY, f"{path}?{urlencode(pairs)}".encode(), hashlib.sha256).hexdigest()


def _of_function(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a function's credentials; nobody else can compute them, as ministack derives them from ARNs alone."""
    name = str(config.get("FunctionName") or "function")[:64]
    return permissions.session_credentials(str(config.get("Role", "")), name, str(config.get("FunctionArn", "")))


def _query(scope: Mapping[str, Any]) -> dict[str, list[str]]:
    return parse_qs(scope["query_string"].decode("utf-8", errors="replace"), keep_blank_values=True)


def _service(scope: Mapping[str, Any], headers: dict[str, str]) -> str:
    return str(router.detect_service(scope["method"], scope["path"], headers, _query(scope)))


def _reply(scope: Mapping[str, Any], headers: dict[str, str], error: Any) -> Reply:
    """Return an error as the service that was asked writes it."""
    service = _service(scope, headers)
    if service == "s3" and error is _MISSING:
        error = iam_evaluator.AuthError("AccessDenied", "Access Denied")
    reply: Reply = ministack_app._credential_failure(service, "", str(uuid.uuid4()), error, headers)
    return reply


async def _digest(body: bytes) -> str:
    if len(body) < _LARGE:
        return hashlib.sha256(body).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())


_MISSING = iam_evaluator.AuthError("MissingAuthenticationToken", "Request is missing Authentication Token")
_WRONG_SCOPE = iam_evaluator.AuthError("SignatureDoesNotMatch", "Credential should be scoped to correct service.")
