"""Endpoint configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.tags import Tags, without_tags

KIND = "EndpointConfig"
_UNSUPPORTED = ("AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants")
_UNSUPPORTED_OF_VARIANT = (
    "InstancePools",
    "AcceleratorType",
    "CoreDumpConfig",
    "ManagedInstanceScaling",
    "CapacityReservationConfig",
)


class EndpointConfigs:
    """The operations on endpoint configurations."""

    def __init__(self, context: Context, tags: Tags, events: Events, models: Models) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._events = events
        self._models = models
        self.operations: Operations = {
            "CreateEndpointConfig": self._create,
            "DescribeEndpointConfig": lambda request, _: self.find(request["EndpointConfigName"]),
            "ListEndpointConfigs": self._list,
            "DeleteEndpointConfig": self._delete,
        }

    def find(self, name: str) -> Document:
        """Return the configuration; raise AwsError where it does not exist."""
        config = self._store.get(KIND, name)
        if config is None:
            arn = self._context.arn("endpoint-config", name)
            raise validation(f'Could not find endpoint configuration "{arn}".')
        return config

    def _create(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        self._check(request)
        name = request["EndpointConfigName"]
        arn = self._context.arn("endpoint-config", name)
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise validation(f'Cannot create already existing endpoint configuration "{arn}".')
            config = without_tags(request)
            config |= {"EndpointConfigArn": arn, "CreationTime": self._context.now()}
            config["ProductionVariants"] = [
                {"InitialVariantWeight": 1.0, **variant} for variant in request["ProductionVariants"]
            ]
            self._store.put(KIND, name, config)
            self._tags.put(arn, request.get("Tags", ()))
        self._events.endpoint_config(config, self._tags.get(arn))
        return {"EndpointConfigArn": arn}

    def _check(self, request: Mapping[str, Any]) -> None:
        for member in _UNSUPPORTED:
            if request.get(member):
                raise unsupported(f"{member} of an endpoint configuration")
        variants = request["ProductionVariants"]
        names = [variant["VariantName"] for variant in variants]
        if len(set(names)) != len(names):
            raise validation(f"Production variant names must be unique, got {', '.join(names)}.")
        for variant in variants:
            self._check_variant(variant)
        serverless = [variant["VariantName"] for variant in variants if variant.get("ServerlessConfig")]
        if (
            serverless
            and request.get("DataCaptureConfig", {}).get("EnableCapture", True)
            and "DataCaptureConfig" in request
        ):
            raise validation("Data capture is not supported for serverless endpoints.")
        if serverless and len(variants) > 1:
            raise validation("A serverless endpoint has exactly one production variant.")

    def _check_variant(self, variant: Mapping[str, Any]) -> None:
        name = variant["VariantName"]
        for member in _UNSUPPORTED_OF_VARIANT:
            if variant.get(member):
                raise unsupported(f"{member} of a production variant")
        if not variant.get("ModelName"):
            raise unsupported("inference components (a production variant without ModelName)")
        self._models.find(variant["ModelName"])
        serverless = variant.get("ServerlessConfig")
        if serverless and (variant.get("InstanceType") or variant.get("InitialInstanceCount")):
            raise validation(f"Variant {name}: ServerlessConfig excludes InstanceType and InitialInstanceCount.")
        if not serverless and not (variant.get("InstanceType") and variant.get("InitialInstanceCount")):
            raise validation(f"Variant {name}: InstanceType and InitialInstanceCount are required.")
        if serverless and serverless["MemorySizeInMB"] % 1024:
            raise validation(f"Variant {name}: MemorySizeInMB must be a multiple of 1024.")

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        return page(
            select((config for _, config in self._store.list(KIND)), request, name="EndpointConfigName"),
            request,
            "EndpointConfigs",
            key="EndpointConfigName",
            order_by={"Name": "EndpointConfigName", "CreationTime": "CreationTime"},
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        config = self.find(request["EndpointConfigName"])
        tags = self._tags.get(config["EndpointConfigArn"])
        with self._store.transaction():
            self._store.delete(KIND, config["EndpointConfigName"])
            self._tags.drop(config["EndpointConfigArn"])
        self._events.endpoint_config(config, tags)
        return {}
