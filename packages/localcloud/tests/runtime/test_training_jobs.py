"""Training jobs under the container contract: script mode, built-in algorithm, failures, time limits and stops."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localcloud_support.containers import BUCKET, FIXTURES, FakeAws, Jobs, script_mode, training

NO_BUILD_ISOLATION = {"PIP_NO_BUILD_ISOLATION": "0"}
IRIS = "\n".join(f"{'ab'[i % 2]},{i % 2 + 0.1 * (i % 5)},{i % 7}" for i in range(60))
SKLEARN, XGBOOST = "sagemaker-scikit-learn:1.4-2", "sagemaker-xgboost:3.2-0"


CODE = "/opt/ml/input/data/code"


def _code(aws: FakeAws, *names: str) -> str:
    """Upload scripts for a channel `code`; return the channel."""
    for name in names:
        aws.put_script(name)
    return f"s3://{BUCKET}/code/"


def test_a_script_mode_training_runs_unmodified(aws: FakeAws, jobs: Jobs) -> None:
    request = training(
        "iris",
        SKLEARN,
        channels={"train": aws.put("iris/data.csv", IRIS), "code": _code(aws, "train_iris.py")},
        HyperParameters=script_mode("train_iris.py", CODE, max_leaf_nodes=30),
    )
    request["AlgorithmSpecification"]["MetricDefinitions"] = [
        {"Name": "train:accuracy", "Regex": r"train_accuracy=([0-9.]+);"},
        {"Name": "never", "Regex": r"never=([0-9.]+)"},
    ]
    update = jobs.run("training", request)
    assert update.failure_reason is None
    assert [step.secondary_status for step in jobs.updates["iris"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert update.model_artifacts == f"s3://{BUCKET}/out/iris/output/model.tar.gz"
    assert list(aws.get_archive(update.model_artifacts)) == ["model.joblib"]
    assert aws.get_archive(f"s3://{BUCKET}/out/iris/output/output.tar.gz") == {"leaves.txt": b"2"}
    assert [(metric.name, metric.value) for metric in update.final_metrics] == [("train:accuracy", 1.0)]


@pytest.mark.usefixtures("namespaces")
def test_the_toolkits_environment_is_set(aws: FakeAws, jobs: Jobs) -> None:
    values = {"max_depth": 5, "learning-rate": 0.1, "note": "a b", "a": {"x": 1, "b": 2}}
    request = training(
        "environment",
        XGBOOST,
        channels={
            "train": aws.put("t/a.csv", "1"),
            "test": aws.put("v/b.csv", "1"),
            "code": _code(aws, "report_environment.py"),
        },
        HyperParameters=script_mode("report_environment.py", CODE, **values),
        Environment={**NO_BUILD_ISOLATION, "MINE": "yes"},
    )
    artifacts = str(jobs.run("training", request).model_artifacts)
    seen = json.loads(aws.get_archive(artifacts)["seen.json"])
    variables = seen["environment"]
    assert seen["arguments"] == [
        "-a", "b=2,x=1", "--learning-rate", "0.1", "--max_depth", "5", "--note", "a b",
    ]  # fmt: skip
    assert json.loads(variables["SM_USER_ARGS"]) == seen["arguments"]
    assert json.loads(variables["SM_HPS"]) == values
    assert (variables["SM_HP_MAX_DEPTH"], variables["SM_HP_NOTE"]) == ("5", "a b")
    assert sorted(json.loads(variables["SM_CHANNELS"])) == ["code", "test", "train"]
    assert variables["SM_CHANNEL_TEST"] == "/opt/ml/input/data/test"
    assert json.loads(variables["SM_HOSTS"]) == [variables["SM_CURRENT_HOST"]] == ["algo-1"]
    assert variables["SM_NUM_GPUS"] == "0"
    assert json.loads(variables["SM_TRAINING_ENV"])["channel_input_dirs"]["train"] == "/opt/ml/input/data/train"
    assert (variables["TRAINING_JOB_NAME"], variables["MINE"]) == ("environment", "yes")
    assert seen["hyperparameters"]["max_depth"] == "5"


def test_an_isolated_job_gets_its_code_as_a_channel(aws: FakeAws, jobs: Jobs) -> None:
    request = training(
        "isolated",
        XGBOOST,
        channels={"code": _code(aws, "report_environment.py")},
        HyperParameters=script_mode("report_environment.py", CODE),
        Environment=NO_BUILD_ISOLATION,
        EnableNetworkIsolation=True,
    )
    update = jobs.run("training", request)
    assert update.failure_reason is None
    seen = json.loads(aws.get_archive(str(update.model_artifacts))["seen.json"])
    assert "AWS_ACCESS_KEY_ID" not in seen["environment"]


def test_an_isolated_container_cannot_download_its_code(aws: FakeAws, jobs: Jobs) -> None:
    code = f"s3://{BUCKET}/code/sourcedir.tar.gz"
    request = training("x", SKLEARN, HyperParameters=script_mode("fails.py", code), EnableNetworkIsolation=True)
    assert "network-isolated" in str(jobs.run("training", request).failure_reason)


def test_a_script_that_raises_fails_the_job_with_awss_message(aws: FakeAws, jobs: Jobs) -> None:
    channels = {"code": _code(aws, "fails.py")}
    request = training("fails", SKLEARN, channels=channels, HyperParameters=script_mode("fails.py", CODE, epochs=2))
    update = jobs.run("training", request)
    assert (update.status, update.secondary_status) == ("Failed", "Failed")
    reason = str(update.failure_reason)
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:\n")
    assert reason.endswith(", exit code: 1")
    assert "fails.py --epochs 2" in reason
    assert "about to fail" in aws.log_text()
    assert aws.keys("out/") == []


@pytest.mark.usefixtures("namespaces")
def test_an_entry_point_runs_on_any_image_and_its_failure_file_is_the_reason(jobs: Jobs) -> None:
    script = ["/bin/sh", "-c", 'echo "$0 said no" > /opt/ml/output/failure; exit 3']
    specification = {"ContainerEntrypoint": script, "ContainerArguments": ["somebody"]}
    request = training("entry", "my-own-image:1", specification=specification)
    assert jobs.run("training", request).failure_reason == "AlgorithmError: somebody said no, exit code: 3"


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("requirement", "reason"),
    [("numpy>=1", "None"), ("nonesuch-package==1.0", "InstallModuleError"), ("numpy<1", "InstallModuleError")],
)
def test_requirements_are_installed_by_pip_which_finds_no_network_in_isolation(
    aws: FakeAws, jobs: Jobs, requirement: str, reason: str
) -> None:
    aws.put("pinned/t.py", "")
    aws.put("pinned/requirements.txt", requirement)
    request = training(
        "r",
        XGBOOST,
        channels={"code": f"s3://{BUCKET}/pinned/"},
        HyperParameters=script_mode("t.py", CODE),
        Environment={**NO_BUILD_ISOLATION, "PIP_RETRIES": "0"},
        EnableNetworkIsolation=True,
    )
    assert reason in str(jobs.run("training", request).failure_reason)


@pytest.mark.usefixtures("namespaces")
def test_without_a_network_pip_needs_the_images_setuptools(aws: FakeAws, jobs: Jobs) -> None:
    aws.put("code/t.py", "")
    request = training(
        "isolated",
        XGBOOST,
        channels={"code": f"s3://{BUCKET}/code/"},
        HyperParameters=script_mode("t.py", CODE),
        EnableNetworkIsolation=True,
    )
    assert "InstallModuleError" in str(jobs.run("training", request).failure_reason)


def test_the_built_in_xgboost_trains_without_a_script(aws: FakeAws, jobs: Jobs) -> None:
    data = "\n".join(f"{i % 2},{i % 2 + 0.01 * (i % 7)},{i % 3}" for i in range(80))
    hyperparameters = {"num_round": "5", "objective": "binary:logistic", "eval_metric": "auc,logloss", "max_depth": "2"}
    request = training(
        "xgb",
        XGBOOST,
        channels={"train": aws.put("x/train/part", data), "validation": aws.put("x/validation/part", data)},
        HyperParameters=hyperparameters,
    )
    update = jobs.run("training", request)
    assert update.failure_reason is None
    assert "#011validation-auc:1.00000" in aws.log_text()
    assert ("validation:auc", 1.0) in [(metric.name, metric.value) for metric in update.final_metrics]
    import xgboost

    model = aws.get_archive(str(update.model_artifacts))["xgboost-model"]
    assert xgboost.Booster(model_file=bytearray(model)).num_features() == 2


@pytest.mark.parametrize("kind", ["text/csv; label_size=1", None, "application/x-parquet"])
def test_csv_libsvm_and_parquet_channels_hold_the_same_data(aws: FakeAws, jobs: Jobs, kind: str | None) -> None:
    import pandas as pd
    import xgboost

    rows = [(i % 2, i % 2 + 0.5, i % 3) for i in range(40)]
    lines = [",".join(map(str, row)) for row in rows]
    table = io.BytesIO()
    pd.DataFrame(rows, columns=["y", "a", "b"]).to_parquet(table)
    files: dict[str, str | bytes] = {"a": "\n".join(f"{y} 0:{a} 1:{b}" for y, a, b in rows)}
    if kind is not None:
        text: dict[str, str | bytes] = {"a": "\n".join(lines[:20]), "b/c": "\n".join(lines[20:]), "_SUCCESS": ""}
        files = {"a.parquet": table.getvalue()} if "parquet" in kind else text
    for name, body in files.items():
        aws.put(f"data/{name}", body)
    request = training(
        "kinds",
        XGBOOST,
        channels={"train": f"s3://{BUCKET}/data/"},
        HyperParameters={"num_round": "3", "objective": "binary:logistic", "base_score": "0.5"},
    )
    (channel,) = request["InputDataConfig"]
    channel.pop("ContentType")
    channel |= {"ContentType": kind} if kind is not None else {}
    update = jobs.run("training", request)
    assert update.failure_reason is None
    model = aws.get_archive(str(update.model_artifacts))["xgboost-model"]
    features = np.array([row[1:] for row in rows], dtype=np.float32)
    expected = xgboost.train(
        {"objective": "binary:logistic", "base_score": 0.5}, xgboost.DMatrix(features, [row[0] for row in rows]), 3
    )
    given = xgboost.Booster(model_file=bytearray(model))
    assert given.predict(xgboost.DMatrix(features)) == pytest.approx(expected.predict(xgboost.DMatrix(features)))


def test_the_built_in_xgboost_knows_metrics_of_scikit_learn_and_averages_nothing_else(aws: FakeAws, jobs: Jobs) -> None:
    data = "\n".join(f"{i % 3},{i % 3 + 0.01 * (i % 7)},{i % 2}" for i in range(90))
    hyperparameters = {
        "num_round": "3", "objective": "multi:softprob", "num_class": "3", "eval_metric": "f1,accuracy,mlogloss",
    }  # fmt: skip
    request = training("f1", XGBOOST, channels={"train": aws.put("f/p", data)}, HyperParameters=hyperparameters)
    update = jobs.run("training", request)
    assert update.failure_reason is None
    found = {metric.name: metric.value for metric in update.final_metrics}
    assert (found["train:f1"], found["train:accuracy"]) == (1.0, 1.0)
    assert found["train:mlogloss"] > 0


@pytest.mark.parametrize(
    ("hyperparameters", "named"),
    [
        ({"max_depth": "3"}, "Missing required hyperparameter: num_round"),
        ({"num_round": "3", "depth": "3"}, "Extraneous hyperparameter found: depth"),
        ({"num_round": "3", "eta": "x"}, "Hyperparameter eta: could not parse value"),
        ({"num_round": "3", "eta": "2"}, "Hyperparameter eta: 2.0 is not in [0, 1]"),
        ({"num_round": "3", "silent": "1"}, "Extraneous hyperparameter found: silent"),
        ({"num_round": "3", "objective": "multi:softprob"}, "Require input for parameter 'num_class'"),
    ],
)
def test_the_built_in_xgboost_names_invalid_hyperparameters(
    aws: FakeAws, jobs: Jobs, hyperparameters: dict[str, str], named: str
) -> None:
    request = training("h", XGBOOST, channels={"train": aws.put("x", "1,2")}, HyperParameters=hyperparameters)
    reason = str(jobs.run("training", request).failure_reason)
    assert reason.startswith("AlgorithmError: framework error: ")
    assert named in reason


@pytest.mark.usefixtures("pid_namespace")
def test_a_stopped_training_gets_sigterm_and_its_model_is_kept(aws: FakeAws, jobs: Jobs) -> None:
    channels = {"code": _code(aws, "handles_sigterm.py")}
    request = training("stopped", SKLEARN, channels=channels, HyperParameters=script_mode("handles_sigterm.py", CODE))
    jobs.runner.start("training", "stopped", "arn", request)
    _wait_for_log(aws, jobs, "stopped")
    jobs.runner.stop("training", "stopped")
    update = jobs.wait("stopped")
    assert (update.status, update.secondary_status) == ("Stopped", "Stopped")
    assert "Stopping" in [step.status for step in jobs.updates["stopped"]]
    assert aws.get_archive(str(update.model_artifacts)) == {"checkpoint": b"stopped in time"}
    assert not _running("4711"), "a child that detached itself outlived its container"


def test_a_training_over_its_limit_that_ignores_sigterm_is_killed(aws: FakeAws, jobs: Jobs) -> None:
    channels = {"code": _code(aws, "ignores_sigterm.py")}
    request = training("overtime", SKLEARN, channels=channels, HyperParameters=script_mode("ignores_sigterm.py", CODE))
    request["StoppingCondition"]["MaxRuntimeInSeconds"] = 1
    update = jobs.run("training", request)
    assert (update.status, update.secondary_status) == ("Stopped", "MaxRuntimeExceeded")
    assert not _running("ignores_sigterm.py")


def test_the_same_model_files_give_the_same_archive(aws: FakeAws, jobs: Jobs) -> None:
    specification = {"ContainerEntrypoint": ["sh", "-c", "cd /opt/ml/model; mkdir c; echo 1 > c/b; echo 2 > a"]}
    archives = []
    for name in ("first", "second"):
        jobs.run("training", training(name, "any", specification=specification))
        archives.append(aws.get(f"out/{name}/output/model.tar.gz"))
    assert archives[0] == archives[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"AlgorithmSpecification": {"TrainingImage": "mine:1", "TrainingInputMode": "File"}}, "image mine:1"),
        ({"AlgorithmSpecification": {"AlgorithmName": "x", "TrainingInputMode": "File"}}, "AlgorithmName"),
        ({"ResourceConfig": {"InstanceCount": 3, "InstanceType": "ml.m5.large"}}, "InstanceCount 3"),
        (
            {"InputDataConfig": [{"ChannelName": "c", "DataSource": {"FileSystemDataSource": {}}}]},
            "FileSystemDataSource (channel c)",
        ),
        (
            {"InputDataConfig": [{"ChannelName": "c", "InputMode": "Pipe", "DataSource": {}}]},
            "input mode Pipe (channel c)",
        ),
    ],
)
def test_unsupported_requests_are_rejected_by_name(jobs: Jobs, change: dict[str, Any], named: str) -> None:
    update = jobs.run("training", training("refused", XGBOOST) | change)
    assert update.status == "Failed"
    assert named in str(update.failure_reason)


@pytest.mark.usefixtures("namespaces")
def test_the_drivers_of_the_sdks_model_trainer_run(aws: FakeAws, jobs: Jobs) -> None:
    """Run the files that `ModelTrainer.train()` of SageMaker's SDK v3 sends: a bash script in `sm_drivers`."""
    if importlib.util.find_spec("sagemaker") is None:
        pytest.skip("needs the SageMaker Python SDK")
    sdk = Path(str(importlib.util.find_spec("sagemaker.train").origin)).parent  # type: ignore[union-attr]
    drivers = sdk / "container_drivers"
    for path in drivers.rglob("*.py"):
        aws.put(f"sdk/drivers/{path.relative_to(drivers)}", path.read_bytes())
    templates: dict[str, str] = {}
    exec((sdk / "templates.py").read_text(), templates)
    shell = templates["TRAIN_SCRIPT_TEMPLATE"].format(
        working_dir="cd /opt/ml/input/data/code",
        install_requirements=templates["INSTALL_AUTO_REQUIREMENTS"],
        execute_driver=templates["EXECUTE_BASIC_SCRIPT_DRIVER"],
    )
    aws.put("sdk/drivers/sm_train.sh", shell)
    aws.put("sdk/drivers/sourcecode.json", json.dumps({"entry_script": "report_environment.py"}))
    aws.put("sdk/code/report_environment.py", (FIXTURES / "report_environment.py").read_bytes())
    request = training(
        "sdk",
        "any-image:1",
        channels={"sm_drivers": f"s3://{BUCKET}/sdk/drivers/", "code": f"s3://{BUCKET}/sdk/code/"},
        HyperParameters={"epochs": "3"},
        specification={"ContainerEntrypoint": ["/bin/bash", "/opt/ml/input/data/sm_drivers/sm_train.sh"]},
    )
    update = jobs.run("training", request)
    assert update.failure_reason is None, aws.log_text()
    seen = json.loads(aws.get_archive(str(update.model_artifacts))["seen.json"])
    assert seen["arguments"] == ["--epochs", "3"]


def _wait_for_log(aws: FakeAws, jobs: Jobs, name: str) -> None:
    jobs.wait_for(name, "Training")
    import time

    deadline = time.monotonic() + 60
    while "ready" not in aws.log_text():
        assert time.monotonic() < deadline, "the script did not become ready"
        time.sleep(0.02)


def _running(word: str) -> bool:
    """Return whether any process on this machine has `word` on its command line."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                lines.append((entry / "cmdline").read_bytes())
            except (FileNotFoundError, ProcessLookupError):
                continue
    return any(word.encode() in line for line in lines)
