"""`packages/localcloud` installs into an empty environment and does what its README promises.

The environment and the working folder are empty: no repository is around. uv installs from the package registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.testing import free_port

PACKAGE = Path(__file__).resolve().parents[2] / "packages" / "localcloud"
_TRAINING = """
import boto3
sagemaker = boto3.client("sagemaker")
try:
    sagemaker.create_training_job(
        TrainingJobName="without",
        RoleArn=boto3.client("iam").get_role(RoleName="job")["Role"]["Arn"],
        AlgorithmSpecification={
            "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:9.9",
            "TrainingInputMode": "File",
        },
        OutputDataConfig={"S3OutputPath": "s3://data/models"},
        ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
except boto3.exceptions.botocore.exceptions.ClientError as error:
    print(error)
"""


class Installation:
    """An environment that holds the package and nothing else, an empty home and an empty folder."""

    def __init__(self, root: Path) -> None:
        self.folder, self.home, self._port = root / "folder", root / "home", free_port()
        self.folder.mkdir()
        self.home.mkdir()
        uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        assert uv is not None, "uv makes the environment"
        self._bin = root / "environment" / "bin"
        for words in (
            ["venv", "--python", sys.executable, str(root / "environment")],
            ["pip", "install", "--python", str(self._bin / "python"), str(PACKAGE)],
        ):
            done = subprocess.run([uv, "--quiet", *words], capture_output=True, text=True, cwd=root)
            assert done.returncode == 0, done.stderr

    def shell(self, script: str) -> str:
        """Run a script as a person would, with this environment's programs first on the path; return its output."""
        ports = script.replace("localcloud up", f"localcloud up --port {self._port}")
        foreign = ("AWS_", "PYTHON", "VIRTUAL_ENV", "COVERAGE")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        environment |= {"HOME": str(self.home), "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euc", ports], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    """The README's first block of each language."""
    found = re.findall(r"```(sh|python)\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    return dict(reversed(found))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("installed"))
    yield made
    made.shell("localcloud down --purge")


def test_the_quick_start_of_the_readme_runs(installed: Installation, blocks: dict[str, str]) -> None:
    (installed.folder / "quickstart.py").write_text(blocks["python"])
    install, *lines = blocks["sh"].splitlines()
    assert install.startswith("pip install ./packages/localcloud ")
    said = installed.shell("\n".join(lines))
    assert "lines: 2" in said
    assert said.splitlines()[-1].startswith("Stopped (pid ")
    assert list(installed.home.iterdir()) == [], "nothing is written to the home"
    assert sorted(path.name for path in installed.folder.iterdir()) == [".localcloud", "quickstart.py"]


def test_its_images_are_listed_and_one_that_aws_does_not_have_is_refused(installed: Installation) -> None:
    (installed.folder / "training.py").write_text(_TRAINING)
    script = 'localcloud images\nlocalcloud up\neval "$(localcloud env)"\npython training.py\nlocalcloud down'
    said = installed.shell(script)
    assert re.search(r"^xgboost:3\.2-0 +Python 3\.12, not made yet$", said, re.MULTILINE)
    assert "(ValidationException) when calling the CreateTrainingJob operation: Cannot find the requested" in said


def test_the_version_is_the_packages(installed: Installation) -> None:
    assert installed.shell("localcloud --version") == "localcloud 0.1.0\n"
