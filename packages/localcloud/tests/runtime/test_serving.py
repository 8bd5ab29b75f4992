"""Model servers: scripts written for SageMaker, the built-in algorithm, errors, crashes and isolation."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localcloud_support.containers import DENIED_ROLE, FIXTURES, IMAGES, ROLE, FakeAws

from localcloud.runtime.contract import ContainerError, Invocation, ModelError, ModelNotReady, VariantSpec
from localcloud.runtime.fleet import RECORDS, EndpointFleet
from localcloud.runtime.sandbox import Sandbox, process_start

SKLEARN, XGBOOST = "sagemaker-scikit-learn:1.4-2", "sagemaker-xgboost:3.2-0"
ECHO = b"""
import os, socket, time
def model_fn(model_dir):
    return sorted(os.listdir(model_dir))
def input_fn(body, content_type):
    return body
def predict_fn(data, model):
    if data == "crash":
        os._exit(9)
    if data == "wrong":
        raise ValueError("columns are wrong")
    if data == "interfaces":
        return ",".join(name for _, name in socket.if_nameindex())
    return data
def output_fn(prediction, accept):
    return prediction, "text/csv"
"""


@pytest.fixture
def fleet(aws: FakeAws) -> Iterator[EndpointFleet]:
    running = EndpointFleet(aws.cloud)
    yield running
    running.shutdown()


def spec(url: str | None, image: str = SKLEARN, **changes: Any) -> VariantSpec:
    values: dict[str, Any] = {
        "endpoint_name": "prices",
        "variant_name": "AllTraffic",
        "image": IMAGES + image,
        "role_arn": ROLE,
        "model_data_url": url,
    }
    return VariantSpec(**(values | changes))


def script(program: str = "inference.py") -> dict[str, str]:
    return {"SAGEMAKER_PROGRAM": program, "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}


@pytest.fixture
def echo(aws: FakeAws, fleet: EndpointFleet) -> str:
    url = aws.put_archive("echo/model.tar.gz", {"code/inference.py": ECHO})
    return fleet.start(spec(url, environment=script()))


def csv(body: str | bytes, **changes: Any) -> Invocation:
    return Invocation(body.encode() if isinstance(body, str) else body, "text/csv", **changes)


def test_a_scikit_learn_script_with_a_joblib_model_is_served_unmodified(aws: FakeAws, fleet: EndpointFleet) -> None:
    import joblib  # type: ignore[import-untyped]
    from sklearn.tree import DecisionTreeClassifier

    buffer = io.BytesIO()
    joblib.dump(DecisionTreeClassifier().fit([[0.0, 1], [1, 0]], ["a", "b"]), buffer)
    files = {"model.joblib": buffer.getvalue(), "code/inference_iris.py": (FIXTURES / "inference_iris.py").read_bytes()}
    worker = fleet.start(spec(aws.put_archive("m.tar.gz", files), environment=script("inference_iris.py")))
    answer = fleet.invoke(worker, csv("0,1\n1,0\n", accept="text/csv"))
    assert (answer.body, answer.content_type) == (b"a\nb\n", "text/csv")
    answer = fleet.invoke(worker, csv("0,1\n", accept="application/json"))
    assert (json.loads(answer.body), answer.content_type) == ({"instances": ["a"]}, "application/json")
    with pytest.raises(ModelError) as raised:
        fleet.invoke(worker, Invocation(b"{}", "application/json"))
    assert raised.value.status == 500
    assert raised.value.message.startswith("application/json not supported by script!")
    assert "Received server error (500) from primary" in str(raised.value)
    assert any(group == "/aws/sagemaker/Endpoints/prices" for group, _ in aws.logged) or aws.log_text() == ""


def test_the_built_in_xgboost_serves_its_own_model(aws: FakeAws, fleet: EndpointFleet) -> None:
    import xgboost

    rows = np.array([[i % 2, i % 3] for i in range(60)], dtype=np.float32)
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(rows, label=rows[:, 0]), 5)
    url = aws.put_archive("x.tar.gz", {"xgboost-model": bytes(booster.save_raw("ubj"))})
    worker = fleet.start(spec(url, XGBOOST, network_isolation=True))
    expected = booster.predict(xgboost.DMatrix(rows[:2])).tolist()
    lines = fleet.invoke(worker, csv("0,0\n1,1")).body.decode().splitlines()
    assert [float(line) for line in lines] == pytest.approx(expected)
    answer = fleet.invoke(worker, csv("0,0\n1,\n", accept="application/json"))
    assert [set(row) for row in json.loads(answer.body)["predictions"]] == [{"score"}, {"score"}]
    assert float(fleet.invoke(worker, Invocation(b"1:1", "text/libsvm")).body) == pytest.approx(
        float(fleet.invoke(worker, csv("0,1")).body), abs=1
    )
    for body, content_type, status, said in (
        (b"1,2,3", "text/csv", 400, "Feature size of text/csv inference data 3 is not consistent"),
        (b"a,b", "text/csv", 415, "could not convert string to float"),
        (b"x", "image/png", 415, "Content type image/png is not supported"),
    ):
        with pytest.raises(ModelError) as raised:
            fleet.invoke(worker, Invocation(body, content_type))
        assert raised.value.status == status
        assert said in raised.value.message


@pytest.mark.usefixtures("namespaces")
def test_an_isolated_endpoint_has_no_network(aws: FakeAws, fleet: EndpointFleet) -> None:
    url = aws.put_archive("echo.tar.gz", {"code/inference.py": ECHO})
    worker = fleet.start(spec(url, environment=script(), network_isolation=True))
    assert fleet.invoke(worker, csv("interfaces")).body == b"lo"


def test_several_hundred_small_requests_a_second_are_answered(fleet: EndpointFleet, echo: str) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: fleet.invoke(echo, csv(f"{n},1,2")).body, range(600)))
    assert answers == [f"{n},1,2".encode() for n in range(600)]
    assert time.monotonic() - began < 3


def test_an_exception_in_a_handler_is_a_model_error(fleet: EndpointFleet, echo: str) -> None:
    with pytest.raises(ModelError) as raised:
        fleet.invoke(echo, csv("wrong"))
    assert raised.value.status == 500
    assert raised.value.message.startswith("columns are wrong\nTraceback")
    assert raised.value.log_stream_arn.endswith("log-group:/aws/sagemaker/Endpoints/prices")


def test_a_crashed_worker_is_restarted(fleet: EndpointFleet, echo: str) -> None:
    with pytest.raises(ModelError) as raised:
        fleet.invoke(echo, csv("crash"))
    assert raised.value.status == 500
    with pytest.raises(ModelNotReady):
        fleet.invoke(echo, csv("again"))
    deadline = time.monotonic() + 20
    while True:
        try:
            assert fleet.invoke(echo, csv("again")).body == b"again"
            break
        except ModelNotReady:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("files", "changes", "named"),
    [
        ({"code/inference.py": b"def model_fn(d):\n    raise OSError('no such model')"}, {}, "OSError: no such model"),
        ({"code/inference.py": b"x = 1"}, {}, "Please provide a model_fn implementation"),
        ({"code/other.py": b""}, {}, "SAGEMAKER_PROGRAM 'inference.py' is not in /opt/ml/model/code"),
        ({"code/inference.py": b"", "code/requirements.txt": b"nonesuch"}, {}, "nonesuch is not installed"),
        ({"a": b""}, {"environment": {}}, "this image serves scripts only"),
        ({"a": b""}, {"image": "mine:1", "environment": {}}, "mine:1 has no stand-in"),
        ({"a": b""}, {"role_arn": DENIED_ROLE}, "Could not access model data at s3://"),
    ],
)
def test_a_model_that_cannot_be_served_gives_a_reason(
    aws: FakeAws, fleet: EndpointFleet, files: dict[str, bytes], changes: dict[str, Any], named: str
) -> None:
    url = aws.put_archive("bad.tar.gz", files)
    with pytest.raises(ContainerError) as raised:
        fleet.start(spec(url, **({"environment": script()} | changes)))
    assert named in str(raised.value)
    assert aws.cloud.store.list(RECORDS) == []


def test_a_damaged_artifact_is_named(aws: FakeAws, fleet: EndpointFleet) -> None:
    url = aws.put("broken.tar.gz", b"\x1f\x8b not a tar")
    with pytest.raises(ContainerError, match=r"valid tar\.gz archive"):
        fleet.start(spec(url, XGBOOST))


def test_a_server_that_does_not_answer_in_time_fails_its_ping(aws: FakeAws, fleet: EndpointFleet) -> None:
    files = {
        "code/inference.py": b"import time\ndef model_fn(d):\n    print('loading', flush=True)\n    time.sleep(60)"
    }
    slow = spec(aws.put_archive("slow.tar.gz", files), environment=script(), startup_timeout=1.0)
    with pytest.raises(ContainerError, match="did not pass the ping health check"):
        fleet.start(slow)


def test_stopping_ends_the_process_and_removes_its_files(aws: FakeAws, fleet: EndpointFleet, echo: str) -> None:
    ((_, record),) = aws.cloud.store.list(RECORDS)
    assert process_start(record["pid"]) == record["start"]
    fleet.stop(echo)
    assert process_start(record["pid"]) is None
    assert not Path(record["root"]).exists()
    assert aws.cloud.store.list(RECORDS) == []


def test_workers_of_a_killed_gateway_are_ended_at_the_start(aws: FakeAws) -> None:
    box = Sandbox(aws.cloud.state_dir / "runtime/workers/x")
    box.ml.mkdir()
    container = box.start(["sleep", "4717"], {"PATH": os.defpath}, cwd="/")
    record = {"root": str(box.root), "pid": container.pid, "start": process_start(container.pid)}
    aws.cloud.store.put(RECORDS, "x", record)
    EndpointFleet(aws.cloud).recover()
    container.wait()
    container.output.close()
    assert not box.root.exists()
    assert aws.cloud.store.list(RECORDS) == []


def test_a_process_with_a_reused_pid_is_not_ended(aws: FakeAws) -> None:
    me = os.getpid()
    document = {"root": str(aws.cloud.state_dir / "gone"), "pid": me, "start": "another time"}
    aws.cloud.store.put(RECORDS, "w", document)
    previous = signal.getsignal(signal.SIGTERM)
    EndpointFleet(aws.cloud).recover()
    assert signal.getsignal(signal.SIGTERM) == previous
    assert aws.cloud.store.list(RECORDS) == []
