"""One pipeline execution in the local cloud ÷ the same scripts run one after the other by hand.

    python benchmarks/loop.py [--runs 5]

Both sides start a fresh process for each script and work on the same data, in turn, in one run. "By hand" is the
floor: the very commands, arguments and environments of the jobs that the execution ran, each with an /opt/ml of its own
(a mount namespace) in which its inputs lie already, so that moving data costs this side nothing. Caching is switched
off in the deployed definition.

Ends with one line of JSON: {"loop_ratio": …, "step_overhead_s": …, "cloud_s": […], "by_hand_s": […]}.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

if __package__ in {None, ""}:  # run as a file: start again as a module, from the root, so that `demo` can be imported
    os.chdir(Path(__file__).resolve().parent.parent)
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.loop", *sys.argv[1:]])

from evergreen.demo import MODEL
from evergreen.demo.cloud import LocalCloud
from evergreen.demo.training import upload_raw_data
from localcloud.runtime.images import stand_in

# The root's application with the example model, whatever lies in models/.
APP = f"{sys.executable} app.py evergreen.yaml examples/flight_delays"

# The scripts run on the Python of the image's environment on both sides.
IMAGE = "sagemaker-xgboost:3.2-0"
# A tmpfs over /opt gives the process an /opt/ml without touching the machine's.
IN_NAMESPACE = (
    "mount -t tmpfs none /opt && mkdir /opt/ml && mount --bind {root} /opt/ml"
    " && cd {cwd} && exec {environment} {command}"
)


@dataclass(frozen=True)
class Script:
    """One job as a person would start it: a folder to be /opt/ml, a working directory, a command, its environment."""

    name: str
    root: Path
    cwd: str
    command: list[str]
    environment: dict[str, str]

    def run(self) -> float:
        """Run it in a fresh process; return its seconds."""
        settings = " ".join(["env", "-i", *(_quote(f"{name}={value}") for name, value in self.environment.items())])
        line = IN_NAMESPACE.format(
            root=_quote(str(self.root)),
            cwd=_quote(self.cwd),
            environment=settings,
            command=" ".join(map(_quote, self.command)),
        )
        began = time.perf_counter()
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", line], capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{self.name} by hand failed:\n{done.stdout}{done.stderr}")
        return seconds


def _quote(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def main() -> None:
    """Measure on a fresh local cloud, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks/loop.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="executions and rounds by hand (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4757)
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs is 1 or more, got {options.runs}")
    with tempfile.TemporaryDirectory(prefix="evergreen-benchmark-") as folder:
        cloud = LocalCloud(options.port, Path(folder) / "state")
        try:
            cloud.up()
            result = measure(cloud, options.runs, Path(folder))
        finally:
            cloud.down("--purge")
    print(json.dumps(result))


def measure(cloud: LocalCloud, runs: int, folder: Path) -> dict[str, Any]:
    """Return the seconds of pipeline executions and of the same scripts run by hand."""
    cloud.cdk("synth", "--quiet", "--app", APP, "--output", str(cloud.assembly))
    cloud.cdk("bootstrap", "--app", str(cloud.assembly))
    stage, training = f"{MODEL.app}-platform-{MODEL.stage}", f"{MODEL.app}-training-{MODEL.name}"
    cloud.cdk("deploy", "--app", str(cloud.assembly), stage, training, "--require-approval", "never")
    upload_raw_data(cloud, MODEL, cloud.outputs(stage)["DataBucketName"], "2013-01-01", "2013-02-28")

    _switch_caching_off(cloud)
    _execute(cloud)  # warm: the model server's and xgboost's pages, on both sides alike
    in_cloud, by_hand, steps = [], [], 0
    for number in range(1, runs + 1):
        seconds, execution = _execute(cloud)
        in_cloud.append(seconds)
        scripts = _scripts(cloud, execution, folder / str(number))
        steps = len(scripts)
        by_hand.append(sum(script.run() for script in scripts))
        print(f"run {number} of {runs}: {seconds:.2f} s in the local cloud, {by_hand[-1]:.2f} s by hand", flush=True)
        shutil.rmtree(folder / str(number))
    cloud_s, hand_s = statistics.median(in_cloud), statistics.median(by_hand)
    return {
        "loop_ratio": round(cloud_s / hand_s, 3),
        "step_overhead_s": round((cloud_s - hand_s) / steps, 3),
        "cloud_s": [round(value, 2) for value in in_cloud],
        "by_hand_s": [round(value, 2) for value in by_hand],
    }


def _switch_caching_off(cloud: LocalCloud) -> None:
    sagemaker = cloud.client("sagemaker")
    described = sagemaker.describe_pipeline(PipelineName=MODEL.group)
    definition = json.loads(described["PipelineDefinition"])
    for step in definition["Steps"]:
        step.pop("CacheConfig", None)
    sagemaker.update_pipeline(
        PipelineName=MODEL.group, PipelineDefinition=json.dumps(definition), RoleArn=described["RoleArn"]
    )


def _execute(cloud: LocalCloud) -> tuple[float, str]:
    """One execution, every script of it in a fresh process; return its seconds and its ARN."""
    sagemaker = cloud.client("sagemaker")
    began = time.perf_counter()
    arn = sagemaker.start_pipeline_execution(PipelineName=MODEL.group)["PipelineExecutionArn"]
    while (status := sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]) in {
        "Executing",
        "Starting",
    }:
        time.sleep(0.05)
    seconds = time.perf_counter() - began
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    if status != "Succeeded":
        raise SystemExit(f"{arn} ended {status}: {[step.get('FailureReason') for step in steps]}")
    if cached := [step["StepName"] for step in steps if step.get("CacheHitResult")]:
        raise SystemExit(f"not a fair run, these steps were cached: {cached}")
    return seconds, str(arn)


def _scripts(cloud: LocalCloud, execution: str, folder: Path) -> list[Script]:
    """The jobs of an execution, in order, each with its inputs laid out in a folder."""
    sagemaker = cloud.client("sagemaker")
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=execution, SortOrder="Ascending"
    )
    scripts = []
    for step in (step for page in pages for step in page["PipelineExecutionSteps"]):
        root = folder / step["StepName"]
        if "ProcessingJob" in step["Metadata"]:
            name = step["Metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[1]
            job = sagemaker.describe_processing_job(ProcessingJobName=name)
            scripts.append(_processing(cloud, step["StepName"], job, root))
        elif "TrainingJob" in step["Metadata"]:
            name = step["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
            scripts.append(
                _training(cloud, step["StepName"], sagemaker.describe_training_job(TrainingJobName=name), root)
            )
    return scripts


def _processing(cloud: LocalCloud, name: str, job: dict[str, Any], root: Path) -> Script:
    for item in job.get("ProcessingInputs", []):
        source = item["S3Input"]
        _download(cloud, source["S3Uri"], source["S3DataType"], root / Path(source["LocalPath"]).relative_to("/opt/ml"))
    for item in job.get("ProcessingOutputConfig", {}).get("Outputs", []):
        (root / Path(item["S3Output"]["LocalPath"]).relative_to("/opt/ml")).mkdir(parents=True, exist_ok=True)
    application = job["AppSpecification"]
    command = [*application["ContainerEntrypoint"], *application.get("ContainerArguments", [])]
    # The tool scripts find what they wrote in the execution, and write nothing twice.
    return Script(name, root, "/opt/ml", command, _environment(cloud) | job.get("Environment", {}))


def _training(cloud: LocalCloud, name: str, job: dict[str, Any], root: Path) -> Script:
    environment = _environment(cloud) | {"SM_MODEL_DIR": "/opt/ml/model", "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data"}
    for channel in job["InputDataConfig"]:
        source = channel["DataSource"]["S3DataSource"]
        target = root / "input" / "data" / channel["ChannelName"]
        _download(cloud, source["S3Uri"], source["S3DataType"], target)
        environment[f"SM_CHANNEL_{channel['ChannelName'].upper()}"] = f"/opt/ml/input/data/{channel['ChannelName']}"
    for path in ("model", "output/data"):
        (root / path).mkdir(parents=True, exist_ok=True)
    given = {key: json.loads(value) for key, value in job["HyperParameters"].items()}
    arguments = [
        word for key, value in given.items() if not key.startswith("sagemaker_") for word in (f"--{key}", str(value))
    ]
    program = f"{given['sagemaker_submit_directory']}/{given['sagemaker_program']}"
    return Script(name, root, "/opt/ml/input/data/code", ["python3", program, *arguments], environment)


def _environment(cloud: LocalCloud) -> dict[str, str]:
    found = stand_in(IMAGE)
    assert found is not None
    path = f"{found.environment.root}/bin:{os.environ.get('PATH', os.defpath)}"
    return cloud.settings | {"PATH": path, "AWS_REGION": cloud.settings["AWS_DEFAULT_REGION"]}


def _download(cloud: LocalCloud, uri: str, kind: str, target: Path) -> None:
    """What SageMaker would lay out at `target` for a prefix, an object or a manifest."""
    s3, place = cloud.client("s3"), urlparse(uri)
    bucket, prefix = place.netloc, place.path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    if kind == "ManifestFile":
        head, *names = json.loads(s3.get_object(Bucket=bucket, Key=prefix)["Body"].read())
        # The objects that a manifest names lie in another bucket than the manifest.
        bucket, base = urlparse(head["prefix"]).netloc, urlparse(head["prefix"]).path.lstrip("/")
        keys = [(base + name, name) for name in names]
    else:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
        keys = [(key, key[len(prefix) :].lstrip("/") or key.rsplit("/", 1)[-1]) for key in found]
    for key, name in keys:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(path))


if __name__ == "__main__":
    main()
