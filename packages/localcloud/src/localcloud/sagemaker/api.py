"""The control plane's HTTP API in AWS's JSON 1.1 protocol: requests are dispatched to the part that owns them."""

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
from localcloud.sagemaker.closed_services import ClosedServices
from localcloud.sagemaker.context import Caller, Context, Operation
from localcloud.sagemaker.deployments import Deployments
from localcloud.sagemaker.endpoint_configs import EndpointConfigs
from localcloud.sagemaker.endpoints import Endpoints
from localcloud.sagemaker.errors import AwsError, unknown_operation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.faults import Faults
from localcloud.sagemaker.images import Images
from localcloud.sagemaker.interfaces import Fleet, Runner
from localcloud.sagemaker.invocation_metrics import InvocationMetrics
from localcloud.sagemaker.invocations import HttpResponse, Invocations, is_invocation
from localcloud.sagemaker.jobs import Jobs
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.monitoring.definitions import JobDefinitions
from localcloud.sagemaker.monitoring.executions import MonitoringExecutions
from localcloud.sagemaker.monitoring.schedules import MonitoringSchedules
from localcloud.sagemaker.package_groups import PackageGroups
from localcloud.sagemaker.packages import Packages
from localcloud.sagemaker.pipelines.catalog import PipelineCatalog
from localcloud.sagemaker.pipelines.engine import PipelineEngine
from localcloud.sagemaker.pipelines.executions import PipelineExecutions
from localcloud.sagemaker.pipelines.records import ExecutionRecords
from localcloud.sagemaker.pipelines.step_executor import StepExecutor
from localcloud.sagemaker.search import Search
from localcloud.sagemaker.shapes import serialised, validated
from localcloud.sagemaker.tags import Tags
from localcloud.sagemaker.transforms import Transforms
from localcloud.sagemaker.tuning import TuningJobs

_TARGET = "SageMaker."
_CONTENT_TYPE = "application/x-amz-json-1.1"
_log = logging.getLogger(__name__)
Identify = Callable[[Mapping[str, str]], tuple[str, str]]


class SageMaker:
    """The services `sagemaker` and `sagemaker-runtime`.

    Args:
        identify: (headers with lower-case names) → (ARN, principal id) of the caller, for `CreatedBy` and
            `LastModifiedBy`. Without it every caller is the account's root.
    """

    def __init__(self, cloud: Cloud, runner: Runner, fleet: Fleet, identify: Identify | None = None) -> None:
        context = Context(cloud)
        events, tags = Events(cloud), Tags(context)
        groups = PackageGroups(context, tags)
        packages = Packages(context, tags, events, groups)
        models = Models(context, tags, events, packages)
        configs = EndpointConfigs(context, tags, events, models)
        records, step_executor = ExecutionRecords(context, events), StepExecutor(cloud, self.describe)
        catalog = PipelineCatalog(context, tags)
        self._context = context
        self._identify = identify
        self._runner = runner
        self._fleet = fleet
        self._jobs = Jobs(context, tags, events, runner)
        self._transforms = Transforms(context, tags, events, models, fleet)
        self.faults, self.closed = Faults(context.store), ClosedServices(context.store)
        self._deployments = Deployments(context, tags, events, models, configs, fleet, self.faults)
        self.baking = self._deployments.baking
        self.activity = Activity(context.store, self._jobs, self._transforms, self.baking)
        self._engine = PipelineEngine(context, records, step_executor)
        self._jobs.listen(self._engine.job_changed)
        self._transforms.listen(self._engine.job_changed)
        tuning = TuningJobs(context, tags, events, self._jobs)
        tuning.listen(self._engine.job_changed)
        definitions = JobDefinitions(context, tags)
        monitoring_executions = MonitoringExecutions(context, events, self._jobs)
        self.monitoring = MonitoringSchedules(context, tags, events, definitions, monitoring_executions)
        self.metrics = InvocationMetrics(context)
        self._invocations = Invocations(context, self._deployments, fleet, self.faults, self.metrics)
        # Handlers call the gateway and wait for its response, so the pool must not run out of threads.
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
            tuning,
            definitions,
            self.monitoring,
            Search(context, tags),
            Images(),
            PipelineExecutions(context, catalog, records, self._engine, step_executor),
        ):
            self._operations |= part.operations

    @property
    def operations(self) -> frozenset[str]:
        """The names of the supported operations."""
        return frozenset(self._operations)

    async def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
    ) -> HttpResponse:
        """Answer one HTTP request on a thread of the pool, so that handlers may call the gateway.

        Returns:
            (status, headers, body).
        """
        _ = (method, query)  # neither protocol uses them
        lower = {name.lower(): value for name, value in headers.items()}
        answer = self._answer_invocation if is_invocation(path) else self._answer
        return await asyncio.get_running_loop().run_in_executor(self._pool, answer, path, lower, body)

    def on_job_update(self, kind: str, name: str, update: JobUpdate) -> None:
        """Record an update that the job runner reports."""
        self._jobs.on_update("processing" if kind == "processing" else "training", name, update)

    def describe(self, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the response of a Describe operation, for the control plane's own use."""
        return serialised(operation, self._operations[operation](request, self._context.root()))

    def recover(self) -> None:
        """Recover after a restart: end lost jobs, start endpoints' workers, continue executions.

        Call this once the gateway accepts requests.
        """
        self._jobs.recover()
        self._transforms.recover()
        self._deployments.recover()
        self._engine.recover()

    def shutdown(self) -> None:
        """Stop everything that runs; the next `recover` continues work that was in progress."""
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
        except Exception:  # noqa: BLE001 (a bug is logged and answered as AWS's InternalFailure)
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
        self.closed.check(operation)
        return serialised(operation, handler(request, self._caller(headers)))

    def _caller(self, headers: Mapping[str, str]) -> Caller:
        return self._context.root() if self._identify is None else Caller(*self._identify(headers))


def _headers() -> dict[str, str]:
    return {"content-type": _CONTENT_TYPE, "x-amzn-requestid": str(uuid.uuid4())}


def _error(error: AwsError) -> HttpResponse:
    body = {"__type": error.code, "message": error.message, **error.members}
    return error.status, {**_headers(), "x-amzn-errortype": error.code}, json.dumps(body).encode()
