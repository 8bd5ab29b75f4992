"""One run of a scheduled monitor: its model, kind, release and window."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class MonitorRun:
    """One run of a scheduled monitor.

    Attributes:
        kind: data_quality, model_quality, bias or explainability.
        schedule: Name of the schedule.
        release: Id of the release whose baseline is used.
        start: Start of the window of inference time, inclusive.
        end: End of the window, exclusive.
        environment: Variables of the container contract that the monitoring stack sets.
        analysis: Body of Clarify's `analysis_config.json`; None for kinds without one.
        job: A `CreateProcessingJob` request; None if the function itself runs the analyzer.
    """

    model: str
    kind: str
    schedule: str
    endpoint: str
    release: str
    start: datetime
    end: datetime
    environment: Mapping[str, str]
    analysis: Mapping[str, Any] | None
    job: Mapping[str, Any] | None

    @classmethod
    def read(cls, request: Mapping[str, Any], release: str, now: datetime) -> "MonitorRun":
        """Read a schedule's request.

        A window ends at a multiple of the schedule's period, so a retry judges the same window.
        """
        period = int(request["schedule_hours"]) * 3600
        slot = datetime.fromtimestamp(int(now.timestamp()) // period * period, UTC)
        end = slot - timedelta(hours=int(request.get("label_delay_hours", 0)))
        return cls(
            **{name: request[name] for name in ("model", "kind", "schedule", "endpoint")},
            release=release,
            start=end - timedelta(hours=int(request["window_hours"])),
            end=end,
            environment=request.get("environment", {}),
            analysis=request.get("analysis"),
            job=request.get("job"),
        )

    @property
    def folder(self) -> str:
        """Prefix of the run's files in the artifact bucket."""
        return f"monitoring/{self.model}/{self.release}/scheduled/{self.kind}/{self.end:%Y/%m/%d/%H}"

    @property
    def baseline_folder(self) -> str:
        """Prefix of the release's baseline of this kind in the artifact bucket."""
        return f"releases/{self.model}/{self.release}/baselines/{self.kind.replace('_', '-')}"

    @property
    def times(self) -> dict[str, str]:
        """The window as variables of the container contract."""
        return {"start_time": _iso(self.start), "end_time": _iso(self.end), "metric_time": _iso(self.end)}

    @property
    def job_name(self) -> str:
        """Name of the processing job, at most 63 characters; SageMaker refuses a retry, which has the same name."""
        return f"{self.schedule[:50]}-{self.end:%Y%m%d%H}"


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
