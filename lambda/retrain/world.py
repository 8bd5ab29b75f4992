"""What the controller sees of one model at one moment. Immutable, and free of any client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from retrain.policy import Policy
from shared.canonical import sha256_of
from shared.verdict import Verdict

# `CompletedWithFailures` is in no enumeration of the API's and is sent all the same. What is not known to have ended is
# taken to run, since a second run costs more than a late one.
_ENDED = frozenset({"Succeeded", "Failed", "Stopped", "CompletedWithFailures"})


@dataclass(frozen=True)
class Run:
    """A pipeline execution, whoever started it."""

    arn: str
    name: str
    status: str
    started_at: datetime

    @property
    def id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]

    @property
    def active(self) -> bool:
        return self.status not in _ENDED


@dataclass(frozen=True)
class Attempt:
    """A start that this controller decided on.

    Attributes:
        trigger: `drift`, `quality`, `new-data`, `schedule`, `code` or `person`.
        window: what of the trigger this answers: a window's end, an object's time, a request.
        evidence: one sentence.
        at: when it was claimed.
        parameters: of the pipeline; the same at each retry, or the client token would not match.
    """

    trigger: str
    window: str
    evidence: str
    at: datetime
    parameters: tuple[tuple[str, str], ...] = ()

    def token(self, model: str) -> str:
        """The client request token: the same evidence always gives the same, 64 hexadecimal digits."""
        return sha256_of(f"{model}|{self.trigger}|{self.window}".encode())

    def display_name(self, model: str) -> str:
        """The execution's name, by which a later invocation finds it again."""
        return f"{self.trigger}-{self.token(model)[:24]}"


@dataclass(frozen=True)
class Flight:
    """The last attempt, and whether it still flies: the conditional write that makes the flight single."""

    attempt: Attempt
    landed: bool


@dataclass(frozen=True)
class Package:
    """A model package version of the model's group."""

    version: int
    approval: str
    created_at: datetime


@dataclass(frozen=True)
class Request:
    """What a person or a delivery asked for.

    Attributes:
        trigger: `person` or `code`.
        id: the invocation, or the code's content hash.
        at: when it was asked first.
        commit: the commit, "" where it is not known.
        refused: why it was turned down, or "".
        author: the commit's author, who may not approve what comes of it; "" where that is not known.
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
        return f"{self.id}@{self.at.isoformat()}"


@dataclass(frozen=True)
class Arrivals:
    """Raw objects that landed after the last run began."""

    objects: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Told:
    """That people were told about a topic.

    Attributes:
        about: what of the topic was told.
        at: when.
        sent: False between the claim and the publication.
        lapsed: the topic did not hold at some later look.
    """

    about: str
    at: datetime
    sent: bool = True
    lapsed: bool = False


@dataclass(frozen=True)
class World:
    """One model at one moment.

    Attributes:
        release_id: what the stage serves, `none` before the first release.
        version: its package version.
        verdicts: of the last `evidence_days`, in any order, of any release.
        runs: newest first.
        packages: the newest of the group.
        barred: approved versions above the live one that were refused or rolled back here: none becomes live by itself.
        settled: ids of the runs whose end was told.
        arrivals: None where nothing landed, or nobody asks.
        told: by topic.
    """

    model: str
    policy: Policy
    release_id: str = "none"
    version: int | None = None
    verdicts: tuple[Verdict, ...] = ()
    runs: tuple[Run, ...] = ()
    packages: tuple[Package, ...] = ()
    barred: frozenset[int] = frozenset()
    attempts: tuple[Attempt, ...] = ()
    flight: Flight | None = None
    settled: frozenset[str] = frozenset()
    requests: tuple[Request, ...] = ()
    arrivals: Arrivals | None = None
    told: Mapping[str, Told] = field(default_factory=dict)

    @property
    def flying(self) -> Flight | None:
        return self.flight if self.flight is not None and not self.flight.landed else None

    def run_of(self, attempt: Attempt) -> Run | None:
        name = attempt.display_name(self.model)
        return next((run for run in self.runs if run.name == name), None)

    def attempted(self, trigger: str, window: str) -> bool:
        return any((attempt.trigger, attempt.window) == (trigger, window) for attempt in self.attempts)
