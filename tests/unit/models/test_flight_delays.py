"""The example model, end to end on real flights, as the containers run it."""

from __future__ import annotations

import ast
import csv
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

MODEL = Path(__file__).resolve().parents[3] / "examples" / "flight_delays"
Script = Callable[[str], ModuleType]
HEADER = ",".join(column["name"] for column in yaml.safe_load((MODEL / "model.yaml").read_text())["data"]["columns"])


def test_the_same_data_and_seed_give_the_same_archive_bit_for_bit(archives: list[Path]) -> None:
    first, second, other = (archive.read_bytes() for archive in archives)
    assert first == second
    assert first != other


def test_an_archive_carries_the_code_that_serves_it_and_no_pickle(archives: list[Path]) -> None:
    with tarfile.open(archives[0]) as tar:
        names = {member.name for member in tar if member.isfile()}
    code = {f"code/{name}" for name in ("inference.py", "preprocess.py", "features.py", "score.py")}
    assert names == {"model.ubj", "vocabulary.json"} | code


def test_the_contract_of_the_data_is_the_one_in_model_yaml(script: Script) -> None:
    contract = yaml.safe_load((MODEL / "model.yaml").read_text())
    features = script("features")
    assert tuple(column["name"] for column in contract["data"]["columns"]) == features.COLUMNS
    strings = tuple(column["name"] for column in contract["data"]["columns"] if column["type"] == "string")
    assert (contract["target"], strings) == (features.LABEL, features.CATEGORIES)


def test_every_hyperparameter_of_model_yaml_is_one_that_train_takes(script: Script, processing: Path) -> None:
    arguments = [
        text
        for name, value in yaml.safe_load((MODEL / "model.yaml").read_text())["training"]["hyperparameters"].items()
        for text in (f"--{name}", str(value))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *arguments])
        assert script("train").arguments().num_boost_round == 150
        patch.setattr(sys, "argv", ["train.py", "--no_such_hyperparameter", "1"])
        with pytest.raises(SystemExit):
            script("train").arguments()


def test_only_flights_that_landed_are_labelled_and_the_payload_is_a_request(processing: Path, script: Script) -> None:
    raw = list((processing / "input" / "holdout").rglob("*.csv"))
    rows = [row for path in raw for row in csv.DictReader(path.open(newline=""))]
    labelled = list(csv.DictReader((processing / "output" / "holdout" / "holdout.csv").open(newline="")))
    landed = [row["late"] for row in rows if row["late"]]
    assert len(landed) < len(rows)
    assert sorted(row["late"] for row in labelled) == sorted(landed)
    payload = list(csv.reader((processing / "output" / "payload" / "payload.csv").open(newline="")))
    assert len(payload) == 10
    assert {len(row) for row in payload} == {len(script("features").COLUMNS)}


@pytest.fixture(scope="session")
def evaluation(processing: Path, archives: list[Path], script: Script) -> dict[str, Any]:
    """The first model as challenger of the shallow one."""
    for name, archive in (("model", archives[0]), ("champion", archives[2])):
        (processing / "input" / name).mkdir()
        shutil.copy(archive, processing / "input" / name / "model.tar.gz")
    shutil.copytree(processing / "output" / "payload", processing / "input" / "payload")
    result: dict[str, Any] = script("evaluate").evaluate(processing / "input", "log_loss", "arn:aws:champion")
    return result


def test_challenger_and_champion_are_measured_on_the_same_rows(evaluation: dict[str, Any], processing: Path) -> None:
    holdout = (processing / "output" / "holdout" / "holdout.csv").read_text().splitlines()
    assert evaluation["rows"] == len(holdout) - 1
    assert evaluation["champion"] == "arn:aws:champion"
    assert evaluation["metrics"]["auc"] > 0.6
    assert evaluation["metrics"] != evaluation["champion_metrics"]


def test_improvement_is_positive_when_better_even_if_less_is_better(evaluation: dict[str, Any]) -> None:
    ours, theirs = evaluation["metrics"]["log_loss"], evaluation["champion_metrics"]["log_loss"]
    assert evaluation["improvement"] == pytest.approx(theirs - ours)
    assert evaluation["improvement"] != 0
    assert evaluation["verdict"].endswith("better" if ours < theirs else "worse")


def test_what_is_evaluated_is_what_the_endpoint_answers(
    evaluation: dict[str, Any], archives: list[Path], processing: Path, script: Script, tmp_path: Path
) -> None:
    served = script("inference")
    with tarfile.open(archives[0]) as tar:
        tar.extractall(tmp_path, filter="data")
    labels, rows = [], []
    for label, *row in list(csv.reader((processing / "output" / "holdout" / "holdout.csv").open(newline="")))[1:]:
        labels.append(int(label))
        rows.append(row)
    model = served.model_fn(str(tmp_path))
    body = json.dumps({"instances": rows}).encode()
    answer, content_type = served.output_fn(
        served.predict_fn(served.input_fn(body, "application/json"), model), "application/json"
    )
    assert content_type == "application/json"
    auc = metrics.roc_auc_score(labels, json.loads(answer)["predictions"])
    assert auc == pytest.approx(evaluation["metrics"]["auc"])
    payload = (processing / "output" / "payload" / "payload.csv").read_text()
    probabilities = served.predict_fn(served.input_fn(payload, "text/csv"), model)
    assert evaluation["payload_scores"] == probabilities
    assert len(set(probabilities)) > 1


def test_a_damaged_archive_is_refused_by_name(processing: Path, script: Script, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"model/model\.tar\.gz cannot be unpacked"):
        script("evaluate").evaluate(tmp_path, "auc", "none")


def test_an_archive_cannot_write_outside_its_folder(script: Script, tmp_path: Path) -> None:
    archive = tmp_path / "model" / "model.tar.gz"
    archive.parent.mkdir()
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "evil", "../../escaped")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        script("evaluate").unpack(archive, tmp_path / "deep" / "folder")
    assert not (tmp_path / "escaped").exists()


def test_an_unknown_metric_is_refused_with_the_ones_there_are(script: Script, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'gini' is not known, this model measures auc, accuracy"):
        script("evaluate").evaluate(tmp_path, "gini", "none")


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=200).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_metrics_are_those_of_scikit_learn_ties_included(rows: list[tuple[int, int]]) -> None:
    from examples.flight_delays import evaluate  # it imports no neighbour, so it can be imported as it lies

    labels = np.array([label for label, _ in rows])
    scores = np.array([score / 20 for _, score in rows])
    predicted = scores > 0.5
    ours = evaluate.measure(labels, scores)
    assert ours == pytest.approx(
        {
            "auc": metrics.roc_auc_score(labels, scores),
            "accuracy": metrics.accuracy_score(labels, predicted),
            "precision": metrics.precision_score(labels, predicted, zero_division=0),
            "recall": metrics.recall_score(labels, predicted),
            "f1": metrics.f1_score(labels, predicted, zero_division=0),
            "log_loss": metrics.log_loss(labels, np.clip(scores, evaluate.CLIP, 1 - evaluate.CLIP)),
        }
    )


@pytest.fixture(scope="session")
def served(archives: list[Path], script: Script, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """An endpoint's answer to a body: the four functions, one after the other."""
    folder = tmp_path_factory.mktemp("served")
    with tarfile.open(archives[0]) as tar:
        tar.extractall(folder, filter="data")
    inference = script("inference")
    model = inference.model_fn(str(folder))

    def invoke(body: str | bytes, content_type: str = "text/csv", accept: str = "text/csv") -> Any:
        return inference.output_fn(inference.predict_fn(inference.input_fn(body, content_type), model), accept)

    return invoke


FLIGHT = "UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,260,12.7,0,1011.9,10"


def test_csv_in_gives_one_probability_a_row(served: Callable[..., Any]) -> None:
    body, content_type = served(f"{FLIGHT}\n{FLIGHT}\n")
    first, second = (float(line) for line in body.splitlines())
    assert content_type == "text/csv"
    assert first == second
    assert 0 < first < 1


def test_json_and_csv_give_the_same_answer(served: Callable[..., Any]) -> None:
    fields: list[object] = [json.loads(field) if field[0].isdigit() else field for field in FLIGHT.split(",")]
    fields[7] = None
    body, _ = served(json.dumps({"instances": [fields]}), "application/json", "application/json")
    text = ",".join("" if field is None else str(field) for field in fields)
    assert json.loads(body)["predictions"] == [float(served(text, accept="*/*")[0])]


def test_missing_weather_and_a_carrier_never_seen_are_answered(served: Callable[..., Any]) -> None:
    body, _ = served(b"ZZ,EWR,IAH,1400,315,499,2,,,,,,,,")
    assert 0 < float(body) < 1


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "message"),
    [
        ("UA,EWR", "text/csv", "text/csv", 400, "row 1 has 2 fields, expected 15: carrier, origin"),
        (f"{FLIGHT}\n{FLIGHT},1", "text/csv", "text/csv", 400, "row 2 has 16 fields, expected 15"),
        (FLIGHT.replace("1400", "far"), "text/csv", "text/csv", 400, "row 1, distance: 'far' is not a number"),
        (FLIGHT.replace("1400", "inf"), "text/csv", "text/csv", 400, "row 1, distance: 'inf' is not a finite number"),
        ("\n", "text/csv", "text/csv", 400, "the request has no rows"),
        (FLIGHT, "image/png", "text/csv", 415, "content type 'image/png' is not supported"),
        (FLIGHT, "text/csv", "image/png", 406, "cannot answer as 'image/png'"),
        ("carrier,origin,dest,distance", "text/csv", "text/csv", 400, "row 1 has 4 fields"),
        (HEADER, "text/csv", "text/csv", 400, "row 1, distance: 'distance' is not a number"),
        ("", "text/csv", "text/csv", 400, "the request has no rows"),
        (b"\xff\xfe", "text/csv", "text/csv", 400, "the request cannot be read: 'utf-8' codec"),
        (FLIGHT, "", "text/csv", 415, "content type '' is not supported"),
        ("{", "application/json", "text/csv", 400, "the request is not JSON"),
        ("[1]", "application/json", "text/csv", 400, "a JSON request is"),
        (
            '{"instances": [[true]]}',
            "application/json",
            "text/csv",
            400,
            "a field is a string, a number or null",
        ),
    ],
)
def test_a_wrong_request_is_answered_with_a_4xx_that_says_why(
    served: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    body: str | bytes,
    content_type: str,
    accept: str,
    status: int,
    message: str,
) -> None:
    """What a handler raises would be a 500, and count as the endpoint's own fault."""
    framework = SimpleNamespace(worker=SimpleNamespace(Response=lambda **response: response))
    monkeypatch.setitem(sys.modules, "sagemaker_containers", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sagemaker_containers.beta", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sagemaker_containers.beta.framework", framework)
    answer = served(body, content_type, accept)
    assert answer["status"] == status
    assert message in answer["response"]


def test_a_raw_object_without_a_column_is_refused_by_name(script: Script, tmp_path: Path) -> None:
    (tmp_path / "dt=2013-01-01").mkdir()
    (tmp_path / "dt=2013-01-01" / "flights.csv").write_text("flight_id,late\n1,0\n")
    with pytest.raises(ValueError, match=r"dt=2013-01-01/flights\.csv lacks the columns scheduled_at, carrier"):
        list(script("preprocess").labelled(tmp_path))


def test_data_asked_for_outside_2013_is_a_mistake_in_one_line() -> None:
    command = [
        sys.executable,
        str(MODEL / "data.py"),
        "--out",
        "nowhere",
        "--start",
        "2014-01-01",
        "--end",
        "2014-01-02",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith("no flights from 2014-01-01 to 2014-01-02: the data are those of 2013")


@pytest.mark.parametrize("name", ["preprocess", "train", "evaluate", "inference", "score", "features"])
def test_scripts_need_nothing_from_outside_their_folder_but_what_the_container_has(name: str) -> None:
    imported = {
        module.split(".")[0]
        for node in ast.walk(ast.parse((MODEL / f"{name}.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    neighbours = {path.stem for path in MODEL.glob("*.py")}
    assert imported - sys.stdlib_module_names - neighbours <= {"numpy", "xgboost", "sagemaker_containers"}
