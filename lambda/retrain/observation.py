"""The observed state of one model. Immutable, and independent of any client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from retrain.policy import RetrainPolicy
from shared.canonical import sha256_of
from shared.notifications import NotificationState
from shared.verdict import Verdict

# SageMaker sends `CompletedWithFailures`, although no enumeration of its API has it. A status that is not known to be
# final counts as active, because a second run costs more than a late one.
_FINAL = frozenset({"Succeeded", "Failed", "Stopped", "CompletedWithFailures"})


class RetrainTrigger(StrEnum):
    """The cause of a run. The values are an audit schema: packages, executions and ledger rows carry them."""

    DRIFT = "drift"
    QUALITY = "quality"
    NEW_DATA = "new-data"
    SCHEDULE = "schedule"
    CODE = "code"
    PERSON = "person"


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline execution, started by this controller or by anyone else."""

    arn: str
    name: str
    status: str
    started_at: datetime

    @property
    def id(self) -> str:
        """The execution id."""
        return self.arn.rsplit("/", 1)[-1]

    @property
    def active(self) -> bool:
        """True until it has ended."""
        return self.status not in _FINAL


@dataclass(frozen=True)
class Attempt:
    """A start that this controller decided on.

    Attributes:
        trigger: A `RetrainTrigger`.
        window: The part of the trigger that this answers: a window's end, an object's time, or a request.
        evidence: One sentence.
        at: When it was claimed.
        parameters: The pipeline's parameters. They are the same at each retry, as the client token requires.
    """

    trigger: str
    window: str
    evidence: str
    at: datetime
    parameters: tuple[tuple[str, str], ...] = ()

    def token(self, model: str) -> str:
        """Return the client request token. The same evidence always gives the same 64 hexadecimal digits."""
        return sha256_of(f"{model}|{self.trigger}|{self.window}".encode())

    def display_name(self, model: str) -> str:
        """Return the execution's name, by which a later invocation finds it."""
        return f"{self.trigger}-{self.token(model)[:24]}"


@dataclass(frozen=True)
class InFlightRun:
    """The newest attempt. A conditional write of its row keeps a second run from starting beside it.

    Attributes:
        finished: Whether its run has ended.
    """

    attempt: Attempt
    finished: bool


@dataclass(frozen=True)
class PackageSummary:
    """A model package version, as `ListModelPackages` returned it."""

    version: int
    approval: str
    created_at: datetime
    arn: str = ""


@dataclass(frozen=True)
class RetrainRequest:
    """A request of a person or a delivery.

    Attributes:
        trigger: `person` or `code`.
        id: The invocation, or the code's content hash.
        at: When it was first received.
        commit: The commit, "" where it is not known.
        refused: Why it was refused, or "".
        author: The commit's author, who may not approve the resulting version; "" where not known.
    """

    trigger: str
    id: str
    reason: str
    at: datetime
    commit: str = ""
    refused: str = ""
    author: str = ""

    @property
    def window(self) -> str:
        """The window of its attempt."""
        return f"{self.id}@{self.at.isoformat()}"


@dataclass(frozen=True)
class NewData:
    """The raw objects that arrived after the last run began."""

    objects: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class RetrainState:
    """The stored state of one model, without its verdicts.

    Attributes:
        in_flight: The newest attempt, None before the first one.
        reported_runs: Ids of the runs whose end was reported.
        notifications: By topic.
        unreadable: Rows that cannot be read, with what is wrong with each.
    """

    attempts: tuple[Attempt, ...] = ()
    in_flight: InFlightRun | None = None
    reported_runs: frozenset[str] = frozenset()
    requests: tuple[RetrainRequest, ...] = ()
    notifications: Mapping[str, NotificationState] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class RetrainObservation:
    """The observed state at one moment.

    Attributes:
        policy: The retraining policy; the defaults where it is missing or not valid.
        inactive: Why this stage does not retrain the model, or "".
        policy_problem: Why the policy is not valid, or "".
        release_id: The release that the stage serves, `none` before the first one.
        version: Its package version.
        verdicts: The verdicts of the last `evidence_days`, in any order, on any release.
        runs: The newest runs, newest first.
        packages: The newest versions of the group.
        quarantined: Approved versions above the live one that are quarantined here: none becomes live by itself.
        state: The stored state.
        new_data: None where no data arrived, or the policy does not ask for them.
        unreadable: Rows of verdicts that cannot be read, with what is wrong with each.
        released_at: When the release record was written.
    """

    model: str
    policy: RetrainPolicy
    inactive: str = ""
    policy_problem: str = ""
    release_id: str = "none"
    version: int | None = None
    verdicts: tuple[Verdict, ...] = ()
    runs: tuple[PipelineRun, ...] = ()
    packages: tuple[PackageSummary, ...] = ()
    quarantined: frozenset[int] = frozenset()
    state: RetrainState = field(default_factory=RetrainState)
    new_data: NewData | None = None
    unreadable: tuple[str, ...] = ()
    released_at: datetime | None = None

    @property
    def unfinished(self) -> InFlightRun | None:
        """The newest attempt, while its run has not ended."""
        run = self.state.in_flight
        return run if run is not None and not run.finished else None

    def run_of(self, attempt: Attempt) -> PipelineRun | None:
        """Return the run of an attempt, None where it never started."""
        name = attempt.display_name(self.model)
        return next((run for run in self.runs if run.name == name), None)

    def attempted(self, trigger: str, window: str) -> bool:
        """Return whether the evidence was already answered by an attempt."""
        return any((attempt.trigger, attempt.window) == (trigger, window) for attempt in self.state.attempts)

    def last_start(self) -> datetime | None:
        """Return when the last run began, this controller's or another."""
        starts = [run.started_at for run in self.runs] + [attempt.at for attempt in self.state.attempts]
        return max(starts, default=None)
