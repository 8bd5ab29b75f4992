"""`localcloud images`: the images that the local cloud runs, and their environments."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from localcloud.runtime import images
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.images.environments import Environment, environment, wanted_python


def add_to(commands: Any) -> None:
    """Add the command to the parser of `localcloud`."""
    listing = commands.add_parser("images", help="list the images of AWS that run here, or make their environments")
    listing.set_defaults(run=_list)
    verbs = listing.add_subparsers(metavar="verb")
    make = verbs.add_parser("make", help="make environments now instead of at their first use")
    make.add_argument("image", nargs="+", help="for example xgboost:3.2-0 or scikit-learn:1.4-2; `all` for each")
    make.set_defaults(run=_make)


def known() -> dict[str, Environment]:
    """Return the environments by the images' short names, `xgboost:3.2-0`."""
    found = {}
    for repository in images.FRAMEWORKS:
        for tag in images.tags(repository):
            lock = images.lock_file(f"{repository}:{tag}")
            assert lock is not None
            found[f"{repository.removeprefix('sagemaker-')}:{tag}"] = environment(lock)
    return found


def _list(_options: argparse.Namespace) -> int:
    for name, found in known().items():
        assert found.lock is not None
        state = f"{found.note}, in {found.root}" if found.made else f"Python {wanted_python(found.lock)}, not made yet"
        sys.stdout.write(f"{name:26}{state}\n")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _make(options: argparse.Namespace) -> int:
    offered = known()
    wanted = list(offered) if options.image == ["all"] else [name.removeprefix("sagemaker-") for name in options.image]
    for name in wanted:
        if name not in offered:
            sys.stderr.write(f"There is no stand-in for the image {name}; there are: {', '.join(offered)}\n")
            return 2
    for name in wanted:
        try:
            offered[name].make(_say)
        except ContainerError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0
