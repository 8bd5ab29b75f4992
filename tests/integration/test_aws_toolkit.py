"""The example model under AWS's own toolkit, without a network: it trains, serves, and refuses wrong requests.

`aws_toolkit/` builds the XGBoost image's environment from PyPI. The glue of that image is not on PyPI: ours is thin.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configuration.images import SERVING_ENVIRONMENT, TRAINING_ENVIRONMENT

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[2]
TOOLKIT = Path(__file__).with_name("aws_toolkit")
SCRIPTS = ROOT / "examples" / "flight_delays"
UV = Path(sys.executable).with_name("uv")
FLIGHT = "UA,EWR,IAH,1400,315,499,2,39.02,28.04,64.43,10.3,11.5,0.0,1011.9,10.0"
UNSHARE = ("unshare", "--net", "--map-root-user")

CSV, JSON = {"Content-Type": "text/csv"}, {"Content-Type": "application/json"}
REQUESTS: list[tuple[str, dict[str, str], int, str]] = [
    # body, headers, status, content type of the answer
    (FLIGHT, CSV, 200, "text/csv"),
    (FLIGHT, {**CSV, "Accept": "*/*"}, 200, "text/csv"),
    (FLIGHT, {**CSV, "Accept": "application/json"}, 200, "application/json"),
    ("carrier,origin,dest,distance\n" + FLIGHT, CSV, 400, "text/plain"),
    ("UA,EWR", CSV, 400, "text/plain"),
    ("\xff\xfe,1", CSV, 400, "text/plain"),
    ("", CSV, 400, "text/plain"),
    ("{", JSON, 400, "text/plain"),
    (FLIGHT, {"Content-Type": "image/png"}, 415, "text/plain"),
    (FLIGHT, {**CSV, "Accept": "image/png"}, 406, "text/plain"),
]


@pytest.fixture
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment like the image's, new each time: scripts are installed into it."""
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace can be made here, and the toolkit must be tried without a network")
    home = tmp_path_factory.mktemp("aws-toolkit") / "env"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, home], check=True)
    python = home / "bin" / "python"
    lock = TOOLKIT / "requirements.txt"
    # The toolkit pins a Flask that the image itself replaces.
    install = [
        str(UV),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--requirement",
        str(lock),
        "--override",
        str(lock),
    ]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode and "Failed to fetch" in done.stderr:
        pytest.skip(f"the package registry cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (packages,) = home.glob("lib/python3*/site-packages")
    shutil.copy(TOOLKIT / "sitecustomize.py", packages)
    shutil.copytree(TOOLKIT / "sagemaker_xgboost_container", packages / "sagemaker_xgboost_container")
    return python


def training_set(folder: Path) -> None:
    """Write the training channel: the example's own preprocessing of a week of flights."""
    raw = folder.parents[2] / "raw"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    dates = ("--start", "2013-01-01", "--end", "2013-01-07")
    subprocess.run([sys.executable, SCRIPTS / "data.py", "--out", raw, *dates], check=True, env=environment)
    script = (
        "import csv, sys; from pathlib import Path\n"
        "from features import COLUMNS, LABEL; from preprocess import labelled\n"
        "with open(sys.argv[2], 'w', newline='') as file:\n"
        "    writer = csv.writer(file); writer.writerow([LABEL, *COLUMNS])\n"
        "    writer.writerows([flight.late, *flight.request] for flight in labelled(Path(sys.argv[1])))\n"
    )
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", script, raw, folder / "train.csv"], check=True, env=environment)


def session(python: Path, base: Path, training: dict[str, str], serving: dict[str, str]) -> Any:
    """Train, serve and ask under the toolkit; what was answered."""
    config, data = base / "input" / "config", base / "input" / "data"
    for folder in (config, base / "output", base / "model"):
        folder.mkdir(parents=True)
    training_set(data / "train")
    shutil.copytree(SCRIPTS, data / "code", ignore=shutil.ignore_patterns("__pycache__"))
    hyperparameters = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": str(data / "code"),
        "num_boost_round": 5,
    }
    channel = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    for name, document in (
        ("hyperparameters", {key: json.dumps(value) for key, value in hyperparameters.items()}),
        ("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}),
        ("inputdataconfig", {"train": channel, "code": channel}),
    ):
        (config / f"{name}.json").write_text(json.dumps(document))
    code = str(base / "model" / "code")
    settings = {"training": training, "serving": {**serving, "SAGEMAKER_SUBMIT_DIRECTORY": code}}
    (base / "settings.json").write_text(json.dumps(settings))
    (base / "requests.json").write_text(json.dumps([{"body": body, "headers": h} for body, h, _, _ in REQUESTS]))
    command = [*UNSHARE, str(python), str(TOOLKIT / "session.py"), str(base)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads((base / "answers.json").read_text())


def test_the_model_trains_and_serves_and_a_wrong_request_is_a_4xx(python: Path, tmp_path: Path) -> None:
    answers = session(python, tmp_path, TRAINING_ENVIRONMENT, SERVING_ENVIRONMENT)
    logs = "".join(path.read_text(errors="replace")[-3000:] for path in tmp_path.glob("*.log"))
    assert isinstance(answers, list), f"{answers}\n{logs}"
    found = [(one["status"], one["type"].partition(";")[0]) for one in answers]
    assert found == [(status, kind) for _, _, status, kind in REQUESTS], f"{answers}\n{logs}"
    assert 0 < float(answers[0]["body"]) < 1


def test_without_the_variable_for_pip_an_isolated_training_does_not_start(python: Path, tmp_path: Path) -> None:
    assert session(python, tmp_path, {}, SERVING_ENVIRONMENT) == {"failed": "train"}
    assert "InstallModuleError" in (tmp_path / "train.log").read_text(errors="replace")
