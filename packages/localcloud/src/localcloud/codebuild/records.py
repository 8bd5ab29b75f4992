"""Documents of builds and their phases, and the events of their changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.json_api import Document

BUILD = "CodeBuildBuild"
_LOST = "The local cloud was stopped while the build was running, and ended its processes. Start the build again."


class BuildRecords:
    """Builds in the store; each change is one transaction."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._store = cloud, cloud.store

    def now(self) -> float:
        """Return the cloud's time (epoch seconds)."""
        return self._cloud.clock.now().timestamp()

    def get(self, build_id: str) -> Document | None:
        """Return a build by id or ARN, or None."""
        return self._store.get(BUILD, build_id.rpartition("build/")[2])

    def all(self, project: str | None = None) -> list[Document]:
        """Return the builds of a project, or all builds, newest first."""
        found = [one for _, one in self._store.list(BUILD, "" if project is None else f"{project}:")]
        return sorted(found, key=lambda one: float(one["startTime"]), reverse=True)

    def running(self) -> list[Document]:
        """Return the builds that have not ended."""
        return [one for one in self.all() if not one["buildComplete"]]

    def put(self, build: Document) -> None:
        """Store a new build and publish its event."""
        self._store.put(BUILD, build["id"], build)
        self._publish(build)

    def begin(self, build_id: str, phase: str) -> None:
        """Begin a phase."""
        with self._store.transaction():
            build = self._store.update(BUILD, build_id, currentPhase=phase)
            build["phases"].append({"phaseType": phase, "startTime": self.now()})
            self._store.put(BUILD, build_id, build)

    def end(self, build_id: str, status: str, code: str = "", message: str = "") -> None:
        """End the current phase; `code` and `message` are its context."""
        with self._store.transaction():
            build = self._store.update(BUILD, build_id)
            phase = build["phases"][-1]
            if "endTime" in phase:
                return
            phase["endTime"] = self.now()
            phase["durationInSeconds"] = round(phase["endTime"] - phase["startTime"])
            phase["phaseStatus"] = status
            phase["contexts"] = [{"statusCode": code, "message": message[:4000]}] if code or message else []
            self._store.put(BUILD, build_id, build)

    def update(self, build_id: str, **members: Any) -> Document:
        """Set members of a build, and return it."""
        return self._store.update(BUILD, build_id, **members)

    def complete(self, build_id: str, status: str) -> Document:
        """End a build and publish its event."""
        with self._store.transaction():
            self.begin(build_id, "COMPLETED")
            build = self.update(build_id, buildStatus=status, buildComplete=True, endTime=self.now())
        self._publish(build)
        return build

    def fail_lost(self, build: Mapping[str, Any]) -> None:
        """End a build that was running when the gateway stopped, as failed."""
        self.end(build["id"], "FAULT", "INTERNAL_SERVICE_ERROR", _LOST)
        self.complete(build["id"], "FAULT")

    def _publish(self, build: Mapping[str, Any]) -> None:
        detail = {
            "build-status": build["buildStatus"],
            "project-name": build["projectName"],
            "build-id": build["arn"],
            "current-phase": build["currentPhase"],
            "current-phase-context": "[]",
            "version": "1",
            "additional-information": {
                "build-complete": build["buildComplete"],
                "build-number": build["buildNumber"],
                "initiator": build["initiator"],
                "logs": build["logs"],
            },
        }
        self._cloud.emit("aws.codebuild", "CodeBuild Build State Change", [build["arn"]], detail)
