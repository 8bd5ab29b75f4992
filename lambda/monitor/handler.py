"""Captured data as it lands: S3 events by way of SQS to partials, and a verdict per window within minutes."""

import io
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from drift_analyzer import cloudwatch_metrics
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.capture_reader import Capture
from drift_analyzer.data_quality import CapturedData, JudgedWindow, file_bodies
from drift_analyzer.drift import Mode, Rules, Status, alarm, judge
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.jsonio import dumps, loads
from monitor import history, verdict_rows
from monitor.window_store import Store
from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

_SETTLING = 5
_REPORT = "report.html"


@dataclass(frozen=True)
class Environment:
    """The function's environment, read once."""

    app: str
    stage: str
    bucket: str
    ledger: str
    window_seconds: int
    mode: Mode
    min_rows: int

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Environment":
        mode: Mode = "model-monitor" if values.get("MONITOR_MODE") == "model-monitor" else "calibrated"
        return cls(
            app=values["APP"],
            stage=values["STAGE"],
            bucket=values["ARTIFACT_BUCKET"],
            ledger=values["LEDGER_TABLE"],
            window_seconds=int(values.get("WINDOW_SECONDS", "3600")),
            mode=mode,
            min_rows=int(values.get("MIN_ROWS", "200")),
        )


@dataclass(frozen=True)
class CapturedObject:
    """A captured object. Its key is `{model}/capture/{endpoint}/{variant}/yyyy/mm/dd/hh/{file}.jsonl`."""

    bucket: str
    key: str
    etag: str

    @property
    def model(self) -> str:
        return self.key.split("/", 1)[0]

    @property
    def endpoint(self) -> str:
        return self.key.split("/")[2]

    @property
    def captured(self) -> bool:
        parts = self.key.split("/")
        return len(parts) >= 5 and parts[1] == "capture" and self.key.endswith(".jsonl")


@dataclass(frozen=True)
class Clients:
    """What the analyzer needs of AWS."""

    s3: "S3Client"
    ssm: "SSMClient"
    dynamodb: "DynamoDBClient"


@cache
def _environment() -> Environment:
    return Environment.read(os.environ)


@cache
def _clients() -> Clients:
    import boto3

    return Clients(boto3.client("s3"), boto3.client("ssm"), boto3.client("dynamodb"))


@cache
def _logger() -> "Logger":
    from aws_lambda_powertools import Logger

    return Logger()


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """SQS batch of S3 "Object Created" events; messages that failed go back to the queue, the others do not."""
    logger = _logger()
    failures = []
    touched: dict[tuple[str, str], set[int]] = {}
    for message in event.get("Records", []):
        try:
            for landed in objects(loads(message["body"])):
                fold(landed, _environment(), _clients(), touched)
        except Exception:
            logger.exception("captured object not folded", extra={"message_id": message.get("messageId")})
            failures.append({"itemIdentifier": message.get("messageId")})
    for (model, endpoint), windows in touched.items():
        for window in sorted(windows):
            report = conclude(model, endpoint, window, _environment(), _clients())
            logger.info("verdict", extra=report)
    return {"batchItemFailures": failures}


def objects(body: Mapping[str, Any]) -> Iterable[CapturedObject]:
    """The captured objects of an event: EventBridge's form, or S3's own notification (whose keys are URL-encoded)."""
    if "detail" in body:
        detail = body["detail"]
        found = [CapturedObject(detail["bucket"]["name"], detail["object"]["key"], detail["object"].get("etag", ""))]
    else:
        records = [record["s3"] for record in body.get("Records", []) if "s3" in record]
        found = [
            CapturedObject(item["bucket"]["name"], unquote_plus(item["object"]["key"]), item["object"].get("eTag", ""))
            for item in records
        ]
    return [landed for landed in found if landed.captured]


@dataclass(frozen=True)
class Watched:
    """What counts for a model now: the release that is deployed, and how long a window of its captured data is."""

    release: str
    seconds: int


def watched(model: str, environment: Environment, ssm: "SSMClient") -> Watched:
    """Read the release record, and the policy that the model's monitoring stack writes; without one a window is the
    function's own. Raises ValueError where there is no record.
    """
    under = f"/{environment.app}/{model}/{environment.stage}"
    told = ssm.get_parameters(Names=[f"{under}/release", f"{under}/monitoring"])["Parameters"]
    values = {one["Name"]: one["Value"] for one in told}
    if f"{under}/release" not in values:
        raise ValueError(f"there is no release record {under}/release")
    policy = loads(values.get(f"{under}/monitoring", "{}"))
    seconds = int(policy.get("captured_window_seconds", environment.window_seconds))
    return Watched(values[f"{under}/release"].split("|", 1)[0], seconds)


@lru_cache(maxsize=16)
def load_baseline(model: str, release: str, environment: Environment, s3: "S3Client") -> Baseline:
    """`releases/{model}/{release}/baselines/data-quality/{statistics,constraints}.json` of the stage's bucket.

    Kept in memory between calls: what a release carries is written once.
    """
    under = f"releases/{model}/{release}/baselines/data-quality"
    bodies = [
        loads(s3.get_object(Bucket=environment.bucket, Key=f"{under}/{name}.json")["Body"].read())
        for name in ("statistics", "constraints")
    ]
    return read_baseline(bodies[0], bodies[1])


def _place(model: str, environment: Environment, clients: Clients) -> tuple[Watched, Store, Baseline]:
    now = watched(model, environment, clients.ssm)
    baseline = load_baseline(model, now.release, environment, clients.s3)
    return now, Store(clients.s3, environment.bucket, f"monitoring/{model}/{now.release}"), baseline


def fold(
    landed: CapturedObject, environment: Environment, clients: Clients, touched: dict[tuple[str, str], set[int]]
) -> None:
    """One captured object to partials, and note the windows that it touches."""
    now, store, baseline = _place(landed.model, environment, clients)
    body = clients.s3.get_object(Bucket=landed.bucket, Key=landed.key)
    etag = body["ETag"].strip('"')
    capture = Capture(baseline.schema(), TimeWindows(now.seconds))
    capture.read(io.BytesIO(body["Body"].read()), landed.key)
    for window, state in capture.windows.items():
        store.put_partial(window, landed.key, etag, state)
        touched.setdefault((landed.model, landed.endpoint), set()).add(window)
    if capture.bad:
        lines = b"\n".join(dumps({"reason": bad.reason, "line": bad.line}) for bad in capture.bad)
        store.put(min(capture.windows, default=0), f"bad/{etag}.jsonl", lines, "application/jsonlines")
        _logger().warning("bad records", extra={"key": landed.key, "count": len(capture.bad)})


def conclude(model: str, endpoint: str, window: int, environment: Environment, clients: Clients) -> dict[str, Any]:
    """Judge a window from all its partials, write its files, emit its metrics; give back what is worth a log line.

    Another invocation may add a partial meanwhile and finish first: so look again after writing, until it stands.
    """
    now, store, baseline = _place(model, environment, clients)
    rules = Rules(mode=environment.mode, min_rows=environment.min_rows)
    earlier = store.verdicts_before(window)
    before: list[str] = next(
        (body["drifted"] for body in reversed(earlier) if body["status"] != "InsufficientData"), []
    )
    keys = store.partials(window)
    end = datetime.fromtimestamp(window + now.seconds, UTC)
    past = history.read(clients.dynamodb, environment.ledger, model=model, stage=environment.stage, until=end)
    for _ in range(_SETTLING):
        state = store.merged(keys)
        verdict = judge(baseline, state, rules, before)
        windows = [JudgedWindow(window, state, verdict)]
        reading = CapturedData({window: state}, [], state.bad, dict(state.reasons))
        statuses: list[Status] = [body["status"] for body in earlier] + [verdict.status]
        bodies = file_bodies(baseline, windows, reading)
        bodies["verdict.json"]["alarm"] = alarm(statuses)
        for name, content in bodies.items():
            store.put(window, name, dumps(content), "application/json")
        row = verdict_rows.of_window(verdict, window, now.seconds, now.release, store.address(window, _REPORT))
        store.put(window, _REPORT, _page(baseline, windows, reading, past, row), "text/html; charset=utf-8")
        if (again := store.partials(window)) == keys:
            break
        keys = again
    Verdicts(clients.dynamodb, environment.ledger, model=model, stage=environment.stage).write(row)
    namespace = cloudwatch_metrics.target(cloudwatch_metrics.DATA, endpoint, None)
    found = cloudwatch_metrics.verdict_metrics(baseline, state, verdict, float(window))
    for line in cloudwatch_metrics.embedded(found, namespace):
        sys.stdout.write(line + "\n")
    return {
        "model": model,
        "window": window,
        "status": verdict.status,
        "reason": verdict.reason,
        "alarm": bodies["verdict.json"]["alarm"],
        "schema_violations": len(verdict.schema_violations),
        "report": row.report,
    }


def _page(
    baseline: Baseline, windows: list[JudgedWindow], reading: CapturedData, past: history.History, row: Verdict
) -> bytes:
    from drift_analyzer.report.data_quality import render
    from drift_analyzer.report.page import period, with_history
    from monitor.history_sections import sections

    when = period(row.window_start.timestamp(), row.window_end.timestamp())
    return with_history(render(baseline, windows, reading, when), sections(past, row)).encode("utf-8")
