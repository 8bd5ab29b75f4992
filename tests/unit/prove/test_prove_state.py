"""A proof's state survives any interruption, and two proofs do not run at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from configuration.application import Application
from evergreen.errors import UsageError
from evergreen.prove.state import Lock, Store, name_of
from evergreen.prove.waiting import StepError, Waits
from tests.unit.prove.conftest import ACCOUNT, NOW, REGION, Scripted, Time


def test_the_name_is_derived_and_allowed_as_an_applications() -> None:
    name = name_of(ACCOUNT, REGION, "2026-11-27T12:00:00+00:00")
    assert name == name_of(ACCOUNT, REGION, "2026-11-27T12:00:00+00:00")
    others = {name_of("999999999999", REGION, "x"), name_of(ACCOUNT, "us-east-1", "x"), name_of(ACCOUNT, REGION, "x")}
    assert name not in others
    assert len(others) == 3
    assert re.fullmatch(r"prove[0-9a-f]{8}", name)
    Application.model_validate({"name": name, "stages": ({"name": "prod", "region": REGION},)})


def test_an_unfinished_proof_is_found_by_its_account_and_region(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = store.begin(ACCOUNT, REGION, NOW), store.begin(ACCOUNT, REGION, NOW + timedelta(hours=1))
    for state in (old, new, store.begin("999999999999", REGION, NOW + timedelta(hours=2))):
        state.facts["run"] = "arn"
        store.save(state)
    found = store.unfinished(ACCOUNT, REGION)
    assert found == new
    new.finished = True
    store.save(new)
    assert store.unfinished(ACCOUNT, REGION) == old
    assert store.unfinished(ACCOUNT, "us-east-1") is None
    assert store.named(new.name) == new


def test_a_second_proof_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    assert lock.take() is True
    with pytest.raises(UsageError, match=f"process {os.getpid()}"):
        Lock(tmp_path).take()


def test_a_child_that_outlives_its_proof_holds_the_lock_and_is_waited_for(tmp_path: Path) -> None:
    """A proof is killed while its CDK CLI runs: the next one may begin when the CLI has ended."""
    program = (
        "import subprocess, sys; from pathlib import Path; from evergreen.prove.state import Lock\n"
        f"lock = Lock(Path({str(tmp_path)!r})); assert lock.take()\n"
        "subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], pass_fds=[lock.descriptor])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.wait() == 0
        lock = Lock(tmp_path)
        assert lock.take() is False
        process.stdin.close()
        Waits(lambda _: None).until("the child's end", lambda: lock.take() or None, minutes=1)


def test_a_wait_is_bounded_and_says_what_it_waits_for() -> None:
    said: list[str] = []
    time = Time()
    waits = Waits(said.append, time.sleep, lambda: time.now)
    with pytest.raises(StepError, match=r"^the verdict: not within 30 minutes: nothing captured$"):
        waits.until("the verdict", lambda: None, minutes=30, detail=lambda: "nothing captured")
    assert 30 * 60 < time.now < 31 * 60
    assert "waiting for the verdict, at most 30 min: nothing captured" in said[0]
    assert len(said) > 20, "a minute passes in silence at most"


def test_a_wait_returns_what_was_found() -> None:
    time, answers = Time(), iter([None, None, 3])
    assert Waits(lambda _: None, time.sleep, lambda: time.now).until("three", lambda: next(answers), minutes=1) == 3


def test_what_was_seen_is_written_at_once(proof: Scripted) -> None:
    proof.see("rollback", "InService on\n the old one", held=True)
    proof.see("scaling", "no scalable target", held=False)
    found = proof.store.unfinished(ACCOUNT, REGION)
    assert found is not None
    assert found.rows == {
        "rollback": {"seen": "InService on the old one", "verdict": "held"},
        "scaling": {"seen": "no scalable target", "verdict": "did not hold"},
    }
    with pytest.raises(KeyError):
        proof.see("an unknown one", "", held=True)
