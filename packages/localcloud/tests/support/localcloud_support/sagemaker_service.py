"""A control plane behind a real HTTP port, with a fake job runner, fleet and AWS services."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

from localcloud.cloud import Clock, Cloud, RoleError
from localcloud.runtime.contract import ContainerError, Invocation, InvocationResult, JobUpdate, ModelError, VariantSpec
from localcloud.sagemaker import SageMaker
from localcloud.store import Store

ACCOUNT, REGION = "000000000000", "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/pipeline"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"
# One session, because its loader reads the service model once.
_SESSION: Any = boto3.session.Session()
_KEY = re.compile(r"Credential=([^/]+)/")


class FakeRunner:
    """Job runner that ends each job with the next of `outcomes`, or as completed.

    Jobs with a word of `blocked` in their name keep running.
    """

    def __init__(self) -> None:
        self.report: Callable[[str, str, JobUpdate], None] = lambda *_: None
        self.started: list[tuple[str, str, Mapping[str, Any]]] = []
        self.outcomes: list[JobUpdate] = []
        self.blocked: set[str] = set()
        self.stopped: list[str] = []
        self.clock = Clock()

    def start(self, kind: str, name: str, arn: str, request: Mapping[str, Any]) -> None:
        self.started.append((kind, name, request))
        if not any(word in name for word in self.blocked):
            update = self.outcomes.pop(0) if self.outcomes else self.completed(request)
            threading.Thread(target=self.report, args=(kind, name, update)).start()

    def completed(self, request: Mapping[str, Any] | None = None) -> JobUpdate:
        now = self.clock.now()
        artifacts = None
        if request and "OutputDataConfig" in request:
            artifacts = (
                f"{request['OutputDataConfig']['S3OutputPath']}/{request['TrainingJobName']}/output/model.tar.gz"
            )
        return JobUpdate(
            "Completed",
            "Completed",
            model_artifacts=artifacts,
            training_started_at=now - timedelta(seconds=3),
            ended_at=now,
        )

    def failed(self, reason: str) -> JobUpdate:
        return JobUpdate("Failed", "Failed", failure_reason=reason, ended_at=self.clock.now())

    def stop(self, kind: str, name: str) -> None:
        self.stopped.append(name)
        self.report(kind, name, JobUpdate("Stopping", "Stopping"))
        self.report(kind, name, JobUpdate("Stopped", "Stopped", ended_at=self.clock.now()))

    def recover(self) -> None:
        return

    def shutdown(self) -> None:
        return


class FakeFleet:
    """Fleet whose workers echo the request; an image with `broken` in its name does not start."""

    def __init__(self) -> None:
        self.specs: dict[str, VariantSpec] = {}
        self.gate = threading.Event()
        self.gate.set()

    def start(self, spec: VariantSpec) -> str:
        self.gate.wait(10)
        if "broken" in spec.image:
            raise ContainerError("The primary container for production variant AllTraffic did not pass the ping.")
        worker = f"worker-{len(self.specs)}-{time.monotonic_ns()}"
        self.specs[worker] = spec
        return worker

    def invoke(self, worker_id: str, invocation: Invocation) -> InvocationResult:
        spec = self.specs[worker_id]
        if invocation.body == b"bad":
            raise ModelError(400, "wrong columns", log_stream_arn="arn:aws:logs:::x")
        body = f"{spec.image}|{invocation.body.decode()}|{invocation.accept}".encode()
        return InvocationResult(body, invocation.content_type, invocation.custom_attributes)

    def stop(self, worker_id: str) -> None:
        self.specs.pop(worker_id, None)

    def recover(self) -> None:
        self.specs.clear()

    def shutdown(self) -> None:
        self.specs.clear()


class FakeS3:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get_paginator(self, _operation: str) -> FakePaginator:
        return FakePaginator(self.objects)

    def get_object(self, Bucket: str, Key: str, VersionId: str = "") -> dict[str, Any]:
        body = self.objects.get(f"s3://{Bucket}/{Key}")
        if body is None:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "The key does not exist."}}, "GetObject")
        return {"Body": io.BytesIO(body)}


class AdjustableClock(Clock):
    """The real clock plus an offset."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


class FakePaginator:
    """Paginator of `list_objects_v2` with one page."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects

    def paginate(self, Bucket: str, Prefix: str, StartAfter: str = "") -> list[dict[str, Any]]:
        keys = sorted(uri.removeprefix(f"s3://{Bucket}/") for uri in self._objects if uri.startswith(f"s3://{Bucket}/"))
        return [{"Contents": [{"Key": key} for key in keys if key.startswith(Prefix) and key > StartAfter]}]


class FakeLambda:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        event = json.loads(Payload)
        self.calls.append(event)
        if event.get("fail"):
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "no"}')}
        return {"Payload": io.BytesIO(json.dumps({"echo": event.get("value"), "n": 3}).encode())}


class FakeCloudWatch:
    def __init__(self) -> None:
        self.alarms: dict[str, str] = {}
        self.data: list[dict[str, Any]] = []
        self.refusal: ClientError | None = None

    def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:
        self.data += [{"Namespace": Namespace, **datum} for datum in MetricData]

    def describe_alarms(self, AlarmNames: list[str], AlarmTypes: list[str]) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        found = [{"AlarmName": name, "StateValue": self.alarms[name]} for name in AlarmNames if name in self.alarms]
        return {"MetricAlarms": found, "CompositeAlarms": []}


def _role_environment(role_arn: str) -> dict[str, str]:
    if role_arn.endswith("role/missing"):
        raise RoleError(role_arn, "sagemaker.amazonaws.com")
    return {}


@dataclass
class SageMakerHarness:
    """SageMaker's control plane with fake services, and clients for it."""

    path: Path
    control_plane: SageMaker = field(init=False)
    runner: FakeRunner = field(default_factory=FakeRunner)
    fleet: FakeFleet = field(default_factory=FakeFleet)
    s3: FakeS3 = field(default_factory=FakeS3)
    functions: FakeLambda = field(default_factory=FakeLambda)
    cloudwatch: FakeCloudWatch = field(default_factory=FakeCloudWatch)
    sqs: Any = None
    clock: AdjustableClock = field(default_factory=AdjustableClock)
    events: list[tuple[str, list[str], dict[str, Any]]] = field(default_factory=list)
    denied: set[tuple[str, str]] = field(default_factory=set)
    errors: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    url: str = ""

    def open(self) -> None:
        """Start or restart the control plane on the same store."""
        self.store = Store(self.path / "store.db")
        self._clients: dict[tuple[str, str | None], Any] = {}
        cloud = Cloud(
            state_dir=self.path,
            endpoint_url=self.url,
            region=REGION,
            account=ACCOUNT,
            store=self.store,
            clock=self.clock,
            client=self.client,
            emit=lambda source, kind, arns, detail: self.events.append(
                (kind, list(arns), json.loads(json.dumps(detail)))
            ),
            put_logs=lambda *_: None,
            role_environment=_role_environment,
        )
        self.cloud = cloud
        self.control_plane = SageMaker(cloud, self.runner, self.fleet, self.identify)
        self.runner.report = self.control_plane.on_job_update

    def crash(self) -> None:
        """Restart as after `kill -9`: running work is gone, committed documents are kept."""
        self.control_plane.shutdown()
        self.store.close()
        self.open()

    def advance(self, seconds: float) -> None:
        """Move the clock forward and run what is due."""
        self.clock.offset += timedelta(seconds=seconds)
        self.control_plane.baking.run_due()

    def identify(self, headers: Mapping[str, str]) -> tuple[str, str]:
        name = (_KEY.search(headers.get("authorization", "")) or ["", "root"])[1]
        if name == "root":
            return f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/SageMaker", f"AROA{name}:SageMaker"

    def client(self, service: str, *, role_arn: str | None = None) -> Any:
        services = {"s3": self.s3, "lambda": self.functions, "cloudwatch": self.cloudwatch, "sqs": self.sqs}
        if service in services:
            return services[service]
        key = (service, role_arn)
        if key not in self._clients:
            self._clients[key] = _SESSION.client(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id=role_arn.rpartition("/")[2] if role_arn else "root",
                aws_secret_access_key="x",
                config=Config(retries={"max_attempts": 0}, max_pool_connections=20, proxies={}),
            )
        return self._clients[key]

    @property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    def rejection(self, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        """Return the response of a gateway that denies the request, or of a failing service, if a test set one."""
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        arn, _ = self.identify(headers)
        if (arn.split("/")[-2] if "/" in arn else "", operation) in self.denied:
            message = f"User: {arn} is not authorized to perform: sagemaker:{operation}"
            return _error("AccessDeniedException", 400, message)
        if self.errors.get(operation):
            code, status = self.errors[operation].pop(0)
            return _error(code, status, "trouble")
        return None

    def eventually(self, check: Callable[[], Any], seconds: float = 10.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = check()
            if found:
                return found
            time.sleep(0.005)
        raise AssertionError(f"still {check()!r} after {seconds} seconds")

    def wait_for_end(self, arn: str) -> dict[str, Any]:
        """Wait until an execution has ended, and describe it."""

        def check() -> dict[str, Any] | None:
            execution: dict[str, Any] = self.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
            return execution if execution["PipelineExecutionStatus"] in {"Succeeded", "Failed", "Stopped"} else None

        found: dict[str, Any] = self.eventually(check)
        return found

    def steps(self, arn: str) -> dict[str, dict[str, Any]]:
        pages = self.sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=arn)
        return {step["StepName"]: step for page in pages for step in page["PipelineExecutionSteps"]}

    def run(self, definition: dict[str, Any], *, name: str = "p", **start: Any) -> str:
        """Create or update the pipeline, and start it."""
        body = json.dumps({"Version": "2020-12-01", **definition})
        try:
            self.sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=body, RoleArn=ROLE)
        except ClientError as error:
            if "unique" not in str(error):
                raise
            self.sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=body)
        arn: str = self.sagemaker.start_pipeline_execution(PipelineName=name, **start)["PipelineExecutionArn"]
        return arn

    def wait_for_endpoint(self, name: str) -> dict[str, Any]:
        def check() -> dict[str, Any] | None:
            endpoint: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
            return endpoint if endpoint["EndpointStatus"] in {"InService", "Failed"} else None

        found: dict[str, Any] = self.eventually(check)
        return found

    def create_config(self, name: str, image: str = IMAGE, **members: Any) -> str:
        """Create a model and an endpoint configuration of one name; return the name."""
        self.sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=ROLE)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 2,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **members)
        return name


def _error(code: str, status: int, message: str) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"__type": code, "message": message}).encode()
    return status, {"content-type": "application/x-amz-json-1.1"}, body


@contextmanager
def serve_control_plane(folder: Path) -> Iterator[SageMakerHarness]:
    """Serve a control plane over HTTP, with its state in `folder`."""
    made = SageMakerHarness(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # one packet per response, because a second one would be delayed by 40 ms

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            rejected = made.rejection(headers)
            status, answer, content = rejected or asyncio.run(
                made.control_plane.handle("POST", self.path, headers, body, {})
            )
            self.send_response(status)
            for name, value in answer.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    made.open()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.control_plane.shutdown()
        server.shutdown()
        server.server_close()
        thread.join()
        made.store.close()
