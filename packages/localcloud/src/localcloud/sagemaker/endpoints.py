"""The endpoint API and its documents; `deployments` starts and stops the endpoints' workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker import variants
from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.deployment_policy import check_deployment_config
from localcloud.sagemaker.deployments import KIND, Deployments
from localcloud.sagemaker.endpoint_configs import EndpointConfigs
from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.tags import Tags

BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


class Endpoints:
    """The operations on endpoints."""

    def __init__(self, context: Context, tags: Tags, configs: EndpointConfigs, deployments: Deployments) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._configs = configs
        self._deployments = deployments
        self.operations: Operations = {
            "CreateEndpoint": self._create,
            "DescribeEndpoint": lambda request, _: self._find(request["EndpointName"]),
            "ListEndpoints": self._list,
            "UpdateEndpoint": self._update,
            "UpdateEndpointWeightsAndCapacities": self._update_weights_and_capacities,
            "DeleteEndpoint": self._delete,
        }

    def _find(self, name: str) -> Document:
        endpoint = self._store.get(KIND, name)
        if endpoint is None:
            raise validation(f'Could not find endpoint "{self._context.arn("endpoint", name)}".')
        return endpoint

    def _create(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        name = request["EndpointName"]
        arn = self._context.arn("endpoint", name)
        config = self._configs.find(request["EndpointConfigName"])
        check_deployment_config(request.get("DeploymentConfig", {}), config["ProductionVariants"])
        now = self._context.now()
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise validation(f'Cannot create already existing endpoint "{arn}".')
            endpoint: Document = {
                "EndpointName": name,
                "EndpointArn": arn,
                "EndpointConfigName": config["EndpointConfigName"],
                "EndpointStatus": "Creating",
                "CreationTime": now,
                "LastModifiedTime": now,
            }
            if "DeploymentConfig" in request:
                endpoint["LastDeploymentConfig"] = request["DeploymentConfig"]
            self._store.put(KIND, name, endpoint)
            self._tags.put(arn, request.get("Tags", ()))
        self._deployments.create(endpoint)
        return {"EndpointArn": arn}

    def _update(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        config = self._configs.find(request["EndpointConfigName"])
        with self._store.transaction():
            endpoint = self._settled(request["EndpointName"])
            if endpoint["EndpointStatus"] == "Failed":
                raise validation(f'Cannot update failed endpoint "{endpoint["EndpointArn"]}": delete it first.')
            deployment = request.get("DeploymentConfig", endpoint.get("LastDeploymentConfig", {}))
            check_deployment_config(deployment, config["ProductionVariants"])
            excluded = [one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", ())]
            if excluded and not request.get("RetainAllVariantProperties"):
                raise validation("ExcludeRetainedVariantProperties requires RetainAllVariantProperties.")
            now = self._context.now()
            kept = variants.retained(endpoint, excluded) if request.get("RetainAllVariantProperties") else {}
            pending = variants.pending(config, now, now, "Creating", "Creating the new fleet.", kept=kept)
            endpoint |= {
                "EndpointStatus": "Updating",
                "LastModifiedTime": now,
                "PendingDeploymentSummary": pending,
                "Retained": kept,
                "RetainCapture": bool(request.get("RetainAllVariantProperties"))
                and "DataCaptureConfig" not in excluded,
            }
            endpoint.pop("FailureReason", None)
            if deployment:
                endpoint["LastDeploymentConfig"] = deployment
            self._store.put(KIND, endpoint["EndpointName"], endpoint)
        self._deployments.update(endpoint)
        return {"EndpointArn": endpoint["EndpointArn"]}

    def _update_weights_and_capacities(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        """Apply the new weights and counts at once: instances are slots of one worker, so none must be started."""
        with self._store.transaction():
            endpoint = self._settled(request["EndpointName"])
            if endpoint["EndpointStatus"] != "InService":
                raise validation(f'Endpoint "{endpoint["EndpointArn"]}" is not in service.')
            known = {variant["VariantName"]: variant for variant in endpoint["ProductionVariants"]}
            for change in request["DesiredWeightsAndCapacities"]:
                if change.get("ServerlessUpdateConfig"):
                    raise unsupported("ServerlessUpdateConfig")
                variant = known.get(change["VariantName"])
                if variant is None:
                    raise validation(f"The variant name(s) {change['VariantName']} are not present in the endpoint.")
                _set(variant, change)
            endpoint |= {"EndpointStatus": "Updating", "LastModifiedTime": self._context.now()}
            self._store.put(KIND, endpoint["EndpointName"], endpoint)
        self._deployments.set_weights(endpoint)
        return {"EndpointArn": endpoint["EndpointArn"]}

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        endpoints = (endpoint for _, endpoint in self._store.list(KIND))
        return page(
            select(endpoints, request, name="EndpointName", status="EndpointStatus"),
            request,
            "Endpoints",
            key="EndpointName",
            order_by={"Name": "EndpointName", "CreationTime": "CreationTime", "Status": "EndpointStatus"},
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        with self._store.transaction():
            endpoint = self._settled(request["EndpointName"])
            schedules = [
                name
                for name, schedule in self._store.list("MonitoringSchedule")
                if schedule["EndpointName"] == endpoint["EndpointName"]
            ]
            if schedules:
                raise validation(
                    f'Cannot delete endpoint "{endpoint["EndpointArn"]}": it has monitoring schedules: '
                    f"{', '.join(schedules)}. Delete them first."
                )
            endpoint |= {"EndpointStatus": "Deleting", "LastModifiedTime": self._context.now()}
            self._store.put(KIND, endpoint["EndpointName"], endpoint)
        self._deployments.delete(endpoint)
        return {}

    def _settled(self, name: str) -> Document:
        endpoint = self._find(name)
        if endpoint["EndpointStatus"] in BUSY:
            raise validation(f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')
        return endpoint


def _set(variant: Document, change: Mapping[str, Any]) -> None:
    if "DesiredWeight" in change:
        variant["CurrentWeight"] = variant["DesiredWeight"] = change["DesiredWeight"]
    if "DesiredInstanceCount" in change:
        variant["CurrentInstanceCount"] = variant["DesiredInstanceCount"] = change["DesiredInstanceCount"]
