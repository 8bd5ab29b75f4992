"""The assumptions that a proof settles, and the table of what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Name the result of an assumption."""

    HELD = "held"
    DID_NOT_HOLD = "did not hold"
    NOT_REACHED = "not reached"


@dataclass(frozen=True)
class Assumption:
    """Something that this project believes of AWS, and that nobody could check without an account.

    Attributes:
        id: A stable name.
        statement: What is believed.
        expected: What AWS answers if it is true.
        source: `document` (AWS's documentation), `practice` (of others), or `code` (seen in AWS's own code or schema).
    """

    id: str
    statement: str
    expected: str
    source: str


ASSUMPTIONS: tuple[Assumption, ...] = (
    Assumption("bootstrap", "CDK's bootstrap of cdk.json's qualifier is there", "a version of at least 6", "document"),
    Assumption("quotas", "The account's quotas allow the model's instances", "no quota that is too low", "document"),
    Assumption(
        "model-monitor",
        "Model Monitor's lists tell whether the account has it; the built-in analyzer stands in for it",
        "an answer, or a refusal that names the service",
        "document",
    ),
    Assumption("templates", "CloudFormation accepts every template", "CREATE_COMPLETE for each stack", "code"),
    Assumption(
        "token",
        "StartPipelineExecution with the same client token starts nothing",
        "the same execution's ARN twice",
        "document",
    ),
    Assumption(
        "script-mode",
        "XGBoost 3.2-0 trains in script mode under network isolation with PIP_NO_BUILD_ISOLATION=0",
        "TrainingJobStatus Completed, EnableNetworkIsolation true",
        "code",
    ),
    Assumption(
        "output-key", "Jobs write under a customer managed key", "the artefact's key is the stage's", "document"
    ),
    Assumption(
        "register", "SageMaker registers the package with its instance types", "a version PendingManualApproval", "code"
    ),
    Assumption(
        "unapproved",
        "CreateModel refuses a package that is not approved",
        "an error that names the approval",
        "practice",
    ),
    Assumption(
        "approver", "DescribeModelPackage names who edited the package last", "LastModifiedBy of the caller", "document"
    ),
    Assumption(
        "release-role",
        "The release role suffices for what CloudFormation's handlers call",
        "the serving stack UPDATE_COMPLETE under the release role",
        "code",
    ),
    Assumption("scaling", "The fleet is a scalable target", "DescribeScalableTargets lists the variant", "code"),
    Assumption(
        "scaling-alarms",
        "Target tracking makes alarms named TargetTracking-endpoint/{endpoint}…",
        "alarms with that prefix",
        "document",
    ),
    Assumption("serving", "The model serves under network isolation", "one score for each row", "code"),
    Assumption("accept", "A CSV request without Accept is answered as CSV", "content type text/csv", "code"),
    Assumption("json", "A JSON request is answered as JSON", "content type application/json", "code"),
    Assumption("malformed", "Each malformed request is a 4xx", "400, 406 or 415 for each of six", "code"),
    Assumption(
        "no-alarm", "Malformed requests are no failures of the fleet", "no 5xx is counted and no alarm rings", "code"
    ),
    Assumption(
        "capture-path",
        "Captured data lie under capture/{endpoint}/{variant}/yyyy/mm/dd/hh/",
        "an object's key of that form",
        "document",
    ),
    Assumption("capture-encoding", "Request and answer are captured as CSV", "encoding CSV for both", "document"),
    Assumption(
        "capture-refused",
        "A request that was refused is not captured",
        "no captured input is a malformed request",
        "practice",
    ),
    Assumption(
        "verdict",
        "Captured objects reach the analyzer, which judges them",
        "a verdict OK on the training's own days",
        "document",
    ),
    Assumption(
        "cache",
        "A second run takes unchanged steps from the cache",
        "CacheHitResult of a step of the second run",
        "document",
    ),
    Assumption(
        "guardrail",
        "A canary is watched by the alarms on its own fleet",
        "EndpointStatus Updating with a canary",
        "document",
    ),
    Assumption(
        "rollback", "The alarm rolls the endpoint back to the old configuration", "InService on the old one", "practice"
    ),
    Assumption("rollback-stack", "CloudFormation rolls the stack back with it", "UPDATE_ROLLBACK_COMPLETE", "practice"),
    Assumption("alarm-name", "The alarm that rang carries the bad release's id", "its name in ALARM", "document"),
    Assumption(
        "quarantine", "The bad version is quarantined and the record restored", "the row, and the record before", "code"
    ),
    Assumption(
        "canary-survives",
        "Malformed requests during a canary do not roll it back",
        "the good version live, no quarantine",
        "code",
    ),
    Assumption("duration", "A deployment ends within CloudFormation's two hours", "less than 110 minutes", "document"),
    Assumption("rejection", "Rejecting the live version releases the one before", "the first version live", "code"),
    Assumption(
        "job-event",
        "The event of a completed processing job leads to a verdict",
        "a row of the explainability monitor",
        "document",
    ),
    Assumption(
        "monitor", "A data quality monitor runs on demand on the stage's engine", "a result of a run", "document"
    ),
    Assumption("drift", "More long flights than in the training data are drift", "a verdict Drift", "code"),
    Assumption("retraining", "Drift starts the pipeline", "an execution whose trigger is drift", "code"),
    Assumption(
        "deletion",
        "CloudFormation deletes every stack, also those that a release updated with its own role",
        "no stack left",
        "document",
    ),
    Assumption(
        "nothing-left", "Nothing of the proof stays", "no resource with its name, key pending deletion", "document"
    ),
)
_IDS = {one.id for one in ASSUMPTIONS}


def record(rows: dict[str, dict[str, Any]], name: str, seen: str, *, held: bool) -> Verdict:
    """Enter what was seen of an assumption. Return the verdict.

    Raises:
        KeyError: There is no such assumption.
    """
    if name not in _IDS:
        raise KeyError(name)
    verdict = Verdict.HELD if held else Verdict.DID_NOT_HOLD
    rows[name] = {"seen": " ".join(seen.split()), "verdict": verdict.value}
    return verdict


def table(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Yield every assumption with what was seen of it; those that were not reached, too."""
    for one in ASSUMPTIONS:
        found = rows.get(one.id, {})
        yield {
            "id": one.id,
            "statement": one.statement,
            "source": one.source,
            "expected": one.expected,
            "seen": str(found.get("seen", "")),
            "verdict": str(found.get("verdict", Verdict.NOT_REACHED.value)),
        }
