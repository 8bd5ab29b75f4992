"""The controllers' steps. Their values are an audit schema: ledger rows, alert subjects and logs carry them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar


class Step(StrEnum):
    """A step of the release or the retrain controller."""

    NOTHING = "Nothing"
    WAIT = "Wait"
    HOLD = "Hold"
    REFUSE = "Refuse"
    OVERTAKEN = "Overtaken"
    FAILED = "Failed"
    OVERDUE = "Overdue"
    # The release controller's own.
    DEPLOY = "Deploy"
    REDEPLOY = "Redeploy"
    COMPLETE = "Complete"
    ADOPT = "Adopt"
    CANCEL = "Cancel"
    CORRECT_RECORD = "CorrectRecord"
    ABANDON = "Abandon"
    ROLL_BACK = "RollBack"
    VERIFY = "Verify"
    CHANGE_SET_REFUSED = "ChangeSetRefused"
    MONITORS_FAILED = "MonitorsFailed"
    MONITORS_REFUSED = "MonitorsRefused"
    # The retrain controller's own.
    START = "Start"
    RESUME = "Resume"
    REPORT_RUN = "ReportRun"
    CLOSE_RUN = "CloseRun"


@dataclass(frozen=True)
class Nothing:
    """The desired state is reached, or nothing asks for a change."""

    step: ClassVar[Step] = Step.NOTHING
    reason: str


@dataclass(frozen=True)
class Wait:
    """Something is under way. Time alone, or another system, moves it on.

    Attributes:
        awaited: What is awaited, for a wait that keeps something wanted from happening; "" for any other.
        limit: How long this wait may last. After that a person is notified.
    """

    step: ClassVar[Step] = Step.WAIT
    reason: str
    awaited: str = ""
    limit: timedelta = timedelta(hours=24)


@dataclass(frozen=True)
class Hold:
    """A person has to do something first. What is live stays live.

    Attributes:
        cause: Why nothing can be done.
        action: What the person has to do.
    """

    step: ClassVar[Step] = Step.HOLD
    cause: str
    action: str = ""

    @property
    def reason(self) -> str:
        """Cause and action in one sentence."""
        return f"{self.cause}; {self.action}" if self.action else self.cause
