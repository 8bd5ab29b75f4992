"""Transform jobs: a worker of the model answers for every object below an S3 prefix."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from localcloud.runtime.contract import ContainerError, Invocation, ModelError
from localcloud.runtime.transfer import encryption
from localcloud.sagemaker import variants
from localcloud.sagemaker.batch import TooLargeError, transform
from localcloud.sagemaker.context import Caller, Context, Document, Operations
from localcloud.sagemaker.errors import AwsError, in_use, not_found, unsupported, validation
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.interfaces import Fleet
from localcloud.sagemaker.jobs import ENDED, JobListener
from localcloud.sagemaker.listing import page, select
from localcloud.sagemaker.models import Models
from localcloud.sagemaker.record_filters import FilterError, applied, check
from localcloud.sagemaker.tags import Tags, without_tags

KIND = "TransformJob"

_log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The job was stopped between two objects."""


class Transforms:
    """The operations on transform jobs; each job runs on a thread of its own."""

    def __init__(self, context: Context, tags: Tags, events: Events, models: Models, fleet: Fleet) -> None:
        self._context, self._store, self._tags = context, context.store, tags
        self._events, self._models, self._fleet = events, models, fleet
        self._running: dict[str, threading.Thread] = {}
        self._listeners: list[JobListener] = []
        self.operations: Operations = {
            "CreateTransformJob": self._create,
            "DescribeTransformJob": lambda request, _: self._find(request["TransformJobName"]),
            "ListTransformJobs": self._list,
            "StopTransformJob": self._stop,
        }

    def listen(self, listener: JobListener) -> None:
        """Call `listener` with a job's document after each of its changes."""
        self._listeners.append(listener)

    def under_way(self) -> list[str]:
        """Return descriptions of the jobs that have not ended."""
        return [f"transform job {name}" for name in list(self._running)]

    def recover(self) -> None:
        """Recover after a restart: the jobs that were running have failed."""
        for name, job in self._store.list(KIND):
            if job["TransformJobStatus"] not in ENDED:
                self._end(name, "Failed", "InternalServerError: the local cloud was stopped while the job was running.")

    def shutdown(self) -> None:
        """End each job after its current object."""
        for name in list(self._running):
            self._store.update(KIND, name, TransformJobStatus="Stopping")
        for thread in list(self._running.values()):
            thread.join(10)

    def _find(self, name: str) -> Document:
        job = self._store.get(KIND, name)
        if job is None:
            raise not_found(f"Could not find requested job with name: {name}")
        return job

    def _create(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        _check_supported(request)
        self._models.find(request["ModelName"])
        name = request["TransformJobName"]
        arn = self._context.arn("transform-job", name)
        now = self._context.now()
        job: Document = {
            **without_tags(request),
            "TransformJobArn": arn,
            "TransformJobStatus": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        with self._store.transaction():
            if self._store.get(KIND, name):
                raise in_use(f"Job name must be unique within an AWS account and region: {arn} exists already")
            self._store.put(KIND, name, job)
            self._tags.put(arn, request.get("Tags", ()))
        self._publish(job)
        thread = threading.Thread(target=self._run, args=(name, request), name=f"transform job {name}", daemon=True)
        self._running[name] = thread
        thread.start()
        return {"TransformJobArn": arn}

    def _stop(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        with self._store.transaction():
            job = self._find(request["TransformJobName"])
            if job["TransformJobStatus"] in ENDED:
                raise validation(f"The transform job is in status {job['TransformJobStatus']} and cannot be stopped.")
            self._store.update(KIND, job["TransformJobName"], TransformJobStatus="Stopping")
        return {}

    def _list(self, request: Mapping[str, Any], _caller: Caller) -> Document:
        jobs = (job for _, job in self._store.list(KIND))
        return page(
            select(jobs, request, name="TransformJobName", status="TransformJobStatus"),
            request,
            "TransformJobSummaries",
            key="TransformJobName",
            order_by={
                "Name": "TransformJobName",
                "CreationTime": "CreationTime",
                "Status": "TransformJobStatus",
            },
        )

    def _run(self, name: str, request: Mapping[str, Any]) -> None:
        try:
            self._work(name, request)
            self._end(name, "Completed")
        except _Stopped:
            self._end(name, "Stopped")
        except (ContainerError, TooLargeError, FilterError, ModelError) as error:
            text = str(error)
            self._end(name, "Failed", text if text.startswith("ClientError") else f"AlgorithmError: {text}")
        except (AwsError, ClientError) as error:
            self._end(name, "Failed", f"ClientError: {error}")
        except Exception as error:  # noqa: BLE001 (the job must not stay InProgress)
            _log.exception("the transform job %s failed", name)
            self._end(name, "Failed", f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            self._running.pop(name, None)

    def _work(self, name: str, request: Mapping[str, Any]) -> None:
        source = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        variant = {"ModelName": request["ModelName"], "VariantName": "AllTraffic"}
        spec = variants.specification(name, variant, None, self._models)
        environment = {**spec.environment, **(request.get("Environment") or {})}
        spec = replace(spec, environment=environment, log_group="/aws/sagemaker/TransformJobs")
        s3 = self._context.cloud.client("s3", role_arn=spec.role_arn)
        bucket, keys = _objects(s3, source)
        worker = self._fleet.start(spec)
        self._store.update(KIND, name, TransformStartTime=self._context.now())
        written = []
        try:
            for key, relative in keys:
                if self._find(name)["TransformJobStatus"] == "Stopping":
                    raise _Stopped
                body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                output = applied(request, body, lambda part: self._invoke(worker, request, part), transform)
                written.append(f"{relative}.out")
                target = request["TransformOutput"]
                _put(s3, target["S3OutputPath"], written[-1], output, target.get("KmsKeyId"))
        finally:
            self._fleet.stop(worker)
        capture = request.get("DataCaptureConfig")
        if capture:
            base = f"s3://{bucket}/{_folder(source)}"
            self._capture(s3, capture, "input", base, [relative for _, relative in keys])
            self._capture(s3, capture, "output", request["TransformOutput"]["S3OutputPath"].rstrip("/") + "/", written)

    def _invoke(self, worker: str, request: Mapping[str, Any], body: bytes) -> bytes:
        content_type = request["TransformInput"].get("ContentType", "application/octet-stream")
        attempts = (request.get("ModelClientConfig") or {}).get("InvocationsMaxRetries", 0) + 1
        for attempt in range(1, attempts + 1):
            try:
                invocation = Invocation(body, content_type, request["TransformOutput"].get("Accept"))
                return self._fleet.invoke(worker, invocation).body
            except ModelError:
                if attempt == attempts:
                    raise
        raise AssertionError("a request is made at least once")

    def _capture(self, s3: Any, capture: Mapping[str, Any], side: str, prefix: str, names: Sequence[str]) -> None:
        """Write a data capture manifest of the objects read or written, below a folder for the hour."""
        hour = self._context.cloud.clock.now().strftime("%Y/%m/%d/%H")
        manifest = json.dumps([{"prefix": prefix}, *names]).encode()
        _put(s3, capture["DestinationS3Uri"], f"{side}/{hour}/{uuid.uuid4()}.json", manifest, capture.get("KmsKeyId"))

    def _end(self, name: str, status: str, reason: str | None = None) -> None:
        now = self._context.now()
        changes: Document = {"TransformJobStatus": status, "TransformEndTime": now, "LastModifiedTime": now}
        if reason:
            changes["FailureReason"] = reason[:1024]
        self._publish(self._store.update(KIND, name, **changes))

    def _publish(self, job: Document) -> None:
        self._events.job("DescribeTransformJob", job, self._tags.get(job["TransformJobArn"]))
        for listener in self._listeners:
            listener("transform", job)


def _check_supported(request: Mapping[str, Any]) -> None:
    """Reject by name what would change the result and is not supported."""
    source = request["TransformInput"]
    if source["DataSource"]["S3DataSource"]["S3DataType"] != "S3Prefix":
        raise unsupported(f"S3DataType {source['DataSource']['S3DataSource']['S3DataType']} of a transform job")
    if source.get("SplitType", "None") not in {"None", "Line"}:
        raise unsupported(f"SplitType {source['SplitType']} of a transform job")
    if source.get("CompressionType", "None") != "None":
        raise unsupported("CompressionType Gzip of a transform job")
    try:
        check(request.get("DataProcessing") or {})
    except FilterError as error:
        raise validation(str(error)) from error
    if (request.get("DataCaptureConfig") or {}).get("GenerateInferenceId"):
        raise unsupported("GenerateInferenceId of a transform job's data capture")
    if request["TransformResources"]["InstanceCount"] > 1:
        raise unsupported("transform jobs on more than one instance (InstanceCount)")


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _folder(uri: str) -> str:
    """Return the key up to its last slash; output names are relative to it."""
    key = _split(uri)[1]
    return key[: key.rfind("/") + 1]


def _objects(s3: Any, uri: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the bucket, and (key, name relative to the prefix's folder) of every object below the prefix."""
    bucket, prefix = _split(uri)
    folder = _folder(uri)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for one in pages for item in one.get("Contents", ()) if not item["Key"].endswith("/")]
    if not keys:
        raise ContainerError(f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source.')
    return bucket, [(key, key[len(folder) :]) for key in keys]


def _put(s3: Any, base: str, name: str, body: bytes, key: str | None) -> None:
    bucket, prefix = _split(base.rstrip("/"))
    s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}" if prefix else name, Body=body, **encryption(key))
