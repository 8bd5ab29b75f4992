"""Model package groups and their resource policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations, name_of
from localcloud.sagemaker.errors import AwsError, conflict, validation
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.tags import Tags

KIND = "ModelPackageGroup"
POLICY = "ModelPackageGroupPolicy"


class PackageGroups:
    """The operations on model package groups."""

    def __init__(self, context: Context, tags: Tags) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self.operations: Operations = {
            "CreateModelPackageGroup": self._create,
            "DescribeModelPackageGroup": self._describe,
            "ListModelPackageGroups": self._list,
            "DeleteModelPackageGroup": self._delete,
            "PutModelPackageGroupPolicy": self._put_policy,
            "GetModelPackageGroupPolicy": self._get_policy,
            "DeleteModelPackageGroupPolicy": self._delete_policy,
        }

    def find(self, name_or_arn: str) -> Document:
        """Return the group; raise AwsError where it does not exist."""
        name = name_of(name_or_arn)
        group = self._store.get(KIND, name)
        if group is None:
            raise validation(f"ModelPackageGroup {self._context.arn('model-package-group', name)} does not exist.")
        return group

    def allocate_version(self, name: str) -> int:
        """Return the group's next version number; a number is never reused, not even after a deletion."""
        group = self.find(name)
        version = int(group["LastVersion"]) + 1
        self._store.update(KIND, group["ModelPackageGroupName"], LastVersion=version)
        return version

    def _create(self, request: Mapping[str, Any], caller: Caller) -> Document:
        name = request["ModelPackageGroupName"]
        arn = self._context.arn("model-package-group", name)
        if request.get("ManagedConfiguration"):
            raise validation("The local cloud does not support ManagedConfiguration of a model package group.")
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise validation(f"Model Package Group already exists: {arn}")
            group: Document = {
                "ModelPackageGroupName": name,
                "ModelPackageGroupArn": arn,
                "ModelPackageGroupDescription": request.get("ModelPackageGroupDescription"),
                "CreationTime": self._context.now(),
                "CreatedBy": caller.user_context(),
                "ModelPackageGroupStatus": "Completed",
                "LastVersion": 0,
            }
            self._store.put(KIND, name, group)
            self._tags.put(arn, request.get("Tags", ()))
        return {"ModelPackageGroupArn": arn}

    def _describe(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        return self.find(request["ModelPackageGroupName"])

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        if request.get("CrossAccountFilterOption") == "CrossAccount":
            return {"ModelPackageGroupSummaryList": []}
        groups = select((group for _, group in self._store.list(KIND)), request, name="ModelPackageGroupName")
        return page(
            groups,
            request,
            "ModelPackageGroupSummaryList",
            key="ModelPackageGroupName",
            order_by={"Name": "ModelPackageGroupName", "CreationTime": "CreationTime"},
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        group = self.find(request["ModelPackageGroupName"])
        name, arn = group["ModelPackageGroupName"], group["ModelPackageGroupArn"]
        with self._store.transaction():
            if self._store.list("ModelPackage", self._context.arn("model-package", f"{name}/")):
                raise conflict(f"Model package group {arn} cannot be deleted because it still contains model packages.")
            self._store.delete(KIND, name)
            self._store.delete(POLICY, name)
            self._tags.drop(arn)
        return {}

    def _put_policy(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        group = self.find(request["ModelPackageGroupName"])
        try:
            policy = json.loads(request["ResourcePolicy"])
        except ValueError as error:
            raise validation("Invalid resource policy: it is not JSON") from error
        if not isinstance(policy, dict) or "Statement" not in policy:
            raise validation("Invalid resource policy: it has no Statement")
        self._store.put(POLICY, group["ModelPackageGroupName"], {"ResourcePolicy": request["ResourcePolicy"]})
        return {"ModelPackageGroupArn": group["ModelPackageGroupArn"]}

    def _get_policy(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        return self._policy(self.find(request["ModelPackageGroupName"]))

    def _delete_policy(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        group = self.find(request["ModelPackageGroupName"])
        self._policy(group)
        self._store.delete(POLICY, group["ModelPackageGroupName"])
        return {}

    def _policy(self, group: Document) -> Document:
        policy = self._store.get(POLICY, group["ModelPackageGroupName"])
        if policy is None:
            arn = group["ModelPackageGroupArn"]
            raise AwsError("ResourceNotFoundException", f"Cannot find resource policy for: {arn}")
        return policy
