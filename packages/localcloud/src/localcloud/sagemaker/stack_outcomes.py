"""Outcomes of a stack update whose endpoint SageMaker rolled back.

AWS does not document the outcome, and three have been observed: the stack's update is rolled back too, it completes
over the old configuration, or its rollback fails. The first is the default; a test can choose another for the next
update.
"""

from __future__ import annotations

from dataclasses import replace

from localcloud.cfn import CfnContext, CfnResource, CfnType, Properties
from localcloud.sagemaker.cfn import ResourceFailed
from localcloud.sagemaker.context import name_of
from localcloud.sagemaker.faults import InvalidFault
from localcloud.store import Store

KIND = "StackOutcome"
ENDPOINT_TYPE = "AWS::SageMaker::Endpoint"
COMPLETE, ROLLBACK_FAILED = "UPDATE_COMPLETE", "UPDATE_ROLLBACK_FAILED"


class StackOutcomes:
    """The chosen outcomes by endpoint; each applies once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def choose(self, endpoint: str, outcome: str) -> None:
        """Choose the stack's outcome for the endpoint's next update that is rolled back.

        Raises:
            InvalidFault: the endpoint or the outcome does not exist.
        """
        if outcome not in (COMPLETE, ROLLBACK_FAILED):
            raise InvalidFault(f"stack_outcome must be {COMPLETE} or {ROLLBACK_FAILED}, got {outcome}")
        if self._store.get("Endpoint", endpoint) is None:
            raise InvalidFault(f"there is no endpoint {endpoint}")
        self._store.put(KIND, endpoint, {"Outcome": outcome, "RolledBack": False})

    def all(self) -> dict[str, str]:
        """Return the chosen outcomes by endpoint."""
        return {endpoint: chosen["Outcome"] for endpoint, chosen in self._store.list(KIND)}

    def clear(self, endpoint: str | None = None) -> None:
        """Remove the choice for one endpoint, or all choices."""
        for name in self.all() if endpoint is None else [endpoint]:
            self._store.delete(KIND, name)

    def wrap(self, endpoint_type: CfnType) -> CfnType:
        """Return the endpoint's resource type with the chosen outcomes."""

        def update(context: CfnContext, arn: str, old: Properties, new: Properties) -> CfnResource:
            name = name_of(arn)
            chosen = self._store.get(KIND, name)
            if chosen is not None and chosen["RolledBack"]:
                self._store.delete(KIND, name)
                raise ResourceFailed(
                    f"Endpoint {name} was not restored to its old properties, as the chosen stack outcome demands."
                )
            try:
                return endpoint_type.update(context, arn, old, new)
            except ResourceFailed:
                if chosen is None:
                    raise
                if chosen["Outcome"] == ROLLBACK_FAILED:
                    self._store.put(KIND, name, {**chosen, "RolledBack": True})
                    raise
                self._store.delete(KIND, name)
                return CfnResource(arn, {"EndpointName": name})

        return replace(endpoint_type, update=update)
