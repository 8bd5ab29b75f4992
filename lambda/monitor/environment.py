"""The environment variables of the monitor functions."""

from dataclasses import dataclass

from drift_analyzer.drift import Mode, Rules
from shared.environment import StageEnvironment


@dataclass(frozen=True)
class CaptureEnvironment(StageEnvironment):
    """The variables of the function for captured data.

    Attributes:
        window_seconds: Length of a window, for models without scheduled monitors.
        monitor_mode: `calibrated` or `model-monitor`.
        min_rows: Fewer rows in a window give no verdict.
    """

    artifact_bucket: str
    window_seconds: str = "3600"
    monitor_mode: str = "calibrated"
    min_rows: str = "200"

    @property
    def rules(self) -> Rules:
        """The parameters of the verdict."""
        mode: Mode = "model-monitor" if self.monitor_mode == "model-monitor" else "calibrated"
        return Rules(mode=mode, min_rows=int(self.min_rows))


@dataclass(frozen=True)
class ScheduleEnvironment(StageEnvironment):
    """The variables of the function for scheduled monitors."""

    data_bucket: str
    artifact_bucket: str
