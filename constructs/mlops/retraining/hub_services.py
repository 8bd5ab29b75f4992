"""The services that only the hub has."""

from __future__ import annotations

from collections.abc import Sequence

from constructs import Construct

from constructs.mlops.foundation.handler import StageResources
from constructs.mlops.retraining.approver import Approver
from constructs.mlops.retraining.archive import ArchiveFunction
from constructs.mlops.retraining.retrain_controller import RetrainController


class HubServices(Construct):
    """The retrain controller, the archive and the role of approvers, beside the registry in the hub's account."""

    def __init__(
        self, scope: Construct, construct_id: str, *, resources: StageResources, raw_prefixes: Sequence[str]
    ) -> None:
        """Define the services.

        Args:
            scope: The platform stack.
            construct_id: The id below it.
            resources: What the stage's functions share.
            raw_prefixes: The folders of the models' raw objects, below each model's folder.
        """
        super().__init__(scope, construct_id)
        controller = RetrainController(self, "Retrain", resources=resources, raw_prefixes=raw_prefixes)
        self.retrain, self.retrain_queue = controller.handler, controller.queue
        self.archive = ArchiveFunction(self, "Archive", resources=resources).handler
        self.approver = Approver(self, "Approver", app=resources.app).role
