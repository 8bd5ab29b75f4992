"""Stand-ins for container images, by repository name."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from localcloud.runtime.contract import ContainerError


@dataclass(frozen=True)
class StandIn:
    """The replacement for an image.

    Attributes:
        framework: module of `image/sagemaker_stand_in/` that holds the algorithm and the default handlers.
        trains: the container trains without an entry point in the request (script mode or an algorithm).
        algorithm: it trains and serves without a script.
        serves: it has a model server.
        program: the command of processing jobs that name no entry point.
        imports: modules that most of its programs import; one fork server imports them for all.
        packages: the image's packages, which this environment must have (the extra `frameworks`).
    """

    framework: str
    trains: bool = False
    algorithm: bool = False
    serves: bool = False
    program: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


ENTRY_POINTS = "localcloud.images"
"""Entry point group by which an installed package offers a module that runs in place of an image's program."""

_MERGER = StandIn("monitor", program=("python3", "-m", "sagemaker_stand_in.groundtruth_merge"))

STAND_INS = {
    "sagemaker-model-monitor-groundtruth-merger": _MERGER,
    "sagemaker-xgboost": StandIn(
        "xgboost",
        trains=True,
        algorithm=True,
        serves=True,
        imports=("sklearn", "xgboost", "boto3"),
        packages=("xgboost", "sklearn", "pandas"),
    ),
    "sagemaker-scikit-learn": StandIn(
        "sklearn",
        trains=True,
        algorithm=False,
        serves=True,
        imports=("sklearn", "boto3"),
        packages=("sklearn", "pandas"),
    ),
}


@cache
def stand_ins() -> Mapping[str, StandIn]:
    """Return all stand-ins by repository name: the built-in ones, and those that installed packages offer.

    An entry point `sagemaker-clarify-processing = "some.module"` of the group `localcloud.images` makes processing jobs
    on that image run `python3 -m some.module`. The module is not imported here.
    """
    offered = {
        point.name: StandIn("offered", program=("python3", "-m", point.module))
        for point in entry_points(group=ENTRY_POINTS)
    }
    return {**offered, **STAND_INS}


_PYTHON = re.compile(r"python(3(\.\d+)?)?")


def repository(image: str) -> str:
    """Return an image's repository: `…/sagemaker-xgboost:3.2-0` → `sagemaker-xgboost`; also with a digest."""
    return image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]


def stand_in(image: str) -> StandIn | None:
    """Return the stand-in for `image`; None where only an explicit entry point can run."""
    return stand_ins().get(repository(image))


def no_stand_in_error(image: str) -> ContainerError:
    """Return the error for an image that cannot run without Docker."""
    return ContainerError(
        f"ClientError: image {image} has no stand-in in the local cloud and no ContainerEntrypoint to run instead; "
        f"stand-ins: {', '.join(sorted(stand_ins()))}"
    )


def check_packages(image: str) -> None:
    """Check that this environment has the packages of an image.

    Raises:
        ContainerError: packages are missing; the message says how to install them.
    """
    found = stand_in(image)
    missing = [name for name in found.packages if find_spec(name) is None] if found is not None else []
    if missing:
        raise ContainerError(
            f"ClientError: image {repository(image)} needs packages that are not installed beside the local cloud "
            f"({', '.join(missing)}); install them: pip install 'localcloud[frameworks]'"
        )


def search_path() -> str:
    """Return the container's PATH, on which `python` and `python3` are this environment's."""
    return f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def host_command(command: Sequence[str]) -> list[str]:
    """Return the command with an image's interpreter (`/miniconda3/bin/python3`) replaced by this environment's."""
    first = command[0]
    if first.startswith("/") and _PYTHON.fullmatch(Path(first).name):
        first = sys.executable
    return [first, *command[1:]]
