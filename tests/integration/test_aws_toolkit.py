"""The example model in SageMaker's XGBoost image, without a network: trained, served, and asked wrongly.

AWS's own toolkit runs. What AWS needs is taken out in turn, and the local cloud fails as AWS does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from localcloud_support.container_fixtures import aws, jobs, s3
from localcloud_support.containers import BUCKET, IMAGES, ROLE, FakeAws, Jobs, script_mode, training

from configuration.images import SERVING_ENVIRONMENT, TRAINING_ENVIRONMENT
from localcloud.runtime.contract import ContainerError, Invocation, ModelError, VariantSpec
from localcloud.runtime.fleet import EndpointFleet
from localcloud.runtime.sandbox import isolation

__all__ = ["aws", "jobs", "s3"]
pytestmark = pytest.mark.timeout(300)

SCRIPTS = Path(__file__).resolve().parents[2] / "examples" / "flight_delays"
IMAGE = "sagemaker-xgboost:3.2-0"
FLIGHT = "UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,10.3,11.5,0.0,1011.9,10.0"

CSV, JSON = "text/csv", "application/json"
REQUESTS: list[tuple[bytes, str, str | None, int, str]] = [
    # body, content type, accept, status, content type of the answer
    (FLIGHT.encode(), CSV, None, 200, CSV),
    (FLIGHT.encode(), CSV, "*/*", 200, CSV),
    (FLIGHT.encode(), CSV, JSON, 200, JSON),
    (b"carrier,origin,dest,distance\n" + FLIGHT.encode(), CSV, None, 400, ""),
    (b"UA,EWR", CSV, None, 400, ""),
    (b"\xff\xfe,1", CSV, None, 400, ""),
    (b"", CSV, None, 400, ""),
    (b"{", JSON, None, 400, ""),
    (FLIGHT.encode(), "image/png", None, 415, ""),
    (FLIGHT.encode(), CSV, "image/png", 406, ""),
]


@pytest.fixture(autouse=True)
def namespaces() -> None:
    if not isolation().namespaces:
        pytest.skip("the toolkit must be tried without a network")


@pytest.fixture
def fleet(aws: FakeAws) -> Iterator[EndpointFleet]:
    running = EndpointFleet(aws.cloud)
    yield running
    running.shutdown()


@pytest.fixture(scope="module")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the training channel: the example's own preprocessing of a week of flights."""
    folder = tmp_path_factory.mktemp("flights")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    dates = ("--start", "2013-01-01", "--end", "2013-01-07")
    subprocess.run([sys.executable, SCRIPTS / "data.py", "--out", folder, *dates], check=True, env=environment)
    script = (
        "import csv, sys; from pathlib import Path\n"
        "from features import COLUMNS, LABEL; from preprocess import labelled\n"
        "writer = csv.writer(sys.stdout); writer.writerow([LABEL, *COLUMNS])\n"
        "writer.writerows([flight.late, *flight.request] for flight in labelled(Path(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.run(command, check=True, env=environment, capture_output=True).stdout


def request(aws: FakeAws, rows: bytes, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the training job of the example, as its pipeline starts it."""
    for path in SCRIPTS.glob("*.py"):
        aws.put(f"flights/code/{path.name}", path.read_bytes())
    aws.put("flights/train/train.csv", rows)
    return training(
        "flights",
        IMAGE,
        channels={name: f"s3://{BUCKET}/flights/{name}/" for name in ("train", "code")},
        HyperParameters=script_mode("train.py", "/opt/ml/input/data/code", num_boost_round=5),
        Environment=dict(environment),
        EnableNetworkIsolation=True,
    )


def serve(fleet: EndpointFleet, url: str, environment: Mapping[str, str]) -> str:
    return fleet.start(
        VariantSpec(
            endpoint_name="flights",
            variant_name="All",
            image=IMAGES + IMAGE,
            role_arn=ROLE,
            model_data_url=url,
            environment=environment,
            network_isolation=True,
        )
    )


def without(environment: Mapping[str, str], name: str) -> dict[str, str]:
    assert name in environment
    return {key: value for key, value in environment.items() if key != name}


def answer(fleet: EndpointFleet, worker: str, body: bytes, content_type: str, accept: str | None) -> tuple[int, str]:
    try:
        given = fleet.invoke(worker, Invocation(body, content_type, accept))
    except ModelError as error:
        return error.status, ""
    if content_type == CSV and given.content_type.startswith(CSV):
        assert 0 < float(given.body) < 1
    return 200, given.content_type.partition(";")[0]


def test_the_model_trains_and_serves_and_a_wrong_request_is_a_4xx(
    aws: FakeAws, jobs: Jobs, fleet: EndpointFleet, training_set: bytes
) -> None:
    update = jobs.run("training", request(aws, training_set, TRAINING_ENVIRONMENT))
    assert update.failure_reason is None, aws.log_text()[-3000:]
    url = str(update.model_artifacts)
    worker = serve(fleet, url, SERVING_ENVIRONMENT)
    found = [answer(fleet, worker, *wanted[:3]) for wanted in REQUESTS]
    assert found == [wanted[3:] for wanted in REQUESTS]
    fleet.stop(worker)

    default = serve(fleet, url, without(SERVING_ENVIRONMENT, "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"))
    assert answer(fleet, default, FLIGHT.encode(), CSV, None) == (200, JSON)
    with pytest.raises(ContainerError, match="InstallModuleError"):
        serve(fleet, url, without(SERVING_ENVIRONMENT, "PIP_NO_BUILD_ISOLATION"))


def test_without_the_variable_for_pip_an_isolated_training_does_not_start(
    aws: FakeAws, jobs: Jobs, training_set: bytes
) -> None:
    given = without(TRAINING_ENVIRONMENT, "PIP_NO_BUILD_ISOLATION")
    assert "InstallModuleError" in str(jobs.run("training", request(aws, training_set, given)).failure_reason)
