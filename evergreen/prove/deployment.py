"""Steps: check the account, synthesise, deploy, upload the data."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from botocore.exceptions import ClientError

from configuration import load
from configuration.bootstrap import bootstrap_qualifier
from evergreen import ROOT
from evergreen.deployed import is_moving
from evergreen.errors import UsageError
from evergreen.preflight import checks
from evergreen.prove import application
from evergreen.prove.proof import Proof
from evergreen.prove.waiting import StepError

_DENIED = ("AccessDenied", "AccessDeniedException")
AVAILABLE, CLOSED = "available", "closed"


def check_account(proof: Proof) -> None:
    """Check bootstrap, quotas and Model Monitor, and choose the engine.

    Raises:
        StepError: There is no bootstrap, or a quota is too low.
    """
    if "engine" not in proof.facts:
        proof.folder.mkdir(parents=True, exist_ok=True)
        application.write(proof.folder, proof.state.name, proof.state.region, AVAILABLE)
        configuration = load(ROOT, *_arguments(proof))
        stage, session = configuration.application.stage, proof.session
        bootstrap = checks.bootstrap(session)
        proof.see("bootstrap", f"{bootstrap_qualifier()}: {bootstrap.found}", held=bootstrap.good)
        if not bootstrap.good:
            where = f"aws://{proof.state.account}/{proof.state.region}"
            raise StepError(
                f"CDK's bootstrap: {bootstrap.found}. Run `npx cdk bootstrap {where}`; it stays afterwards."
            )
        lacking = _quotas(proof, configuration.models)
        if lacking:
            raise StepError(f"a quota is too low: {lacking}")
        answer = checks.model_monitor(session, stage)
        proof.see("model-monitor", answer.found, held=not answer.found.startswith("not known"))
        proof.remember(engine=proof.facts.get("asked") or (AVAILABLE if answer.good else CLOSED))
    proof.say(f"Model Monitor: {proof.facts['engine']}")


def _quotas(proof: Proof, models: Any) -> str:
    """Return the first quota that is too low, "" where none is or nothing may be read."""
    stage = load(ROOT, *_arguments(proof)).application.stage
    try:
        answers = list(checks.quotas(proof.session, stage, models))
    except ClientError as error:
        if error.response["Error"]["Code"] not in _DENIED:
            raise
        proof.say(f"quotas are not known: {error}")
        return ""
    lacking = [f"{answer.question}: {answer.found}; {answer.change}" for answer in answers if not answer.good]
    enough = "; ".join(f"{answer.question}: {answer.found}" for answer in answers)
    proof.see("quotas", "; ".join(lacking) or enough, held=not lacking)
    return lacking[0] if lacking else ""


def synthesise(proof: Proof) -> None:
    """Write the application and its cloud assembly, and remember which assets the account does not have yet."""
    arguments = application.write(proof.folder, proof.state.name, proof.state.region, proof.facts["engine"])
    proof.cdk("synth", "--quiet", "--app", f"{sys.executable} app.py {arguments}", "--output", str(proof.assembly))
    if "assets" not in proof.facts:
        s3 = proof.client("s3")
        proof.remember(assets=[asset for asset in _assets(proof) if not _exists(s3, **asset)])


def deploy(proof: Proof) -> None:
    """Deploy every stack, and remember what a deletion of the stacks retains.

    Raises:
        UsageError: Stacks of this name exist that this proof did not make. They are left alone.
    """
    if not proof.facts.get("deploying"):
        foreign = stacks(proof)
        if foreign:
            proof.state.finished = True
            proof.store.save(proof.state)
            raise UsageError(
                f"Stacks of this name exist already: {', '.join(foreign)}. The next proof takes another name."
            )
        proof.remember(deploying=True)
    await_stacks(proof)
    proof.cdk("deploy", "--app", str(proof.assembly), "--all", "--require-approval", "never", "--concurrency", "2")
    found = stacks(proof)
    proof.see(
        "templates",
        ", ".join(f"{name.removeprefix(proof.state.name)[1:]} {status}" for name, status in sorted(found.items())),
        held=bool(found) and all(status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"} for status in found.values()),
    )
    proof.remember(keys=proof.resources(proof.names.platform_stack, "AWS::KMS::Key"))


def upload(proof: Proof) -> None:
    """Upload the training data where it is missing."""
    bucket, s3 = proof.platform["DataBucketName"], proof.client("s3")
    folder = f"{proof.names.name}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder)
    there = {found["Key"] for page in pages for found in page.get("Contents", [])}
    files = application.raw_files(proof.folder)
    for key, path in files.items():
        if folder + key not in there:
            s3.put_object(Bucket=bucket, Key=folder + key, Body=path.read_bytes())
    proof.say(f"{len(files)} objects are under s3://{bucket}/{folder}raw/")


def stacks(proof: Proof) -> dict[str, str]:
    """Return the status of each stack of the proof's name that exists."""
    pages = proof.client("cloudformation").get_paginator("describe_stacks").paginate()
    prefix = f"{proof.state.name}-"
    return {
        stack["StackName"]: stack["StackStatus"]
        for page in pages
        for stack in page["Stacks"]
        if stack["StackName"].startswith(prefix) and stack["StackStatus"] != "DELETE_COMPLETE"
    }


def await_stacks(proof: Proof) -> None:
    """Wait until no stack changes: an interrupted CLI leaves CloudFormation at work."""

    def settled() -> bool | None:
        return None if moving() else True

    def moving() -> str:
        return ", ".join(f"{name} {status}" for name, status in stacks(proof).items() if is_moving(status))

    proof.waits.until("CloudFormation's operations under way", settled, minutes=150, detail=moving)


def _arguments(proof: Proof) -> list[str]:
    return [os.path.relpath(proof.folder / name, ROOT) for name in ("evergreen.yaml", "models")]


def _assets(proof: Proof) -> list[dict[str, str]]:
    """Return bucket and key of each asset that the assembly publishes."""
    found = []
    for path in sorted(proof.assembly.glob("*.assets.json")):
        for asset in json.loads(path.read_text(encoding="utf-8")).get("files", {}).values():
            for destination in asset["destinations"].values():
                bucket = destination["bucketName"]
                for token, value in (
                    ("${AWS::AccountId}", proof.state.account),
                    ("${AWS::Region}", proof.state.region),
                    ("${AWS::Partition}", proof.session.get_partition_for_region(proof.state.region)),
                ):
                    bucket = bucket.replace(token, value)
                found.append({"Bucket": bucket, "Key": destination["objectKey"]})
    return list({(one["Bucket"], one["Key"]): one for one in found}.values())


def _exists(s3: Any, **asset: str) -> bool:
    try:
        s3.head_object(**asset)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise
    return True
