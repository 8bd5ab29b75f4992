"""Steps: captured data and their verdict, a monitor on demand, a retraining by drift."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from evergreen.ledger import Row
from evergreen.prove import application, traffic
from evergreen.prove.deployment import AVAILABLE
from evergreen.prove.proof import Proof
from evergreen.prove.training import ENDED
from evergreen.prove.waiting import StepError

_CAPTURE_MINUTES, _MONITOR_MINUTES, _DRIFT_MINUTES = 30, 120, 60
_DATA_QUALITY, _EXPLAINABILITY = "data_quality", "explainability"
_METRIC_MINUTES = 10


def invoke(proof: Proof) -> None:
    """Send good and malformed requests, and see that the malformed ones are the caller's mistake only."""
    rows = traffic.winter(proof)
    scores = traffic.send(proof, rows)
    proof.see("serving", f"{scores} scores for {len(rows)} rows", held=scores == len(rows))
    plain = traffic.ask(proof, f"{rows[0]}\n".encode())
    proof.see("accept", f"{plain.status} {plain.content_type}", held=plain.content_type.startswith(traffic.CSV))
    document = json.dumps({"instances": [[field or None for field in rows[0].split(",")]]}).encode()
    answer = traffic.ask(proof, document, traffic.JSON, traffic.JSON)
    proof.see("json", f"{answer.status} {answer.content_type}", held=answer.content_type.startswith(traffic.JSON))
    statuses = traffic.send_malformed(proof, rows[0])
    seen = ", ".join(f"{wrong} {status}" for wrong, status in statuses.items())
    proof.see("malformed", seen, held=traffic.are_refusals(statuses))


def judge_captured(proof: Proof) -> None:
    """Wait for captured data and their verdict, and read what was captured."""
    bucket, s3 = proof.platform["DataBucketName"], proof.client("s3")
    root = f"{proof.names.name}/capture/{proof.names.endpoint}/"

    def captured() -> list[str] | None:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=root)
        return [item["Key"] for page in pages for item in page.get("Contents", [])] or None

    keys = proof.waits.until("captured data", captured, minutes=_CAPTURE_MINUTES)
    path = keys[0].removeprefix(root)
    proof.see(
        "capture-path",
        f"…/{path}",
        held=re.fullmatch(r"AllTraffic/\d{4}/\d\d/\d\d/\d\d/[^/]+\.jsonl", path) is not None,
    )
    row = _await_verdict(proof, {"OK", "Drift", "Violation", "LowPower"}, _CAPTURE_MINUTES)
    proof.see("verdict", f"{row['status']}: {row['evidence']}", held=row["status"] in {"OK", "LowPower"})
    lines = list(_captured_lines(s3, bucket, captured() or keys))
    encodings = {
        (
            line["captureData"]["endpointInput"]["encoding"],
            line["captureData"].get("endpointOutput", {}).get("encoding"),
        )
        for line in lines
        if line["captureData"]["endpointInput"].get("observedContentType", "").startswith(traffic.CSV)
    }
    proof.see(
        "capture-encoding",
        ", ".join(f"{asked} → {answered}" for asked, answered in sorted(encodings, key=str)),
        held=encodings == {("CSV", "CSV")},
    )
    found = sum(traffic.is_malformed(line["captureData"]["endpointInput"].get("data", "")) for line in lines)
    proof.see("capture-refused", f"{found} of {len(lines)} captured requests are malformed", held=not found)
    _no_alarm(proof)


def _no_alarm(proof: Proof) -> None:
    """Enter what CloudWatch counted of the fleet so far."""
    cloudwatch, release = proof.client("cloudwatch"), proof.release()
    totals = {name: _sum(proof, name) for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")}
    if not totals["Invocations"]:

        def counted() -> bool | None:
            return True if _sum(proof, "Invocations") else None

        proof.waits.until("CloudWatch's count of the requests", counted, minutes=_METRIC_MINUTES)
        totals = {name: _sum(proof, name) for name in totals}
    ringing = cloudwatch.describe_alarms(AlarmNamePrefix=f"{proof.names.endpoint}-v", StateValue="ALARM")[
        "MetricAlarms"
    ]
    seen = ", ".join(f"{name} {count:.0f}" for name, count in totals.items())
    names = ", ".join(alarm["AlarmName"] for alarm in ringing) or "none"
    held = not totals["Invocation5XXErrors"] and not ringing and release.package_arn == proof.facts["first_package"]
    proof.see("no-alarm", f"{seen}; in ALARM: {names}; {release.id} is live", held=held)


def _sum(proof: Proof, metric: str) -> float:
    """Return the sum of one of the endpoint's metrics over two weeks by its own clock."""
    cloudwatch = proof.client("cloudwatch")
    dimensions = {"EndpointName": proof.names.endpoint, "VariantName": "AllTraffic"}
    now = proof.release().endpoint["LastModifiedTime"]
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(hours=3),
        EndTime=now + timedelta(days=1),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def _captured_lines(s3: Any, bucket: str, keys: list[str]) -> Iterator[dict[str, Any]]:
    for key in keys:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        yield from (json.loads(line) for line in body.splitlines() if line)


def _await_verdict(proof: Proof, wanted: set[str], minutes: float, kind: str = _DATA_QUALITY) -> Row:
    """Wait for a verdict of a kind on the live release."""
    last: list[str] = []

    def verdict() -> Row | None:
        release = proof.release().id
        rows = [row for row in proof.ledger.rows("verdict") if row["kind"] == kind and row["release_id"] == release]
        last[:] = [f"{row['status']}: {row['evidence']}" for row in rows[-1:]]
        return next((row for row in reversed(rows) if row["status"] in wanted), None)

    return proof.waits.until(f"a verdict on {kind}", verdict, minutes=minutes, detail=lambda: "".join(last))


def run_monitor(proof: Proof) -> None:
    """Run the explainability monitor on demand, which is a job on either engine, and one of data quality."""
    schedules = _schedules(proof)
    _await_run(proof, schedules[_EXPLAINABILITY])
    row = _await_verdict(
        proof, {"OK", "Drift", "Violation", "LowPower", "InsufficientData"}, _MONITOR_MINUTES, _EXPLAINABILITY
    )
    proof.see("job-event", f"{row['status']}: {row['evidence']}", held=row["status"] != "InsufficientData")
    if proof.facts["engine"] == AVAILABLE:
        _run_managed(proof)
    else:
        result = _await_run(proof, schedules[_DATA_QUALITY])
        proof.see("monitor", f"built-in analyzer: {result['status']}: {result['reason']}", held=True)


def _schedules(proof: Proof) -> dict[str, dict[str, Any]]:
    """Return the target of each schedule of the built-in engine, by kind of monitor."""
    found, scheduler = {}, proof.client("scheduler")
    for identifier in proof.resources(proof.names.monitoring_stack, "AWS::Scheduler::Schedule"):
        target = scheduler.get_schedule(Name=identifier.rpartition("/")[2])["Target"]
        found[str(json.loads(target["Input"])["monitor"]["kind"])] = target
    return found


def _await_run(proof: Proof, target: Mapping[str, Any]) -> dict[str, str]:
    """Run a schedule's monitor over whole hours until one of them has captured data, and return its answer."""
    request = json.loads(target["Input"])
    request["monitor"] |= {"schedule_hours": 1, "window_hours": 24}
    payload = json.dumps(request).encode()

    def run() -> dict[str, str] | None:
        answer = proof.client("lambda").invoke(FunctionName=target["Arn"], Payload=payload)
        result: dict[str, str] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise StepError(f"the monitor function failed: {result.get('errorMessage', result)}")
        # The window ends with the last full hour.
        return None if result["reason"].startswith("nothing was captured") else result

    kind = request["monitor"]["kind"]
    return proof.waits.until(f"a full hour with captured data for {kind}", run, minutes=_MONITOR_MINUTES)


def _run_managed(proof: Proof) -> None:
    """Run Model Monitor's data quality once, by a schedule NOW over the deployed job definition."""
    sagemaker, name = proof.client("sagemaker"), f"{proof.names.endpoint}-prove"
    (definition,) = proof.resources(proof.names.monitoring_stack, "AWS::SageMaker::DataQualityJobDefinition")
    config = {
        "ScheduleConfig": {
            "ScheduleExpression": "NOW",
            "DataAnalysisStartTime": "-PT24H",
            "DataAnalysisEndTime": "-PT0H",
        },
        "MonitoringJobDefinitionName": definition.rpartition("/")[2],
        "MonitoringType": "DataQuality",
    }
    try:
        sagemaker.create_monitoring_schedule(MonitoringScheduleName=name, MonitoringScheduleConfig=config)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUse":
            proof.see("monitor", f"Model Monitor: {error}", held=False)
            return

    def executed() -> dict[str, Any] | None:
        runs = sagemaker.list_monitoring_executions(MonitoringScheduleName=name)["MonitoringExecutionSummaries"]
        over = [run for run in runs if run["MonitoringExecutionStatus"] not in {"Pending", "InProgress"}]
        return dict(over[0]) if over else None

    run = proof.waits.until("Model Monitor's run", executed, minutes=_MONITOR_MINUTES)
    status, reason = run["MonitoringExecutionStatus"], run.get("FailureReason", "")
    proof.see("monitor", f"Model Monitor: {status} {reason}", held=status.startswith("Completed"))
    sagemaker.delete_monitoring_schedule(MonitoringScheduleName=name)


def retrain_by_drift(proof: Proof) -> None:
    """Send more long flights than usual, and wait until drift has started the pipeline."""
    sagemaker = proof.client("sagemaker")
    if "drift_run" not in proof.facts:
        if not proof.facts.get("drift_sent"):
            traffic.send(proof, application.drifted_rows(list(application.raw_files(proof.folder).values())))
            proof.remember(drift_sent=True)
        row = _await_verdict(proof, {"Drift"}, _DRIFT_MINUTES)
        proof.see("drift", f"{row['status']}: {row['evidence']}", held=True)
        proof.remember(
            drift_run=proof.waits.until("a run that drift starts", lambda: _drift_run(proof), minutes=_DRIFT_MINUTES)
        )
    run = str(proof.facts["drift_run"])
    described = sagemaker.describe_pipeline_execution(PipelineExecutionArn=run)
    name = described.get("PipelineExecutionDisplayName", run)
    proof.see("retraining", f"{name} {described['PipelineExecutionStatus']}", held=name.startswith("drift"))


def _drift_run(proof: Proof) -> str | None:
    known = {proof.facts[f"{role}_run"] for role in ("first", "bad", "good")}
    runs = proof.client("sagemaker").list_pipeline_executions(PipelineName=proof.names.group)
    found = [run["PipelineExecutionArn"] for run in runs["PipelineExecutionSummaries"]]
    return next((arn for arn in found if arn not in known), None)


def stop_runs(proof: Proof) -> None:
    """Stop what runs of the pipeline, and wait until it has ended. Remember every run, whose jobs are deleted later."""
    sagemaker, name = proof.client("sagemaker"), proof.names.group
    try:
        pages = list(sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=name))
    except ClientError as error:
        if error.response["Error"]["Code"] in {"ResourceNotFound", "ValidationException"}:
            return
        raise
    runs = [run["PipelineExecutionArn"] for page in pages for run in page["PipelineExecutionSummaries"]]
    proof.remember(runs=sorted({*proof.facts.get("runs", []), *runs}))
    for run in runs:
        if _status(proof, run) == "Executing":
            sagemaker.stop_pipeline_execution(PipelineExecutionArn=run, ClientRequestToken=f"{run[-12:]}{'stop':->24}")

    def ended() -> bool | None:
        return True if all(_status(proof, run) in ENDED for run in runs) else None

    proof.waits.until("running trainings to stop", ended, minutes=30)


def _status(proof: Proof, run: str) -> str:
    described = proof.client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=run)
    return str(described["PipelineExecutionStatus"])
