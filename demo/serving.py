"""The release controller brings the approved version up; real flights go through the endpoint."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.cloud import LocalCloud
from demo.terminal import DemoError, say
from demo.training import Model


@dataclass(frozen=True)
class Traffic:
    """What came back: one score and one latency (seconds) a request, in order."""

    scores: list[float]
    latencies: list[float]

    def latency_ms(self, quantile: float) -> float:
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def live_version(cloud: LocalCloud, model: Model) -> str:
    """The release record as it stands: `v3-1a2b3c4d|…`."""
    return str(cloud.client("ssm").get_parameter(Name=model.record)["Parameter"]["Value"])


def await_release(cloud: LocalCloud, model: Model, package_arn: str, *, patience: float = 180) -> str:
    """Watch until the endpoint serves the configuration that the stack means; return the release id."""
    stacks, sagemaker = cloud.client("cloudformation"), cloud.client("sagemaker")
    stack = f"{model.app}-serving-{model.name}-{model.stage}"
    began, said = time.monotonic(), ""
    while time.monotonic() - began < patience:
        record = live_version(cloud, model).split("|")
        described = stacks.describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        endpoint = _endpoint(sagemaker, model.endpoint)
        serving = endpoint.get("EndpointStatus", "none yet")
        now = f"record {record[0]}, stack {described['StackStatus']}, endpoint {serving}"
        if now != said:
            say(f"[dim]{time.monotonic() - began:5.1f} s[/]  {now}")
            said = now
        if (
            record[2] == package_arn
            and described["StackStatus"] in {"UPDATE_COMPLETE", "CREATE_COMPLETE"}
            and endpoint.get("EndpointStatus") == "InService"
            and endpoint["EndpointConfigName"] == outputs.get("EndpointConfigName")
        ):
            return record[0]
        time.sleep(0.3)
    raise DemoError(f"not released after {patience:.0f} s: {said}; `.venv/bin/python -m localcloud logs` says why")


def _endpoint(sagemaker: Any, name: str) -> dict[str, Any]:
    try:
        return dict(sagemaker.describe_endpoint(EndpointName=name))
    except sagemaker.exceptions.ClientError:
        return {}


def flights(model: Model, start: str, end: str, count: int) -> tuple[list[str], list[int]]:
    """Request rows (CSV lines) and true labels of a sample of real flights."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "requests.csv"
        command = [sys.executable, str(model.folder / "data.py"), "--requests", str(out), "--limit", str(count)]
        subprocess.run([*command, "--start", start, "--end", end], check=True, stdout=subprocess.DEVNULL)
        with out.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.reader(lines))
    return [",".join(row[1:]) for row in rows], [int(row[0]) for row in rows]


def send(cloud: LocalCloud, model: Model, rows: Sequence[str]) -> Traffic:
    """One request a row, one after the other, as a caller would see it."""
    runtime = cloud.client("sagemaker-runtime")
    scores, latencies = [], []
    spoke = time.monotonic()
    for number, row in enumerate(rows, 1):
        began = time.perf_counter()
        answer = runtime.invoke_endpoint(
            EndpointName=model.endpoint,
            ContentType="text/csv",
            Accept="text/csv",
            Body=row.encode(),
            InferenceId=f"f-{number}",
        )
        latencies.append(time.perf_counter() - began)
        scores.append(float(answer["Body"].read().decode().strip().split(",")[0]))
        if time.monotonic() - spoke > 2:
            spoke = time.monotonic()
            say(f"[dim]{number:,} of {len(rows):,} answered[/]")
    return Traffic(scores, latencies)
