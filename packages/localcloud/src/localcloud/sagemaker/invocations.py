"""`sagemaker-runtime`: InvokeEndpoint."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping
from urllib.parse import unquote

from localcloud.runtime.contract import Invocation, InvocationResult, ModelError, ModelNotReady
from localcloud.sagemaker.context import Context, Document
from localcloud.sagemaker.deployments import KIND, Deployments
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.faults import Faults
from localcloud.sagemaker.interfaces import Fleet
from localcloud.sagemaker.invocation_metrics import InvocationMetrics, InvocationRecord
from localcloud.sagemaker.routing import ServingFleet

_PATH = re.compile(r"^/endpoints/([^/]+)/(invocations|async-invocations|invocations-response-stream)$")
_MAX_BODY_BYTES = 6 * 1024 * 1024
_MAX_SERVERLESS_BODY_BYTES = 4 * 1024 * 1024
_SECONDS_TO_RESTART = 60.0
_PREFIX = "x-amzn-sagemaker-"
_UNSUPPORTED = {
    "target-model": "TargetModel",
    "target-container-hostname": "TargetContainerHostname",
    "enable-explanations": "EnableExplanations",
    "inference-component": "InferenceComponentName",
    "session-id": "SessionId",
    "prefix-aware-id": "PrefixAwareId",
}
_INVOKABLE = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})
HttpResponse = tuple[int, dict[str, str], bytes]


def is_invocation(path: str) -> bool:
    """Return whether the path belongs to `sagemaker-runtime`."""
    return path.startswith("/endpoints/")


class Invocations:
    """Routes an invocation to a fleet, a variant and an instance, and records its metrics."""

    def __init__(
        self, context: Context, deployments: Deployments, fleet: Fleet, faults: Faults, metrics: InvocationMetrics
    ) -> None:
        self._context = context
        self._deployments = deployments
        self._fleet = fleet
        self._faults = faults
        self._metrics = metrics

    def invoke(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Answer one HTTP request; `headers` has lower-case names."""
        try:
            variant, result = self._invoke(path, headers, body)
        except ModelError as error:
            failure = AwsError(
                "ModelError",
                str(error),
                424,
                OriginalStatusCode=error.status,
                OriginalMessage=error.message,
                LogStreamArn=error.log_stream_arn,
            )
            return _error(failure)
        except ModelNotReady as error:
            return _error(AwsError("ModelNotReadyException", str(error), 429))
        except AwsError as error:
            return _error(error)
        answer = {"content-type": result.content_type, "x-amzn-invoked-production-variant": variant}
        if result.custom_attributes is not None:
            answer["x-amzn-sagemaker-custom-attributes"] = result.custom_attributes
        return 200, answer, result.body

    def _invoke(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, InvocationResult]:
        arrived = time.perf_counter()
        found = _PATH.match(path)
        if found is None or found[2] != "invocations":
            raise AwsError("UnknownOperationException", f"The local cloud does not support {path}.", 404)
        for header, member in _UNSUPPORTED.items():
            if _PREFIX + header in headers:
                raise AwsError("ValidationError", f"The local cloud does not support {member}.")
        endpoint = self._endpoint(unquote(found[1]))
        _check_size(endpoint, body)
        invocation = Invocation(
            body=body,
            content_type=headers.get("content-type", "application/octet-stream"),
            accept=headers.get("accept"),
            custom_attributes=headers.get(_PREFIX + "custom-attributes"),
            inference_id=headers.get(_PREFIX + "inference-id"),
        )
        try:
            with self._deployments.lease(endpoint["EndpointName"], _SECONDS_TO_RESTART) as serving:
                variant = _route(endpoint["EndpointName"], serving, headers.get(_PREFIX + "target-variant"))
                return variant, self._invoke_instance(endpoint["EndpointName"], serving, variant, invocation, arrived)
        except LookupError as error:
            name = endpoint["EndpointName"]
            raise AwsError("ServiceUnavailable", f"Endpoint {name} has no worker in service.", 503) from error

    def _invoke_instance(
        self, endpoint: str, serving: ServingFleet, variant: str, invocation: Invocation, arrived: float
    ) -> InvocationResult:
        """Send the request to one of the variant's instances that have traffic.

        Args:
            endpoint: the endpoint's name.
            serving: the fleet.
            variant: the variant's name.
            invocation: the request.
            arrived: when the request arrived (`perf_counter`).
        """
        instance = random.randrange(serving.traffic[variant].instances)  # noqa: S311 (routes traffic, guards nothing)
        delay, fails = self._faults.draw(endpoint, serving.config, instance)
        sent = time.perf_counter()
        status = 0
        try:
            if delay:
                time.sleep(delay)
            if fails:
                raise ModelError(500, f"fault injected into instance {instance} of {serving.config}")
            result = self._fleet.invoke(serving.workers[variant], invocation)
            status = 200
            return result
        except ModelError as error:
            status = error.status
            raise
        finally:
            answered = time.perf_counter()
            # Work after the response takes microseconds, so the overhead is what came before the model was asked.
            self._metrics.record(
                InvocationRecord(endpoint, variant, serving.config, status, answered - sent, sent - arrived),
            )

    def _endpoint(self, name: str) -> Document:
        endpoint = self._context.store.get(KIND, name)
        if endpoint is None or endpoint["EndpointStatus"] not in _INVOKABLE:
            raise AwsError("ValidationError", f"Endpoint {name} of account {self._context.cloud.account} not found.")
        return endpoint


def _check_size(endpoint: Document, body: bytes) -> None:
    serverless = any("CurrentServerlessConfig" in variant for variant in endpoint["ProductionVariants"])
    largest = _MAX_SERVERLESS_BODY_BYTES if serverless else _MAX_BODY_BYTES
    if len(body) > largest:
        raise AwsError(
            "ValidationError",
            f"1 validation error detected: Value at 'body' failed to satisfy constraint: "
            f"Member must have length less than or equal to {largest}",
        )


def _route(endpoint: str, serving: ServingFleet, target: str | None) -> str:
    """Return the target variant, or one chosen by weight."""
    if target is not None:
        if target not in serving.workers:
            raise AwsError("ValidationError", f"Variant {target} is not found in endpoint {endpoint}.")
        return target
    variant = serving.choose()
    if variant is None:
        raise AwsError("ValidationError", f"No variant of endpoint {endpoint} has a weight above 0.")
    return variant


def _error(error: AwsError) -> HttpResponse:
    body = {"Message": error.message, **error.members}
    headers = {"content-type": "application/json", "x-amzn-errortype": error.code}
    return error.status, headers, json.dumps(body).encode()
