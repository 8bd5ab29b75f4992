"""Documents name only commands and options that the command line has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import typer

from evergreen.cli import app
from tests.unit.docs.documents import documents


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_documents_name_only_commands_and_options_that_exist(document: Any) -> None:
    root = typer.main.get_command(app)
    assert [mistake for words in document.commands("evergreen") if (mistake := _mistake(root, words))] == []


def test_the_documents_mention_the_command_line() -> None:
    """Without mentions the test above would check nothing."""
    assert sum(1 for document in documents() for _ in document.commands("evergreen")) > 30


def _mistake(command: Any, words: Sequence[str]) -> str:
    """Return what is wrong with a call, or nothing."""
    path, rest = [], list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-") or rest[0] == "…":
            return ""
        path.append(rest.pop(0))
        if path[-1] not in command.commands:
            return f"no command: {' '.join(path)}"
        command = command.commands[path[-1]]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in options]
    return f"no option {unknown[0]}: evergreen {' '.join(path)}" if unknown else ""
