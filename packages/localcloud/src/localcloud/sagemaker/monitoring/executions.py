"""Executions of monitoring schedules: their data, their jobs and their outcome."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localcloud.runtime.contract import JobKind
from localcloud.sagemaker.context import Caller, Context, Document, random_id
from localcloud.sagemaker.errors import AwsError
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.jobs import ENDED, Jobs
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.monitoring.definitions import MonitoringJob
from localcloud.sagemaker.monitoring.requests import Run, Staged, analysis_request, merge_request
from localcloud.sagemaker.monitoring.timetable import offset

# Filters of schedules and executions: the request's member → the document's member.
FILTERS = {
    "EndpointName": "EndpointName",
    "MonitoringTypeEquals": "MonitoringType",
    "MonitoringJobDefinitionName": "MonitoringJobDefinitionName",
}
KIND, _JOB = "MonitoringExecution", "MonitoringJob"
_ENDED = frozenset({"Completed", "CompletedWithViolations", "Failed", "Stopped"})
_NO_DATA = "Job inputs had no data"


class MonitoringExecutions:
    """Starts the jobs of executions one after the other, and records the outcome."""

    def __init__(self, context: Context, events: Events, jobs: Jobs) -> None:
        self._context, self._store, self._events, self._jobs = context, context.store, events, jobs
        jobs.listen(self._job_changed)

    def start(self, schedule: str, job: MonitoringJob, scheduled: float, start: float, end: float) -> None:
        """Run the schedule's job on the data of a time window.

        Args:
            schedule: the schedule's name.
            job: its job. Its own offsets, relative to `scheduled`, replace `start` and `end`.
            scheduled: when the execution was due (epoch seconds).
            start: start of the inference times (epoch seconds).
            end: end of the inference times (epoch seconds).
        """
        given = job.endpoint
        if given.get("StartTimeOffset") or given.get("EndTimeOffset"):
            start, end = (
                scheduled + offset(given.get("StartTimeOffset")),
                scheduled + offset(given.get("EndTimeOffset")),
            )
        run = Run(schedule, job, scheduled, start, end)
        key = self._open(schedule, scheduled, job.kind.monitoring_type, run.endpoint)
        try:
            self._begin(run, key)
        except AwsError as error:
            self._close(key, "Failed", error.message)
        except (
            ClientError,
            BotoCoreError,
        ) as error:  # the bucket of the captured data or of the labels is not readable
            self._close(key, "Failed", f"ClientError: {error}")

    def record_failure(self, schedule: Document, scheduled: float, reason: str) -> None:
        """Record an execution that could not start."""
        name, kind = schedule["MonitoringScheduleName"], schedule["MonitoringType"]
        self._close(self._open(name, scheduled, kind, schedule["EndpointName"]), "Failed", reason)

    def running(self, schedule: str) -> bool:
        """Return whether the schedule's last execution has not ended."""
        last = self.last(schedule)
        return last is not None and last["MonitoringExecutionStatus"] not in _ENDED

    def last(self, schedule: str) -> Document | None:
        """Return the summary of the schedule's last execution, or None."""
        known = self._store.get("MonitoringLast", schedule)
        return None if known is None else self._store.get(KIND, known["Key"])

    def delete_all(self, schedule: str) -> None:
        """Delete the schedule's executions."""
        for key, _ in self._store.list(KIND, f"{schedule}/"):
            self._store.delete(KIND, key)
        self._store.delete("MonitoringLast", schedule)

    def list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        """Answer `ListMonitoringExecutions`."""
        after, before = request.get("ScheduledTimeAfter", 0), request.get("ScheduledTimeBefore", float("inf"))
        prefix = f"{request['MonitoringScheduleName']}/" if "MonitoringScheduleName" in request else ""
        chosen = [
            {**execution, "Key": key}
            for key, execution in self._store.list(KIND, prefix)
            if after <= execution["ScheduledTime"] <= before
        ]
        return page(
            select(
                chosen,
                request,
                name="MonitoringScheduleName",
                status="MonitoringExecutionStatus",
                equal={"MonitoringScheduleName": "MonitoringScheduleName", **FILTERS},
            ),
            request,
            "MonitoringExecutionSummaries",
            key="Key",
            order_by={
                "CreationTime": "CreationTime",
                "ScheduledTime": "ScheduledTime",
                "Status": "MonitoringExecutionStatus",
            },
        )

    def _open(self, schedule: str, scheduled: float, monitoring_type: str, endpoint: str) -> str:
        key, now = f"{schedule}/{int(scheduled * 1000):015d}", self._context.now()
        execution: Document = {
            "MonitoringScheduleName": schedule,
            "ScheduledTime": scheduled,
            "CreationTime": now,
            "LastModifiedTime": now,
            "MonitoringExecutionStatus": "InProgress",
            "EndpointName": endpoint,
            "MonitoringType": monitoring_type,
            "MonitoringJobDefinitionName": (self._store.get("MonitoringSchedule", schedule) or {}).get(
                "MonitoringJobDefinitionName"
            ),
        }
        with self._store.transaction():
            self._store.put(KIND, key, execution)
            self._store.put("MonitoringLast", schedule, {"Key": key})
        self._publish(execution)
        return key

    def _begin(self, run: Run, key: str) -> None:
        capture = self._captured(run)
        if capture is None:
            self._close(key, "Failed", _NO_DATA)
            return
        if run.job.ground_truth is None:
            self._submit(key, analysis_request(run, self._name("model-monitoring", run), capture))
            return
        labels = self._hours(run.job.ground_truth, run.start, self._context.now())
        if labels is None:
            self._close(key, "Failed", _NO_DATA)
            return
        analysis = analysis_request(run, self._name("model-monitoring", run), None)
        self._submit(key, merge_request(run, self._name("groundtruth-merge", run), capture, labels), analysis)

    def _submit(self, key: str, request: Document, then: Document | None = None) -> None:
        """Start one job; `then` is the request of the job that follows it."""
        name = request["ProcessingJobName"]
        self._store.put(_JOB, name, {"Execution": key, "Then": then})
        arn = self._jobs.create_processing(request, self._context.root())
        if then is None:
            self._store.update(KIND, key, ProcessingJobArn=arn, LastModifiedTime=self._context.now())

    def _job_changed(self, kind: JobKind, job: Document) -> None:
        if kind != "processing" or job["ProcessingJobStatus"] not in ENDED:
            return
        known = self._store.get(_JOB, job["ProcessingJobName"])
        if known is None:
            return
        self._store.delete(_JOB, job["ProcessingJobName"])
        if job["ProcessingJobStatus"] != "Completed":
            self._close(known["Execution"], job["ProcessingJobStatus"], job.get("FailureReason"))
        elif known["Then"] is not None:
            try:
                self._submit(known["Execution"], known["Then"])
            except AwsError as error:
                self._close(known["Execution"], "Failed", error.message)
        else:
            violated = str(job.get("ExitMessage") or "").startswith("CompletedWithViolations")
            self._close(known["Execution"], "CompletedWithViolations" if violated else "Completed")

    def _close(self, key: str, status: str, reason: str | None = None) -> None:
        changes: Document = {"MonitoringExecutionStatus": status, "LastModifiedTime": self._context.now()}
        if reason:
            changes["FailureReason"] = reason[:1024]
        self._publish(self._store.update(KIND, key, **changes))

    def _publish(self, execution: Document) -> None:
        schedule = self._store.get("MonitoringSchedule", execution["MonitoringScheduleName"])
        if schedule is not None:
            self._events.monitoring_schedule({**schedule, "LastMonitoringExecutionSummary": execution})

    @staticmethod
    def _name(prefix: str, run: Run) -> str:
        return f"{prefix}-{datetime.fromtimestamp(run.scheduled, UTC):%Y%m%d%H%M}-{random_id(24)}"

    def _captured(self, run: Run) -> Staged | None:
        endpoint = self._store.get("Endpoint", run.endpoint) or {}
        capture = endpoint.get("DataCaptureConfig") or {}
        if not capture.get("DestinationS3Uri"):
            return None
        base = f"{capture['DestinationS3Uri'].rstrip('/')}/{run.endpoint}"
        variants = [variant["VariantName"] for variant in endpoint.get("ProductionVariants", ())]
        found = [(name, self._hours(f"{base}/{name}", run.start, run.end)) for name in variants]
        folders = tuple(f"{name}/{hour}" for name, hours in found if hours is not None for hour in hours.folders)
        return Staged(f"{base}/", folders) if folders else None

    def _hours(self, uri: str, start: float, end: float) -> Staged | None:
        """Return the hourly folders from `start` to `end` that hold objects; None where there are none."""
        bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        base = f"{prefix}/" if prefix else ""
        first, last = (datetime.fromtimestamp(moment, UTC).strftime("%Y/%m/%d/%H") for moment in (start, end - 1))
        pages = self._context.cloud.client("s3").get_paginator("list_objects_v2")
        hours: dict[str, None] = {}
        for one in pages.paginate(Bucket=bucket, Prefix=base, StartAfter=f"{base}{first}"):
            for item in one.get("Contents", ()):
                hour = item["Key"][len(base) : len(base) + 13]
                if hour > last:
                    return Staged(f"s3://{bucket}/{base}", tuple(hours)) if hours else None
                hours[f"{hour}/"] = None
        return Staged(f"s3://{bucket}/{base}", tuple(hours)) if hours else None
