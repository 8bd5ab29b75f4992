"""Work in progress in SageMaker, and approvals that wait for a person."""

from __future__ import annotations

from typing import Any

from localcloud.sagemaker.baking import BakingPeriods
from localcloud.sagemaker.deployments import KIND as ENDPOINT
from localcloud.sagemaker.endpoints import BUSY
from localcloud.sagemaker.jobs import Jobs
from localcloud.sagemaker.packages import KIND as PACKAGE
from localcloud.sagemaker.pipelines.records import EXECUTION
from localcloud.sagemaker.transforms import Transforms
from localcloud.store import Store


class Activity:
    """Work in progress and open approvals.

    The clock asks thousands of times, so documents are read again only after one of them was written.
    """

    def __init__(self, store: Store, jobs: Jobs, transforms: Transforms, baking: BakingPeriods) -> None:
        self._store, self._jobs, self._transforms, self._baking = store, jobs, transforms, baking
        self._seen: tuple[int, dict[str, str], list[str]] = (-1, {}, [])

    def under_way(self) -> list[str]:
        """Return descriptions of the jobs, pipeline executions and deployments that have not ended.

        Deployments that only wait for a baking period to pass are left out.
        """
        waiting = self._baking.waiting()
        busy = [text for arn, text in self._read()[1].items() if arn not in waiting]
        return [*self._jobs.under_way(), *self._transforms.under_way(), *busy]

    def approvals(self) -> list[str]:
        """Return the newest version of each group that is `PendingManualApproval`; older versions are superseded."""
        return self._read()[2]

    def _read(self) -> tuple[int, dict[str, str], list[str]]:
        revision = self._store.revision
        if self._seen[0] != revision:
            self._seen = (revision, self._busy(), self._pending())
        return self._seen

    def _busy(self) -> dict[str, str]:
        """Return a description by ARN."""
        endpoints = {
            endpoint["EndpointArn"]: f"endpoint {name} ({endpoint['EndpointStatus']})"
            for name, endpoint in self._store.list(ENDPOINT)
            if endpoint["EndpointStatus"] in BUSY
        }
        executions = {
            arn: f"pipeline execution {execution['PipelineName']}/{arn.rpartition('/')[2]}"
            for arn, execution in self._store.list(EXECUTION)
            if execution["PipelineExecutionStatus"] in {"Executing", "Stopping"}
        }
        return endpoints | executions

    def _pending(self) -> list[str]:
        newest: dict[str, dict[str, Any]] = {}
        for _, package in self._store.list(PACKAGE):
            group = package.get("ModelPackageGroupName")
            if group and package["ModelPackageVersion"] > newest.get(group, {}).get("ModelPackageVersion", 0):
                newest[group] = package
        return [
            f"approval of {group} version {package['ModelPackageVersion']}"
            for group, package in sorted(newest.items())
            if package.get("ModelApprovalStatus") == "PendingManualApproval"
        ]
