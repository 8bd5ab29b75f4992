"""The control plane's front door: HTTP requests in AWS's JSON 1.1 protocol, dispatched to the parts that own them."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localcloud.cloud import Cloud
from localcloud.runtime.contract import JobUpdate
from localcloud.sagemaker.activity import Activity
from localcloud.sagemaker.context import Caller, Context, Operation
from localcloud.sagemaker.deployments import Deployments
from localcloud.sagemaker.endpoint_configs import EndpointConfigs
from localcloud.sagemaker.endpoints import Endpoints
from localcloud.sagemaker.errors import AwsError, unknown_operation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.faults import Faults
from localcloud.sagemaker.invocation_metrics import InvocationMetrics
from localcloud.sagemaker.invocations import HttpResponse, Invocations, is_invocation
from localcloud.sagemaker.jobs import Jobs
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.monitoring.definitions import Definitions
from localcloud.sagemaker.monitoring.executions import Executions as MonitoringExecutions
from localcloud.sagemaker.monitoring.schedules import Schedules as MonitoringSchedules
from localcloud.sagemaker.package_groups import PackageGroups
from localcloud.sagemaker.packages import Packages
from localcloud.sagemaker.pipelines.actions import Actions
from localcloud.sagemaker.pipelines.catalog import Catalog
from localcloud.sagemaker.pipelines.engine import Engine
from localcloud.sagemaker.pipelines.executions import Executions
from localcloud.sagemaker.pipelines.records import Records
from localcloud.sagemaker.ports import Fleet, Runner
from localcloud.sagemaker.shapes import serialised, validated
from localcloud.sagemaker.tags import Tags
from localcloud.sagemaker.transforms import Transforms

_TARGET = "SageMaker."
_CONTENT_TYPE = "application/x-amz-json-1.1"
_log = logging.getLogger(__name__)
Identify = Callable[[Mapping[str, str]], tuple[str, str]]


class SageMaker:
    """The services `sagemaker` and `sagemaker-runtime`.

    Args:
        identify: (headers with lower-case names) → (ARN, principal id) of the caller whose request this is; what
            `CreatedBy` and `LastModifiedBy` say. Without it every caller is the account's root.
    """

    def __init__(self, cloud: Cloud, runner: Runner, fleet: Fleet, identify: Identify | None = None) -> None:
        context = Context(cloud)
        events, tags = Events(cloud), Tags(context)
        groups = PackageGroups(context, tags)
        packages = Packages(context, tags, events, groups)
        models = Models(context, tags, packages)
        configs = EndpointConfigs(context, tags, models)
        records, actions = Records(context, events), Actions(cloud, self.describe)
        catalog = Catalog(context, tags)
        self._context = context
        self._identify = identify
        self._runner = runner
        self._fleet = fleet
        self._jobs = Jobs(context, tags, events, runner)
        self._transforms = Transforms(context, tags, events, models, fleet)
        self.faults = Faults(context.store)
        self._deployments = Deployments(context, tags, events, models, configs, fleet, self.faults)
        self.bakes = self._deployments.bakes
        self.activity = Activity(context.store, self._jobs, self._transforms, self.bakes)
        self._engine = Engine(context, records, actions)
        self._jobs.listen(self._engine.job_changed)
        definitions = Definitions(context, tags)
        watching = MonitoringExecutions(context, events, self._jobs)
        self.monitoring = MonitoringSchedules(context, tags, events, definitions, watching)
        self.metrics = InvocationMetrics(context)
        self._invocations = Invocations(context, self._deployments, fleet, self.faults, self.metrics)
        # Requests wait for each other's answers (a pipeline's calls are none of these), so threads must not run out.
        self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="sagemaker")
        self._operations: dict[str, Operation] = {}
        for part in (
            tags,
            groups,
            packages,
            models,
            configs,
            self._jobs,
            Endpoints(context, tags, configs, self._deployments),
            catalog,
            self._transforms,
            definitions,
            self.monitoring,
            Executions(context, catalog, records, self._engine, actions),
        ):
            self._operations |= part.operations

    async def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> HttpResponse:
        """Answer one HTTP request; the work is done on a thread, so it may call the gateway itself."""
        _ = (method, query)  # both protocols carry everything in the path, the headers and the body
        lower = {name.lower(): value for name, value in headers.items()}
        answer = self._answer_invocation if is_invocation(path) else self._answer
        return await asyncio.get_running_loop().run_in_executor(self._pool, answer, path, lower, body)

    def on_job_update(self, kind: str, name: str, update: JobUpdate) -> None:
        """What the job runner reports to."""
        self._jobs.on_update("processing" if kind == "processing" else "training", name, update)

    def describe(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a Describe operation answers, for the control plane's own use."""
        return serialised(operation, self._operations[operation](request, self._context.root()))

    def recover(self) -> None:
        """At boot, when the gateway answers: end lost jobs, start endpoints' workers, carry executions on."""
        self._jobs.recover()
        self._transforms.recover()
        self._deployments.recover()
        self._engine.recover()

    def shutdown(self) -> None:
        """Stop everything that runs; what was under way is carried on by the next `recover`."""
        self._engine.shutdown()
        self._transforms.shutdown()
        self._deployments.shutdown()
        self.metrics.close()
        self._runner.shutdown()
        self._fleet.shutdown()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _answer_invocation(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        return self._invocations.invoke(path, headers, body)

    def _answer(self, _path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        operation = headers.get("x-amz-target", "").removeprefix(_TARGET)
        try:
            response = self._call(operation, headers, body)
        except AwsError as error:
            return _error(error)
        except Exception:  # noqa: BLE001 (a bug of ours is AWS's InternalFailure, and is logged)
            _log.exception("%s", operation)
            return _error(AwsError("InternalFailure", f"The local cloud failed in {operation}; see its log.", 500))
        return 200, _headers(), json.dumps(response).encode()

    def _call(self, operation: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        handler = self._operations.get(operation)
        if handler is None:
            raise unknown_operation(operation)
        try:
            raw = json.loads(body or b"{}")
        except ValueError as error:
            raise AwsError("SerializationException", "The request body is not valid JSON.") from error
        request = validated(operation, raw)
        return serialised(operation, handler(request, self._caller(headers)))

    def _caller(self, headers: Mapping[str, str]) -> Caller:
        return self._context.root() if self._identify is None else Caller(*self._identify(headers))


def _headers() -> dict[str, str]:
    return {"content-type": _CONTENT_TYPE, "x-amzn-requestid": str(uuid.uuid4())}


def _error(error: AwsError) -> HttpResponse:
    body = {"__type": error.code, "message": error.message, **error.members}
    return error.status, {**_headers(), "x-amzn-errortype": error.code}, json.dumps(body).encode()
