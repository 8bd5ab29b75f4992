"""Where containers cannot be isolated, nothing runs before the user agrees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud import consent
from localcloud.runtime.sandbox import Isolation

_NONE = Isolation(False, False, "namespaces are not permitted")


def test_a_program_is_refused_until_it_consents_and_the_state_folder_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(consent.VARIABLE, raising=False)
    sentence = consent.refusal(_NONE, tmp_path, given=False)
    assert sentence is not None
    assert all(word in sentence for word in (_NONE.sentence, consent.OPTION, consent.VARIABLE, "home"))
    assert len(sentence.splitlines()) == 1
    monkeypatch.setenv(consent.VARIABLE, "0")
    assert consent.refusal(_NONE, tmp_path, given=False) == sentence
    assert consent.refusal(_NONE, tmp_path, given=True) is None
    assert consent.refusal(_NONE, tmp_path, given=False) is None


def test_the_variable_consents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.VARIABLE, "1")
    assert consent.refusal(_NONE, tmp_path, given=False) is None


def test_a_machine_with_namespaces_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(consent.VARIABLE, raising=False)
    assert consent.refusal(Isolation(True, False, "some"), tmp_path, given=False) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("namespaces")
def test_up_does_not_start_where_namespaces_are_denied(tmp_path: Path) -> None:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to lose the right to make namespaces")
    denied = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    environment = {name: value for name, value in os.environ.items() if name != consent.VARIABLE}
    command = [*denied, sys.executable, "-m", "localcloud", "up", "--port", "1025", "--state", str(tmp_path)]
    refused = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "namespaces are not permitted" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "gateway.json").exists()
