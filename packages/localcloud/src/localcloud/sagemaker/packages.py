"""Model packages, versioned (in a group) and unversioned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import AwsError, conflict, unsupported, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.package_groups import PackageGroups
from localcloud.sagemaker.tags import Tags

KIND = "ModelPackage"
TOKEN = "ModelPackageToken"  # noqa: S105 (a client's idempotency token)
_UNSUPPORTED = ("ValidationSpecification", "SourceAlgorithmSpecification", "ManagedStorageType", "SecurityConfig")
_MAX_METADATA = 50


def _with_digests(specification: Document) -> Document:
    """Return the inference specification with an `ImageDigest` on each container.

    AWS resolves an image's tag in ECR at creation. The local cloud has no image registry: the digest is the one in the
    image's name, or else the SHA-256 of the name, so the same image always has the same digest.
    """
    containers = []
    for container in specification["Containers"]:
        image = container.get("Image")
        resolved = dict(container)
        if image and "ImageDigest" not in container:
            digest = image.partition("@")[2] or f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
            resolved["ImageDigest"] = digest
        containers.append(resolved)
    return {**specification, "Containers": containers}


class Packages:
    """The operations on model packages; a package's key in the store is its ARN."""

    def __init__(self, context: Context, tags: Tags, events: Events, groups: PackageGroups) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._events = events
        self._groups = groups
        self.operations: Operations = {
            "CreateModelPackage": self._create,
            "DescribeModelPackage": self._describe,
            "BatchDescribeModelPackage": self._batch_describe,
            "UpdateModelPackage": self._update,
            "ListModelPackages": self._list,
            "DeleteModelPackage": self._delete,
        }

    def find(self, name_or_arn: str) -> Document:
        """Return the package; raise AwsError where it does not exist."""
        arn = name_or_arn if name_or_arn.startswith("arn:") else self._context.arn("model-package", name_or_arn)
        package = self._store.get(KIND, arn)
        if package is None:
            raise validation(f"ModelPackage {arn} does not exist.")
        return package

    def _create(self, request: Mapping[str, Any], caller: Caller) -> Document:
        for member in _UNSUPPORTED:
            if request.get(member):
                raise unsupported(f"{member} of a model package")
        name, group = request.get("ModelPackageName"), request.get("ModelPackageGroupName")
        if bool(name) == bool(group):
            raise validation("Exactly one of ModelPackageName and ModelPackageGroupName must be provided.")
        if not request.get("InferenceSpecification") and not request.get("SourceUri"):
            raise validation("Either InferenceSpecification, SourceAlgorithmSpecification or SourceUri is required.")
        token = request.get("ClientToken")
        with self._store.transaction():
            known = self._store.get(TOKEN, token) if token else None
            if known:
                if known["Request"] != dict(request):
                    raise conflict("The ClientToken was used before, with other parameters.")
                return {"ModelPackageArn": known["ModelPackageArn"]}
            package = self._new_versioned(request) if group else self._new_unversioned(request)
            arn = package["ModelPackageArn"]
            package |= self._common(request, caller)
            self._store.put(KIND, arn, package)
            self._tags.put(arn, request.get("Tags", ()))
            if token:
                self._store.put(TOKEN, token, {"ModelPackageArn": arn, "Request": dict(request)})
        self._events.model_package(package)
        return {"ModelPackageArn": arn}

    def _new_versioned(self, request: Mapping[str, Any]) -> Document:
        group = self._groups.find(request["ModelPackageGroupName"])["ModelPackageGroupName"]
        if request.get("Tags"):
            raise validation("Tags can be added to a model package group, not to a versioned model package.")
        version = self._groups.allocate_version(group)
        return {
            "ModelPackageGroupName": group,
            "ModelPackageVersion": version,
            "ModelPackageArn": self._context.arn("model-package", f"{group}/{version}"),
            "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
            "ModelPackageRegistrationType": request.get("ModelPackageRegistrationType"),
        }

    def _new_unversioned(self, request: Mapping[str, Any]) -> Document:
        name = request["ModelPackageName"]
        arn = self._context.arn("model-package", name)
        if self._store.get(KIND, arn):
            raise validation(f"ModelPackage already exists: {arn}")
        if request.get("ModelApprovalStatus"):
            raise validation("ModelApprovalStatus is only allowed for versioned model packages.")
        return {"ModelPackageName": name, "ModelPackageArn": arn}

    def _common(self, request: Mapping[str, Any], caller: Caller) -> Document:
        now = self._context.now()
        given = {name: value for name, value in request.items() if name not in {"Tags", "ClientToken"}}
        given.pop("ModelPackageGroupName", None)
        given.pop("ModelApprovalStatus", None)
        if "InferenceSpecification" in given:
            given["InferenceSpecification"] = _with_digests(given["InferenceSpecification"])
        if "AdditionalInferenceSpecifications" in given:
            given["AdditionalInferenceSpecifications"] = [
                _with_digests(specification) for specification in given["AdditionalInferenceSpecifications"]
            ]
        return {
            **given,
            "CreationTime": now,
            "LastModifiedTime": now,
            "CreatedBy": caller.user_context(),
            "LastModifiedBy": caller.user_context(),
            "CertifyForMarketplace": request.get("CertifyForMarketplace", False),
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        }

    def _describe(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        return self.find(request["ModelPackageName"])

    def _batch_describe(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        found: Document = {}
        missing: Document = {}
        for arn in request["ModelPackageArnList"]:
            try:
                found[arn] = self.find(arn)
            except AwsError as error:
                missing[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
        return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": missing}

    def _update(self, request: Mapping[str, Any], caller: Caller) -> Document:
        arn = request["ModelPackageArn"]
        with self._store.transaction():
            package = self.find(arn)
            if "ModelApprovalStatus" in request and "ModelPackageVersion" not in package:
                raise validation("ModelApprovalStatus is only allowed for versioned model packages.")
            changes = _changes(package, request)
            package |= changes
            package["LastModifiedTime"] = self._context.now()
            package["LastModifiedBy"] = caller.user_context()
            self._store.put(KIND, arn, package)
        self._events.model_package(package, sorted(changes, key=_event_order))
        return {"ModelPackageArn": arn}

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        packages = [package for _, package in self._store.list(KIND)]
        group = request.get("ModelPackageGroupName")
        if group:
            name = self._groups.find(group)["ModelPackageGroupName"]
            packages = [package for package in packages if package.get("ModelPackageGroupName") == name]
        kind = request.get("ModelPackageType", "Versioned" if group else "Unversioned")
        if kind != "Both":
            packages = [one for one in packages if ("ModelPackageVersion" in one) == (kind == "Versioned")]
        if "ModelApprovalStatus" in request:
            packages = [one for one in packages if one.get("ModelApprovalStatus") == request["ModelApprovalStatus"]]
        # A versioned package has no name; AWS applies the name filter to its group's.
        for package in packages:
            package["SortName"] = package.get("ModelPackageName") or package["ModelPackageGroupName"]
        return page(
            select(packages, request, name="SortName"),
            request,
            "ModelPackageSummaryList",
            key="ModelPackageArn",
            order_by={"Name": "SortName", "CreationTime": "CreationTime"},
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        arn = self.find(request["ModelPackageName"])["ModelPackageArn"]
        with self._store.transaction():
            self._store.delete(KIND, arn)
            self._tags.drop(arn)
        return {}


_REPLACED = (
    "ModelApprovalStatus",
    "ApprovalDescription",
    "ModelPackageRegistrationType",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


def _event_order(member: str) -> tuple[bool, str]:
    """Sort the approval status first, as in AWS's events."""
    return member != "ModelApprovalStatus", member


def _changes(package: Document, request: Mapping[str, Any]) -> Document:
    """Return the members that the update sets; its event lists them in `UpdatedModelPackageFields`."""
    changes: Document = {name: request[name] for name in _REPLACED if name in request}
    if "InferenceSpecification" in request:
        changes["InferenceSpecification"] = _with_digests(request["InferenceSpecification"])
    if "AdditionalInferenceSpecificationsToAdd" in request:
        kept = list(package.get("AdditionalInferenceSpecifications", ()))
        names = {specification["Name"] for specification in kept}
        added = [_with_digests(one) for one in request["AdditionalInferenceSpecificationsToAdd"]]
        if any(one["Name"] in names for one in added):
            raise validation("An additional inference specification of that name already exists.")
        changes["AdditionalInferenceSpecifications"] = kept + added
    if "CustomerMetadataProperties" in request or "CustomerMetadataPropertiesToRemove" in request:
        removed = request.get("CustomerMetadataPropertiesToRemove", ())
        merged = package.get("CustomerMetadataProperties", {}) | request.get("CustomerMetadataProperties", {})
        merged = {key: value for key, value in merged.items() if key not in removed}
        if len(merged) > _MAX_METADATA:
            raise validation(f"A model package has at most {_MAX_METADATA} CustomerMetadataProperties.")
        changes["CustomerMetadataProperties"] = merged
    return changes
