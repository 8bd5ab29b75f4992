"""The function's layer: small, locked, and fast to import."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import monitor
from layers.analyzer import build as layer

HOME = Path(monitor.__file__).parent
BUILT = Path(sys.prefix) / "share" / "evergreen" / "monitor-layer" / "python"
AARCH64 = 183
"""`e_machine` of an ELF file, at byte 18."""


def test_the_layer_is_numpy_and_orjson_and_every_wheel_is_locked_by_hash() -> None:
    text = (Path(layer.__file__).parent / "requirements.txt").read_text().replace("\\\n", " ")
    wheels = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [words[0].split("==")[0] for words in wheels] == ["numpy", "orjson"]
    assert all("==" in words[0] and len(words) > 1 for words in wheels)
    assert all(word.startswith("--hash=sha256:") for words in wheels for word in words[1:])
    assert layer.PLATFORM.startswith("aarch64")


def test_importing_the_handler_makes_no_client_and_loads_no_heavy_package() -> None:
    heavy = ("boto3", "botocore", "pandas", "xgboost", "aws_lambda_powertools")
    code = f"import sys, monitor.handler; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_built_layer_is_arm64_and_with_the_code_far_below_lambdas_limit() -> None:
    libraries = [path.read_bytes()[:20] for path in BUILT.rglob("*.so*")]
    assert libraries, f"{BUILT} holds no library"
    assert {int.from_bytes(head[18:20], "little") for head in libraries} == {AARCH64}
    code = [path for package in ("monitor", "shared") for path in (HOME.parent / package).rglob("*.py")]
    carried = [path for path in BUILT.rglob("*") if path.is_file()] + code
    assert sum(path.stat().st_size for path in carried) < 100e6


def test_the_handler_starts_fast(tmp_path: Path) -> None:
    """Measure CPU time, which other programs on the machine change little, with compiled bytecode."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(tmp_path)}

    def spent() -> float:
        command = [sys.executable, "-c", "import monitor.handler"]
        process = subprocess.Popen(command, cwd=HOME.parent, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    spent()
    assert statistics.median(spent() for _ in range(5)) < 0.4
