"""Which container images have a stand-in on this machine, by repository name."""

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
    """What runs instead of an image.

    Attributes:
        framework: module of `image/sagemaker_stand_in/` that holds its algorithm and default handlers.
        trains: the container trains without an entry point of the request (script mode or an algorithm).
        algorithm: it trains and serves without any script.
        serves: it has a model server.
        program: what a processing job runs that names no entry point of its own.
        imports: what most of its programs import; one process does it for all of them.
        packages: the image's own packages, which this environment must have (the extra `frameworks`).
    """

    framework: str
    trains: bool = False
    algorithm: bool = False
    serves: bool = False
    program: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


ENTRY_POINTS = "localcloud.images"
"""Entry point group: an installed package offers the module that runs in place of an image's own program."""

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
    """Return every stand-in by repository name: our own, and those that installed packages offer.

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
    """`…/sagemaker-xgboost:3.2-0` and `…/sagemaker-xgboost@sha256:…` → `sagemaker-xgboost`."""
    return image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]


def stand_in(image: str) -> StandIn | None:
    """Return what runs instead of `image`, None where only an explicit entry point can be run."""
    return stand_ins().get(repository(image))


def no_stand_in(image: str) -> ContainerError:
    """The refusal of an image that cannot be run without Docker."""
    return ContainerError(
        f"ClientError: image {image} has no stand-in in the local cloud and no ContainerEntrypoint to run instead; "
        f"stand-ins: {', '.join(sorted(stand_ins()))}"
    )


def check_packages(image: str) -> None:
    """Check that this environment has the packages that an image holds.

    Raises:
        ContainerError: Some are not installed; the text says how to install them.
    """
    found = stand_in(image)
    missing = [name for name in found.packages if find_spec(name) is None] if found is not None else []
    if missing:
        raise ContainerError(
            f"ClientError: image {repository(image)} needs packages that are not installed beside the local cloud "
            f"({', '.join(missing)}); install them: pip install 'localcloud[frameworks]'"
        )


def search_path() -> str:
    """The container's PATH: `python` and `python3` are this environment's."""
    return f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def host_command(command: Sequence[str]) -> list[str]:
    """An image's own interpreter (`/miniconda3/bin/python3`) is this environment's; the rest stays as it is."""
    first = command[0]
    if first.startswith("/") and _PYTHON.fullmatch(Path(first).name):
        first = sys.executable
    return [first, *command[1:]]
