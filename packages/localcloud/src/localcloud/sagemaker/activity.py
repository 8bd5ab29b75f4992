"""What goes on in SageMaker at this moment, and what waits for a person's decision."""

from __future__ import annotations

from typing import Any

from localcloud.sagemaker.bakes import Bakes
from localcloud.sagemaker.deployments import KIND as ENDPOINT
from localcloud.sagemaker.endpoints import BUSY
from localcloud.sagemaker.jobs import Jobs
from localcloud.sagemaker.packages import KIND as PACKAGE
from localcloud.sagemaker.pipelines.records import EXECUTION
from localcloud.sagemaker.transforms import Transforms
from localcloud.store import Store


class Activity:
    """Reads the documents anew only after one of them was written: the clock asks thousands of times."""

    def __init__(self, store: Store, jobs: Jobs, transforms: Transforms, bakes: Bakes) -> None:
        self._store, self._jobs, self._transforms, self._bakes = store, jobs, transforms, bakes
        self._seen: tuple[int, dict[str, str], list[str]] = (-1, {}, [])

    def under_way(self) -> list[str]:
        """Jobs, pipeline executions and deployments that have not ended and do not merely wait for time to pass."""
        resting = self._bakes.resting()
        busy = [said for arn, said in self._look()[1].items() if arn not in resting]
        return [*self._jobs.under_way(), *self._transforms.under_way(), *busy]

    def approvals(self) -> list[str]:
        """The newest version of each group, where it is `PendingManualApproval`: an older one was passed over."""
        return self._look()[2]

    def _look(self) -> tuple[int, dict[str, str], list[str]]:
        revision = self._store.revision
        if self._seen[0] != revision:
            self._seen = (revision, self._busy(), self._pending())
        return self._seen

    def _busy(self) -> dict[str, str]:
        """By ARN, in words."""
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
