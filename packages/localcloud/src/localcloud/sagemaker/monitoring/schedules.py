"""The API of monitoring schedules and their documents; `executions` runs them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import AwsError, not_found, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.monitoring.definitions import JobDefinitions, MonitoringJob, check_supported, from_schedule
from localcloud.sagemaker.monitoring.executions import FILTERS, MonitoringExecutions
from localcloud.sagemaker.monitoring.timetable import NOW, Timetable, offset
from localcloud.sagemaker.tags import Tags

KIND = "MonitoringSchedule"


class MonitoringSchedules:
    """The operations on monitoring schedules; also a source of due events for the clock."""

    def __init__(
        self,
        context: Context,
        tags: Tags,
        events: Events,
        definitions: JobDefinitions,
        executions: MonitoringExecutions,
    ) -> None:
        self._context, self._store, self._tags, self._events = context, context.store, tags, events
        self._definitions, self._executions = definitions, executions
        self._running = threading.Lock()  # the gateway and the clock must not start an execution twice
        self.operations: Operations = {
            "CreateMonitoringSchedule": self._create,
            "UpdateMonitoringSchedule": self._update,
            "DescribeMonitoringSchedule": lambda request, _: self._describe(request["MonitoringScheduleName"]),
            "ListMonitoringSchedules": self._list,
            "StartMonitoringSchedule": lambda request, _: self._set(request, "Scheduled"),
            "StopMonitoringSchedule": lambda request, _: self._set(request, "Stopped"),
            "DeleteMonitoringSchedule": self._delete,
            "ListMonitoringExecutions": self._executions.list,
        }

    def next_due(self, _now: float) -> float | None:
        """Return when the next schedule runs (epoch seconds), or None."""
        return min((due for _, due in self._due()), default=None)

    def run_due(self) -> None:
        """Start what is due, each schedule once: one execution covers all missed times."""
        with self._running:
            now = self._context.now()
            for schedule, due in self._due():
                if due <= now:
                    self._run(schedule, now)

    def _create(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        name = request["MonitoringScheduleName"]
        arn = self._context.arn("monitoring-schedule", name)
        job = self._checked(request["MonitoringScheduleConfig"])
        now = self._context.now()
        schedule: Document = {
            "MonitoringScheduleName": name,
            "MonitoringScheduleArn": arn,
            "MonitoringScheduleStatus": "Scheduled",
            "CreationTime": now,
            "LastModifiedTime": now,
            "Since": now,
            **_members(request["MonitoringScheduleConfig"], job),
        }
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise validation(f"Monitoring Schedule {arn} already exists.")
            self._store.put(KIND, name, schedule)
            self._tags.put(arn, request.get("Tags", ()))
        self._events.monitoring_schedule(schedule)
        self._run_once(schedule)
        return {"MonitoringScheduleArn": arn}

    def _update(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        name = request["MonitoringScheduleName"]
        job = self._checked(request["MonitoringScheduleConfig"])
        with self._store.transaction():
            schedule = self._find(name)
            schedule |= {
                **_members(request["MonitoringScheduleConfig"], job),
                "LastModifiedTime": self._context.now(),
            }
            self._store.put(KIND, name, schedule)
        self._events.monitoring_schedule(schedule)
        self._run_once(schedule)
        return {"MonitoringScheduleArn": schedule["MonitoringScheduleArn"]}

    def _describe(self, name: str) -> Document:
        schedule = self._find(name)
        last = self._executions.last(name)
        return schedule if last is None else {**schedule, "LastMonitoringExecutionSummary": last}

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        return page(
            select(
                (schedule for _, schedule in self._store.list(KIND)),
                request,
                name="MonitoringScheduleName",
                status="MonitoringScheduleStatus",
                equal=FILTERS,
            ),
            request,
            "MonitoringScheduleSummaries",
            key="MonitoringScheduleName",
            order_by={
                "Name": "MonitoringScheduleName",
                "CreationTime": "CreationTime",
                "Status": "MonitoringScheduleStatus",
            },
        )

    def _delete(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        name = request["MonitoringScheduleName"]
        with self._store.transaction():
            schedule = self._find(name)
            if self._executions.running(name):
                raise validation(
                    f"Monitoring Schedule {schedule['MonitoringScheduleArn']} can't be deleted: it has an execution in "
                    "progress. Wait for it to end, or stop its processing job."
                )
            self._store.delete(KIND, name)
            self._executions.delete_all(name)
            self._tags.drop(schedule["MonitoringScheduleArn"])
        return {}

    def _set(self, request: Mapping[str, Any], status: str) -> Document:
        with self._store.transaction():
            schedule = self._find(request["MonitoringScheduleName"])
            now = self._context.now()
            schedule |= {"MonitoringScheduleStatus": status, "LastModifiedTime": now, "Since": now}
            self._store.put(KIND, schedule["MonitoringScheduleName"], schedule)
        self._events.monitoring_schedule(schedule)
        return {}

    def _find(self, name: str) -> Document:
        schedule = self._store.get(KIND, name)
        if schedule is None:
            raise not_found(f"Monitoring Schedule {self._context.arn('monitoring-schedule', name)} not found")
        return schedule

    def _checked(self, config: Mapping[str, Any]) -> MonitoringJob:
        job = self._job(config)
        check_supported(job)
        timing = config.get("ScheduleConfig") or {}
        expression = timing.get("ScheduleExpression")
        if expression is None:
            raise validation("ScheduleConfig.ScheduleExpression is required.")
        if expression == NOW:
            if not timing.get("DataAnalysisStartTime") or not timing.get("DataAnalysisEndTime"):
                raise validation("A schedule that runs NOW needs DataAnalysisStartTime and DataAnalysisEndTime.")
        else:
            Timetable.parse(expression)
        for member in ("DataAnalysisStartTime", "DataAnalysisEndTime"):
            offset(timing.get(member))
        endpoint = job.endpoint["EndpointName"]
        if self._store.get("Endpoint", endpoint) is None:
            raise validation(f'Could not find endpoint "{self._context.arn("endpoint", endpoint)}".')
        return job

    def _job(self, config: Mapping[str, Any]) -> MonitoringJob:
        inline, name = config.get("MonitoringJobDefinition"), config.get("MonitoringJobDefinitionName")
        if bool(inline) == bool(name):
            raise validation("Give one of MonitoringJobDefinition and MonitoringJobDefinitionName.")
        if inline:
            return from_schedule(inline, self._store)
        if not config.get("MonitoringType"):
            raise validation("MonitoringType is required with MonitoringJobDefinitionName.")
        return self._definitions.job(config["MonitoringType"], str(name))

    def _due(self) -> list[tuple[Document, float]]:
        found = []
        for name, schedule in self._store.list(KIND):
            expression = schedule["MonitoringScheduleConfig"]["ScheduleConfig"]["ScheduleExpression"]
            if schedule["MonitoringScheduleStatus"] != "Scheduled" or expression == NOW:
                continue
            if not self._executions.running(name):
                found.append((schedule, Timetable.parse(expression).after(schedule["Since"])))
        return found

    def _run(self, schedule: Document, now: float) -> None:
        """Run the latest due time, over the whole window since the previous execution."""
        timing = schedule["MonitoringScheduleConfig"]["ScheduleConfig"]
        timetable = Timetable.parse(timing["ScheduleExpression"])
        scheduled = timetable.latest(now)
        period_began = timetable.latest(scheduled - 1)
        ran_before = schedule.get("LastScheduled")
        start = min(period_began, ran_before) if ran_before is not None else period_began
        self._store.update(KIND, schedule["MonitoringScheduleName"], Since=scheduled, LastScheduled=scheduled)
        self._start(schedule, scheduled, start, scheduled)

    def _run_once(self, schedule: Document) -> None:
        timing = schedule["MonitoringScheduleConfig"]["ScheduleConfig"]
        if timing["ScheduleExpression"] == NOW:
            now = self._context.now()
            begin, end = offset(timing["DataAnalysisStartTime"]), offset(timing["DataAnalysisEndTime"])
            self._start(schedule, now, now + begin, now + end)

    def _start(self, schedule: Document, scheduled: float, start: float, end: float) -> None:
        name = schedule["MonitoringScheduleName"]
        try:
            job = self._job(schedule["MonitoringScheduleConfig"])
        except AwsError as error:
            self._executions.record_failure(schedule, scheduled, error.message)
            return
        self._executions.start(name, job, scheduled, start, end)


def _members(config: Mapping[str, Any], job: MonitoringJob) -> Document:
    return {
        "MonitoringScheduleConfig": dict(config),
        "MonitoringType": job.kind.monitoring_type,
        "MonitoringJobDefinitionName": config.get("MonitoringJobDefinitionName"),
        "EndpointName": job.endpoint["EndpointName"],
    }
