"""Services that AWS has closed to new customers, in an account that is one.

An existing customer's account has them, which is the default. Closing one refuses what creates its resources. AWS does
not publish the answer; code and form are those of Amazon Machine Learning, which AWS closed earlier. The sentence is
that of AWS's documentation.
"""

from __future__ import annotations

from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.faults import InvalidFault
from localcloud.sagemaker.monitoring.definitions import KINDS
from localcloud.store import Store

KIND = "ClosedService"
MODEL_MONITOR = "model-monitor"
_REFUSED = {
    MODEL_MONITOR: frozenset({"CreateMonitoringSchedule", *(f"Create{kind.store_kind}" for kind in KINDS.values())})
}
_SENTENCES = {MODEL_MONITOR: "Amazon SageMaker Model Monitor is no longer open to new customers."}


class ClosedServices:
    """The services that the account cannot begin to use. The choice survives a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self, service: str) -> None:
        """Refuse to create the service's resources from now on. Existing resources stay.

        Raises:
            InvalidFault: No such service can be closed.
        """
        if service not in _REFUSED:
            raise InvalidFault(f"closed is one of {', '.join(_REFUSED)}, got {service}")
        self._store.put(KIND, service, {})

    def open(self, service: str | None = None) -> None:
        """Let the account use one service again, or all."""
        for name in self.all() if service is None else [service]:
            self._store.delete(KIND, name)

    def all(self) -> list[str]:
        """Return the closed services."""
        return [name for name, _ in self._store.list(KIND)]

    def check(self, operation: str) -> None:
        """Refuse an operation of a closed service.

        Raises:
            AwsError: AccessDeniedException.
        """
        for service in self.all():
            if operation in _REFUSED[service]:
                raise AwsError("AccessDeniedException", _SENTENCES[service])
