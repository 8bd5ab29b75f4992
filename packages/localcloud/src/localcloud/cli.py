"""The command line `localcloud`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from signal import SIGKILL, SIGTERM

from localcloud import clock_cli, consent, fault_cli, images_cli, loopback, process, virtual_time
from localcloud.ministack_adapter import environment
from localcloud.runtime.sandbox import isolation
from localcloud.source.repositories import Repositories, SourceError

DEFAULT_PORT = 4747
_START_SECONDS, _STOP_SECONDS = 180.0, 30.0
_LOG = "gateway.log"
_SDK_DEFAULTS = Path(__file__).with_name("sagemaker_sdk.yaml")
_HOOKS = Path(__file__).parent / "hooks"
_EXIT_USAGE, _EXIT_NOT_RUNNING = 2, 3


def run() -> None:
    """Run the console script `localcloud`."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    return run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localcloud",
        description="Emulate AWS on this machine: one process on one loopback port, with its state in one folder. "
        "It needs no account and no Docker. Use it with the AWS CLI, boto3, the SageMaker SDK and the CDK CLI.",
        epilog='Start: localcloud up && eval "$(localcloud env)", then use any AWS client in that shell.',
    )
    parser.add_argument("--version", action="version", version=f"localcloud {version('localcloud')}")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--port", type=_port, default=None, help=f"loopback port (default: {DEFAULT_PORT})")
    where.add_argument("--state", type=Path, default=Path(".localcloud"), help="state folder (default: .localcloud)")
    commands = parser.add_subparsers(required=True, metavar="command")

    up = commands.add_parser("up", parents=[where], help="start the local cloud; does nothing when it already runs")
    up.add_argument("--foreground", action="store_true", help="stay attached to the terminal; Ctrl-C stops it")
    up.add_argument(
        "--clock",
        choices=("real", "accelerated"),
        help="accelerated: a virtual clock that `localcloud clock advance` moves "
        "(default: the clock that the state folder was made with; real for a new folder)",
    )
    up.add_argument(
        "--clock-start",
        type=clock_cli.instant,
        help="the first instant of an accelerated clock (default: 2013-03-01T00:00:00Z)",
    )
    up.add_argument(
        consent.OPTION,
        action="store_true",
        dest="without_isolation",
        help="run jobs, functions and builds with your rights on your files, where this machine cannot isolate them "
        f"(remembered in the state folder; {consent.VARIABLE}=1 does the same)",
    )
    up.set_defaults(run=_up)
    down = commands.add_parser("down", parents=[where], help="stop the local cloud and every process that it started")
    down.add_argument("--purge", action="store_true", help="also delete the state folder")
    down.set_defaults(run=_down)
    status = commands.add_parser(
        "status", parents=[where], help="list stacks, endpoints, running jobs, pipelines and builds"
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=_status)
    env = commands.add_parser(
        "env", parents=[where], help="print shell exports that point AWS clients to the local cloud"
    )
    env.add_argument(
        "--hosts",
        action="store_true",
        help="also redirect Python clients that name one of AWS's hosts (`aws sqs` of CLI v1, SageMaker SDK v2)",
    )
    env.set_defaults(run=_env)
    remote = commands.add_parser(
        "remote", parents=[where], help="print the path of a git repository that pipelines read"
    )
    remote.add_argument("name", nargs="?", help="the repository (default: the only one)")
    remote.set_defaults(run=_remote)
    logs = commands.add_parser("logs", parents=[where], help="print the gateway's log")
    logs.add_argument("-f", "--follow", action="store_true", help="follow the log until Ctrl-C")
    logs.set_defaults(run=_logs)
    images_cli.add_to(commands)
    clock_cli.add_to(commands, where)
    fault_cli.add_to(commands, where)
    return parser


def _port(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if not 1024 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1024 to 65535, got {text!r}")
    return number


def _up(options: argparse.Namespace) -> int:
    state: Path = options.state.resolve()
    port = options.port or DEFAULT_PORT
    known = process.running(state)
    if known is not None:
        if options.port not in (None, known.port):
            _complain(
                f"The local cloud of {state} already runs on port {known.port}. Stop it first: "
                f"localcloud down --state {shlex.quote(str(options.state))}"
            )
            return _EXIT_USAGE
        _wait_until_ready(known, state)
        _say(f"Already up: http://127.0.0.1:{known.port} (pid {known.pid})")
        return 0
    if not process.port_is_free(port):
        other = process.listening(port)
        taken = other.sentence if other else "another program"
        _complain(f"Port {port} is taken by {taken}. Choose another one: localcloud up --port {port + 1}")
        return _EXIT_USAGE
    state.mkdir(parents=True, exist_ok=True)
    try:
        virtual_time.choose(state, options.clock, options.clock_start)
    except virtual_time.WrongClockError as error:
        _complain(str(error))
        return _EXIT_USAGE
    refused = consent.refusal(isolation(), state, given=options.without_isolation)
    if refused is not None:
        _complain(refused)
        return _EXIT_USAGE
    return _run_here(state, port) if options.foreground else _start_detached(state, port)


def _run_here(state: Path, port: int) -> int:
    process.end_leftovers(state)
    process.write_record(state, port)
    try:
        environment.configure(state, port)
        if virtual_time.file_of(state).exists():
            virtual_time.enter(state)
        # ministack reads its settings when it is imported, so this import waits for them.
        from localcloud import gateway

        gateway.main(port, state)
    finally:
        process.drop_record(state)
    return 0


def _start_detached(state: Path, port: int) -> int:
    # -P: containers see what is on the gateway's path, and the current folder may be a project or a home.
    command = [
        sys.executable,
        "-P",
        "-m",
        "localcloud",
        "up",
        "--foreground",
        "--port",
        str(port),
        "--state",
        str(state),
    ]
    log = state / _LOG
    with log.open("ab") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    _say(f"Starting the local cloud on port {port} …")
    if not _wait_until_ready(child, state):
        _complain(f"The local cloud did not start. The last lines of {log}:\n{_tail(log, 12)}")
        if child.poll() is None:
            child.terminate()
        return 1
    _say(f"Up: http://127.0.0.1:{port} (pid {child.pid}), state in {state}")
    return 0


def _wait_until_ready(gateway: subprocess.Popen[bytes] | process.Running, state: Path) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < _START_SECONDS:
        if isinstance(gateway, subprocess.Popen) and gateway.poll() is not None:
            return False
        record = process.running(state)
        if record is not None and process.health(record.port).get("ready"):
            return True
        time.sleep(0.05)
    return False


def _find(options: argparse.Namespace) -> process.Running | None:
    """Return the state folder's running gateway.

    A gateway whose record was deleted is found by what it answers on its port.
    """
    state: Path = options.state.resolve()
    known = process.running(state)
    if known is None:
        listening = process.listening(options.port or DEFAULT_PORT)
        if listening is not None and listening.state == str(state):
            return listening.running
    return known


def _down(options: argparse.Namespace) -> int:
    state: Path = options.state.resolve()
    known = _find(options)
    if known is None:
        _say("Not running")
        other = process.listening(options.port) if options.port else None
        if other is not None:
            _complain(f"Port {options.port} is served by {other.sentence}")
    else:
        known.signal(SIGTERM)
        if not known.wait_until_gone(_STOP_SECONDS):
            _complain(f"pid {known.pid} did not stop within {_STOP_SECONDS:.0f} s and was killed")
            known.signal(SIGKILL)
            known.wait_until_gone(5)
        _say(f"Stopped (pid {known.pid})")
    process.end_leftovers(state)
    process.drop_record(state)
    if options.purge and state.exists():
        if not _is_ours(state):
            _complain(f"{state} is not a state folder of the local cloud. Nothing was deleted.")
            return _EXIT_USAGE
        shutil.rmtree(state)
        _say(f"Deleted {state}")
    return 0


def _is_ours(state: Path) -> bool:
    """Tell a state folder from one that `--state` names by mistake."""
    ours = ("localcloud.db", _LOG, environment.ROOT_SECRET_FILE)
    return any((state / name).exists() for name in ours) or not any(state.iterdir())


def _status(options: argparse.Namespace) -> int:
    state: Path = options.state.resolve()
    known = _find(options)
    if known is None:
        _say(json.dumps({"running": False, "state": str(state)}) if options.json else f"Not running (state: {state})")
        return _EXIT_NOT_RUNNING
    from localcloud import status  # boto3 takes half a second to import

    seen = status.look(known, process.health(known.port), state)
    _say(json.dumps(seen, indent=2) if options.json else status.text(seen))
    return 0


def _env(options: argparse.Namespace) -> int:
    state: Path = options.state.resolve()
    if not state.is_dir():
        _complain(f"There is no local cloud in {state}, so it has no keys yet. Start it: localcloud up")
        return _EXIT_NOT_RUNNING
    known = process.running(state)
    port = known.port if known is not None and options.port is None else options.port or DEFAULT_PORT
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": environment.ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": environment.root_secret(state),
        "AWS_DEFAULT_REGION": environment.REGION,
        "AWS_REGION": environment.REGION,
        "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": shlex.quote(str(_SDK_DEFAULTS)),
        # Clients prefer these to the variables above.
        "AWS_PROFILE": None,
        "AWS_SESSION_TOKEN": None,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **{name: shlex.quote(value) for name, value in loopback.no_proxy(os.environ).items()},
        **(_redirecting() if options.hosts else {}),
    }.items():
        _say(f"unset {name}" if value is None else f"export {name}={value}")
    return 0


def _redirecting() -> dict[str, str]:
    """Return the variables that enable the hook for clients with AWS's hosts in their code."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [str(_HOOKS), *(folder for folder in known if folder not in ("", str(_HOOKS)))]
    return {"LOCALCLOUD_HOSTS": "1", "PYTHONPATH": shlex.quote(os.pathsep.join(path))}


def _remote(options: argparse.Namespace) -> int:
    """Print the path alone, for `git remote add local "$(localcloud remote NAME)"`."""
    repositories = Repositories(options.state.resolve())
    known = repositories.all()
    if options.name is None and len(known) != 1:
        existing = f"There are {', '.join(one.name for one in known)}." if known else "There is none yet."
        _complain(f"Name the repository: localcloud remote NAME. {existing}")
        return _EXIT_USAGE
    try:
        repository = repositories.ensure(options.name or known[0].name)
    except SourceError as error:
        _complain(str(error))
        return _EXIT_USAGE
    _say(str(repository.path))
    return 0


def _logs(options: argparse.Namespace) -> int:
    log = options.state.resolve() / _LOG
    if not log.exists():
        _complain(f"There is no log yet: {log}")
        return _EXIT_NOT_RUNNING
    with log.open() as source:
        try:
            while True:
                text = source.read()
                if text:
                    _say(text, end="")
                elif not options.follow:
                    return 0
                else:
                    time.sleep(0.3)
        except KeyboardInterrupt:
            return 0


def _tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")
