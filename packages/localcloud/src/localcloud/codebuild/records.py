"""Builds' documents: their phases, their end, and the event that tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.cloud import Cloud
from localcloud.json_api import Document

BUILD = "CodeBuildBuild"
_LOST = "The local cloud was stopped while the build ran; its processes were ended. Start the build again."


class Records:
    """One change is one transaction; the store is the only memory."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._store = cloud, cloud.store

    def now(self) -> float:
        return self._cloud.clock.now().timestamp()

    def get(self, build_id: str) -> Document | None:
        return self._store.get(BUILD, build_id.rpartition("build/")[2])

    def all(self, project: str | None = None) -> list[Document]:
        """Builds, newest first."""
        found = [one for _, one in self._store.list(BUILD, "" if project is None else f"{project}:")]
        return sorted(found, key=lambda one: float(one["startTime"]), reverse=True)

    def running(self) -> list[Document]:
        return [one for one in self.all() if not one["buildComplete"]]

    def put(self, build: Document) -> None:
        self._store.put(BUILD, build["id"], build)
        self._announce(build)

    def begin(self, build_id: str, phase: str) -> None:
        """Enter a phase."""
        with self._store.transaction():
            build = self._store.update(BUILD, build_id, currentPhase=phase)
            build["phases"].append({"phaseType": phase, "startTime": self.now()})
            self._store.put(BUILD, build_id, build)

    def end(self, build_id: str, status: str, code: str = "", message: str = "") -> None:
        """Leave the phase that the build is in."""
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
        return self._store.update(BUILD, build_id, **members)

    def complete(self, build_id: str, status: str) -> Document:
        """End a build."""
        with self._store.transaction():
            self.begin(build_id, "COMPLETED")
            build = self.update(build_id, buildStatus=status, buildComplete=True, endTime=self.now())
        self._announce(build)
        return build

    def lose(self, build: Mapping[str, Any]) -> None:
        """End a build whose processes are gone with the gateway that ran it."""
        self.end(build["id"], "FAULT", "INTERNAL_SERVICE_ERROR", _LOST)
        self.complete(build["id"], "FAULT")

    def _announce(self, build: Mapping[str, Any]) -> None:
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
