"""Forked Pythons: a program in a fork behaves as in a newly started Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcloud.runtime.sandbox import Sandbox, process_start
from localcloud.runtime.warm import WarmPython, interpreter_environment, python_with

pytestmark = pytest.mark.usefixtures("pid_namespace")


@dataclass(frozen=True)
class Outcome:
    code: int
    output: str


Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def warm() -> WarmPython:
    found = python_with(("numpy",))
    assert found.wait(30)
    return found


@pytest.fixture
def run(tmp_path: Path, warm: WarmPython) -> Run:
    number = 0

    def once(
        files: Mapping[str, str],
        command: Sequence[str] = ("python3", "script.py"),
        *,
        cold: bool = False,
        **variables: str,
    ) -> Outcome:
        nonlocal number
        number += 1
        box = Sandbox(tmp_path / str(number))
        code = box.ml / "code"
        code.mkdir(parents=True)
        for name, text in files.items():
            (code / name).write_text(text)
        environment = interpreter_environment() | {"HOME": "/tmp"} | variables
        container = box.start(command, environment, cwd="/opt/ml/code", warm=None if cold else warm)
        output = container.output.read().decode()
        container.output.close()
        return Outcome(container.wait(), output)

    return once


WAS_THERE = "import sys; warm = 'numpy' in sys.modules\n"
NESTED = (
    "import subprocess, sys\n"
    "done = subprocess.run([sys.executable, *{arguments!r}], input='said', text=True, capture_output=True)\n"
    "print(done)\n"
)


def test_the_program_and_the_pythons_that_it_starts_are_forks(run: Run) -> None:
    nested = NESTED.format(arguments=["-c", WAS_THERE + "print(warm)"])
    warm, cold = run({"script.py": WAS_THERE + "print(warm)\n" + nested}), run({"script.py": WAS_THERE}, cold=True)
    assert warm.output.startswith("True\n")
    assert r"stdout='True\n'" in warm.output
    assert (warm.code, cold.code) == (0, 0)


@pytest.mark.parametrize("python", ["python", "python3"])
def test_a_python_started_by_a_shell_is_a_fork(run: Run, python: str) -> None:
    script = {"script.py": WAS_THERE + "print(warm, sys.argv)"}
    found = run(script, ["/bin/sh", "-c", f"PYTHONPATH=nonesuch.zip exec {python} script.py -x"])
    assert found == Outcome(0, "True ['script.py', '-x']\n")


SAME = {
    "arguments": "import sys; print(sys.argv, sys.orig_argv, __name__, __file__, sys.path[0], __spec__)",
    "variables": "import os; print(sorted(item for item in os.environ.items() if item[0] != 'PATH'))",
    "success": "print('done')",
    "an exit code": "raise SystemExit(300)",
    "a message": "raise SystemExit('out of data')",
    "an error": "def f():\n    raise ValueError('boom')\nf()",
    "a syntax error": "def f(:",
    "a crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "a thread and an exit handler": (
        "import atexit, threading, time\n"
        "atexit.register(print, 'the end')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('a thread'))).start()"
    ),
    "a file that is not closed": (
        "import atexit, os\n"
        "file = open('left.txt', 'w'); file.write('x' * 100)\n"
        "if not os.fork(): raise SystemExit\n"
        "os.wait(); print(os.path.getsize('left.txt'))"
    ),
    "output that is closed": "import sys; print('said', flush=True); sys.stdout.close()",
    "signals": "import signal; print([signal.getsignal(n) for n in (2, 13, 15, 17)])",
    "standard input": "import sys; print(repr(sys.stdin.read()))",
    "open files": "import os; print(sorted(os.listdir('/proc/self/fd')))",
    "workers": (
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    for method in ('fork', 'spawn'):\n"
        "        with multiprocessing.get_context(method).Pool(2) as pool: print(pool.map(abs, [-1, -2]))"
    ),
}


@pytest.mark.parametrize("script", SAME.values(), ids=SAME.keys())
def test_a_script_behaves_as_in_a_new_python(run: Run, script: str) -> None:
    command = ("python3", "script.py", "--depth", "5")
    assert run({"script.py": script}, command, MINE="yes") == run({"script.py": script}, command, cold=True, MINE="yes")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import sys; print(sys.argv, sys.stdin.read(), repr(sys.path[0])); sys.exit(3)", "a b"],
        ["-m", "module", "-x"],
        ["-m", "nonesuch"],
        ["-u", "module.py"],
        ["nonesuch.py"],
        ["-c", "import os; os.kill(os.getpid(), 15)"],
        ["-c", "1/0"],
        ["-W", "error", "-c", "import sys; print(sys.warnoptions)"],
    ],
    ids=" ".join,
)
def test_a_python_started_by_a_script_behaves_as_a_new_python(run: Run, arguments: list[str]) -> None:
    files = {"script.py": NESTED.format(arguments=arguments), "module.py": "import sys; print(sys.argv, __name__)"}
    assert _called_python(run(files).output) == _called_python(run(files, cold=True).output)


def _called_python(output: str) -> str:
    """Replace the interpreters' paths, which differ in commands and error messages."""
    for name in ("/tmp/.python/python3", str(Path(sys.executable).with_name("python3")), sys.executable):
        output = output.replace(name, "python")
    return output


@pytest.mark.parametrize(
    ("files", "variables"),
    [
        ({"numpy.py": "mine = True"}, {}),
        ({"pickle.py": "mine = True"}, {}),
        ({}, {"OMP_NUM_THREADS": "1"}),
        ({}, {"PYTHONHASHSEED": "0"}),
        ({}, {"PATH": "/usr/bin:/bin"}),
    ],
    ids=["shadowed module", "shadowed standard library", "threads", "hashes", "another Python"],
)
def test_settings_that_are_read_at_the_start_need_a_new_python(
    run: Run, files: dict[str, str], variables: dict[str, str]
) -> None:
    assert run({"script.py": WAS_THERE + "print(warm)"} | files, **variables).output == "False\n"


def test_each_fork_has_its_own_random_numbers(run: Run) -> None:
    script = {"script.py": "import random, numpy; print(random.random(), numpy.random.rand())"}
    first, second = run(script).output.split(), run(script).output.split()
    assert first[0] != second[0]
    assert first[1] != second[1]


SLEEPER = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "time.sleep(0.2); child.{end}(); print(child.wait())\n"
)


@pytest.mark.parametrize(("end", "signal_number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_a_python_started_by_a_script_ends_on_a_signal(run: Run, end: str, signal_number: int) -> None:
    left = (
        "import os\n"
        "time.sleep(0.1)\n"
        "print(len([name for name in os.listdir('/proc') if name.isdigit()]), 'processes: init and this')\n"
    )
    output = run({"script.py": SLEEPER.format(end=end) + left}).output
    assert output == f"{-signal_number}\n2 processes: init and this\n"


def test_a_script_gets_sigterm(tmp_path: Path, warm: WarmPython) -> None:
    box = Sandbox(tmp_path)
    box.ml.mkdir()
    script = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up'); time.sleep(60)"
    container = box.start(["python3", "-c", script], interpreter_environment(), cwd="/", warm=warm)
    assert container.output.readline() == b"up\n"
    container.terminate()
    assert container.wait() == 7
    container.output.close()


_GATEWAY = """
import os, sys
from pathlib import Path
from localcloud.runtime.sandbox import Sandbox
from localcloud.runtime.warm import interpreter_environment, python_with
warm = python_with(("json",))
assert warm.wait(20)
box = Sandbox(Path(sys.argv[1]))
box.ml.mkdir()
script = "import os, time; print(os.stat('/proc/self/ns/pid').st_ino, flush=True); time.sleep(4718)"
container = box.start(["python3", "-c", script], interpreter_environment(), cwd="/", warm=warm)
print(container.pid, warm.pid, container.output.readline().decode().strip(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_everything_ends_when_the_gateway_is_killed(tmp_path: Path) -> None:
    gateway = subprocess.run([sys.executable, "-c", _GATEWAY, str(tmp_path)], capture_output=True, text=True)
    assert gateway.returncode == -signal.SIGKILL, gateway.stderr
    launcher, server, namespace = map(int, gateway.stdout.split())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (
        process_start(launcher) or process_start(server) or _processes_in(namespace)
    ):
        time.sleep(0.02)
    assert process_start(launcher) is None
    assert process_start(server) is None
    assert not _processes_in(namespace)


def _processes_in(namespace: int) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "ns/pid").stat().st_ino == namespace
        except OSError:
            continue  # it has ended
        if inside:
            found.append(process.name)
    return found


def test_a_fork_server_that_has_ended_is_replaced(tmp_path: Path) -> None:
    warm = WarmPython(("json",))
    assert warm.wait(20)
    assert warm.pid is not None
    os.kill(warm.pid, signal.SIGKILL)
    while process_start(warm.pid) is not None:
        time.sleep(0.01)
    for number in range(2):
        box = Sandbox(tmp_path / str(number))
        box.ml.mkdir()
        container = box.start(["python3", "-c", "print(1)"], interpreter_environment(), cwd="/", warm=warm)
        assert container.output.read() == b"1\n"
        assert container.wait() == 0
        container.output.close()
    assert warm.wait(20)
    warm.close()
