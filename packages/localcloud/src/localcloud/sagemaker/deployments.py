"""Deployments of endpoints: they start and stop fleets, and shift traffic as the deployment policy says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from localcloud.runtime.contract import ContainerError, VariantSpec
from localcloud.sagemaker import variants
from localcloud.sagemaker.baking import BakingPeriods, RollbackAlarms, WaitInterrupted
from localcloud.sagemaker.context import Context, Document
from localcloud.sagemaker.endpoint_configs import EndpointConfigs
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.faults import Faults
from localcloud.sagemaker.interfaces import Fleet
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.rollout import TrafficStep, schedule
from localcloud.sagemaker.routing import ServingFleet, TrafficRouter, Workers, traffic_by_variant
from localcloud.sagemaker.tags import Tags

KIND = "Endpoint"
_MAX_REASON_LENGTH = 1024
# A deployment occupies its thread while it bakes.
_MAX_DEPLOYMENTS = 64
_STOPPED = "Update to endpoint was rolled back: the local cloud was stopped during the deployment."
Capture = Mapping[str, Any] | None
_log = logging.getLogger(__name__)


class RolledBack(Exception):
    """The deployment must be rolled back; the message is the endpoint's `FailureReason`."""


@dataclass(frozen=True)
class _Plan:
    """A deployment's settings, resolved when it begins.

    Attributes:
        kept: by variant name, the weights and counts that survive the update (`RetainAllVariantProperties`).
        summaries: `DescribeEndpoint.ProductionVariants` once the deployment is in service.
        began: epoch seconds.
        deadline: epoch seconds; None where the policy sets no maximum time.
    """

    config: Document
    capture: Capture
    specs: Sequence[VariantSpec]
    kept: Mapping[str, Document]
    summaries: Sequence[Document]
    steps: Sequence[TrafficStep]
    alarms: RollbackAlarms
    began: float
    deadline: float | None

    @property
    def instances(self) -> int:
        return sum(one["DesiredInstanceCount"] for one in self.summaries)


class Deployments:
    """Runner of deployments: one at a time for each endpoint, each on a thread of its own."""

    def __init__(
        self,
        context: Context,
        tags: Tags,
        events: Events,
        models: Models,
        configs: EndpointConfigs,
        fleet: Fleet,
        faults: Faults,
    ) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._events = events
        self._models = models
        self._configs = configs
        self._fleet = fleet
        self._faults = faults
        self.baking = BakingPeriods(context)
        self._pool = ThreadPoolExecutor(max_workers=_MAX_DEPLOYMENTS, thread_name_prefix="deployment")
        self._router = TrafficRouter()
        # Read before requests arrive: `recover` acts on the state at the stop.
        self._at_boot = self._store.list(KIND)

    def lease(self, endpoint_name: str, timeout: float) -> AbstractContextManager[ServingFleet]:
        """Reserve the fleet that answers one invocation; raise LookupError where there is none."""
        return self._router.lease(endpoint_name, timeout)

    def create(self, endpoint: Document) -> None:
        """Start the first deployment of an endpoint."""
        self._publish(endpoint)
        self._submit(self._create, endpoint["EndpointName"])

    def update(self, endpoint: Document) -> None:
        """Start the deployment of an endpoint's pending configuration."""
        self._publish(endpoint)
        self._events.endpoint_deployment(endpoint, self._tags.get(endpoint["EndpointArn"]))
        self._submit(self._update, endpoint["EndpointName"])

    def set_weights(self, endpoint: Document) -> None:
        """Apply the variants' new weights and instance counts."""
        self._publish(endpoint)
        self._router.set_weights(endpoint["EndpointName"], traffic_by_variant(endpoint["ProductionVariants"]))
        self._submit(self._set_in_service, endpoint["EndpointName"])

    def delete(self, endpoint: Document) -> None:
        """Start the deletion of an endpoint."""
        self._publish(endpoint)
        self._submit(self._delete, endpoint["EndpointName"])

    def recover(self) -> None:
        """Recover after a restart: start the workers that should run, and end interrupted deployments.

        An interrupted update is rolled back: its new fleet is gone, and CloudFormation rolls its stack back too.
        """
        self._fleet.recover()
        resume: dict[str, Callable[[str], None]] = {
            "Creating": self._create,
            "Updating": self._roll_back_interrupted,
            "RollingBack": self._roll_back_interrupted,
            "Deleting": self._delete,
            "InService": self._restart,
        }
        for name, endpoint in self._at_boot:
            action = resume.get(endpoint["EndpointStatus"])
            if endpoint["EndpointStatus"] in {"InService", "Updating", "RollingBack"}:
                self._router.expect(name)
            if action is not None:
                self._submit(action, name)

    def shutdown(self) -> None:
        """Interrupt all deployments; the next `recover` rolls them back."""
        self.baking.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, action: Callable[[str], None], name: str) -> None:
        def run() -> None:
            try:
                action(name)
            except WaitInterrupted:
                _log.warning("the deployment of endpoint %s was interrupted", name)
            except Exception:  # noqa: BLE001 (the endpoint must not stay in a transitional status)
                _log.exception("the deployment of endpoint %s failed", name)
                self._abort(name, "InternalServerError: the local cloud failed; its log has the details.")

        self._pool.submit(run)

    def _create(self, name: str) -> None:
        endpoint = self._document(name)
        try:
            plan = self._plan(endpoint, endpoint["EndpointConfigName"])
            serving = self._start(plan.config["EndpointConfigName"], plan.specs, plan.summaries)
        except (ContainerError, AwsError) as error:
            self._fail(name, str(error))
            return
        self._router.connect(name, serving)
        self._complete(name, plan)

    def _restart(self, name: str) -> None:
        """Start the workers that were in service, from the stored specifications.

        The endpoint configuration may have been deleted since.
        """
        endpoint = self._document(name)
        specs = [VariantSpec(**members) for members in endpoint["Specs"]]
        try:
            serving = self._start(endpoint["EndpointConfigName"], specs, endpoint["ProductionVariants"])
        except ContainerError as error:
            self._fail(name, str(error))
            return
        self._router.connect(name, serving)

    def _roll_back_interrupted(self, name: str) -> None:
        self._restart(name)
        endpoint = self._document(name)
        if endpoint["EndpointStatus"] == "Failed":
            return
        if endpoint.get("PendingDeploymentSummary") is None:
            self._set_in_service(name)
        else:
            self._roll_back(name, endpoint.get("FailureReason", _STOPPED))

    def _update(self, name: str) -> None:
        endpoint = self._document(name)
        try:
            plan = self._plan(endpoint, endpoint["PendingDeploymentSummary"]["EndpointConfigName"])
            _check_alarms(self.baking.alarming(plan.alarms))
            new = self._start(plan.config["EndpointConfigName"], plan.specs, plan.summaries)
            for step in plan.steps:
                self._shift_traffic(name, new, plan, step)
                self._bake(endpoint["EndpointArn"], plan, step)
        except (ContainerError, AwsError, RolledBack) as error:
            self._roll_back(name, str(error))
            return
        old = self._router.promote(name)
        self._complete(name, plan)
        self._retire(name, old)

    def _plan(self, endpoint: Document, wanted: str) -> _Plan:
        name = endpoint["EndpointName"]
        config = self._configs.find(wanted)
        capture = endpoint["Capture"] if endpoint.get("RetainCapture") else config.get("DataCaptureConfig")
        kept = endpoint.get("Retained", {})
        summaries = variants.summaries(config, self._models, self._context.now(), kept)
        deployment = endpoint.get("LastDeploymentConfig", {})
        pending = endpoint.get("PendingDeploymentSummary")
        began = endpoint["CreationTime"] if pending is None else pending["StartTime"]
        longest = deployment.get("BlueGreenUpdatePolicy", {}).get("MaximumExecutionTimeoutInSeconds")
        rollback = deployment.get("AutoRollbackConfiguration", {})
        return _Plan(
            config=config,
            capture=capture,
            specs=[variants.specification(name, one, capture, self._models) for one in config["ProductionVariants"]],
            kept=kept,
            summaries=summaries,
            steps=schedule(deployment, max(sum(one["DesiredInstanceCount"] for one in summaries), 1)),
            alarms=RollbackAlarms(
                [alarm["AlarmName"] for alarm in rollback.get("Alarms", ()) if "AlarmName" in alarm],
                self._models.find(config["ProductionVariants"][0]["ModelName"])["ExecutionRoleArn"],
            ),
            began=began,
            deadline=None if longest is None else began + longest,
        )

    def _shift_traffic(self, name: str, new: ServingFleet, plan: _Plan, step: TrafficStep) -> None:
        """Give the new fleet its share of the traffic, and publish that."""
        new.traffic = traffic_by_variant(plan.summaries, step.active)
        self._router.shift(name, new, step.share)
        where = f"{step.active(plan.instances)} of {plan.instances} instance(s)"
        self._publish_progress(name, plan, step, "ActivatingTraffic", f"Activating traffic on {where}.")
        if step.wait:
            baking = f"Baking for {step.wait} seconds ({step.setting}) with traffic enabled on {where}."
            self._publish_progress(name, plan, step, "Baking", baking)

    def _publish_progress(self, name: str, plan: _Plan, step: TrafficStep, status: str, message: str) -> None:
        now = self._context.now()
        summary = variants.pending(plan.config, plan.began, now, status, message, kept=plan.kept, step=step)
        endpoint = self._store.update(KIND, name, PendingDeploymentSummary=summary, LastModifiedTime=now)
        self._events.endpoint_deployment(endpoint, self._tags.get(endpoint["EndpointArn"]))

    def _bake(self, arn: str, plan: _Plan, step: TrafficStep) -> None:
        """Keep the traffic as it is while the alarms are watched.

        Raises:
            RolledBack: an alarm fired, or the deployment took too long.
        """
        until = self._context.now() + step.wait
        late = plan.deadline is not None and until > plan.deadline
        if late and plan.deadline is not None:
            until = plan.deadline
        _check_alarms(self.baking.wait_until(arn, until, plan.alarms))
        if late:
            raise RolledBack(
                "Update to endpoint was rolled back: it took longer than MaximumExecutionTimeoutInSeconds."
            )

    def _start(self, config: str, specs: Sequence[VariantSpec], summaries: Sequence[Document]) -> ServingFleet:
        """Start a worker for each variant; stop them all when one fails."""
        started: dict[str, str] = {}
        try:
            for spec in specs:
                started[spec.variant_name] = self._fleet.start(spec)
        except Exception:
            self._stop(started)
            raise
        return ServingFleet(config, started, traffic_by_variant(summaries))

    def _stop(self, workers: Workers) -> None:
        for worker in workers.values():
            self._fleet.stop(worker)

    def _retire(self, name: str, serving: ServingFleet | None) -> None:
        if serving is None:
            return
        serving.drain()
        self._stop(serving.workers)
        endpoint = self._store.get(KIND, name)
        if endpoint is None or endpoint["EndpointConfigName"] != serving.config:
            self._faults.clear(name, serving.config)

    def _complete(self, name: str, plan: _Plan) -> None:
        now = self._context.now()
        with self._store.transaction():
            endpoint = self._document(name)
            for member in ("PendingDeploymentSummary", "FailureReason", "RetainCapture", "Retained"):
                endpoint.pop(member, None)
            endpoint |= {
                "EndpointConfigName": plan.config["EndpointConfigName"],
                "EndpointStatus": "InService",
                "LastModifiedTime": now,
                "ProductionVariants": list(plan.summaries),
                "Capture": plan.capture,
                "Specs": [asdict(spec) for spec in plan.specs],
                "DataCaptureConfig": variants.capture_summary(plan.capture),
            }
            self._store.put(KIND, name, endpoint)
        self._publish(endpoint)

    def _roll_back(self, name: str, reason: str) -> None:
        """Move all traffic to the old fleet at once, then stop the new fleet; `FailureReason` keeps the reason."""
        new = self._router.revert(name)
        endpoint = self._document(name)
        now = self._context.now()
        endpoint = self._store.update(
            KIND,
            name,
            EndpointStatus="RollingBack",
            FailureReason=reason[:_MAX_REASON_LENGTH],
            PendingDeploymentSummary=variants.rolled_back(endpoint["PendingDeploymentSummary"], now),
            LastModifiedTime=now,
        )
        self._publish(endpoint)
        self._events.endpoint_deployment(endpoint, self._tags.get(endpoint["EndpointArn"]))
        self._retire(name, new)
        with self._store.transaction():
            endpoint = self._document(name)
            for member in ("PendingDeploymentSummary", "Retained", "RetainCapture"):
                endpoint.pop(member, None)
            endpoint |= {"EndpointStatus": "InService", "LastModifiedTime": self._context.now()}
            self._store.put(KIND, name, endpoint)
        self._publish(endpoint)

    def _abort(self, name: str, reason: str) -> None:
        endpoint = self._store.get(KIND, name)
        if endpoint is not None and endpoint.get("PendingDeploymentSummary") is not None:
            self._roll_back(name, reason)
        else:
            self._fail(name, reason)

    def _set_in_service(self, name: str) -> None:
        self._publish(self._store.update(KIND, name, EndpointStatus="InService", LastModifiedTime=self._context.now()))

    def _fail(self, name: str, reason: str) -> None:
        if self._store.get(KIND, name) is None:
            return
        self._disconnect(name)
        self._publish(
            self._store.update(
                KIND,
                name,
                EndpointStatus="Failed",
                FailureReason=reason[:_MAX_REASON_LENGTH],
                LastModifiedTime=self._context.now(),
            )
        )

    def _delete(self, name: str) -> None:
        self._disconnect(name)
        with self._store.transaction():
            self._store.delete(KIND, name)
            self._tags.drop(self._context.arn("endpoint", name))
        self._faults.clear(name)

    def _disconnect(self, name: str) -> None:
        for serving in self._router.disconnect(name):
            self._retire(name, serving)

    def _document(self, name: str) -> Document:
        endpoint = self._store.get(KIND, name)
        if endpoint is None:
            raise KeyError(f"endpoint {name}")
        return endpoint

    def _publish(self, endpoint: Document) -> None:
        self._events.endpoint(endpoint, self._tags.get(endpoint["EndpointArn"]))


def _check_alarms(alarming: Sequence[str]) -> None:
    """Raise `RolledBack` where a rollback alarm is in ALARM, also one that was so before the deployment began."""
    if alarming:
        raise RolledBack(f"Update to endpoint was rolled back: alarm {', '.join(alarming)} is in ALARM.")
