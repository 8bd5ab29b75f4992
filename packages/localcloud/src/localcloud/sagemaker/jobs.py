"""The API and documents of processing and training jobs; the runtime runs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from localcloud.runtime.contract import JobKind, JobUpdate
from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import AwsError, in_use, not_found, unsupported, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.interfaces import Runner
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.tags import Tags, without_tags

ENDED = frozenset({"Completed", "Failed", "Stopped"})
JobListener = Callable[[JobKind, Document], None]


@dataclass(frozen=True)
class JobType:
    """The differences between processing and training jobs."""

    kind: JobKind
    prefix: str
    unsupported: frozenset[str]

    @property
    def store_kind(self) -> str:
        """The documents' kind in the store."""
        return f"{self.prefix}Job"

    @property
    def name(self) -> str:
        """The member that holds the job's name."""
        return f"{self.prefix}JobName"

    @property
    def arn(self) -> str:
        """The member that holds the job's ARN."""
        return f"{self.prefix}JobArn"

    @property
    def status(self) -> str:
        """The member that holds the job's status."""
        return f"{self.prefix}JobStatus"

    @property
    def describe(self) -> str:
        """The `Describe…` operation."""
        return f"Describe{self.prefix}Job"


PROCESSING = JobType("processing", "Processing", frozenset())
TRAINING = JobType(
    "training",
    "Training",
    frozenset(
        {
            "DebugRuleConfigurations",
            "ProfilerRuleConfigurations",
            "TensorBoardOutputConfig",
            "ServerlessJobConfig",
            "MlflowConfig",
            "ModelPackageConfig",
        }
    ),
)
TRANSFORM = JobType("transform", "Transform", frozenset())
TUNING = JobType("tuning", "HyperParameterTuning", frozenset())
JOB_TYPES: Mapping[JobKind, JobType] = {"processing": PROCESSING, "training": TRAINING}
ALL_JOB_TYPES: Mapping[JobKind, JobType] = {**JOB_TYPES, "transform": TRANSFORM, "tuning": TUNING}


class Jobs:
    """The operations on jobs, and the updates that the runner reports."""

    def __init__(self, context: Context, tags: Tags, events: Events, runner: Runner) -> None:
        self._context = context
        self._store = context.store
        self._tags = tags
        self._events = events
        self._runner = runner
        self._listeners: list[JobListener] = []
        self._updates = threading.Lock()
        self._under_way: set[str] = set()
        self.operations: Operations = {
            "CreateProcessingJob": lambda request, caller: self._create(PROCESSING, request, caller),
            "DeleteProcessingJob": lambda request, _: self._delete(PROCESSING, request["ProcessingJobName"]),
            "DescribeProcessingJob": lambda request, _: self._find(PROCESSING, request["ProcessingJobName"]),
            "StopProcessingJob": lambda request, _: self._stop(PROCESSING, request["ProcessingJobName"]),
            "ListProcessingJobs": lambda request, _: self._list(PROCESSING, request),
            "CreateTrainingJob": lambda request, caller: self._create(TRAINING, request, caller),
            "DeleteTrainingJob": lambda request, _: self._delete(TRAINING, request["TrainingJobName"]),
            "DescribeTrainingJob": lambda request, _: self._find(TRAINING, request["TrainingJobName"]),
            "StopTrainingJob": lambda request, _: self._stop(TRAINING, request["TrainingJobName"]),
            "ListTrainingJobs": lambda request, _: self._list(TRAINING, request),
        }

    def listen(self, listener: JobListener) -> None:
        """Call `listener` with a job's document after each of its changes."""
        self._listeners.append(listener)

    def under_way(self) -> list[str]:
        """Return descriptions of the jobs that have not ended."""
        return sorted(self._under_way)

    def _find(self, job: JobType, name: str) -> Document:
        document = self._store.get(job.store_kind, name)
        if document is None:
            if job is TRAINING:
                raise validation("Requested resource not found.")
            raise validation(f"Could not find requested job with name: {name}")
        return document

    def on_update(self, kind: JobKind, name: str, update: JobUpdate) -> None:
        """Store an update from the runner, publish its event, and call the listeners."""
        job = JOB_TYPES[kind]
        with self._updates:
            with self._store.transaction():
                document = self._store.get(job.store_kind, name)
                if document is None or document[job.status] in ENDED:
                    return
                before = (document[job.status], document.get("SecondaryStatus"))
                document |= _changes(job, document, update, self._context.now())
                self._store.put(job.store_kind, name, document)
            if before != (document[job.status], document.get("SecondaryStatus")):
                self._events.job(job.describe, document, self._tags.get(document[job.arn]))
        for listener in self._listeners:
            listener(kind, document)
        if document[job.status] in ENDED:  # after the listeners, which start the work that follows
            self._under_way.discard(f"{kind} job {name}")

    def recover(self) -> None:
        """Recover after a restart: the runner reports the jobs that it knows, and all other jobs fail."""
        self._runner.recover()
        for job in JOB_TYPES.values():
            for name, document in self._store.list(job.store_kind):
                if document[job.status] not in ENDED:
                    reason = "InternalServerError: The local cloud was stopped while this job was running."
                    now = self._context.cloud.clock.now()
                    self.on_update(job.kind, name, JobUpdate("Failed", "Failed", failure_reason=reason, ended_at=now))

    def create_processing(self, request: Mapping[str, Any], caller: Caller) -> str:
        """Start a processing job for another part of the control plane; return its ARN."""
        return str(self._create(PROCESSING, request, caller)["ProcessingJobArn"])

    def create_training(self, request: Mapping[str, Any], caller: Caller) -> None:
        """Start a training job for another part of the control plane."""
        self._create(TRAINING, request, caller)

    def stop_training(self, name: str) -> None:
        """Stop a training job for another part of the control plane."""
        self._stop(TRAINING, name)

    def _create(self, job: JobType, request: Mapping[str, Any], caller: Caller) -> Document:
        _reject_unsupported(job, request)
        self._context.check_role(request["RoleArn"])
        self._context.check_image(_image(job, request), request["RoleArn"])
        name = request[job.name]
        arn = self._context.arn(f"{job.kind}-job", name)
        now = self._context.now()
        document: Document = {
            **without_tags(request),
            job.arn: arn,
            job.status: "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
            "CreatedBy": caller.user_context(),
        }
        if job is TRAINING:
            document |= {
                "SecondaryStatus": "Starting",
                "SecondaryStatusTransitions": [
                    {"Status": "Starting", "StartTime": now, "StatusMessage": "Starting the training job"}
                ],
            }
        else:
            document.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": 86400})
        with self._store.transaction():
            if self._store.get(job.store_kind, name):
                raise in_use(
                    "Job name must be unique within an AWS account and region, "
                    f"and a job with this name already exists ({arn})"
                )
            self._store.put(job.store_kind, name, document)
            self._tags.put(arn, request.get("Tags", ()))
        self._under_way.add(f"{job.kind} job {name}")
        self._events.job(job.describe, document, self._tags.get(arn))
        self._runner.start(job.kind, name, arn, request)
        return {job.arn: arn}

    def _stop(self, job: JobType, name: str) -> Document:
        with self._store.transaction():
            document = self._find_to_change(job, name)
            status = document[job.status]
            if status in ENDED:
                raise validation(
                    f"The request was rejected because the {job.kind} job is in status {status}."
                    if job is TRAINING
                    else f"The processing job {name} is in status {status} and cannot be stopped."
                )
        if status != "Stopping":
            self._runner.stop(job.kind, name)
        return {}

    def _delete(self, job: JobType, name: str) -> Document:
        with self._store.transaction():
            document = self._find_to_change(job, name)
            status = document[job.status]
            if status not in ENDED:
                raise in_use(f"The {job.kind} job {name} is in status {status} and cannot be deleted.")
            self._store.delete(job.store_kind, name)
            self._tags.drop(document[job.arn])
        return {}

    def _find_to_change(self, job: JobType, name: str) -> Document:
        """Find a job like `_find`, but raise the error code that AWS models for the Stop and Delete operations."""
        try:
            return self._find(job, name)
        except AwsError as error:
            raise not_found(error.message) from error

    def _list(self, job: JobType, request: Mapping[str, Any]) -> Document:
        for member in ("WarmPoolStatusEquals", "TrainingPlanArnEquals"):
            if member in request:
                raise unsupported(f"the filter {member}")
        documents = select(
            (one for _, one in self._store.list(job.store_kind)), request, name=job.name, status=job.status
        )
        return page(
            documents,
            request,
            f"{job.prefix}JobSummaries",
            key=job.name,
            order_by={"Name": job.name, "CreationTime": "CreationTime", "Status": job.status},
        )


def _image(job: JobType, request: Mapping[str, Any]) -> str:
    return str(
        request["AlgorithmSpecification"]["TrainingImage"]
        if job is TRAINING
        else request["AppSpecification"]["ImageUri"]
    )


def _reject_unsupported(job: JobType, request: Mapping[str, Any]) -> None:
    """Reject by name what would change the job's result and a single local process cannot do."""
    for member in sorted(job.unsupported & set(request)):
        if request[member]:
            raise unsupported(f"{member} of a {job.kind} job")
    if job is PROCESSING:
        _reject_unsupported_processing(request)
    else:
        _reject_unsupported_training(request)


def _reject_unsupported_processing(request: Mapping[str, Any]) -> None:
    if request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] > 1:
        raise unsupported("processing jobs on more than one instance (InstanceCount)")
    for item in request.get("ProcessingInputs", ()):
        if "DatasetDefinition" in item:
            raise unsupported("DatasetDefinition of a processing input")
    for item in request.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        if "FeatureStoreOutput" in item:
            raise unsupported("FeatureStoreOutput of a processing output")


def _reject_unsupported_training(request: Mapping[str, Any]) -> None:
    specification = request.get("AlgorithmSpecification") or {}
    stopping = request.get("StoppingCondition") or {}
    if request.get("EnableManagedSpotTraining"):
        longest = stopping.get("MaxRuntimeInSeconds", 0)
        if stopping.get("MaxWaitTimeInSeconds", 0) < longest:
            raise validation(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
            )
    elif "MaxWaitTimeInSeconds" in stopping:
        raise validation("MaxWaitTimeInSeconds above 0 is supported only when EnableManagedSpotTraining is set to true")
    if specification.get("AlgorithmName"):
        raise unsupported("algorithm resources (AlgorithmSpecification.AlgorithmName)")
    if not specification.get("TrainingImage"):
        raise validation("AlgorithmSpecification.TrainingImage is required.")
    resources = request.get("ResourceConfig") or {}
    if resources.get("InstanceGroups") or resources.get("InstancePreferences") or resources.get("TrainingPlanArn"):
        raise unsupported("InstanceGroups, InstancePreferences and TrainingPlanArn of a ResourceConfig")
    if resources.get("InstanceCount", 1) > 1:
        raise unsupported("training jobs on more than one instance (InstanceCount)")


def _changes(job: JobType, document: Document, update: JobUpdate, now: float) -> Document:
    changes: Document = {
        job.status: update.status,
        "LastModifiedTime": now,
        "FailureReason": update.failure_reason,
        "ExitMessage": update.exit_message,
        f"{job.prefix}StartTime": _epoch(update.training_started_at),
        f"{job.prefix}EndTime": _epoch(update.ended_at),
    }
    if job is TRAINING:
        changes |= _training_changes(document, update, now)
    return {member: value for member, value in changes.items() if value is not None}


def _training_changes(document: Document, update: JobUpdate, now: float) -> Document:
    changes: Document = {"SecondaryStatus": update.secondary_status}
    changes["SecondaryStatusTransitions"] = _transitions(
        document.get("SecondaryStatusTransitions", []), update, _epoch(update.ended_at) or now
    )
    if update.model_artifacts:
        changes["ModelArtifacts"] = {"S3ModelArtifacts": update.model_artifacts}
    if update.final_metrics:
        changes["FinalMetricDataList"] = [
            {"MetricName": metric.name, "Value": metric.value, "Timestamp": metric.timestamp.timestamp()}
            for metric in update.final_metrics
        ]
    if update.training_started_at and update.ended_at:
        seconds = max(1, round((update.ended_at - update.training_started_at).total_seconds()))
        changes |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
    return changes


def _transitions(transitions: list[Document], update: JobUpdate, now: float) -> list[Document]:
    done = [dict(transition) for transition in transitions]
    if not done or done[-1]["Status"] != update.secondary_status:
        if done:
            done[-1].setdefault("EndTime", now)
        done.append({"Status": update.secondary_status, "StartTime": now, "StatusMessage": update.status_message})
    if update.ended_at:
        done[-1]["EndTime"] = now
    return done


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
