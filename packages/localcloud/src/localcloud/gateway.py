"""The one process: ministack and the local cloud's own services behind one loopback port.

`localcloud.ministack_adapter.environment.configure` must run before this module is imported.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from botocore.config import Config as ClientConfig

from localcloud import service_quotas
from localcloud.admin import ClockAdmin, FaultAdmin, has_the_secret
from localcloud.application_autoscaling import CFN_TYPES as SCALING_TYPES
from localcloud.application_autoscaling import ApplicationAutoScaling
from localcloud.clockwork import Clockwork
from localcloud.clockwork import Source as ClockSource
from localcloud.cloud import Clock, Cloud
from localcloud.codebuild import CFN_TYPES as CODEBUILD_TYPES
from localcloud.codebuild import CodeBuild
from localcloud.codepipeline import CFN_TYPES as CODEPIPELINE_TYPES
from localcloud.codepipeline import CodePipeline
from localcloud.ministack_adapter import (
    activity,
    alarms,
    boundary,
    buckets,
    cfn_checks,
    cfn_types,
    change_sets,
    conditions,
    custom_resources,
    embedded_metrics,
    encryption,
    functions,
    managed_policies,
    object_encryption,
    permissions,
    put_metric_data,
    queries,
    recovery,
    schedules,
    signatures,
    skew,
    stack_operations,
    stack_policy,
)
from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.events import Bus, put_logs
from localcloud.ministack_adapter.journal import Journal
from localcloud.ministack_adapter.snapshots import Snapshots
from localcloud.roles import Credentials
from localcloud.runtime.fleet import EndpointFleet
from localcloud.runtime.jobs import JobRunner
from localcloud.sagemaker import CFN_TYPES as SAGEMAKER_TYPES
from localcloud.sagemaker import SageMaker
from localcloud.sagemaker.stack_outcomes import ENDPOINT_TYPE, StackOutcomes
from localcloud.source.cfn import CFN_TYPES as SOURCE_TYPES
from localcloud.source.push import PushAdmin
from localcloud.source.repositories import Repositories
from localcloud.source.service import Source
from localcloud.store import Store
from localcloud.virtual_time import VirtualTime, file_of

_log = logging.getLogger(__name__)
_SAGEMAKER = "sagemaker.amazonaws.com"
_ALARM_PERIOD = 10.0  # seconds; CloudWatch judges standard alarms once a minute


class Clients:
    """boto3 clients of this gateway by service and role, each made once from one session."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._made: dict[tuple[str, str | None], Any] = {}
        self._session: Any = boto3.session.Session()  # reads service models once; its overloads want literal names
        self._lock = threading.Lock()

    def __call__(self, service: str, *, role_arn: str | None = None) -> Any:
        """Return a client with the root's rights, or a role's as SageMaker assumes it."""
        return self._client(service, role_arn, None if role_arn is None else _SAGEMAKER)

    def for_scheduler(self, service: str, role_arn: str) -> Any:
        """Return a client with a role's rights as EventBridge Scheduler assumes it."""
        return self._client(service, role_arn, "scheduler.amazonaws.com")

    def for_function(self, service: str, role_arn: str) -> Any:
        """Return a client with a function's role, as Lambda assumes it."""
        return self._client(service, role_arn, "lambda.amazonaws.com")

    def for_cloudformation(self, service: str, role_arn: str | None) -> Any:
        """Return a client with a stack's service role, or the root's rights without one."""
        return self._client(service, role_arn, None if role_arn is None else "cloudformation.amazonaws.com")

    def _client(self, service: str, role_arn: str | None, principal: str | None) -> Any:
        credentials = permissions.root_credentials()
        if role_arn is not None:
            # Checked each time: the role may have been deleted, or its trust removed, since the client was made.
            credentials = permissions.role_credentials(role_arn, principal, str(principal).split(".")[0])
        with self._lock:
            key = (service, role_arn and f"{role_arn} {principal}")
            if key not in self._made:
                self._made[key] = self._session.client(
                    service,
                    endpoint_url=self._endpoint_url,
                    region_name=REGION,
                    aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
                    aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
                    config=ClientConfig(retries={"max_attempts": 1}, max_pool_connections=32, read_timeout=900),
                )
            return self._made[key]


class ServiceRoles:
    """`localcloud.roles.Roles` on ministack's IAM and STS."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._session: Any = boto3.session.Session()
        self._lock = threading.Lock()

    def assume(self, role_arn: str, principal: str, session: str) -> Credentials:
        """Return the role's credentials, as the service assumes it."""
        return permissions.role_credentials(role_arn, principal, session)

    def assume_further(self, credentials: Credentials, role_arn: str, session: str) -> Credentials:
        """Return the credentials of another role, assumed by STS with the given credentials."""
        made = self.client("sts", credentials).assume_role(RoleArn=role_arn, RoleSessionName=session)["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
            "AWS_SESSION_TOKEN": made["SessionToken"],
        }

    def client(self, service: str, credentials: Credentials | None) -> Any:
        """Return a client with these credentials, or with the root's."""
        chosen = credentials or permissions.root_credentials()
        with self._lock:  # a session may not make clients in several threads at once
            return self._session.client(
                service,
                endpoint_url=self._endpoint_url,
                region_name=REGION,
                aws_access_key_id=chosen["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=chosen["AWS_SECRET_ACCESS_KEY"],
                aws_session_token=chosen.get("AWS_SESSION_TOKEN"),
                config=ClientConfig(retries={"max_attempts": 1}, read_timeout=900),
            )

    def denied(self, credentials: Credentials, action: str, resource: str) -> str | None:
        """Return why the credentials may not perform the action, or None if they may."""
        return permissions.denied(credentials, action, resource)


def _denied(role_arn: str, action: str, resource: str) -> str | None:
    return permissions.denied(permissions.role_credentials(role_arn, _SAGEMAKER, "SageMaker"), action, resource)


class _Server(uvicorn.Server):
    """An HTTP server without signal handlers of its own: the gateway's parts stop before it does."""

    def __init__(self, application: boundary.Application) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listening_on(port: int) -> socket.socket:
    # asyncio sends small pieces at once (TCP_NODELAY) where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


class Gateway:
    """Builds the parts, serves until a signal, and stops them in order."""

    def __init__(self, port: int, state_dir: Path) -> None:
        self._port = port
        self._journal = Journal(state_dir / "journal.db")
        self._snapshots = Snapshots(state_dir / "ministack.db", self._journal)
        self._bus = Bus(self._snapshots)
        self._store = Store(state_dir / "localcloud.db")
        endpoint_url = f"http://127.0.0.1:{port}"
        clients = Clients(endpoint_url)
        self._bus.set_scheduler_clients(clients.for_scheduler)
        self.cloud = Cloud(
            state_dir=state_dir,
            endpoint_url=endpoint_url,
            region=REGION,
            account=ACCOUNT,
            store=self._store,
            clock=Clock(),
            client=clients,
            emit=self._bus.emit,
            put_logs=self._put_logs,
            role_environment=self._role_environment,
            denied=_denied,
        )
        runner = JobRunner(self.cloud, lambda kind, name, update: self._sagemaker.on_job_update(kind, name, update))
        self._isolation = runner.isolation
        self._fleet = EndpointFleet(self.cloud)
        self._sagemaker: SageMaker = SageMaker(self.cloud, runner, self._fleet, permissions.identify)
        scaling = ApplicationAutoScaling(self._store, alarms.TrackingAlarms(self._snapshots))
        self._quotas = service_quotas.create(permissions.identify)
        self._roles = ServiceRoles(endpoint_url)
        repositories = Repositories(state_dir)
        self._source = Source(self.cloud, repositories, permissions.identify)
        self._codebuild = CodeBuild(self.cloud, self._roles, repositories, permissions.identify)
        self._codepipeline = CodePipeline(self.cloud, self._roles, repositories, permissions.identify)
        self._bus.set_pipeline_starter(self._start_pipeline)
        self._push = PushAdmin(self.cloud, repositories, self._codepipeline.triggers.pushed, has_the_secret)
        permissions.install()
        managed_policies.install()
        functions.install()
        signatures.install()
        alarms.install()
        embedded_metrics.install()
        put_metric_data.install()
        buckets.install()
        encryption.install()
        object_encryption.install()
        self._journal.install()
        self._snapshots.install()
        self._bus.install()
        stack_policy.install()
        conditions.install()
        queries.install()
        change_sets.install()
        self._outcomes = StackOutcomes(self._store)
        types = {**SAGEMAKER_TYPES, **SCALING_TYPES, **CODEBUILD_TYPES, **CODEPIPELINE_TYPES, **SOURCE_TYPES}
        types[ENDPOINT_TYPE] = self._outcomes.wrap(types[ENDPOINT_TYPE])
        cfn_types.install(types, clients.for_cloudformation, self._sagemaker.describe, self._snapshots)
        cfn_checks.install()
        stack_operations.install(self._bus, self._snapshots)
        custom_resources.install(clients.for_function)
        own_services = {
            "sagemaker": self._sagemaker.handle,
            "application-autoscaling": scaling.handle,
            "servicequotas": self._quotas.handle,
            "codebuild": self._codebuild.api.handle,
            "codepipeline": self._codepipeline.api.handle,
            **{service: api.handle for service, api in self._source.apis.items()},
        }
        boundary.install(own_services, self._snapshots)
        self._clockwork = self._accelerated(state_dir) if file_of(state_dir).exists() else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = False

    def _accelerated(self, state_dir: Path) -> Clockwork:
        """Build what moves the virtual clock of this process."""
        clock = VirtualTime(state_dir)
        schedules.install()
        skew.install(clock.start)
        sources: list[ClockSource] = [
            schedules.Schedules(),
            schedules.HiddenMessages(),
            alarms.Alarms(),
            self._sagemaker.baking,  # after the alarms, which it checks
            self._sagemaker.monitoring,
        ]
        return Clockwork(
            clock,
            sources,
            under_way=self._under_way,
            approvals=lambda: [*self._sagemaker.activity.approvals(), *self._codepipeline.approvals()],
            flush=self._flush,
            watched=lambda: bool(self._sagemaker.baking.waiting()),
        )

    def _under_way(self) -> list[str]:
        """Return what the clock must wait for; if nothing, let the deployments that bake check their alarms first."""
        busy = [
            *self._sagemaker.activity.under_way(),
            *self._codepipeline.under_way(),
            *self._codebuild.under_way(),
            *activity.under_way(self._sagemaker.baking.waiting()),
        ]
        if not busy and self._sagemaker.baking.check_alarms():
            return ["a deployment whose wait has just ended"]
        return busy

    def _flush(self) -> None:
        """Write captured data, publish metrics, and let events that wait for the loop go out."""
        self._fleet.flush()
        self._sagemaker.metrics.flush()
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; return when everything has stopped and is saved."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._bus.start(loop)
        self._loop = loop
        application = boundary.application(self._health, self._admin())
        if self._clockwork is not None:
            application = skew.with_client_dates(application)
        server = _Server(application)
        serving = asyncio.create_task(server.serve([_listening_on(self._port)]))
        opening = asyncio.create_task(self._open(loop))
        ending = asyncio.create_task(self._end(stop, server))
        done, _ = await asyncio.wait({serving, opening}, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        await ending

    def _admin(self) -> boundary.Admin:
        return {
            "/_localcloud/clock": ClockAdmin(self._clockwork).handle,
            "/_localcloud/faults": FaultAdmin(self._sagemaker.faults, self._outcomes, self._sagemaker.closed).handle,
            "/_localcloud/push": self._push.handle,
        }

    def _start_pipeline(self, arn: str, role_arn: str, rule_arn: str) -> None:
        """Start a pipeline as a rule's target.

        Raises:
            PermissionError: The target's role may not start the pipeline.
        """
        credentials = self._roles.assume(role_arn, "events.amazonaws.com", "AWSEvents")
        denied = self._roles.denied(credentials, "codepipeline:StartPipelineExecution", arn)
        if denied:
            raise PermissionError(denied)
        self._codepipeline.triggers.started_by_rule(arn.rpartition(":")[2], rule_arn)

    async def _end(self, stop: asyncio.Event, server: uvicorn.Server) -> None:
        await stop.wait()
        # HTTP still answers while the parts stop: jobs upload their logs, and state is copied on the running loop.
        await asyncio.to_thread(self._close)
        server.should_exit = True

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._serving()
        self._snapshots.start(loop)
        await asyncio.to_thread(self._sagemaker.recover)
        await asyncio.to_thread(self._codebuild.recover)
        await asyncio.to_thread(self._codepipeline.recover)
        alarm_task = asyncio.create_task(self._evaluate_alarms())
        alarm_task.add_done_callback(lambda task: task.cancelled() or task.result())
        self._ready = True
        _log.warning("ready on http://127.0.0.1:%d", self._port)
        # Clients may already ask: until this is done, the interrupted stacks are still in progress.
        await recovery.recover(self._snapshots)

    async def _evaluate_alarms(self) -> None:
        while True:
            await asyncio.sleep(_ALARM_PERIOD)
            alarms.evaluate_all()
            await asyncio.to_thread(self._sagemaker.monitoring.run_due)

    async def _serving(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return

    def _close(self) -> None:
        self._ready = False
        if self._clockwork is not None:
            self._clockwork.close()
        self._codepipeline.shutdown()
        self._codebuild.shutdown()
        self._sagemaker.shutdown()
        self._source.close()
        self._quotas.close()
        functions.stop()
        self._snapshots.stop()
        self._journal.close()
        self._store.close()
        custom_resources.stop()  # what is saved is in progress, and the next start rolls it back

    def _health(self) -> Mapping[str, Any]:
        return {
            "localcloud": True,
            "ready": self._ready,
            "pid": os.getpid(),
            "state": str(self.cloud.state_dir),
            "isolation": self._isolation,
        }

    def _put_logs(self, group: str, stream: str, lines: Any) -> None:
        put_logs(group, stream, lines)
        self._snapshots.mark("cloudwatch_logs")

    def _role_environment(self, role_arn: str) -> dict[str, str]:
        return {
            **permissions.role_credentials(role_arn, _SAGEMAKER, "SageMaker"),
            "AWS_ENDPOINT_URL": self.cloud.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }


def main(port: int, state_dir: Path) -> None:
    """Run the gateway in this process until a signal stops it."""
    asyncio.run(Gateway(port, state_dir).run())
