"""Brings endpoints' workers up and down, and lets the old ones answer until the new ones are in service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from localcloud.runtime.contract import ContainerError, VariantSpec
from localcloud.sagemaker import variants
from localcloud.sagemaker.context import Context, Document
from localcloud.sagemaker.endpoint_configs import EndpointConfigs
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.ports import Fleet
from localcloud.sagemaker.serving import Serving, Switchboard, Workers
from localcloud.sagemaker.tags import Tags

KIND = "Endpoint"
_LONGEST_REASON = 1024
Capture = Mapping[str, Any] | None
_log = logging.getLogger(__name__)


class RolledBack(Exception):
    """The new fleet must not take the traffic; the text is the endpoint's `FailureReason`."""


class Deployments:
    """One deployment of an endpoint at a time, each on a thread of its own pool."""

    def __init__(
        self, context: Context, tags: Tags, events: Events, models: Models, configs: EndpointConfigs, fleet: Fleet
    ) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._events = events
        self._models = models
        self._configs = configs
        self._fleet = fleet
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="deployment")
        self._switchboard = Switchboard()
        # Taken before anything moves: `recover` acts on what was, while requests come in already.
        self._at_boot = self._store.list(KIND)

    def lease(self, endpoint_name: str, timeout: float) -> AbstractContextManager[Workers]:
        """Hold the endpoint's workers, by variant, for one invocation; LookupError where there are none."""
        return self._switchboard.lease(endpoint_name, timeout)

    def create(self, endpoint: Document) -> None:
        self._announce(endpoint)
        self._submit(self._create, endpoint["EndpointName"])

    def update(self, endpoint: Document) -> None:
        self._announce(endpoint)
        self._events.endpoint_deployment(endpoint, self._tags.get(endpoint["EndpointArn"]))
        self._submit(self._update, endpoint["EndpointName"])

    def reweigh(self, endpoint: Document) -> None:
        self._announce(endpoint)
        self._submit(self._settle, endpoint["EndpointName"])

    def delete(self, endpoint: Document) -> None:
        self._announce(endpoint)
        self._submit(self._delete, endpoint["EndpointName"])

    def recover(self) -> None:
        """After a restart: start the workers that should run, and carry on what was under way."""
        self._fleet.recover()
        resume: dict[str, Callable[[str], None]] = {
            "Creating": self._create,
            "Updating": self._resume_update,
            "RollingBack": self._resume_update,
            "Deleting": self._delete,
            "InService": self._restart,
        }
        for name, endpoint in self._at_boot:
            action = resume.get(endpoint["EndpointStatus"])
            if endpoint["EndpointStatus"] in {"InService", "Updating", "RollingBack"}:
                self._switchboard.expect(name)
            if action is not None:
                self._submit(action, name)

    def shutdown(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, action: Callable[[str], None], name: str) -> None:
        def run() -> None:
            try:
                action(name)
            except Exception:  # noqa: BLE001 (the thread's last line of defence: the endpoint must not stay in between)
                _log.exception("deployment of endpoint %s", name)
                self._give_up(name, "InternalServerError: the local cloud failed; its log has the details.")

        self._pool.submit(run)

    def _create(self, name: str) -> None:
        endpoint = self._document(name)
        try:
            config = self._configs.find(endpoint["EndpointConfigName"])
            capture = config.get("DataCaptureConfig")
            specs = self._specs(name, config, capture)
            workers = self._start(specs)
        except (ContainerError, AwsError) as error:
            self._fail(name, str(error))
            return
        self._switchboard.connect(name, workers)
        self._in_service(name, config, capture, specs)

    def _restart(self, name: str) -> None:
        """Start what was in service, from what was written down then: its configuration may be gone since."""
        specs = [VariantSpec(**members) for members in self._document(name)["Specs"]]
        try:
            self._switchboard.connect(name, self._start(specs))
        except ContainerError as error:
            self._fail(name, str(error))

    def _resume_update(self, name: str) -> None:
        self._restart(name)
        endpoint = self._document(name)
        if endpoint["EndpointStatus"] == "Failed":
            return
        if endpoint.get("PendingDeploymentSummary") is None:
            self._settle(name)
        else:
            self._update(name)

    def _update(self, name: str) -> None:
        endpoint = self._document(name)
        wanted = endpoint["PendingDeploymentSummary"]["EndpointConfigName"]
        workers: Workers = {}
        try:
            config = self._configs.find(wanted)
            capture = endpoint["Capture"] if endpoint["RetainCapture"] else config.get("DataCaptureConfig")
            specs = self._specs(name, config, capture)
            self._check_alarms(endpoint)
            workers = self._start(specs)
            self._activate(name, config)
            self._check_alarms(endpoint)
        except (ContainerError, AwsError, RolledBack) as error:
            self._stop(workers)
            self._roll_back(name, str(error))
            return
        old = self._switchboard.connect(name, workers)
        self._in_service(name, config, capture, specs)
        self._retire(old)

    def _specs(self, name: str, config: Document, capture: Capture) -> list[VariantSpec]:
        return [variants.specification(name, one, capture, self._models) for one in config["ProductionVariants"]]

    def _activate(self, name: str, config: Document) -> None:
        now = self._context.now()
        summary = variants.pending(config, now, "ActivatingTraffic", "Activating traffic on the new fleet.")
        endpoint = self._store.update(KIND, name, PendingDeploymentSummary=summary, LastModifiedTime=now)
        self._events.endpoint_deployment(endpoint, self._tags.get(endpoint["EndpointArn"]))

    def _check_alarms(self, endpoint: Document) -> None:
        """Roll back where a rollback alarm is in ALARM: also one that was there before the deployment began."""
        rollback = endpoint.get("LastDeploymentConfig", {}).get("AutoRollbackConfiguration", {})
        names = [alarm["AlarmName"] for alarm in rollback.get("Alarms", ()) if "AlarmName" in alarm]
        if not names:
            return
        alarms = self._context.cloud.client("cloudwatch").describe_alarms(
            AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        found = [*alarms.get("MetricAlarms", ()), *alarms.get("CompositeAlarms", ())]
        firing = [alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM"]
        if firing:
            raise RolledBack(f"Update to endpoint was rolled back: alarm {', '.join(sorted(firing))} is in ALARM.")

    def _start(self, specs: Sequence[VariantSpec]) -> Workers:
        """Start a worker for each variant; none is left behind when one of them fails."""
        started: dict[str, str] = {}
        try:
            for spec in specs:
                started[spec.variant_name] = self._fleet.start(spec)
        except Exception:
            self._stop(started)
            raise
        return started

    def _stop(self, workers: Workers) -> None:
        for worker in workers.values():
            self._fleet.stop(worker)

    def _retire(self, serving: Serving | None) -> None:
        if serving is not None:
            serving.drain()
            self._stop(serving.workers)

    def _in_service(self, name: str, config: Document, capture: Capture, specs: Sequence[VariantSpec]) -> None:
        now = self._context.now()
        with self._store.transaction():
            endpoint = self._document(name)
            kept = endpoint.pop("Retained", {})
            for member in ("PendingDeploymentSummary", "FailureReason", "RetainCapture"):
                endpoint.pop(member, None)
            endpoint |= {
                "EndpointConfigName": config["EndpointConfigName"],
                "EndpointStatus": "InService",
                "LastModifiedTime": now,
                "ProductionVariants": variants.summaries(config, self._models, now, kept),
                "Capture": capture,
                "Specs": [asdict(spec) for spec in specs],
                "DataCaptureConfig": variants.capture_summary(capture),
            }
            self._store.put(KIND, name, endpoint)
        self._announce(endpoint)

    def _roll_back(self, name: str, reason: str) -> None:
        """Back on the old configuration, which never stopped answering; the reason stays readable."""
        rolling = self._store.update(KIND, name, EndpointStatus="RollingBack", LastModifiedTime=self._context.now())
        self._announce(rolling)
        with self._store.transaction():
            endpoint = self._document(name)
            for member in ("PendingDeploymentSummary", "Retained", "RetainCapture"):
                endpoint.pop(member, None)
            endpoint |= {
                "EndpointStatus": "InService",
                "FailureReason": reason[:_LONGEST_REASON],
                "LastModifiedTime": self._context.now(),
            }
            self._store.put(KIND, name, endpoint)
        self._announce(endpoint)

    def _give_up(self, name: str, reason: str) -> None:
        endpoint = self._store.get(KIND, name)
        if endpoint is not None and endpoint["EndpointStatus"] in {"Updating", "RollingBack"}:
            self._roll_back(name, reason)
        else:
            self._fail(name, reason)

    def _settle(self, name: str) -> None:
        self._announce(self._store.update(KIND, name, EndpointStatus="InService", LastModifiedTime=self._context.now()))

    def _fail(self, name: str, reason: str) -> None:
        if self._store.get(KIND, name) is None:
            return
        self._retire(self._switchboard.disconnect(name))
        self._announce(
            self._store.update(
                KIND,
                name,
                EndpointStatus="Failed",
                FailureReason=reason[:_LONGEST_REASON],
                LastModifiedTime=self._context.now(),
            )
        )

    def _delete(self, name: str) -> None:
        self._retire(self._switchboard.disconnect(name))
        with self._store.transaction():
            self._store.delete(KIND, name)
            self._tags.drop(self._context.arn("endpoint", name))

    def _document(self, name: str) -> Document:
        endpoint = self._store.get(KIND, name)
        if endpoint is None:
            raise KeyError(f"endpoint {name}")
        return endpoint

    def _announce(self, endpoint: Document) -> None:
        self._events.endpoint(endpoint, self._tags.get(endpoint["EndpointArn"]))
