"""Hyperparameter tuning jobs: training jobs with sampled hyperparameters, of which the best is kept.

Source: "How Hyperparameter Tuning Works" (SageMaker Developer Guide). A Bayesian search is played by a random one: it
needs the same jobs, and finds its best model later.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from localcloud.runtime.contract import JobKind
from localcloud.sagemaker.context import Caller, Context, Document, Operations, random_id
from localcloud.sagemaker.errors import AwsError, in_use, not_found, unsupported, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.jobs import ENDED, TUNING, JobListener, Jobs
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.tags import Tags, without_tags

KIND = TUNING.store_kind
_INDEX = "TuningJobOf"
_COPIED = (
    *("RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "ResourceConfig", "StoppingCondition"),
    *("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"),
    *("CheckpointConfig", "RetryStrategy", "Environment"),
)
_ALL_FAILED = "All training jobs failed. Please take a look at the training jobs failures to get more details."


class TuningJobs:
    """The operations on tuning jobs; the ends of their training jobs move them on."""

    def __init__(self, context: Context, tags: Tags, events: Events, jobs: Jobs) -> None:
        self._context, self._store, self._tags = context, context.store, tags
        self._events, self._jobs = events, jobs
        self._listeners: list[JobListener] = []
        self.operations: Operations = {
            "CreateHyperParameterTuningJob": self._create,
            "DescribeHyperParameterTuningJob": lambda request, _: self._described(request[TUNING.name]),
            "ListHyperParameterTuningJobs": self._list,
            "ListTrainingJobsForHyperParameterTuningJob": self._list_training_jobs,
            "StopHyperParameterTuningJob": self._stop,
        }
        jobs.listen(self._job_changed)

    def listen(self, listener: JobListener) -> None:
        """Call `listener` with a tuning job's document when it has ended."""
        self._listeners.append(listener)

    def _find(self, name: str) -> Document:
        document = self._store.get(KIND, name)
        if document is None:
            raise not_found(f"Could not find requested tuning job with name: {name}")
        return document

    def _create(self, request: Mapping[str, Any], caller: Caller) -> Document:
        _check_supported(request)
        self._context.check_role(request["TrainingJobDefinition"]["RoleArn"])
        name = request[TUNING.name]
        arn = self._context.arn("hyper-parameter-tuning-job", name)
        now = self._context.now()
        document: Document = {
            **without_tags(request),
            TUNING.arn: arn,
            TUNING.status: "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
            "Candidates": candidates(request["HyperParameterTuningJobConfig"], name),
            "Jobs": [],
            "Caller": {"arn": caller.arn, "principal_id": caller.principal_id},
        }
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise in_use(f"Job name must be unique within an AWS account and region: {arn} exists already")
            self._store.put(KIND, name, document)
            self._tags.put(arn, request.get("Tags", ()))
        self._events.tuning_job(self._described(name), self._tags.get(arn))
        self._advance(name)
        return {TUNING.arn: arn}

    def _advance(self, name: str) -> None:
        """Start the next training jobs, or end the tuning job."""
        while True:
            with self._store.transaction():
                document = self._find(name)
                if document[TUNING.status] in ENDED:
                    return
                started = self._training_jobs(document)
                active = sum(job["TrainingJobStatus"] not in ENDED for job in started)
                limits = document["HyperParameterTuningJobConfig"]["ResourceLimits"]
                left = document["Candidates"][len(document["Jobs"]) :]
                stopping = document[TUNING.status] == "Stopping"
                if not stopping and left and active < limits["MaxParallelTrainingJobs"]:
                    job = f"{name}-{len(document['Jobs']) + 1:03d}-{random_id(8)}"
                    self._store.put(_INDEX, job, {"Tuning": name, "Tuned": left[0]})
                    self._store.update(KIND, name, Jobs=[*document["Jobs"], job])
                elif active or (left and not stopping):
                    return
                else:
                    self._end(document, started, stopping=stopping)
                    break
            try:
                self._jobs.create_training(_training_request(document, job, left[0]), Caller(**document["Caller"]))
            except AwsError as error:
                self._store.update(KIND, name, HyperParameterTuningJobStatus="Failed", FailureReason=error.message)
                break
        ended = self._find(name)
        self._events.tuning_job(self._described(name), self._tags.get(ended[TUNING.arn]))
        for listener in self._listeners:
            listener("tuning", ended)

    def _end(self, document: Document, started: Sequence[Document], *, stopping: bool) -> None:
        now = self._context.now()
        changes: Document = {TUNING.status: "Stopped" if stopping else "Completed", "HyperParameterTuningEndTime": now}
        if not stopping and started and all(job["TrainingJobStatus"] == "Failed" for job in started):
            changes |= {TUNING.status: "Failed", "FailureReason": _ALL_FAILED}
        self._store.update(KIND, document[TUNING.name], **changes, LastModifiedTime=now)

    def _job_changed(self, kind: JobKind, job: Document) -> None:
        if kind != "training" or job["TrainingJobStatus"] not in ENDED:
            return
        known = self._store.get(_INDEX, job["TrainingJobName"])
        if known is not None:
            self._advance(known["Tuning"])

    def _training_jobs(self, document: Document) -> list[Document]:
        found = (self._store.get("TrainingJob", name) for name in document["Jobs"])
        return [job for job in found if job is not None]

    def _summaries(self, document: Document) -> list[Document]:
        """Return the training jobs' summaries, the best first, those without the metric last."""
        config = document["HyperParameterTuningJobConfig"]
        definition = document["TrainingJobDefinition"]
        objective = config.get("HyperParameterTuningJobObjective") or definition.get("TuningObjective") or {}
        summaries = []
        for job in self._training_jobs(document):
            metrics = {one["MetricName"]: one["Value"] for one in job.get("FinalMetricDataList", ())}
            summary: Document = {
                "TrainingJobName": job["TrainingJobName"],
                "TrainingJobArn": job["TrainingJobArn"],
                "CreationTime": job["CreationTime"],
                "TrainingJobStatus": job["TrainingJobStatus"],
                "TunedHyperParameters": (self._store.get(_INDEX, job["TrainingJobName"]) or {}).get("Tuned", {}),
                "ObjectiveStatus": "Pending" if job["TrainingJobStatus"] not in ENDED else "Failed",
            }
            for member in ("TrainingStartTime", "TrainingEndTime", "FailureReason"):
                if member in job:
                    summary[member] = job[member]
            value = metrics.get(objective.get("MetricName", ""))
            if value is not None:
                metric = {"MetricName": objective["MetricName"], "Value": value, "Type": objective.get("Type")}
                summary["FinalHyperParameterTuningJobObjectiveMetric"] = metric
                summary["ObjectiveStatus"] = "Succeeded"
            summaries.append(summary)
        sign = -1 if objective.get("Type") == "Maximize" else 1

        def rank(summary: Document) -> float:
            metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
            return math.inf if metric is None else sign * float(metric["Value"])

        return sorted(summaries, key=rank)

    def _described(self, name: str) -> Document:
        document = self._find(name)
        summaries = self._summaries(document)
        jobs = {status: sum(one["TrainingJobStatus"] == status for one in summaries) for status in ENDED}
        objectives = [one["ObjectiveStatus"] for one in summaries]
        document["TrainingJobStatusCounters"] = {
            "Completed": jobs["Completed"],
            "InProgress": len(summaries) - sum(jobs.values()),
            "RetryableError": 0,
            "NonRetryableError": jobs["Failed"],
            "Stopped": jobs["Stopped"],
        }
        counted = {status: objectives.count(status) for status in ("Succeeded", "Pending", "Failed")}
        document["ObjectiveStatusCounters"] = counted
        if counted["Succeeded"]:
            document["BestTrainingJob"] = summaries[0]
        return document

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        found = [self._described(name) for name, _ in self._store.list(KIND)]
        return page(
            select(found, request, name=TUNING.name, status=TUNING.status),
            request,
            "HyperParameterTuningJobSummaries",
            key=TUNING.name,
            order_by={"Name": TUNING.name, "CreationTime": "CreationTime", "Status": TUNING.status},
        )

    def _list_training_jobs(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        ranked = enumerate(self._summaries(self._find(request[TUNING.name])))
        listed = [{**one, "Rank": number} for number, one in ranked]
        by_metric = request.get("SortBy") == "FinalObjectiveMetricValue"
        return page(
            select(listed, request, name="TrainingJobName", status="TrainingJobStatus"),
            {**request, **({"SortOrder": "Ascending"} if by_metric else {})},
            "TrainingJobSummaries",
            key="TrainingJobName",
            order_by={
                "Name": "TrainingJobName",
                "CreationTime": "CreationTime",
                "Status": "TrainingJobStatus",
                "FinalObjectiveMetricValue": "Rank",
            },
        )

    def _stop(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        name = request[TUNING.name]
        with self._store.transaction():
            document = self._find(name)
            if document[TUNING.status] in ENDED:
                raise validation(f"The tuning job is in status {document[TUNING.status]} and cannot be stopped.")
            self._store.update(KIND, name, HyperParameterTuningJobStatus="Stopping")
        for job in self._training_jobs(document):
            if job["TrainingJobStatus"] not in ENDED:
                self._jobs.stop_training(job["TrainingJobName"])
        self._advance(name)
        return {}


def candidates(config: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """Return the hyperparameters of each training job; the same seed, or name without one, gives the same."""
    ranges = config.get("ParameterRanges") or {}
    categorical = {one["Name"]: one["Values"] for one in ranges.get("CategoricalParameterRanges", ())}
    if config["Strategy"] == "Grid":
        return [dict(zip(categorical, values, strict=True)) for values in itertools.product(*categorical.values())]
    drawn = random.Random(str(config.get("RandomSeed", name)))  # noqa: S311 (sampling needs no secure randomness)
    found = []
    for _ in range(config["ResourceLimits"]["MaxNumberOfTrainingJobs"]):
        one = {key: drawn.choice(values) for key, values in categorical.items()}
        one |= {item["Name"]: _number(item, drawn) for item in ranges.get("ContinuousParameterRanges", ())}
        integers = ranges.get("IntegerParameterRanges", ())
        one |= {item["Name"]: str(round(float(_number(item, drawn)))) for item in integers}
        found.append(one)
    return found


def _number(item: Mapping[str, Any], drawn: random.Random) -> str:
    low, high = float(item["MinValue"]), float(item["MaxValue"])
    scaling = item.get("ScalingType", "Auto")
    if scaling == "Logarithmic":
        return repr(math.exp(drawn.uniform(math.log(low), math.log(high))))
    if scaling == "ReverseLogarithmic":
        return repr(1 - math.exp(drawn.uniform(math.log(1 - high), math.log(1 - low))))
    return repr(drawn.uniform(low, high))


def _check_supported(request: Mapping[str, Any]) -> None:
    config = request["HyperParameterTuningJobConfig"]
    for member in ("TrainingJobDefinitions", "WarmStartConfig", "Autotune"):
        if request.get(member):
            raise unsupported(f"{member} of a tuning job")
    definition = request.get("TrainingJobDefinition")
    if not definition:
        raise validation("TrainingJobDefinition is required.")
    if config["Strategy"] == "Hyperband":
        raise unsupported("the strategy Hyperband of a tuning job")
    for member in ("HyperParameterRanges", "HyperParameterTuningResourceConfig", "DefinitionName"):
        if definition.get(member):
            raise unsupported(f"{member} of a tuning job's training job definition")
    ranges = config.get("ParameterRanges") or {}
    if ranges.get("AutoParameters"):
        raise unsupported("AutoParameters of a tuning job")
    numeric = ranges.get("IntegerParameterRanges") or ranges.get("ContinuousParameterRanges")
    if config["Strategy"] == "Grid" and (numeric or not ranges.get("CategoricalParameterRanges")):
        raise validation("The strategy Grid needs CategoricalParameterRanges, and no others.")
    if config["Strategy"] != "Grid" and "MaxNumberOfTrainingJobs" not in config["ResourceLimits"]:
        raise validation("MaxNumberOfTrainingJobs is required.")
    if not config.get("HyperParameterTuningJobObjective"):
        raise validation("HyperParameterTuningJobObjective is required.")


def _training_request(document: Mapping[str, Any], name: str, tuned: Mapping[str, str]) -> Document:
    definition = document["TrainingJobDefinition"]
    objective = document["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    return {
        "TrainingJobName": name,
        **{member: definition[member] for member in _COPIED if member in definition},
        "AlgorithmSpecification": definition["AlgorithmSpecification"],
        "HyperParameters": {
            "_tuning_objective_metric": objective["MetricName"],
            **(definition.get("StaticHyperParameters") or {}),
            **tuned,
        },
    }
