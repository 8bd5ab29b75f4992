"""What the function carries: little, and locked."""

import subprocess
import sys
from pathlib import Path

import monitor
from monitor.layer import __main__ as layer

HOME = Path(monitor.__file__).parent


def test_the_layer_is_numpy_and_orjson_and_every_wheel_is_locked_by_hash() -> None:
    text = (HOME / "layer" / "requirements.txt").read_text().replace("\\\n", " ")
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
