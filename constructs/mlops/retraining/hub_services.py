"""The services that only the hub has."""

from __future__ import annotations

from constructs import Construct

from constructs.mlops.foundation.handler import StageResources
from constructs.mlops.retraining.approver import Approver
from constructs.mlops.retraining.archive import ArchiveFunction
from constructs.mlops.retraining.retrain_controller import RetrainController


class HubServices(Construct):
    """The retrain controller, the archive and the role of approvers, beside the registry in the hub's account."""

    def __init__(self, scope: Construct, construct_id: str, *, resources: StageResources) -> None:
        super().__init__(scope, construct_id)
        self.retrain = RetrainController(self, "Retrain", resources=resources).handler
        self.archive = ArchiveFunction(self, "Archive", resources=resources).handler
        self.approver = Approver(self, "Approver", app=resources.app).role
