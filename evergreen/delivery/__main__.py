"""`python -m evergreen.delivery`: what the pipeline's builds run around and after the deployment of a stage."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from configuration import Application, ConfigurationError, Stage, load_application
from evergreen.delivery.accounts import Unreachable, platform_of
from evergreen.delivery.leases import Leases, NotSettled
from evergreen.delivery.trainings import Commit, NotAsked, Trainings

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 stands for what did not come about, 2 for what cannot be right."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        application = load_application(Path(__file__).parents[2])
        stage = _stage(application, options.stage)
        return _run(options, application, stage)
    except (ConfigurationError, Unreachable) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (NotSettled, NotAsked, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was taken is given back\n")
        return _INTERRUPTED


def _run(options: argparse.Namespace, application: Application, stage: Stage) -> int:
    session = boto3.Session(region_name=stage.region)
    platform = platform_of(session, application, stage)
    if platform is None:
        _say(f"{stage.name} was not deployed yet: nothing to do")
    elif options.command == "train":
        author = _author(session, options) if options.repository else options.author
        Trainings(platform, say=_say).ask(Commit(options.commit, author))
    elif options.verb == "take":
        Leases(platform, owner=options.owner, say=_say).take(options.timeout_minutes * 60)
    else:
        Leases(platform, owner=options.owner, say=_say).give()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evergreen.delivery", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    lease = commands.add_parser("lease", help="keep a stage's release controller from moving, or let it")
    lease.add_argument("verb", choices=("take", "give"))
    lease.add_argument("--stage", required=True, help="of evergreen.yaml")
    lease.add_argument("--owner", required=True, help="who holds it, such as codepipeline/<execution id>")
    lease.add_argument("--timeout-minutes", type=float, default=120, help="for a stage at rest (default: %(default)s)")
    train = commands.add_parser("train", help="ask for trainings of the models whose deployed content is new")
    train.add_argument("--commit", required=True, help="what was deployed")
    train.add_argument("--author", default="", help="the commit's author, an e-mail address")
    train.add_argument("--repository", help="CodeCommit repository to ask for the author instead")
    train.set_defaults(stage=None)
    return parser


def _stage(application: Application, name: str | None) -> Stage:
    """The stage of a name; without one the last, whose account is the hub.

    Raises:
        Unreachable: There is no such stage.
    """
    stages = {stage.name: stage for stage in application.stages}
    if name is None:
        return application.stage
    if name not in stages:
        raise Unreachable(f"evergreen.yaml has no stage {name!r}; it has {', '.join(stages)}")
    return stages[name]


def _author(session: boto3.Session, options: argparse.Namespace) -> str:
    commit = session.client("codecommit").get_commit(repositoryName=options.repository, commitId=options.commit)
    return str(commit["commit"].get("author", {}).get("email", ""))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """A build that is stopped gives back what it took, as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
