"""Monitoring job definitions of four kinds, which differ in names only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.sagemaker.context import Context, Document, Operation, Operations
from localcloud.sagemaker.errors import in_use, not_found, unsupported, validation
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.tags import Tags, without_tags
from localcloud.store import Store


@dataclass(frozen=True)
class MonitorKind:
    """One kind of monitor.

    Attributes:
        monitoring_type: `MonitoringType` in schedules and executions; the prefix of the API's members.
        resource: the resource type in ARNs.
        analysis_type: the container's `analysis_type` variable.
    """

    monitoring_type: str
    resource: str
    analysis_type: str

    @property
    def store_kind(self) -> str:
        """The definitions' kind in the store."""
        return f"{self.monitoring_type}JobDefinition"


KINDS = {
    kind.monitoring_type: kind
    for kind in (
        MonitorKind("DataQuality", "data-quality-job-definition", "DATA_QUALITY"),
        MonitorKind("ModelQuality", "model-quality-job-definition", "MODEL_QUALITY"),
        MonitorKind("ModelBias", "model-bias-job-definition", "MODEL_BIAS"),
        MonitorKind("ModelExplainability", "model-explainability-job-definition", "MODEL_EXPLAINABILITY"),
    )
}


@dataclass(frozen=True)
class MonitoringJob:
    """The job of one execution, from a job definition or from a schedule."""

    kind: MonitorKind
    application: Mapping[str, Any]
    environment: Mapping[str, str]
    constraints: str | None
    statistics: str | None
    endpoint: Mapping[str, Any]
    ground_truth: str | None
    output: Mapping[str, Any]
    output_config: Mapping[str, Any]
    cluster: Mapping[str, Any]
    network: Mapping[str, Any] | None
    role_arn: str
    stopping: Mapping[str, Any] | None


class JobDefinitions:
    """The operations on job definitions of all kinds."""

    def __init__(self, context: Context, tags: Tags) -> None:
        self._context, self._store, self._tags = context, context.store, tags
        self.operations: Operations = {}
        for kind in KINDS.values():
            noun = kind.store_kind
            self.operations |= {
                f"Create{noun}": self._bound(self._create, kind),
                f"Describe{noun}": self._bound(self._describe, kind),
                f"Delete{noun}": self._bound(self._delete, kind),
                f"List{noun}s": self._bound(self._list, kind),
            }

    def job(self, monitoring_type: str, name: str) -> MonitoringJob:
        """Return the definition in the form that an execution needs."""
        return from_definition(KINDS[monitoring_type], self._find(KINDS[monitoring_type], name), self._store)

    def _find(self, kind: MonitorKind, name: str) -> Document:
        definition = self._store.get(kind.store_kind, name)
        if definition is None:
            raise not_found(f"Could not find job definition with name: {name}")
        return definition

    @staticmethod
    def _bound(method: Any, kind: MonitorKind) -> Operation:
        return lambda request, _: method(kind, request)

    def _create(self, kind: MonitorKind, request: Mapping[str, Any]) -> Document:
        check_supported(from_definition(kind, request, self._store))
        name = request["JobDefinitionName"]
        arn = self._context.arn(kind.resource, name)
        with self._store.transaction():
            if self._store.get(kind.store_kind, name):
                raise in_use(f"A job definition with the name {name} already exists ({arn})")
            document = without_tags(request)
            document |= {"JobDefinitionArn": arn, "CreationTime": self._context.now()}
            self._store.put(kind.store_kind, name, document)
            self._tags.put(arn, request.get("Tags", ()))
        return {"JobDefinitionArn": arn}

    def _describe(self, kind: MonitorKind, request: Mapping[str, Any]) -> Document:
        return self._find(kind, request["JobDefinitionName"])

    def _delete(self, kind: MonitorKind, request: Mapping[str, Any]) -> Document:
        definition = self._find(kind, request["JobDefinitionName"])
        with self._store.transaction():
            self._store.delete(kind.store_kind, definition["JobDefinitionName"])
            self._tags.drop(definition["JobDefinitionArn"])
        return {}

    def _list(self, kind: MonitorKind, request: Mapping[str, Any]) -> Document:
        summaries = []
        for _, document in self._store.list(kind.store_kind):
            summary = {
                "MonitoringJobDefinitionName": document["JobDefinitionName"],
                "MonitoringJobDefinitionArn": document["JobDefinitionArn"],
                "CreationTime": document["CreationTime"],
                "EndpointName": from_definition(kind, document, self._store).endpoint["EndpointName"],
            }
            if request.get("EndpointName") in (None, summary["EndpointName"]):
                summaries.append(summary)
        return page(
            select(summaries, request, name="MonitoringJobDefinitionName"),
            request,
            "JobDefinitionSummaries",
            key="MonitoringJobDefinitionName",
            order_by={"Name": "MonitoringJobDefinitionName", "CreationTime": "CreationTime"},
        )


def from_definition(kind: MonitorKind, document: Mapping[str, Any], store: Store) -> MonitoringJob:
    """Read a `Create…JobDefinition` request."""
    prefix = kind.monitoring_type
    application = document[f"{prefix}AppSpecification"]
    source = document[f"{prefix}JobInput"]
    output = document[f"{prefix}JobOutputConfig"]
    baseline = _baseline(document.get(f"{prefix}BaselineConfig") or {}, kind, store)
    return MonitoringJob(
        kind=kind,
        application=application,
        environment=application.get("Environment") or {},
        constraints=(baseline.get("ConstraintsResource") or {}).get("S3Uri"),
        statistics=(baseline.get("StatisticsResource") or {}).get("S3Uri"),
        endpoint=_endpoint(source),
        ground_truth=(source.get("GroundTruthS3Input") or {}).get("S3Uri"),
        output=output["MonitoringOutputs"][0]["S3Output"],
        output_config=output,
        cluster=document["JobResources"]["ClusterConfig"],
        network=document.get("NetworkConfig"),
        role_arn=document["RoleArn"],
        stopping=document.get("StoppingCondition"),
    )


def from_schedule(inline: Mapping[str, Any], store: Store) -> MonitoringJob:
    """Read the `MonitoringJobDefinition` inside a schedule, which is always of the kind DataQuality."""
    kind = KINDS["DataQuality"]
    baseline = _baseline(inline.get("BaselineConfig") or {}, kind, store)
    return MonitoringJob(
        kind=kind,
        application=inline["MonitoringAppSpecification"],
        environment=inline.get("Environment") or {},
        constraints=(baseline.get("ConstraintsResource") or {}).get("S3Uri"),
        statistics=(baseline.get("StatisticsResource") or {}).get("S3Uri"),
        endpoint=_endpoint(inline["MonitoringInputs"][0]),
        ground_truth=None,
        output=inline["MonitoringOutputConfig"]["MonitoringOutputs"][0]["S3Output"],
        output_config=inline["MonitoringOutputConfig"],
        cluster=inline["MonitoringResources"]["ClusterConfig"],
        network=inline.get("NetworkConfig"),
        role_arn=inline["RoleArn"],
        stopping=inline.get("StoppingCondition"),
    )


def check_supported(job: MonitoringJob) -> None:
    """Reject by name what the local cloud does not support."""
    for member in ("RecordPreprocessorSourceUri", "PostAnalyticsProcessorSourceUri"):
        if job.application.get(member):
            raise unsupported(f"{member} of a monitoring job")
    if job.cluster["InstanceCount"] > 1:
        raise unsupported("monitoring jobs on more than one instance (InstanceCount)")
    if job.endpoint.get("ExcludeFeaturesAttribute"):
        raise unsupported("ExcludeFeaturesAttribute of a monitoring job's input")


def _baseline(given: Mapping[str, Any], kind: MonitorKind, store: Store) -> Mapping[str, Any]:
    """Return the baseline with the files of its job, where it names one and not the files.

    Raises:
        AwsError: the job does not exist or has not completed.
    """
    name = given.get("BaseliningJobName")
    if not name:
        return given
    job = store.get("ProcessingJob", name)
    if job is None:
        raise not_found(f"Could not find the baselining job with name: {name}")
    if job["ProcessingJobStatus"] != "Completed":
        raise validation(f"The baselining job {name} is in status {job['ProcessingJobStatus']}.")
    outputs = (job.get("ProcessingOutputConfig") or {}).get("Outputs") or [{}]
    folder = str((outputs[0].get("S3Output") or {}).get("S3Uri", "")).rstrip("/")
    quality = kind.monitoring_type in ("DataQuality", "ModelQuality")
    files = {"ConstraintsResource": "constraints.json" if quality else "analysis.json"}
    files |= {"StatisticsResource": "statistics.json"} if quality else {}
    found = {member: {"S3Uri": f"{folder}/{file}"} for member, file in files.items()}
    return {**found, **{member: value for member, value in given.items() if value}}


def _endpoint(source: Mapping[str, Any]) -> Mapping[str, Any]:
    if not source.get("EndpointInput"):
        raise unsupported("monitoring of batch transform data (BatchTransformInput)")
    given: Mapping[str, Any] = source["EndpointInput"]
    return given
