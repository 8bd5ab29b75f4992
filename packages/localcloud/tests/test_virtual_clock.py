"""Every Python in an accelerated cloud uses its clock."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from localcloud import virtual_time
from localcloud.hooks import virtual_clock


def test_a_virtual_environment_without_time_machine_uses_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cover an environment that a build makes for itself: credentials of 2013 would be expired in it otherwise."""
    monkeypatch.setattr(virtual_clock, "install", lambda _: None)  # this process stays in its own time
    for name in (virtual_clock.VARIABLE, "PYTHONPATH", "LAMBDA_WARM_TTL_SECONDS"):
        monkeypatch.setenv(name, "")
    assert virtual_time.choose(tmp_path, "accelerated", datetime(2013, 3, 1, tzinfo=UTC))
    virtual_time.enter(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    asked = "import datetime, sys; print('_time_machine' in sys.modules, datetime.datetime.now().year)"
    bare = [str(tmp_path / "venv" / "bin" / "python"), "-c", asked]
    done = subprocess.run(bare, env=dict(os.environ), check=True, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["True", "2013"], "")
