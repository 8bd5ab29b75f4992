"""Steps: destroy the stacks, delete what they retain, and see that nothing is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from evergreen.prove import application, inventory
from evergreen.prove.deployment import AVAILABLE, await_stacks, stacks
from evergreen.prove.monitors import stop_runs
from evergreen.prove.proof import Proof
from evergreen.prove.waiting import StepError

_WAIT_MINUTES = 20
_KEY_DAYS = 7
_GONE = frozenset(
    {
        "ResourceNotFoundException",
        "ResourceNotFound",
        "ValidationException",
        "ValidationError",
        "NoSuchBucket",
        "NoSuchKey",
        "NotFoundException",
        "NoSuchEntity",
        "404",
    }
)
_JOB_LOGS = {"ProcessingJob": "/aws/sagemaker/ProcessingJobs", "TrainingJob": "/aws/sagemaker/TrainingJobs"}


def destroy(proof: Proof) -> None:
    """Delete every stack with the CDK CLI, in the order of their dependencies.

    Raises:
        StepError: A stack is left.
    """
    await_stacks(proof)
    stop_runs(proof)
    found = stacks(proof)
    proof.remember(stacks=sorted({*proof.facts.get("stacks", []), *found}))
    if found:
        proof.remember(keys=sorted({*proof.facts.get("keys", []), *_keys(proof, found)}))
        _end_deployment(proof)
        _destroy(proof)
    left = stacks(proof)
    if left:
        raise StepError(f"stacks are left: {', '.join(f'{name} {status}' for name, status in left.items())}")
    if proof.facts["stacks"]:
        proof.see("deletion", f"{len(proof.facts['stacks'])} stacks deleted, none left", held=True)


def _destroy(proof: Proof) -> None:
    if not (proof.assembly / "manifest.json").is_file():
        engine = proof.facts.get("engine", AVAILABLE)
        proof.folder.mkdir(parents=True, exist_ok=True)
        arguments = application.write(proof.folder, proof.state.name, proof.state.region, engine)
        proof.cdk("synth", "--quiet", "--app", f"{sys.executable} app.py {arguments}", "--output", str(proof.assembly))
    proof.cdk("destroy", "--app", str(proof.assembly), "--all", "--force")


def _keys(proof: Proof, found: dict[str, str]) -> list[str]:
    platform = proof.names.platform_stack
    return proof.resources(platform, "AWS::KMS::Key") if platform in found else []


def _end_deployment(proof: Proof) -> None:
    """Wait until the endpoint has ended a deployment: CloudFormation cannot delete it before."""

    def still() -> bool | None:
        try:
            status = proof.describe_endpoint()["EndpointStatus"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return True
            raise
        return None if status in {"Updating", "Creating", "RollingBack"} else True

    proof.waits.until("the endpoint's deployment to end", still, minutes=120)


def remove(proof: Proof) -> None:
    """Delete what the stacks retain, and what AWS made beside them."""
    for what, delete in (
        ("models and endpoint configurations", _delete_models),
        ("package groups", _delete_packages),
        ("jobs and their logs", _delete_jobs),
        ("log groups", _delete_log_groups),
        ("alarms", _delete_alarms),
        ("tables", _delete_tables),
        ("buckets", _delete_buckets),
        ("assets", _delete_assets),
        ("keys", _delete_keys),
    ):
        deleted = sum(1 for _ in delete(proof))
        if deleted:
            proof.say(f"deleted: {what}, {deleted}")


def _delete_models(proof: Proof) -> Iterator[str]:
    sagemaker = proof.client("sagemaker")
    for kind, delete, argument in (
        ("monitoring schedule", sagemaker.delete_monitoring_schedule, "MonitoringScheduleName"),
        ("endpoint", sagemaker.delete_endpoint, "EndpointName"),
        ("endpoint configuration", sagemaker.delete_endpoint_config, "EndpointConfigName"),
        ("model", sagemaker.delete_model, "ModelName"),
    ):
        yield from _each(proof, kind, delete, argument)


def _delete_packages(proof: Proof) -> Iterator[str]:
    sagemaker = proof.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages")
    for group in _named(proof, "package group"):
        for page in pages.paginate(ModelPackageGroupName=group):
            for package in page["ModelPackageSummaryList"]:
                _attempt(sagemaker.delete_model_package, ModelPackageName=package["ModelPackageArn"])
                yield package["ModelPackageArn"]
    yield from _each(proof, "package group", sagemaker.delete_model_package_group, "ModelPackageGroupName")


def _delete_jobs(proof: Proof) -> Iterator[str]:
    """Delete the jobs of the proof's runs and monitors, and their log streams in SageMaker's common groups."""
    sagemaker, logs = proof.client("sagemaker"), proof.client("logs")
    executions = [run.rpartition("/")[2] for run in proof.facts.get("runs", [])]
    for kind, group in _JOB_LOGS.items():
        listed = sagemaker.get_paginator(f"list_{_snake(kind)}s")
        jobs = [
            job[f"{kind}Name"]
            for part in [proof.state.name, *executions]
            for page in listed.paginate(NameContains=part)
            for job in page[f"{kind}Summaries"]
        ]
        for job in dict.fromkeys(jobs):
            streams = logs.get_paginator("describe_log_streams").paginate(
                logGroupName=group, logStreamNamePrefix=f"{job}/"
            )
            for stream in _items(streams, "logStreams"):
                _attempt(logs.delete_log_stream, logGroupName=group, logStreamName=stream["logStreamName"])
            _attempt(getattr(sagemaker, f"delete_{_snake(kind)}"), **{f"{kind}Name": job})
            yield job


def _delete_log_groups(proof: Proof) -> Iterator[str]:
    return _each(proof, "log group", proof.client("logs").delete_log_group, "logGroupName")


def _delete_alarms(proof: Proof) -> Iterator[str]:
    """Delete alarms that outlive what they watch, as those of target tracking may."""
    for name in _named(proof, "alarm"):
        proof.client("cloudwatch").delete_alarms(AlarmNames=[name])
        yield name


def _delete_tables(proof: Proof) -> Iterator[str]:
    return _each(proof, "table", proof.client("dynamodb").delete_table, "TableName")


def _delete_buckets(proof: Proof) -> Iterator[str]:
    s3 = proof.client("s3")
    # The bucket of access logs goes last: S3 writes to it what happens to the others.
    for bucket in sorted(_named(proof, "bucket"), key=lambda name: "log" in name):

        def emptied(bucket: str = bucket) -> bool | None:
            try:
                _empty(s3, bucket)
                s3.delete_bucket(Bucket=bucket)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "BucketNotEmpty":
                    return None
                if code not in _GONE:
                    raise
            return True

        proof.waits.until(f"bucket {bucket} to be empty", emptied, minutes=_WAIT_MINUTES)
        yield bucket


def _empty(s3: Any, bucket: str, prefix: str = "") -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in page.get("Versions", []) + page.get("DeleteMarkers", [])
        ]
        if found:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})


def _delete_assets(proof: Proof) -> Iterator[str]:
    """Delete the assets that this proof published, unless a stack that is left names them in its template."""
    assets = proof.facts.get("assets", [])
    if not assets:
        return
    used = "\n".join(_templates(proof))
    for asset in assets:
        if asset["Key"].partition(".")[0] not in used:
            _empty(proof.client("s3"), asset["Bucket"], asset["Key"])
            yield asset["Key"]


def _templates(proof: Proof) -> Iterator[str]:
    cloudformation = proof.client("cloudformation")
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            yield str(cloudformation.get_template(StackName=stack["StackName"])["TemplateBody"])


def _delete_keys(proof: Proof) -> Iterator[str]:
    for key, state in inventory.keys(proof).items():
        if state != "PendingDeletion":
            proof.client("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=_KEY_DAYS)
            yield key


def verify(proof: Proof) -> None:
    """List the account, and see that nothing of the proof is left but what AWS deletes later.

    Raises:
        StepError: Something is left.
    """
    listed: list[str] = []

    def gone() -> bool | None:
        listed[:] = [f"{kind} {name}" for kind, name in inventory.holds(proof)]
        listed.extend(f"stack {name}" for name in stacks(proof))
        keys = [f"/{key}" for key in inventory.keys(proof)]
        listed.extend(f"tagged {arn}" for arn in inventory.tagged(proof) if not arn.endswith(tuple(keys)))
        if not listed:
            return True
        remove(proof)  # a function that still ran may have logged, S3 may have written an access log
        return None

    keys = inventory.keys(proof)
    later = "; ".join(f"key {key} is deleted in {_KEY_DAYS} days" for key in keys)
    try:
        # AWS's lists lag behind deletions.
        proof.waits.until(
            "AWS's lists to forget what was deleted", gone, minutes=_WAIT_MINUTES, detail=lambda: _few(listed)
        )
    except StepError:
        proof.see("nothing-left", f"left: {', '.join(listed)}", held=False)
        raise
    held = all(state == "PendingDeletion" for state in keys.values())
    proof.see("nothing-left", "; ".join(filter(None, ["nothing is listed", later])), held=held)


def _few(found: list[str]) -> str:
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _named(proof: Proof, kind: str) -> list[str]:
    (listing,) = [one for one in inventory.LISTINGS if one.kind == kind]
    return inventory.names(proof, listing)


def _each(proof: Proof, kind: str, delete: Callable[..., Any], argument: str) -> Iterator[str]:
    for name in _named(proof, kind):
        _attempt(delete, **{argument: name})
        yield name


def _attempt(delete: Callable[..., Any], **arguments: str) -> None:
    """Delete what an earlier attempt may have deleted."""
    try:
        delete(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise


def _items(pages: Any, member: str) -> Iterator[dict[str, Any]]:
    """Yield the items of pages, none where what they are listed of does not exist."""
    try:
        for page in pages:
            yield from page[member]
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise


def _snake(kind: str) -> str:
    return {"ProcessingJob": "processing_job", "TrainingJob": "training_job"}[kind]
