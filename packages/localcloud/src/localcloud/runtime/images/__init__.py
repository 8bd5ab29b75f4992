"""Images that the local cloud can run: AWS's repositories and tags, and the stand-in for each.

A framework's stand-in is an environment of the image's published versions (environments.py), with AWS's own toolkits
from PyPI. The glue between toolkit and framework is not on PyPI: ours lies in `runtime/image/<framework>`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from localcloud.runtime.contract import ContainerError
from localcloud.runtime.images.environments import HOST_ENVIRONMENT, Environment, environment

ENTRY_POINTS = "localcloud.images"
"""Entry point group by which an installed package offers a module that runs in place of an image's program."""

IMAGE_ROOT = Path(__file__).parents[1] / "image"
_LOCKS = Path(__file__).parent
_URI = re.compile(r"(?:(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<suffix>[a-z.]+)/)?(?P<rest>.+)")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


@dataclass(frozen=True)
class Framework:
    """What the images of one framework have in common.

    Attributes:
        name: its lock files are `<name>-<tag>.txt`, its glue is `runtime/image/<name>`.
        train: the image's `train`, as arguments of python.
        serve: the image's `serve`; it listens on `/tmp/gunicorn.sock`, where nginx would ask it.
        variables: the variables that the image's Dockerfile sets.
        imports: modules that most programs import; one fork server imports them for all.
        serving_imports: the same for model servers. gevent patches ssl, which must not be imported before.
        serving_variables: variables that `serve` sets where the request does not.
        algorithm: it trains and serves without a script.
    """

    name: str
    train: tuple[str, ...]
    serve: tuple[str, ...]
    variables: Mapping[str, str]
    imports: tuple[str, ...]
    serving_imports: tuple[str, ...]
    serving_variables: tuple[tuple[str, str], ...] = ()
    algorithm: bool = False


@dataclass(frozen=True)
class StandIn:
    """The replacement for an image.

    Attributes:
        framework: a framework image; None for images that only have a program.
        environment: where its programs run.
        program: the command of processing jobs that name no entry point.
        glue: folders on the Python path of its containers.
    """

    environment: Environment
    framework: Framework | None = None
    program: tuple[str, ...] = ()
    glue: tuple[Path, ...] = ()

    def make(self, tell: Callable[[str], None]) -> None:
        """Make its environment, if it is not there; `tell` is called with one line before that.

        Raises:
            ContainerError: it cannot be made.
        """
        self.environment.make(tell)

    @property
    def read_only(self) -> list[str] | None:
        """What its containers see of the host; None where that is what containers see anyway."""
        return None if self.environment.lock is None else [str(self.environment.base)]

    @property
    def overlays(self) -> list[str]:
        """What its containers see and may change, each for itself: the toolkits install the user's module."""
        return [] if self.environment.lock is None else [str(self.environment.root)]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that the image sets in every container."""
        variables = dict(self.framework.variables) if self.framework else {}
        return variables | ({"PYTHONPATH": os.pathsep.join(map(str, self.glue))} if self.glue else {})


def _variables(module: str) -> dict[str, str]:
    config = "/opt/ml/input/config"
    return {
        "SM_INPUT": "/opt/ml/input",
        "SM_INPUT_TRAINING_CONFIG_FILE": f"{config}/hyperparameters.json",
        "SM_INPUT_DATA_CONFIG_FILE": f"{config}/inputdataconfig.json",
        "SM_CHECKPOINT_CONFIG_FILE": f"{config}/checkpointconfig.json",
        "SM_MODEL_DIR": "/opt/ml/model",
        "SAGEMAKER_TRAINING_MODULE": f"{module}.training:main",
        "SAGEMAKER_SERVING_MODULE": f"{module}.serving:main",
    }


# The toolkits install the user's module by pip. setuptools replaces distutils, which must not be imported before it.
_FIRST = ("setuptools", "setuptools.build_meta")
# What the toolkits import. They themselves read their variables when they are imported.
_TOOLKIT = ("flask", "paramiko", "pkg_resources", "psutil", "scipy.sparse")
_SERVER = (*_TOOLKIT, "gunicorn.app.wsgiapp", "gunicorn.workers.ggevent")

FRAMEWORKS = {
    "sagemaker-xgboost": Framework(
        "xgboost",
        train=("-m", "sagemaker_containers.cli.train"),
        serve=("-m", "sagemaker_xgboost_container.serving"),
        variables=_variables("sagemaker_xgboost_container"),
        imports=(*_FIRST, "sklearn", "xgboost", "boto3", *_TOOLKIT),
        serving_imports=(*_FIRST, "sklearn", "xgboost", *_SERVER),
        serving_variables=(("OMP_NUM_THREADS", "1"),),
        algorithm=True,
    ),
    "sagemaker-scikit-learn": Framework(
        "sklearn",
        train=("-m", "sagemaker_training.cli.train"),
        serve=("-m", "sagemaker_sklearn_container.serving"),
        variables=_variables("sagemaker_sklearn_container"),
        imports=(*_FIRST, "sklearn", "boto3", *_TOOLKIT),
        serving_imports=(*_FIRST, "sklearn", *_SERVER),
    ),
}
_MERGER = "sagemaker-model-monitor-groundtruth-merger"


@dataclass(frozen=True)
class Reference:
    """A parsed image address; `account` and `region` are empty for addresses outside ECR."""

    uri: str
    account: str
    region: str
    suffix: str
    repository: str
    tag: str
    digest: str


@cache
def parse(uri: str) -> Reference:
    """Parse an image's address."""
    found = _URI.fullmatch(uri)
    rest = found["rest"] if found else uri
    name, _, digest = rest.partition("@")
    repository, _, tag = name.rpartition("/")[2].partition(":")
    prefix = name[: name.rfind("/") + 1]
    return Reference(
        uri,
        (found and found["account"]) or "",
        (found and found["region"]) or "",
        (found and found["suffix"]) or "",
        prefix + repository if found and found["account"] else repository,
        tag,
        digest,
    )


def repository(image: str) -> str:
    """Return an image's repository: `…/sagemaker-xgboost:3.2-0` → `sagemaker-xgboost`; also with a digest."""
    return parse(image).repository


def tags(repository: str) -> list[str]:
    """Return the tags of a framework's repository that have a stand-in, oldest first."""
    prefix = f"{FRAMEWORKS[repository].name}-"
    found = [path.stem.removeprefix(prefix) for path in _LOCKS.glob(f"{prefix}*.txt")]
    return sorted(found, key=lambda tag: [int(part) for part in re.findall(r"\d+", tag)])


@cache
def _registries() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((_LOCKS / "registries.json").read_text())
    return found


def lock_file(image: str) -> Path | None:
    """Return the lock file of a framework image's environment.

    A digest names the tag of which the local registry made it: the SHA-256 of the address with the tag.
    """
    found = parse(image)
    if found.repository not in FRAMEWORKS:
        return None
    known = tags(found.repository)
    tag = _version(found.tag)
    if not tag and found.digest:
        name = image.partition("@")[0]
        made = {hashlib.sha256(f"{name}:{one}".encode()).hexdigest(): one for one in known}
        tag = made.get(found.digest.removeprefix("sha256:"), "")
    return _LOCKS / f"{FRAMEWORKS[found.repository].name}-{tag}.txt" if tag in known else None


def _version(tag: str) -> str:
    """Return the version of a tag: scikit-learn's images also have the tag `1.4-2-cpu-py3`."""
    return tag.removesuffix("-cpu-py3")


@cache
def _offered() -> dict[str, tuple[str, ...]]:
    """Return the programs that installed packages offer in place of an image's program.

    An entry point `sagemaker-clarify-processing = "some.module"` of the group `localcloud.images` makes processing jobs
    on that image run `python3 -m some.module`. The module is not imported here.
    """
    return {point.name: ("python3", "-m", point.module) for point in entry_points(group=ENTRY_POINTS)}


def stand_in(image: str) -> StandIn | None:
    """Return the stand-in for `image`; None where only an explicit entry point can run."""
    name = repository(image)
    lock = lock_file(image)
    if lock is not None:
        framework = FRAMEWORKS[name]
        return StandIn(environment(lock), framework, glue=(IMAGE_ROOT / framework.name, IMAGE_ROOT / "common"))
    if name == _MERGER:
        return StandIn(HOST_ENVIRONMENT, program=("python3", "-m", "groundtruth_merge"), glue=(IMAGE_ROOT / "monitor",))
    if name in _offered():
        return StandIn(HOST_ENVIRONMENT, program=_offered()[name])
    return None


def no_stand_in_error(image: str) -> ContainerError:
    """Return the error for an image that cannot run without Docker."""
    frameworks = [f"{name}:{tag}" for name in FRAMEWORKS for tag in tags(name)]
    known = ", ".join([*frameworks, _MERGER, *sorted(_offered())])
    return ContainerError(
        f"ClientError: image {image} has no stand-in in the local cloud and no ContainerEntrypoint to run instead; "
        f"stand-ins: {known}"
    )


def unknown_to_aws(image: str, region: str, own_account: str) -> str | None:
    """Return what is wrong with the address of one of AWS's own images, or None.

    Other repositories are not judged, nor those of the caller's account: the local cloud has no image registry.
    """
    found = parse(image)
    published = _registries().get(found.repository)
    if published is None or found.account in ("", own_account):
        return None
    accounts = published["accounts"]
    suffix = "amazonaws.com.cn" if found.region.startswith("cn-") else "amazonaws.com"
    if found.region != region or accounts.get(found.region) != found.account or found.suffix != suffix:
        return f"Cannot find repository: {found.repository} in registry ID: {found.account}"
    known = published["tags"]
    if known is not None and found.tag and _version(found.tag) not in known:
        return f"Cannot find the requested image: {image}"
    return None


def host_command(command: Sequence[str], found: StandIn | None) -> list[str]:
    """Return the command with an image's interpreter (`/miniconda3/bin/python3`) replaced by its environment's."""
    first = command[0]
    if first.startswith("/") and _PYTHON.fullmatch(Path(first).name):
        first = str((HOST_ENVIRONMENT if found is None else found.environment).python)
    return [first, *command[1:]]
