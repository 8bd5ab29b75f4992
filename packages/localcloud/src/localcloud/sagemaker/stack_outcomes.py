"""What CloudFormation makes of an endpoint that SageMaker rolled back.

AWS does not document it, and three ends have been seen: the stack's update is rolled back too, it is complete over the
old configuration, or its rollback fails. By default the first is played; a test chooses another for the next time.
"""

from __future__ import annotations

from dataclasses import replace

from localcloud.cfn import CfnContext, CfnResource, CfnType, Properties
from localcloud.sagemaker.cfn import ResourceFailed
from localcloud.sagemaker.context import name_of
from localcloud.sagemaker.faults import WrongFault
from localcloud.store import Store

KIND = "StackOutcome"
ENDPOINT_TYPE = "AWS::SageMaker::Endpoint"
COMPLETE, ROLLBACK_FAILED = "UPDATE_COMPLETE", "UPDATE_ROLLBACK_FAILED"


class StackOutcomes:
    """The ends that were chosen, by endpoint; each is played once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def choose(self, endpoint: str, outcome: str) -> None:
        """Choose how the stack ends when the endpoint's next update is rolled back.

        Raises:
            WrongFault: no such endpoint or outcome.
        """
        if outcome not in (COMPLETE, ROLLBACK_FAILED):
            raise WrongFault(f"stack_outcome is {COMPLETE} or {ROLLBACK_FAILED}, got {outcome}")
        if self._store.get("Endpoint", endpoint) is None:
            raise WrongFault(f"there is no endpoint {endpoint}")
        self._store.put(KIND, endpoint, {"Outcome": outcome, "RolledBack": False})

    def all(self) -> dict[str, str]:
        return {endpoint: chosen["Outcome"] for endpoint, chosen in self._store.list(KIND)}

    def clear(self, endpoint: str | None = None) -> None:
        for name in self.all() if endpoint is None else [endpoint]:
            self._store.delete(KIND, name)

    def playing(self, theirs: CfnType) -> CfnType:
        """The endpoint's resource type with the chosen ends."""

        def update(context: CfnContext, arn: str, old: Properties, new: Properties) -> CfnResource:
            name = name_of(arn)
            chosen = self._store.get(KIND, name)
            if chosen is not None and chosen["RolledBack"]:
                self._store.delete(KIND, name)
                raise ResourceFailed(f"Endpoint {name} was not brought back to its old properties, as was chosen.")
            try:
                return theirs.update(context, arn, old, new)
            except ResourceFailed:
                if chosen is None:
                    raise
                if chosen["Outcome"] == ROLLBACK_FAILED:
                    self._store.put(KIND, name, {**chosen, "RolledBack": True})
                    raise
                self._store.delete(KIND, name)
                return CfnResource(arn, {"EndpointName": name})

        return replace(theirs, update=update)
