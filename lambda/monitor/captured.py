"""Captured data: fold captured objects into partial states, and judge the windows that they belong to."""

import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from drift_analyzer import cloudwatch_metrics
from drift_analyzer.baseline_files import Baseline, read_baseline
from drift_analyzer.capture_reader import Capture
from drift_analyzer.data_quality import CapturedData, JudgedWindow, file_bodies
from drift_analyzer.drift import INCONCLUSIVE, Status, alarm, judge
from drift_analyzer.inference_time import TimeWindows
from drift_analyzer.jsonio import dumps, loads
from monitor import history, verdict_rows
from monitor.environment import CaptureEnvironment
from monitor.window_store import WindowStore
from shared.verdict import Verdict, Verdicts

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

    from shared.clients import Clients

_MAX_ATTEMPTS = 5
_REPORT = "report.html"


@dataclass(frozen=True)
class CapturedObject:
    """A captured object; its key is `{model}/capture/{endpoint}/{variant}/yyyy/mm/dd/hh/{file}.jsonl`."""

    bucket: str
    key: str

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.key.split("/", 1)[0]

    @property
    def endpoint(self) -> str:
        """Name of the endpoint."""
        return self.key.split("/")[2]

    @property
    def is_capture(self) -> bool:
        """True if the key is that of captured data."""
        parts = self.key.split("/")
        return len(parts) >= 5 and parts[1] == "capture" and self.key.endswith(".jsonl")


@dataclass(frozen=True)
class DeployedRelease:
    """The release that is deployed now, and the length of its windows in seconds."""

    release_id: str
    window_seconds: int


def process(
    messages: Iterable[Mapping[str, Any]], environment: CaptureEnvironment, clients: "Clients", logger: "Logger"
) -> list[str]:
    """Fold the captured objects of SQS messages, then judge every window that they belong to.

    Returns:
        The ids of the messages that failed, for SQS to deliver again.
    """
    failed: list[str] = []
    touched: dict[tuple[str, str], set[int]] = {}
    for message in messages:
        try:
            for captured in captured_objects(loads(message["body"])):
                for start in fold(captured, environment, clients, logger):
                    touched.setdefault((captured.model, captured.endpoint), set()).add(start)
        except Exception:
            logger.exception("reading a captured object failed", extra={"message_id": message.get("messageId")})
            failed.append(str(message.get("messageId")))
    for (model, endpoint), starts in touched.items():
        for start in sorted(starts):
            logger.info("verdict", extra=_conclude(model, endpoint, start, environment, clients))
    return failed


def captured_objects(body: Mapping[str, Any]) -> list[CapturedObject]:
    """Return the captured objects of an event: EventBridge's form, or S3's own, whose keys are URL-encoded."""
    if "detail" in body:
        detail = body["detail"]
        found = [CapturedObject(detail["bucket"]["name"], detail["object"]["key"])]
    else:
        records = [record["s3"] for record in body.get("Records", []) if "s3" in record]
        found = [CapturedObject(item["bucket"]["name"], unquote_plus(item["object"]["key"])) for item in records]
    return [captured for captured in found if captured.is_capture]


def deployed_release(model: str, environment: CaptureEnvironment, ssm: "SSMClient") -> DeployedRelease:
    """Read the release record, and the window length that the model's monitoring stack writes.

    Raises:
        ValueError: There is no release record.
    """
    record = environment.record_name(model)
    policy = f"{record.removesuffix('release')}monitoring"
    parameters = ssm.get_parameters(Names=[record, policy])["Parameters"]
    values = {parameter["Name"]: parameter["Value"] for parameter in parameters}
    if record not in values:
        raise ValueError(f"there is no release record {record}")
    seconds = loads(values.get(policy, "{}")).get("captured_window_seconds", environment.window_seconds)
    return DeployedRelease(values[record].split("|", 1)[0], int(seconds))


@lru_cache(maxsize=16)
def load_baseline(model: str, release_id: str, bucket: str, s3: "S3Client") -> Baseline:
    """Read the release's data-quality baseline. A release never changes, so the baseline is cached between calls."""
    prefix = f"releases/{model}/{release_id}/baselines/data-quality"
    statistics, constraints = (
        loads(s3.get_object(Bucket=bucket, Key=f"{prefix}/{name}.json")["Body"].read())
        for name in ("statistics", "constraints")
    )
    return read_baseline(statistics, constraints)


def _load(
    model: str, environment: CaptureEnvironment, clients: "Clients"
) -> tuple[DeployedRelease, WindowStore, Baseline]:
    release = deployed_release(model, environment, clients.ssm)
    bucket = environment.artifact_bucket
    baseline = load_baseline(model, release.release_id, bucket, clients.s3)
    return release, WindowStore(clients.s3, bucket, f"monitoring/{model}/{release.release_id}"), baseline


def fold(
    captured: CapturedObject, environment: CaptureEnvironment, clients: "Clients", logger: "Logger"
) -> Iterator[int]:
    """Write the partial states of one captured object; yield the start of each window after it is written."""
    release, store, baseline = _load(captured.model, environment, clients)
    body = clients.s3.get_object(Bucket=captured.bucket, Key=captured.key)
    etag = body["ETag"].strip('"')
    capture = Capture(baseline.schema(), TimeWindows(release.window_seconds))
    capture.read(io.BytesIO(body["Body"].read()), captured.key)
    _place_bad_records(capture, captured, release.window_seconds)
    for start, state in capture.windows.items():
        store.put_partial(start, captured.key, etag, state)
        yield start
    if capture.bad:
        lines = b"\n".join(dumps({"reason": bad.reason, "line": bad.line}) for bad in capture.bad)
        store.put(min(capture.windows, default=0), f"bad/{etag}.jsonl", lines, "application/jsonlines")
        logger.warning("bad records", extra={"key": captured.key, "count": len(capture.bad)})


def _place_bad_records(capture: Capture, captured: CapturedObject, seconds: int) -> None:
    """Count bad records without a readable time in the window of the object's hour, which its key names."""
    if not capture.unplaced.bad:
        return
    hour = datetime.strptime("/".join(captured.key.split("/")[-5:-1]), "%Y/%m/%d/%H").replace(tzinfo=UTC)
    start = max(capture.windows, default=int(hour.timestamp()) // seconds * seconds)
    for reason, count in capture.unplaced.reasons.items():
        capture.state(start).add_bad(reason, count)


def _conclude(
    model: str, endpoint: str, start: int, environment: CaptureEnvironment, clients: "Clients"
) -> dict[str, Any]:
    """Judge a window from all its partial states; write its files, its verdict row and its metrics.

    A concurrent invocation may add a partial state and finish first. So the partial states are listed again after
    writing, and the window is judged again until the list is stable.

    Returns:
        The fields of a log line.
    """
    release, store, baseline = _load(model, environment, clients)
    earlier = store.verdicts_before(start)
    conclusive = [body for body in earlier if body["status"] not in INCONCLUSIVE]
    previously_drifted: list[str] = conclusive[-1]["drifted"] if conclusive else []
    keys = store.partials(start)
    end = datetime.fromtimestamp(start + release.window_seconds, UTC)
    past = history.read(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage, until=end)
    for _ in range(_MAX_ATTEMPTS):
        state = store.merged(keys)
        verdict = judge(baseline, state, environment.rules, previously_drifted)
        windows = [JudgedWindow(start, state, verdict)]
        data = CapturedData({start: state}, [], state.bad, dict(state.reasons))
        statuses: list[Status] = [body["status"] for body in earlier] + [verdict.status]
        bodies = file_bodies(baseline, windows, data)
        bodies["verdict.json"]["alarm"] = alarm(statuses)
        for name, content in bodies.items():
            store.put(start, name, dumps(content), "application/json")
        report = store.address(start, _REPORT)
        row = verdict_rows.of_window(verdict, start, release.window_seconds, release.release_id, report)
        store.put(start, _REPORT, _page(baseline, windows, data, past, row), "text/html; charset=utf-8")
        if (again := store.partials(start)) == keys:
            break
        keys = again
    Verdicts(clients.dynamodb, environment.ledger_table, model=model, stage=environment.stage).write(row)
    target = cloudwatch_metrics.target(cloudwatch_metrics.DATA, endpoint, None)
    metrics = cloudwatch_metrics.verdict_metrics(baseline, state, verdict, float(start))
    kept = cloudwatch_metrics.recent(metrics, datetime.now(UTC).timestamp())
    for line in cloudwatch_metrics.embedded(kept, target):
        sys.stdout.write(line + "\n")
    return {
        "model": model,
        "window": start,
        "status": verdict.status,
        "reason": verdict.reason,
        "alarm": bodies["verdict.json"]["alarm"],
        "broken": list(verdict.broken_names),
        "report": row.report,
    }


def _page(
    baseline: Baseline, windows: list[JudgedWindow], data: CapturedData, past: history.ModelHistory, row: Verdict
) -> bytes:
    from drift_analyzer.report.data_quality import render
    from drift_analyzer.report.page import period, with_history
    from monitor.history_sections import sections

    when = period(row.window_start.timestamp(), row.window_end.timestamp())
    return with_history(render(baseline, windows, data, when), sections(past, row)).encode("utf-8")
