"""Routing of requests to the services that the local cloud runs; everything else is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

import botocore.session
import ministack.app as ministack_app
from botocore.exceptions import UnknownServiceError
from ministack.core import iam_actions, iam_evaluator, router

from localcloud.ministack_adapter import browsers, developer_tools, keys, request_checks, signatures
from localcloud.ministack_adapter.journal import OPERATIONS
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.request_checks import Request
from localcloud.ministack_adapter.snapshots import Snapshots

Reply = tuple[int, dict[str, Any], bytes]
Handler = Callable[[str, str, Mapping[str, str], bytes, Mapping[str, Any]], Awaitable[Reply]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# ministack's name of a service → the name its requests are signed for.
SERVICES = {
    "application-autoscaling": "application-autoscaling",
    "cloudformation": "cloudformation",
    **{service: service for service in developer_tools.TARGETS},
    "dynamodb": "dynamodb",
    "ecr": "ecr",
    "events": "events",
    "iam": "iam",
    "kms": "kms",
    "lambda": "lambda",
    "logs": "logs",
    "monitoring": "monitoring",
    "s3": "s3",
    "sagemaker": "sagemaker",
    "scheduler": "scheduler",
    "servicequotas": "servicequotas",
    "sns": "sns",
    "sqs": "sqs",
    "ssm": "ssm",
    "sts": "sts",
    "tagging": "tagging",
}
HEALTH = "/_localcloud/health"
# Path → handler of (method, headers with lower-case names, body).
Admin = Mapping[str, Callable[[str, Mapping[str, str], bytes], Awaitable[Reply]]]

_SIGNED_FOR = re.compile(r"Credential=[^/]+/[^/]+/[^/]+/([^/]+)/")
_READS = ("Describe", "Get", "List", "Head", "Search", "BatchGet", "Query", "Scan", "Receive", "Validate", "Estimate")
# Services whose changes are saved before they are acknowledged → their operations that change nothing that lasts.
_DURABLE: Mapping[str, tuple[str, ...]] = {
    "cloudformation": (),
    "dynamodb": (),
    "events": ("PutEvents", "Test"),
    "iam": ("Simulate",),
    "kms": ("Decrypt", "Encrypt", "Generate", "ReEncrypt", "Sign", "Verify"),
    "scheduler": (),
    "sns": ("Publish",),
    "sqs": (),
    "ssm": (),
}
_INVOCATIONS = "/endpoints/"
# ministack's own paths that the local cloud needs; its administration (reset, configuration) is closed.
_OPEN_PATHS = ("/_ministack/cfn-response/", "/_ministack/lambda-code/", "/_ministack/lambda-layers/")
_CLOSED_PATHS = ("/_ministack/", "/_localstack/", "/_aws/", "/health")


def install(own_services: Mapping[str, Handler], snapshots: Snapshots) -> None:
    """Close ministack to all but `SERVICES`, add our own services, and mark every change for the snapshots."""
    router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker."]}
    router.SERVICE_PATTERNS["application-autoscaling"] = {"target_prefixes": ["AnyScaleFrontendService."]}
    router.SERVICE_PATTERNS["servicequotas"] = {
        "target_prefixes": ["ServiceQuotasV20190624."],
        "credential_scope": "servicequotas",
    }
    for service, target in developer_tools.TARGETS.items():
        router.SERVICE_PATTERNS[service] = {"target_prefixes": [target], "credential_scope": service}
    theirs = dict(ministack_app.SERVICE_HANDLERS)
    ministack_app.SERVICE_HANDLERS.clear()
    for service in SERVICES:
        handler = own_services.get(service) or theirs[service]
        ministack_app.SERVICE_HANDLERS[service] = _observed(service, handler, snapshots)
    wrap(ministack_app, "pin_request_origin", _always_tls)


def application(health: Callable[[], Mapping[str, Any]], admin: Admin) -> Application:
    """Return the ASGI application that the gateway serves."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http":
            send = browsers.protected(send)
            browser = browsers.refusal(scope)
            if browser is not None:
                await _answer(
                    send, (403, {"Content-Type": "text/plain", "Connection": "close"}, f"{browser}\n".encode())
                )
                return
            path = scope["path"]
            if path == HEALTH:
                await _answer(send, (200, {"Content-Type": "application/json"}, json.dumps(health()).encode()))
                return
            if path in admin:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
                await _answer(send, await admin[path](scope["method"], headers, await _body(receive)))
                return
            if path.startswith(_CLOSED_PATHS) and not path.startswith(_OPEN_PATHS):
                await _answer(send, (404, {"Content-Type": "text/plain"}, f"{path} is not served\n".encode()))
                return
            if path.startswith(signatures.LINKS) and not signatures.link_is_signed(scope):
                await _answer(send, (403, {"Content-Type": "text/plain"}, b"the link has expired, or is not signed\n"))
                return
            if not path.startswith(_OPEN_PATHS):
                body = await _body(receive)
                refused = _refusal(scope) or await signatures.refusal(scope, body)
                if refused is not None:
                    await _answer(send, refused)
                    return
                receive = _replayed(body, receive)
        await ministack_app.app(scope, receive, send)

    return app


def _refusal(scope: Scope) -> Reply | None:
    """Return the answer to a request for a service that the local cloud does not run, None for the others."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    signed = _SIGNED_FOR.search(headers.get("authorization", ""))
    if signed is None or signed[1] in _SIGNING_NAMES:
        return None
    service = signed[1]
    message = f"The local cloud does not run the service '{service}'. It runs: {', '.join(sorted(_SIGNING_NAMES))}."
    code = "UnsupportedServiceException"
    protocol = _protocol(service)
    if protocol in ("json", "rest-json", "smithy-rpc-v2-cbor") or "x-amz-target" in headers:
        reply = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": code}
        return 501, reply, json.dumps({"__type": code, "message": message}).encode()
    error = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    if protocol == "ec2":
        text = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>-</RequestID></Response>"
    else:
        text = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>-</RequestId></ErrorResponse>"
    return 501, {"Content-Type": "text/xml"}, text.encode()


@cache
def _protocol(service: str) -> str:
    """Return the protocol of a service's errors, by botocore's model of its signing name."""
    try:
        model = botocore.session.get_session().get_service_model(service)
    except UnknownServiceError:
        return "query"
    return str(model.metadata["protocol"])


def _observed(service: str, handler: Handler, snapshots: Snapshots) -> Handler:
    """Return the service's handler with its further checks of permissions, and a mark of its state after a change."""
    state = _STATE_NAMES.get(service, service)

    async def handle(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> Reply:
        if service == "sagemaker" and path.startswith(_INVOCATIONS):
            # The body is a payload, without roles and conditions, and an invocation changes nothing to be saved.
            return await handler(method, path, headers, body, query)
        operation = _operation(service, method, path, headers, body, query)
        access_key = router.extract_access_key_id(dict(headers), dict(query))
        keys.pin_caller(access_key)
        refused = request_checks.refusal(Request(service, method, path, headers, body, query, access_key))
        if refused is not None:
            return refused
        try:
            with snapshots.journal.recording(service, operation):
                reply = await handler(method, path, headers, body, query)
        finally:
            if not operation.startswith(_READS):
                snapshots.mark(state)
        if reply[0] < 300 and _must_be_saved(service, operation):
            await snapshots.saved(state)
        return reply

    return handle


def _must_be_saved(service: str, operation: str) -> bool:
    """Return whether a change may be acknowledged only when it survives a kill."""
    return (
        service in _DURABLE
        and not operation.startswith((*_READS, *_DURABLE[service]))
        and operation not in OPERATIONS.get(service, ())
    )


def _operation(
    service: str, method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
) -> str:
    """Return the operation's name, or the HTTP method where that tells reads from writes."""
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2]
    if service in ("s3", "scheduler", "lambda"):
        return "Get" if method in ("GET", "HEAD") else method.capitalize()
    if "/service/" in path and "/operation/" in path:  # smithy RPC, which CloudWatch speaks
        return path.rpartition("/")[2]
    action = iam_actions._action_from_query(dict(query), body, headers.get("content-type", ""))
    return action or method.capitalize()


def _always_tls(_: Callable[..., None]) -> Callable[[str, bool], None]:
    """Count loopback HTTP as TLS, so that policies that demand `aws:SecureTransport` deploy unchanged."""

    def pin(source_ip: str, secure: bool) -> None:
        _ = secure
        iam_evaluator._request_origin.set((source_ip, True))

    return pin


async def _body(receive: Receive) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was already read, and then what comes after it."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replay


async def _answer(send: Send, reply: Reply) -> None:
    status, headers, body = reply
    pairs = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


_SIGNING_NAMES = frozenset(SERVICES.values())
_STATE_NAMES = {"events": "eventbridge", "logs": "cloudwatch_logs", "monitoring": "cloudwatch"}
