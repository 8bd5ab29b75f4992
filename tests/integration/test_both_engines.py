"""Both engines judge the same captured traffic of the sample model, deployed from synthesised templates."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from configuration import Configuration, Model
from configuration.monitoring import Explainability
from constructs.mlops.monitoring.monitors import baseline_settings
from drift_analyzer import baseline_step
from localcloud.testing import LocalCloud, wait_until
from monitor import captured
from monitor.environment import CaptureEnvironment
from release.monitors import update_monitors
from release.observation import EndpointState, ReleaseObservation, StackState
from shared.clients import Clients
from shared.environment import ReleaseEnvironment
from shared.ledger import MonitorFailure, ReleaseLedger
from shared.release_record import ReleaseRecord
from shared.verdict import Verdicts

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
MODEL = "flight-delays"
ENDPOINT = "evergreen-flight-delays-prod"
STACK = "evergreen-monitoring-flight-delays-prod"
RELEASE = "v1-0badcafe"
DATA, ARTIFACTS, ASSETS = "evergreen-data", "evergreen-artifacts", "cdk-hnb659fds-assets-000000000000-us-east-1"
SCRIPTS = ROOT / "examples" / "flight_delays"
WINDOW_END = "2013-03-02T00:00:00+00:00"
ROWS_A_REQUEST = 25


@dataclass(frozen=True)
class Training:
    """A trained model with its baselines, and the rows and labels of a day in another season."""

    archive: Path
    baselines: Path
    rows: list[list[str]]
    labels: list[str]


@dataclass(frozen=True)
class Engines:
    """The local cloud after three days, with the ledger rows of each engine."""

    cloud: LocalCloud
    ledgers: dict[str, list[dict[str, Any]]]

    def row(self, engine: str, kind: str) -> dict[str, Any]:
        """Return the verdict on the first of March."""
        (row,) = [one for one in self.ledgers[engine] if one["sk"]["S"] == f"verdict#{WINDOW_END}#{kind}"]
        return row

    def violations(self, engine: str, kind: str) -> set[tuple[str, str]]:
        """Return the violated features or metrics with their checks, from the run's own file."""
        address = self.row(engine, kind)["report"]["S"].removeprefix(f"s3://{ARTIFACTS}/")
        found = json.loads(self.read(address.replace("report.html", "constraint_violations.json")))["violations"]
        return {
            (f"{one.get('facet', '')} {one.get('feature_name') or one['metric_name']}", one["constraint_check_type"])
            for one in found
        }

    def read(self, key: str) -> str:
        """Read an object of the artifact bucket."""
        return str(self.cloud.client("s3").get_object(Bucket=ARTIFACTS, Key=key)["Body"].read().decode())


@pytest.fixture(scope="module")
def configuration(example: Configuration) -> Configuration:
    return example


@pytest.fixture(scope="module")
def model(configuration: Configuration) -> Model:
    (model,) = configuration.models
    return model


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Training:
    """Run the model's own scripts on a fortnight of January; return a day of July as traffic."""
    root = tmp_path_factory.mktemp("training")

    def script(code: str, **environment: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, env={**os.environ, **environment}, check=True)

    for name, start, end in (("january", "2013-01-01", "2013-01-14"), ("july", "2013-07-10", "2013-07-10")):
        subprocess.run(
            [sys.executable, "data.py", "--out", str(root / name), "--start", start, "--end", end],
            cwd=SCRIPTS,
            check=True,
            capture_output=True,
        )
    for day in sorted((root / "january" / "raw").iterdir()):
        split = "holdout" if day.name >= "dt=2013-01-11" else "train"
        (root / "input" / split).mkdir(parents=True, exist_ok=True)
        day.rename(root / "input" / split / day.name)
    script(f"import pathlib, preprocess; preprocess.PROCESSING = pathlib.Path({str(root)!r}); preprocess.main()")
    train = "import sys, train; sys.argv[1:] = ['--num_boost_round', '40']; train.main()"
    script(train, SM_CHANNEL_TRAIN=str(root / "output" / "train"), SM_MODEL_DIR=str(root / "model"))
    archive = root / "input" / "model" / "model.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "model", ".")
    settings = baseline_step.BaselineSettings.read(json.loads(baseline_settings(model)))
    baseline_step.write_baselines(root / "input", root / "baselines", settings)
    rows, labels = [], []
    for path in sorted((root / "july" / "raw").rglob("*.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row[model.target]:
                rows.append([row[column.name] for column in model.data.columns])
                labels.append(row[model.target])
    return Training(archive, root / "baselines", rows, labels)


@pytest.fixture(scope="module")
def templates(configuration: Configuration, model: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Synthesise the application for each engine; return the folders.

    All monitors judge one day every day, because Model Monitor's data quality has no other window than its schedule.
    """
    from stacks import build

    assert model.monitoring
    daily = {"mode": "model-monitor", "window_hours": 24, "explainability": Explainability()}
    watched = model.model_copy(update={"monitoring": model.monitoring.model_copy(update=daily)})
    found = {}
    for engine, access in (("managed", "available"), ("builtin", "closed")):
        stage = configuration.application.stage.model_copy(update={"model_monitor": access})
        application = configuration.application.model_copy(update={"stages": (stage,)})
        found[engine] = tmp_path_factory.mktemp(engine)
        build(replace(configuration, application=application, models=(watched,)), str(found[engine])).synth()
    return found


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory, training: Training, templates: dict[str, Path], model: Model
) -> Iterator[Engines]:
    cloud = LocalCloud(tmp_path_factory.mktemp("engines") / "state", accelerated=True)
    cloud.up()
    try:
        _platform(cloud, training)
        _serve(cloud, model)
        functions = {engine: _function(cloud, engine) for engine in templates}
        ended = {"source": ["aws.sagemaker"], "detail-type": ["SageMaker Processing Job State Change"]}
        cloud.create_rule(ended, {"Arn": functions["managed"]})
        for engine, folder in templates.items():
            _deploy(cloud, engine, folder, functions[engine])
        _send_requests(cloud, training)
        cloud.clock("advance", "--to", "2013-03-04T00:30:00+00:00")
        scan = cloud.client("dynamodb").scan
        yield Engines(cloud, {engine: scan(TableName=engine)["Items"] for engine in templates})
    finally:
        cloud.run("down", "--purge")


def _platform(cloud: LocalCloud, training: Training) -> None:
    """Create the platform's resources that monitors use, and a release."""
    s3 = cloud.client("s3")
    for bucket in (DATA, ARTIFACTS, ASSETS):
        s3.create_bucket(Bucket=bucket)
    release = f"releases/{MODEL}/{RELEASE}"
    s3.upload_file(str(training.archive), ARTIFACTS, f"{release}/model.tar.gz")
    for path in training.baselines.rglob("*.json"):
        s3.upload_file(str(path), ARTIFACTS, f"{release}/baselines/{path.relative_to(training.baselines)}")
    for name, value in (
        (f"/evergreen/{MODEL}/prod/release", f"{RELEASE}|i|a|s"),
        ("/cdk-bootstrap/hnb659fds/version", "30"),
    ):
        cloud.client("ssm").put_parameter(Name=name, Value=value, Type="String")


def _serve(cloud: LocalCloud, model: Model) -> None:
    sagemaker = cloud.client("sagemaker")
    role = cloud.create_role(
        [{"Effect": "Allow", "Action": ["s3:*", "ecr:*", "cloudwatch:PutMetricData"], "Resource": "*"}],
        "sagemaker.amazonaws.com",
    )
    program = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        "PIP_NO_BUILD_ISOLATION": "0",
    }
    container = {
        "Image": model.framework.image_uri("us-east-1"),
        "ModelDataUrl": f"s3://{ARTIFACTS}/releases/{MODEL}/{RELEASE}/model.tar.gz",
        "Environment": program,
    }
    sagemaker.create_model(ModelName="flights", PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {"VariantName": "AllTraffic", "ModelName": "flights", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName="flights",
        ProductionVariants=[{**variant, "InstanceType": "ml.m5.large"}],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{DATA}/{MODEL}/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
        },
    )
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName="flights")
    wait_until(lambda: sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "InService", 120)


def _function(cloud: LocalCloud, engine: str) -> str:
    """Create the platform's function with a ledger for this engine; return its ARN."""
    cloud.client("dynamodb").create_table(
        TableName=engine,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for package in ("monitor", "shared"):
            for path in (ROOT / "lambda" / package).rglob("*.py"):
                archive.write(path, path.relative_to(ROOT / "lambda"))
    functions = cloud.client("lambda")
    arn = functions.create_function(
        FunctionName=f"monitor-{engine}",
        Runtime="python3.14",
        Architectures=["arm64"],
        Handler="monitor.scheduled.handler",
        Role=cloud.create_role([{"Effect": "Allow", "Action": "*", "Resource": "*"}], "lambda.amazonaws.com"),
        Code={"ZipFile": packed.getvalue()},
        Timeout=120,
        Environment={
            "Variables": {
                "APP": "evergreen",
                "STAGE": "prod",
                "DATA_BUCKET": DATA,
                "ARTIFACT_BUCKET": ARTIFACTS,
                "LEDGER_TABLE": engine,
            }
        },
    )["FunctionArn"]
    functions.add_permission(
        FunctionName=f"monitor-{engine}",
        StatementId="events",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
    )
    return str(arn)


def _deploy(cloud: LocalCloud, engine: str, folder: Path, function: str) -> None:
    """Deploy the synthesised monitoring stack without the resources whose names both engines share."""
    s3 = cloud.client("s3")
    for asset in json.loads((folder / f"{STACK}.assets.json").read_text())["files"].values():
        (destination,) = asset["destinations"].values()
        source = folder / asset["source"]["path"]
        if asset["source"]["packaging"] == "zip":
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for path in source.rglob("*"):
                    archive.write(path, path.relative_to(source))
            s3.put_object(Bucket=ASSETS, Key=destination["objectKey"], Body=packed.getvalue())
        else:
            s3.upload_file(str(source), ASSETS, destination["objectKey"])
    values = {
        "Artifacts.*Arn": f"arn:aws:s3:::{ARTIFACTS}",
        "RefArtifacts": ARTIFACTS,
        "Data.*Arn": f"arn:aws:s3:::{DATA}",
        "RefData": DATA,
        "Encryption": cloud.client("kms").create_key()["KeyMetadata"]["Arn"],
        "Monitor": function,
        "Alerts": "arn:aws:sns:us-east-1:000000000000:alerts",
    }

    def resolved(found: re.Match[str]) -> str:
        return json.dumps(next(value for name, value in values.items() if re.search(name, found[1])))

    text = (folder / f"{STACK}.template.json").read_text()
    template = json.loads(re.sub(r'\{\s*"Fn::ImportValue": "[^:"]*:([^"]*)"\s*\}', resolved, text))
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] not in ("AWS::CloudWatch::Alarm", "AWS::SSM::Parameter")
    }
    stack = cloud.deploy_stack(STACK if engine == "managed" else f"{STACK}-{engine}", template)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack


def _send_requests(cloud: LocalCloud, training: Training) -> None:
    """Send the day's flights, several in a request, with CSV and JSON responses; the last request gets no labels."""
    lines = []
    for number, start in enumerate(range(0, len(training.rows), ROWS_A_REQUEST)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(training.rows[start : start + ROWS_A_REQUEST])
        cloud.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=ENDPOINT,
            ContentType="text/csv",
            Accept=("text/csv", "application/json")[number % 2],
            Body=text.getvalue().encode(),
            InferenceId=f"q{number}",
        )
        truth = {"data": "\n".join(training.labels[start : start + ROWS_A_REQUEST]) + "\n", "encoding": "CSV"}
        lines.append({"groundTruthData": truth, "eventMetadata": {"eventId": f"q{number}"}, "eventVersion": "0"})
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1]).encode()
    cloud.client("s3").put_object(Bucket=DATA, Key=f"{MODEL}/ground-truth/2013/03/03/05/labels.jsonl", Body=body)


@pytest.mark.parametrize("kind", ["data_quality", "model_quality", "bias"])
def test_both_engines_give_the_same_verdict_on_the_same_capture(engines: Engines, kind: str) -> None:
    managed, builtin = (engines.row(engine, kind) for engine in ("managed", "builtin"))
    for attribute in ("status", "window_start", "window_end", "release_id", "features"):
        assert managed[attribute] == builtin[attribute], attribute
    assert managed["status"]["S"] in ("OK", "Drift")
    assert engines.violations("managed", kind) == engines.violations("builtin", kind)


def test_both_engines_detect_summer_as_drift_and_not_as_a_schema_violation(
    engines: Engines, training: Training
) -> None:
    found = engines.violations("managed", "data_quality")
    assert {name for name, check in found if check == "baseline_drift_check"} >= {" temp", " dewp"}
    assert not [name for name, check in found if check.endswith("_column_check") or check == "data_type_check"], found
    rows = len(training.rows) - len(training.rows) % ROWS_A_REQUEST
    assert int(engines.row("builtin", "model_quality")["labels"]["N"]) == rows, "each row of a request has its label"


def test_the_sample_model_is_explained_in_isolation_on_its_own_image(engines: Engines) -> None:
    (job,) = engines.cloud.client("sagemaker").list_processing_jobs(NameContains="explainability")[
        "ProcessingJobSummaries"
    ]
    assert job["ProcessingJobStatus"] == "Completed"
    row = engines.row("managed", "explainability")
    assert row["status"]["S"] in ("OK", "Drift")
    assert "metric" in row, "Evergreen's own job explains on either engine, so its verdict has the value"


def test_every_verdict_row_has_the_address_of_a_report(engines: Engines) -> None:
    for engine, rows in engines.ledgers.items():
        for row in rows:
            page = engines.read(row["report"]["S"].removeprefix(f"s3://{ARTIFACTS}/"))
            # Model Monitor's files on quality hold totals only, so a page on its run has no course over time.
            totals = engine == "managed" and row["kind"]["S"] == "model_quality"
            assert "<svg" in page or totals, (engine, row["sk"])
            assert "Recent decisions" in page
            assert "bad records" in page or engine == "managed"  # AWS's image counts none


def test_an_account_without_model_monitor_keeps_its_release_and_has_captured_data_judged(
    engines: Engines, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release controller's own code updates the deployed stack to a second release, and AWS refuses it."""
    cloud, release = engines.cloud, "v2-0badcafe"
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    clients, record = Clients(), ReleaseRecord(release, "i", "a", "s")
    environment = ReleaseEnvironment(
        "evergreen",
        "prod",
        "managed",
        ARTIFACTS,
        "arn:aws:sns:us-east-1:000000000000:alerts",
        cloud.create_role([{"Effect": "Allow", "Action": "*", "Resource": "*"}], "cloudformation.amazonaws.com"),
        "arn:aws:sagemaker:us-east-1:000000000000",
    )
    clients.ssm.put_parameter(Name=environment.record_name(MODEL), Value=record.format(), Overwrite=True)
    for path in (training.baselines / "data-quality").iterdir():
        clients.s3.upload_file(str(path), ARTIFACTS, f"releases/{MODEL}/{release}/baselines/data-quality/{path.name}")
    live = ReleaseObservation(
        (), StackState("UPDATE_COMPLETE", "", release, "flights"), EndpointState("InService", "flights"), record
    )
    ledger = ReleaseLedger(clients.dynamodb, "managed", model=MODEL, stage="prod")
    cloud.run("fault", "--closed", "model-monitor")
    moment = datetime(2013, 3, 4, 1, tzinfo=UTC)

    def look() -> MonitorFailure | None:
        return update_monitors(clients, environment, ledger, MODEL, live, moment)

    assert look() is None, "the update begins"
    assert cloud.wait_for_stack(STACK)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    failure = look()
    assert failure is not None
    assert failure.closed, failure
    assert "Amazon SageMaker Model Monitor is no longer open to new customers." in failure.reason
    ledger.write_monitor_failure(failure)
    assert look() is None
    assert cloud.wait_for_stack(STACK)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE", "nothing is tried again"

    listed = clients.s3.list_objects_v2(Bucket=DATA, Prefix=f"{MODEL}/capture/")["Contents"]
    message = {"detail": {"bucket": {"name": DATA}, "object": {"key": listed[0]["Key"]}}}
    settings = CaptureEnvironment("evergreen", "prod", "managed", ARTIFACTS, "86400")
    assert captured.process([{"body": json.dumps(message)}], settings, clients, Logger()) == []
    rows = Verdicts(clients.dynamodb, "managed", model=MODEL, stage="prod").since(datetime(2013, 3, 1, tzinfo=UTC))
    assert release in {row.release_id for row in rows if row.kind == "data_quality"}
    cloud.run("fault", "--clear")
