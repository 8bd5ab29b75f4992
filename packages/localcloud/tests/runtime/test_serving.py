"""Model servers: scripts written for SageMaker, the built-in algorithm, errors, crashes and isolation."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
    if data == "exit" or data == b"exit":
        raise SystemExit(3)
    if data == "stop the server":
        os.kill(os.getppid(), 9)
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
    """Return the variables of script mode; pip builds the script's module with the image's setuptools."""
    code = {"SAGEMAKER_PROGRAM": program, "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
    return code | {"PIP_NO_BUILD_ISOLATION": "0"}


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
    assert (answer.body, answer.content_type) == (b"a\nb\n", "text/csv; charset=utf-8")
    answer = fleet.invoke(worker, csv("0,1\n", accept="application/json"))
    assert (json.loads(answer.body), answer.content_type) == ({"instances": ["a"]}, "application/json")
    with pytest.raises(ModelError) as raised:
        fleet.invoke(worker, Invocation(b"{}", "application/json"))
    assert raised.value.status == 500
    assert "Received server error (500) from primary" in str(raised.value)
    assert any(group == "/aws/sagemaker/Endpoints/prices" for group, _ in aws.logged) or aws.log_text() == ""


def booster(rows: Any, labels: Any, **parameters: Any) -> bytes:
    import xgboost

    trained = xgboost.train(parameters, xgboost.DMatrix(rows, label=labels), 5)
    return bytes(trained.save_raw("ubj"))


ROWS = np.array([[i % 2, i % 3] for i in range(60)], dtype=np.float32)


def test_the_built_in_xgboost_answers_as_awss(aws: FakeAws, fleet: EndpointFleet) -> None:
    import xgboost

    raw = booster(ROWS, ROWS[:, 0], objective="binary:logistic")
    worker = fleet.start(spec(aws.put_archive("x.tar.gz", {"xgboost-model": raw}), XGBOOST, network_isolation=True))
    expected = xgboost.Booster(model_file=bytearray(raw)).predict(xgboost.DMatrix(ROWS[:2])).tolist()
    lines = fleet.invoke(worker, csv("0,0\n1,1")).body.decode().splitlines()
    assert [float(line) for line in lines] == pytest.approx(expected)
    answer = fleet.invoke(worker, csv("0,0\n1,\n", accept="application/json"))
    assert [set(row) for row in json.loads(answer.body)["predictions"]] == [{"score"}, {"score"}]
    # LIBSVM leaves zeros out, and an index from one on is the first feature.
    sparse = float(fleet.invoke(worker, Invocation(b"1:0 2:1", "text/libsvm")).body)
    assert sparse == pytest.approx(float(fleet.invoke(worker, csv("0,1")).body))
    assert fleet.invoke(worker, csv("")).body == b""
    for body, content_type, accept, status, said in (
        (b"1,2,3", "text/csv", None, 400, "Unable to evaluate payload provided"),
        (b"a,b", "text/csv", None, 415, "could not convert string to float"),
        (b"\xe9,1", "text/csv", None, 415, "Loading csv data failed"),
        (b"x", "image/png", None, 415, "image/png is not an accepted ContentType"),
        (b"0,1", "text/csv", "image/png", 406, "Accept type image/png is not supported"),
    ):
        with pytest.raises(ModelError) as raised:
            fleet.invoke(worker, Invocation(body, content_type, accept))
        assert (raised.value.status, said in raised.value.message) == (status, True), raised.value.message


def test_the_built_in_xgboost_averages_several_models_and_selects_outputs(aws: FakeAws, fleet: EndpointFleet) -> None:
    import xgboost

    parts = {
        f"xgboost-model-{depth}": booster(ROWS, ROWS[:, 1], objective="multi:softprob", num_class=3, max_depth=depth)
        for depth in (1, 2)
    }
    url = aws.put_archive("several.tar.gz", parts)
    each = [xgboost.Booster(model_file=bytearray(raw)).predict(xgboost.DMatrix(ROWS[:2])) for raw in parts.values()]
    plain = fleet.start(spec(url, XGBOOST))
    lines = fleet.invoke(plain, csv("0,0\n1,1")).body.decode().splitlines()
    assert [[float(part) for part in line.split(",")] for line in lines] == [
        pytest.approx(row) for row in np.mean(each, axis=0).tolist()
    ]
    names = "predicted_label, probability,labels"
    selected = fleet.start(spec(url, XGBOOST, environment={"SAGEMAKER_INFERENCE_OUTPUT": names}))
    label, probability, labels = fleet.invoke(selected, csv("1,1")).body.decode().split(",", 2)
    assert (label, labels) == ("1", '"[0, 1, 2]"')
    assert float(probability) == pytest.approx(max(np.mean(each, axis=0)[1]), abs=1e-6)
    (row,) = json.loads(fleet.invoke(selected, csv("1,1", accept="application/json")).body)["predictions"]
    assert set(row) == {"predicted_label", "probability", "labels"}


@pytest.mark.usefixtures("namespaces")
def test_an_isolated_endpoint_has_no_network(aws: FakeAws, fleet: EndpointFleet) -> None:
    url = aws.put_archive("echo.tar.gz", {"code/inference.py": ECHO})
    worker = fleet.start(spec(url, environment=script(), network_isolation=True))
    assert fleet.invoke(worker, csv("interfaces")).body == b"lo"


def test_a_hundred_small_requests_a_second_are_answered(fleet: EndpointFleet, echo: str) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: fleet.invoke(echo, csv(f"{n},1,2")).body, range(600)))
    assert answers == [f"{n},1,2".encode() for n in range(600)]
    assert time.monotonic() - began < 6


def test_an_exception_in_a_handler_is_a_server_error(fleet: EndpointFleet, echo: str) -> None:
    with pytest.raises(ModelError) as raised:
        fleet.invoke(echo, csv("wrong"))
    assert raised.value.status == 500
    assert raised.value.log_stream_arn.endswith("log-group:/aws/sagemaker/Endpoints/prices")


@pytest.mark.parametrize("body", [b"5.1,\xe9", b"\xff\xfe\x00", b"exit"])
def test_a_request_that_breaks_the_server_does_not_harm_others(fleet: EndpointFleet, echo: str, body: bytes) -> None:
    for content_type in ("text/csv", "application/json", "application/octet-stream"):
        try:
            fleet.invoke(echo, Invocation(body, content_type))
        except ModelError as error:
            assert error.status >= 400
    for number in range(8):  # all worker processes
        assert fleet.invoke(echo, csv(f"{number}")).body == f"{number}".encode()


def test_a_worker_process_that_ends_is_a_bad_gateway_and_is_replaced(fleet: EndpointFleet, echo: str) -> None:
    with pytest.raises(ModelError) as raised:
        fleet.invoke(echo, csv("crash"))
    assert (raised.value.status, "502 Bad Gateway" in raised.value.message) == (502, True)
    assert [fleet.invoke(echo, csv(str(number))).body for number in range(8)] == [str(n).encode() for n in range(8)]


def test_a_server_that_ends_is_restarted(aws: FakeAws, fleet: EndpointFleet, echo: str) -> None:
    with suppress(ModelError):
        fleet.invoke(echo, csv("stop the server"))
    deadline = time.monotonic() + 60
    answered = b""
    while answered != b"again":
        assert time.monotonic() < deadline
        try:
            answered = fleet.invoke(echo, csv("again")).body
        except (ModelNotReady, ModelError):
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("files", "changes", "named"),
    [
        ({"code/inference.py": b"def model_fn(d):\n    raise OSError('no such model')"}, {}, "Error: no such model"),
        ({"code/inference.py": b"x = 1"}, {}, "Please provide a model_fn implementation"),
        ({"code/other.py": b"def f(:"}, {}, "No module named 'inference'"),
        ({"code/inference.py": b"import pandas as pd; pd.nonesuch"}, {}, "module 'pandas' has no attribute 'nonesuch'"),
        ({"code/inference.py": b"import aws_cdk"}, {}, "No module named 'aws_cdk'"),
        ({"a": b""}, {"image": XGBOOST, "environment": {}}, "cannot be loaded"),
        ({"a": b""}, {"image": "mine:1", "environment": {}}, "mine:1 has no stand-in"),
        ({"a": b""}, {"role_arn": DENIED_ROLE}, "Could not access model data at s3://"),
    ],
)
def test_a_model_that_cannot_be_served_gives_a_reason(
    aws: FakeAws, fleet: EndpointFleet, files: dict[str, bytes], changes: dict[str, Any], named: str
) -> None:
    url = aws.put_archive("bad.tar.gz", files)
    with pytest.raises(ContainerError) as raised:
        fleet.start(spec(url, **{"environment": script(), "startup_timeout": 120.0, **changes}))
    assert named in str(raised.value)
    assert aws.cloud.store.list(RECORDS) == []


@pytest.mark.usefixtures("namespaces")
def test_without_a_network_pip_needs_the_images_setuptools(aws: FakeAws, fleet: EndpointFleet) -> None:
    url = aws.put_archive("echo.tar.gz", {"code/inference.py": ECHO})
    environment = {name: value for name, value in script().items() if name != "PIP_NO_BUILD_ISOLATION"}
    with pytest.raises(ContainerError, match="InstallModuleError"):
        fleet.start(spec(url, environment=environment, network_isolation=True))


@pytest.mark.parametrize(
    ("variables", "kind"),
    [({}, "application/json"), ({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}, "text/csv")],
)
def test_what_is_answered_without_accept_is_json_unless_a_variable_says_otherwise(
    aws: FakeAws, fleet: EndpointFleet, variables: dict[str, str], kind: str
) -> None:
    code = b"def model_fn(d): return 1\ndef input_fn(b, t): return b\ndef predict_fn(d, m): return [m]\n"
    url = aws.put_archive("default.tar.gz", {"code/inference.py": code})
    worker = fleet.start(spec(url, environment=script() | variables))
    for accept in (None, "*/*"):
        assert fleet.invoke(worker, csv("1", accept=accept)).content_type.partition(";")[0] == kind


def test_a_response_of_the_toolkits_keeps_its_status(aws: FakeAws, fleet: EndpointFleet) -> None:
    code = (
        b"from sagemaker_containers.beta.framework import worker\ndef model_fn(d): return 1\n"
        b"def transform_fn(m, b, t, a):\n    if b == 'raise': raise ValueError('columns')\n"
        b"    return worker.Response('columns', status=422, mimetype='text/plain')\n"
    )
    worker = fleet.start(spec(aws.put_archive("own.tar.gz", {"code/inference.py": code}), environment=script()))
    for body, status in (("answer", 422), ("raise", 500)):
        with pytest.raises(ModelError) as raised:
            fleet.invoke(worker, csv(body))
        assert raised.value.status == status


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
