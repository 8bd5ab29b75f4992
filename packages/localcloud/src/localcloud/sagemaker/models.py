"""Models: containers and the location of their artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.runtime import images
from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import unsupported, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.packages import Packages
from localcloud.sagemaker.tags import Tags, without_tags

KIND = "Model"
_UNSUPPORTED = ("MultiModelConfig", "ImageConfig", "InferenceSpecificationName", "AdditionalModelDataSources")


class Models:
    """The operations on models, and the container that the fleet runs."""

    def __init__(self, context: Context, tags: Tags, events: Events, packages: Packages) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._events = events
        self._packages = packages
        self.operations: Operations = {
            "CreateModel": self._create,
            "DescribeModel": lambda request, _: self.find(request["ModelName"]),
            "ListModels": self._list,
            "DeleteModel": self._delete,
        }

    def find(self, name: str) -> Document:
        """Return the model; raise AwsError where it does not exist."""
        model = self._store.get(KIND, name)
        if model is None:
            raise validation(f'Could not find model "{self._context.arn("model", name)}".')
        return model

    def container(self, name: str) -> Document:
        """Return the model's container as it runs: image, artifact and environment, merged with its package's."""
        model = self.find(name)
        container = dict(model.get("PrimaryContainer") or model["Containers"][0])
        package = container.get("ModelPackageName")
        if package:
            packaged = self._packages.find(package)["InferenceSpecification"]["Containers"][0]
            environment = packaged.get("Environment", {}) | container.get("Environment", {})
            container = {**packaged, **container, "Environment": environment}
        return container

    def _create(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        self._check(request)
        if "ExecutionRoleArn" in request:
            self._context.check_role(request["ExecutionRoleArn"])
        name = request["ModelName"]
        arn = self._context.arn("model", name)
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise validation(f'Cannot create already existing model "{arn}".')
            model = without_tags(request)
            isolated = request.get("EnableNetworkIsolation", False)
            model |= {"ModelArn": arn, "CreationTime": self._context.now(), "EnableNetworkIsolation": isolated}
            self._store.put(KIND, name, model)
            self._tags.put(arn, request.get("Tags", ()))
        self._events.model(model, self._tags.get(arn))
        return {"ModelArn": arn}

    def _check(self, request: Mapping[str, Any]) -> None:
        containers = list(request.get("Containers", ()))
        primary = request.get("PrimaryContainer")
        if bool(primary) == bool(containers):
            raise validation("Exactly one of PrimaryContainer and Containers must be provided.")
        if len(containers) > 1:
            raise unsupported("inference pipelines (more than one entry in Containers)")
        container = primary or containers[0]
        for member in _UNSUPPORTED:
            if container.get(member):
                raise unsupported(f"{member} of a model's container")
        if container.get("Mode", "SingleModel") != "SingleModel":
            raise unsupported("multi-model endpoints (Mode MultiModel)")
        if request.get("InferenceExecutionConfig", {}).get("Mode", "Serial") != "Serial":
            raise unsupported("InferenceExecutionConfig with the mode Direct")
        if not container.get("Image") and not container.get("ModelPackageName"):
            raise validation("A container needs an Image or a ModelPackageName.")
        if not request.get("ExecutionRoleArn"):
            raise validation("ExecutionRoleArn is required.")
        if container.get("Image") and images.unknown_to_aws(
            container["Image"], self._context.cloud.region, self._context.cloud.account
        ):
            raise validation(f"Requested image {container['Image']} not found.")
        if container.get("ModelPackageName"):
            self._check_package(container["ModelPackageName"])

    def _check_package(self, name: str) -> None:
        package = self._packages.find(name)
        approval = package.get("ModelApprovalStatus", "Approved")
        if approval != "Approved":
            arn = package["ModelPackageArn"]
            raise validation(f"Cannot create a model from model package {arn}: its approval status is {approval}.")
        if not package.get("InferenceSpecification"):
            raise validation(f"Model package {package['ModelPackageArn']} has no InferenceSpecification.")

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        return page(
            select((model for _, model in self._store.list(KIND)), request, name="ModelName"),
            request,
            "Models",
            key="ModelName",
            order_by={"Name": "ModelName", "CreationTime": "CreationTime"},
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        model = self.find(request["ModelName"])
        tags = self._tags.get(model["ModelArn"])
        with self._store.transaction():
            self._store.delete(KIND, model["ModelName"])
            self._tags.drop(model["ModelArn"])
        self._events.model(model, tags)
        return {}
